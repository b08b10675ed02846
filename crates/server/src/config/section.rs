//! A section of the settings: its structure and its rows of the table, from one description.

/// One setting: a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its full name, such as `upload.queue`.
    pub name: String,
    /// What it means.
    pub meaning: &'static str,
}

/// Settings that belong together.
pub trait Section {
    /// Its settings, those of sections within it last.
    fn rows() -> Vec<Row>;
}

/// The rows of a section within another.
pub(super) fn within(section: &str, rows: Vec<Row>) -> impl Iterator<Item = Row> {
    rows.into_iter().map(move |row| Row {
        name: format!("{section}.{}", row.name),
        ..row
    })
}

/// Describes a section: for each setting its meaning, name, type and default.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $($(#[doc = $meaning:literal])+ $field:ident : $type:ty = $default:expr,)*
        }
        $(sections {
            $($(#[doc = $of:literal])+ $section:ident : $settings:ty,)*
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $meaning])+ pub $field: $type,)*
            $($($(#[doc = $of])+ pub $section: $settings,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($section: <$settings>::default(),)*)?
                }
            }
        }

        impl $crate::config::Section for $name {
            fn rows() -> Vec<$crate::config::Row> {
                let rows = vec![$($crate::config::Row {
                    name: stringify!($field).to_owned(),
                    meaning: concat!($($meaning),+).trim_ascii(),
                }),*];
                rows.into_iter()
                    $($(.chain($crate::config::section::within(
                        stringify!($section),
                        <$settings as $crate::config::Section>::rows(),
                    )))*)?
                    .collect()
            }
        }
    };
}
pub(crate) use settings;

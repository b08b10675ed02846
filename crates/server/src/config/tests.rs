//! Precedence, errors, and that what is printed and documented is what there is.

use std::path::PathBuf;

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undertone.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        // A file of the machine would change the test.
        file: Some("/dev/null".into()),
        environment: pairs.iter().map(own).collect(),
        flags: Vec::new(),
    }
}

/// The environment variable of a setting.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_ascii_uppercase())
}

fn flag(sources: Sources, flag: &str, name: &str, value: &str) -> Sources {
    let mut flags = sources.flags.clone();
    flags.push((flag.to_owned(), name.to_owned(), value.to_owned()));
    Sources { flags, ..sources }
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let (_folder, path) = file(
        "listen = \"127.0.0.1:1\"\n[upload]\nqueue = 1\nmax_batch = 1\nsilence_ms = 1\n\
         [metrics]\npublic = true\n",
    );
    let mut sources = environment(&[
        ("UNDERTONE__UPLOAD__QUEUE", "2"),
        ("UNDERTONE__UPLOAD__MAX_BATCH", "2"),
        ("UNDERTONE__METRICS__LISTEN", "127.0.0.1:9"),
        ("UNDERTONE__RETENTION__ADAPTER_DAYS", "7"),
        ("UNDERTONE_OTHER", "is no setting"),
    ]);
    sources.file = Some(path.clone());
    let sources = flag(sources, "--set upload.queue", "upload.queue", "3");
    let loaded = sources.load().unwrap();
    let upload = &loaded.settings.upload;
    assert_eq!([upload.queue, upload.max_batch], [3, 2]);
    assert_eq!(upload.silence_ms, 1);
    assert_eq!(upload.grace_ms, UploadSettings::default().grace_ms);
    assert!(loaded.settings.metrics.public);
    assert_eq!(loaded.settings.retention.adapter_days, Some(7));
    assert_eq!(
        loaded.settings.metrics.listen,
        Some("127.0.0.1:9".parse().unwrap())
    );
    assert_eq!(loaded.origins["upload.silence_ms"], Origin::File(path));
    assert_eq!(
        loaded.origins["upload.queue"],
        Origin::Flag("--set upload.queue".to_owned())
    );
    assert!(!loaded.origins.contains_key("upload.grace_ms"));
}

#[test]
fn a_password_reaches_the_settings_and_nothing_else() {
    let url = "postgres://me:s3cret@db/x";
    let sources = environment(&[
        ("UNDERTONE__DATABASE", url),
        // Something after it: what is merged next must not take the hidden form.
        ("UNDERTONE__UPLOAD__QUEUE", "2"),
    ]);
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.settings.database.expose(), url);
    for shown in [
        loaded.toml(),
        loaded.json().to_string(),
        format!("{loaded:?}"),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("postgres://me:***@db/x"), "{shown}");
    }
}

#[test]
fn errors_name_the_setting_its_origin_and_what_to_do() {
    let refused = |pairs: &[(&str, &str)]| environment(pairs).load().unwrap_err().to_string();
    for (pair, words) in [
        (
            ("UNDERTONE__UPLOAD__QUEUE", "many"),
            ["UNDERTONE__UPLOAD__QUEUE", "upload.queue", "many"],
        ),
        (
            ("UNDERTONE__UPLAOD__QUEUE", "1"),
            ["UNDERTONE__UPLAOD__QUEUE", "`uplaod.queue`", "upload"],
        ),
        (
            ("UNDERTONE__UPLOAD__QUEU", "1"),
            ["UNDERTONE__UPLOAD__QUEU", "no setting", "queue"],
        ),
        (
            ("UNDERTONE__UPLOAD__MAX_BATCH", "0"),
            [
                "UNDERTONE__UPLOAD__MAX_BATCH",
                "upload.max_batch",
                "at least 1",
            ],
        ),
        (
            ("UNDERTONE__OTEL__REQUESTS", "1.5"),
            ["UNDERTONE__OTEL__REQUESTS", "otel.requests", "0 to 1"],
        ),
    ] {
        let error = refused(&[pair]);
        for word in words {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }
    for (text, words) in [
        ("listen = 5\n", ["undertone.toml", "listen"]),
        (
            "[upload]\nqueue = 1\nqueue = 2\n",
            ["undertone.toml, line 3", "duplicate"],
        ),
        ("[uplaod]\n", ["undertone.toml", "`uplaod`"]),
        (
            "[upload]\nqueue = { a = 1 }\n",
            ["`upload.queue.a`", "queue"],
        ),
    ] {
        let (_folder, path) = file(text);
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        let error = sources.load().unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let missing = Sources {
        file: Some("/no/such/undertone.toml".into()),
        ..Sources::default()
    };
    let error = missing.load().unwrap_err().to_string();
    assert!(
        error.contains("/no/such/undertone.toml") && error.contains("--config"),
        "{error}"
    );
}

/// What is printed is a file that says the same.
#[test]
fn what_is_printed_can_be_read_back() {
    let sources = environment(&[
        ("UNDERTONE__LISTEN", "0.0.0.0:99"),
        ("UNDERTONE__AUDIT__KEY_FILE", "/etc/a \"key\""),
        ("UNDERTONE__OTEL__REQUESTS", "0.25"),
    ]);
    let loaded = sources.load().unwrap();
    let printed = loaded.toml();
    assert!(
        printed.lines().all(|line| line.chars().count() <= 100),
        "{printed}"
    );
    let (_folder, path) = file(&printed);
    let again = Sources {
        file: Some(path),
        ..Sources::default()
    };
    assert_eq!(again.load().unwrap().settings, loaded.settings);
}

/// Every setting can be set by its variable, and no row is missing.
#[test]
fn every_setting_has_a_row_and_every_row_a_setting() {
    fn names(prefix: &str, value: &serde_json::Value, all: &mut Vec<String>) {
        match value.as_object() {
            Some(object) => {
                for (key, value) in object {
                    let dot = if prefix.is_empty() { "" } else { "." };
                    names(&format!("{prefix}{dot}{key}"), value, all);
                }
            }
            None => all.push(prefix.to_owned()),
        }
    }
    let mut all = Vec::new();
    names(
        "",
        &serde_json::to_value(Settings::default()).unwrap(),
        &mut all,
    );
    let mut rows: Vec<_> = Settings::rows().into_iter().map(|row| row.name).collect();
    rows.sort_unstable();
    all.sort_unstable();
    assert_eq!(rows, all);
    for row in Settings::rows() {
        assert!(row.meaning.ends_with('.'), "{}: {}", row.name, row.meaning);
        assert!(
            !row.meaning.contains('|'),
            "{} would break its table",
            row.name
        );
        let name = variable(&row.name);
        let error = environment(&[(&name, "")]).load();
        let unknown = matches!(error, Err(ConfigError::Unknown { .. }));
        assert!(!unknown, "{name}");
    }
}

#[test]
fn the_documented_table_is_the_real_one() {
    let page = include_str!("../../../../docs/configuration.md");
    assert!(
        page.contains(&markdown()),
        "docs/configuration.md has another table of settings; `make settings` writes it anew"
    );
}

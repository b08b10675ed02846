//! Times and numbers as people read them.

use maud::{Markup, html};

/// A time of day, in UTC: `2026-11-28 13:25:02`. The calendar is the proleptic Gregorian one
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
pub(crate) fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March, so that the leap day is their last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year_of_era + era * 400 + next_year;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// A time as an element that programs read too.
pub(crate) fn time(ms: u64) -> Markup {
    let text = utc(ms);
    let machine = text.replacen(' ', "T", 1) + "Z";
    html! { time datetime=(machine) { (text) " UTC" } }
}

/// A span of time, in the one or two units that matter: `4 s`, `2 min 5 s`, `3 h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |large: u64, small: u64, names: (&str, &str)| {
        if small == 0 {
            format!("{large} {}", names.0)
        } else {
            format!("{large} {} {small} {}", names.0, names.1)
        }
    };
    match seconds {
        0 if ms > 0 => format!("{ms} ms"),
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, seconds % 60, ("min", "s")),
        3600..86_400 => two(seconds / 3600, seconds / 60 % 60, ("h", "min")),
        _ => two(seconds / 86_400, seconds / 3600 % 24, ("d", "h")),
    }
}

/// So many of a thing: `1 client`, `3 clients`.
pub(crate) fn counted(count: impl Into<u64>, thing: &str) -> String {
    match count.into() {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// The first digits of a digest, enough to tell it from others on a page.
pub(super) fn short(digest: &impl ToString) -> String {
    let digits = digest.to_string();
    digits.get(..12).map_or(digits.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (1_764_336_302, "2025-11-28 13:25:02"),
        ] {
            assert_eq!(utc(seconds * 1000 + 999), expected);
        }
    }

    #[test]
    fn spans_have_the_units_that_matter() {
        for (ms, expected) in [
            (0, "0 s"),
            (250, "250 ms"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (3_600_000, "1 h"),
            (90_061_000, "1 d 1 h"),
        ] {
            assert_eq!(span(ms), expected);
        }
        assert_eq!(counted(1_u32, "client"), "1 client");
        assert_eq!(counted(0_u32, "client"), "0 clients");
    }
}

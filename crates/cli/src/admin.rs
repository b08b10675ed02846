//! What commands share that talk to the admin API: the server, the token, times for people.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use undertone_client::admin::{AdminClient, AdminConfig};
use undertone_server::driver::now_ms;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::tls::TlsArgs;

/// The service that commands ask where they are told of no other: the one that `undertone serve`
/// starts.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8470";

/// The variable that holds the admin token. It is no option: command lines are seen by everyone on
/// the machine.
const TOKEN: &str = "UNDERTONE_TOKEN";

/// How the service is reached.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The service, https:// (or http:// on this machine)
    #[arg(long, value_name = "URL", env = "UNDERTONE_SERVER", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    #[arg(
        long,
        help = "File with the admin token (else UNDERTONE_TOKEN holds it)",
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Allow plain http to other machines (for test networks: the token can be read on the way)
    #[arg(long)]
    pub(crate) allow_plain_http: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl ServerArgs {
    pub(crate) fn client(&self) -> Result<AdminClient, CliError> {
        let mut config = AdminConfig::new(&self.server, self.token()?);
        config.allow_plain_http = self.allow_plain_http;
        config.tls = self.tls.config()?;
        Ok(AdminClient::new(&config)?)
    }

    fn token(&self) -> Result<Zeroizing<String>, CliError> {
        if let Some(path) = &self.token_file {
            let text = fs::read_to_string(path).map_err(CliError::read(path))?;
            return Ok(Zeroizing::new(text));
        }
        std::env::var(TOKEN).map(Zeroizing::new).map_err(|_| {
            CliError::Input(format!(
                "this needs an admin token, in {TOKEN} or in the file of --token-file; where there \
                 is none yet, `undertone token create --database URL` makes the first one"
            ))
        })
    }
}

impl AdminArgs {
    pub(crate) fn client(&self) -> Result<AdminClient, CliError> {
        self.server.client()
    }

    /// Prints `value` as JSON if that is wanted; returns whether it did.
    pub(crate) fn print(
        &self,
        value: &impl Serialize,
        out: &mut impl Write,
    ) -> Result<bool, CliError> {
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
        }
        Ok(self.json)
    }
}

/// How far a time lies from now: `3 min ago`, `in 29 d`.
pub(crate) fn away(time_ms: u64) -> String {
    let now = now_ms();
    if time_ms > now {
        format!("in {}", span(time_ms.saturating_sub(now)))
    } else {
        format!("{} ago", span(now.saturating_sub(time_ms)))
    }
}

/// A length of time in its largest whole unit.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Seconds from text such as `90d`, `12h`, `30m` or `45s`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no length of time; write 90d, 12h, 30m or 45s");
    let (number, unit) = text
        .char_indices()
        .next_back()
        .map(|(at, unit)| (text.get(..at).unwrap_or_default(), unit))
        .ok_or_else(bad)?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number
        .checked_mul(unit)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_shown() {
        for (text, expected) in [
            ("45s", 45),
            ("30m", 1800),
            ("12h", 43_200),
            ("90d", 7_776_000),
        ] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for bad in [
            "",
            "d",
            "90",
            "0d",
            "-1d",
            "1.5h",
            "1w",
            "9\u{e9}",
            "99999999999999999d",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        for (ms, expected) in [
            (999, "0 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(ms), expected);
        }
    }
}

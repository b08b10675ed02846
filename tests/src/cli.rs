//! The command line, pointed at one service with one token.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Commands of the binary under test.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: String,
    server: String,
    token: String,
}

impl Cli {
    /// Commands to `server` with an admin token of every scope, which is made in its database.
    pub fn new(binary: &str, server: &str, database: &str) -> Self {
        let nobody = Self {
            binary: binary.into(),
            server: server.into(),
            token: String::new(),
        };
        let args = ["token", "create", "--name", "first", "--database", database];
        let token = nobody.succeeds(&args);
        nobody.with(&token)
    }

    /// The same with another token.
    #[must_use]
    pub fn with(&self, token: &str) -> Self {
        Self {
            token: token.into(),
            ..self.clone()
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.binary)
            .args(args)
            .env("UNDERTONE_SERVER", &self.server)
            .env("UNDERTONE_TOKEN", &self.token)
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed; returns its output without the last line break.
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {complaint}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim_end().to_owned()
    }

    /// Runs a command that must fail with one line; returns the line.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        line
    }

    /// Runs a command with `--json` and reads its output.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.succeeds(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }
}

/// The path of a file in a folder, as an argument.
pub fn at(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

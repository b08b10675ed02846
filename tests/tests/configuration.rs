//! Settings and schema as the binary takes them: precedence, what is printed, and migrations by
//! command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::process::{Command, Output};

use serde_json::Value;
use undertone_tests::database::Database;

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");

fn undertone(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn printed(args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = undertone(args, environment);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// One line on standard error, and exit status 1.
fn fails(args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = undertone(args, environment);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn flags_environment_and_file_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("undertone.toml");
    let contents = "listen = \"127.0.0.1:1\"\nmigrate_on_start = false\n\
                    [limits]\nhead_s = 11\nstall_s = 11\nrequest_s = 61\n\
                    trusted_proxies = [\"10.0.0.0/8\"]\n";
    std::fs::write(&file, contents).unwrap();
    let password = "s3cret-and-long";
    let url = format!("postgres://me:{password}@db/x");
    let environment = [
        ("UNDERTONE_CONFIG", file.to_str().unwrap()),
        ("UNDERTONE__DATABASE", url.as_str()),
        ("UNDERTONE__LIMITS__STALL_S", "12"),
        ("UNDERTONE__LIMITS__REQUEST_S", "62"),
        (
            "UNDERTONE__LIMITS__TRUSTED_PROXIES",
            "192.0.2.0/24, 2001:db8::/32",
        ),
    ];
    let flags = [
        "serve",
        "--print-config",
        "--json",
        "--listen",
        "127.0.0.1:2",
    ];
    let flags = [&flags[..], &["--set", "limits.request_s=63"]].concat();
    let json: Value = serde_json::from_str(&printed(&flags, &environment)).unwrap();
    assert_eq!(json["listen"], "127.0.0.1:2");
    assert_eq!(json["migrate_on_start"], false);
    let limits = &json["limits"];
    assert_eq!(
        [&limits["head_s"], &limits["stall_s"], &limits["request_s"]],
        [11, 12, 63]
    );
    let proxies = serde_json::json!(["192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(limits["trusted_proxies"], proxies);
    assert_eq!(json["database"], "postgres://me:***@db/x");

    let toml = printed(&["serve", "--print-config"], &environment);
    assert!(!toml.contains(password), "{toml}");
    assert!(toml.contains("# Set by the environment variable UNDERTONE__LIMITS__STALL_S."));
    assert!(
        toml.contains("stall_s = 12") && toml.contains("# certificate ="),
        "{toml}"
    );
}

#[test]
fn what_is_wrong_is_one_line_that_says_where() {
    let environment = [("UNDERTONE__LIMITS__HEAD_BYTES", "100")];
    let line = fails(&["serve"], &environment);
    for word in [
        "UNDERTONE__LIMITS__HEAD_BYTES",
        "limits.head_bytes",
        "at least 8192",
    ] {
        assert!(line.contains(word), "{line}");
    }
    let line = fails(
        &["serve", "--set", "limits.trusted_proxies=10.0.0.0/99"],
        &[],
    );
    assert!(
        line.contains("--set limits.trusted_proxies") && line.contains("10.0.0.0/8"),
        "{line}"
    );
    let line = fails(&["serve", "--set", "limit.head_s=1"], &[]);
    assert!(
        line.contains("limit.head_s") && line.contains("limits"),
        "{line}"
    );
    let line = fails(&["serve", "--config", "/no/such/file.toml"], &[]);
    assert!(line.contains("/no/such/file.toml"), "{line}");
}

/// Without leave to change the schema an old one is refused, by the service as by the check.
fn migrated_by_command(database: &Database) {
    let url = database.url();
    let line = fails(
        &[
            "serve",
            "--database",
            url,
            "--set",
            "migrate_on_start=false",
        ],
        &[],
    );
    assert!(
        line.contains("undertone migrate") || line.contains("cannot use the database"),
        "{line}"
    );
    fails(&["migrate", "--check", "--database", url], &[]);
    let done = printed(&["migrate", "--database", url], &[]);
    assert!(done.contains("applied migrations [1, 2, "), "{done}");
    assert!(printed(&["migrate", "--check", "--database", url], &[]).contains("up to date"));
    assert!(printed(&["migrate", "--database", url], &[]).contains("up to date"));
}

#[test]
fn the_schema_is_made_by_command_sqlite() {
    migrated_by_command(&Database::sqlite());
}

#[tokio::test]
async fn the_schema_is_made_by_command_postgres() {
    let database = Database::postgres().await;
    let line = fails(&["migrate", "--check", "--database", database.url()], &[]);
    assert!(line.contains("lacks migrations [1, 2, "), "{line}");
    migrated_by_command(&database);
}

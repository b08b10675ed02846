//! The binary as a person meets it: help, wrong flags, one clear line for each failure; and a
//! whole task run from the command line alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use undertone_tests::service::Service;

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");

fn undertone(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs and expects success; returns standard output without the last line break.
fn succeeds(args: &[&str]) -> String {
    let output = undertone(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout).trim_end().to_owned()
}

/// Runs and expects one line on standard error and exit status 1.
fn fails(args: &[&str]) -> String {
    let output = undertone(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let line = text(&output.stderr);
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(line.starts_with("undertone: "), "{line}");
    line
}

#[test]
fn every_help_has_examples_and_fits_a_terminal() {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["join"],
        &["demo"],
        &["study"],
        &["bench", "protocol"],
        &["bench", "service"],
        &["bench", "idle"],
        &["account"],
        &["audit"],
        &["audit", "export"],
        &["audit", "verify"],
        &["audit", "show"],
        &["params"],
        &["calibrate"],
        &["noise"],
        &["ledger", "show"],
        &["ledger", "verify"],
        &["ledger", "export"],
        &["report", "privacy"],
        &["task", "create"],
        &["task", "list"],
        &["task", "show"],
        &["task", "pause"],
        &["task", "resume"],
        &["task", "cancel"],
        &["task", "rounds"],
        &["task", "client"],
        &["task", "result"],
        &["task", "roster"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
        &["enrol", "invite"],
        &["enrol", "accept"],
        &["enrol", "list"],
        &["authority", "init"],
        &["authority", "sign"],
        &["identity", "new"],
        &["task"],
    ];
    for command in commands.iter().copied() {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = succeeds(&args);
        assert!(help.contains("Usage: "), "{help}");
        if command != ["task"] {
            assert!(help.contains("Example"), "{command:?}: {help}");
        }
        let longest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{command:?}: a line has {longest} columns");
    }
}

/// Every command of the pages exists, with every option that they give it.
#[test]
fn documented_commands_exist() {
    let mut tried = 0;
    for page in ["README.md", "docs/tasks.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let page = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
        for line in page.lines().filter(|line| line.starts_with("undertone ")) {
            let line = line.split(['>', '#']).next().unwrap();
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            // A command has one or two words; what comes after it has capitals, digits or a dash.
            let name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
            let command: Vec<&str> = words.iter().take(2).take_while(name).copied().collect();
            let help = succeeds(&[&command[..], &["--help"]].concat());
            let usage = help.lines().find(|line| line.starts_with("Usage: "));
            let usage = usage.unwrap_or_default();
            assert!(usage.contains(&command.join(" ")), "{line}: {usage}");
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(*option), "{line}: {option}");
            }
            tried += 1;
        }
    }
    assert!(tried > 25, "{tried}");
}

#[test]
fn a_wrong_command_line_is_one_clear_line() {
    let params = "params --clients 1000 --dropout 0.1 --corrupt";
    let infeasible: Vec<&str> = params.split(' ').chain(["0.3"]).collect();
    let meaningless: Vec<&str> = params.split(' ').chain(["NaN"]).collect();
    let cases: [(&[&str], &str); 7] = [
        (&infeasible, "a corrupt fraction of at most 0.19"),
        (&meaningless, "the corrupt fraction is NaN"),
        (&["serve", "--prot", "80"], "--prot"),
        (&["serve", "--listen", "here"], "here"),
        (&["account", "--steps", "3"], "--sampling-rate"),
        (&["dance"], "dance"),
        (&["study", "alchemy"], "algorithms"),
    ];
    for (args, names) in cases {
        let output = undertone(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let line = text(&output.stderr);
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        assert!(
            line.starts_with("undertone: ") && line.contains(names),
            "{line}"
        );
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}/x.db", folder.path().display());
    let line = fails(&["serve", "--database", &database, "--listen", &address]);
    assert!(
        line.contains(&address) && line.contains("--listen"),
        "{line}"
    );
}

#[test]
fn an_unreachable_database_is_one_clear_line_without_the_password() {
    let line = fails(&[
        "serve",
        "--database",
        "postgres://me:s3cret@127.0.0.1:1/none",
    ]);
    assert!(!line.contains("s3cret"), "{line}");
    let line = fails(&["serve", "--database", "sqlite:/no/such/folder/x.db"]);
    assert!(line.contains("/no/such/folder"), "{line}");
    let line = fails(&["serve", "--database", "mysql://x"]);
    assert!(line.contains("sqlite:PATH"), "{line}");
}

#[test]
fn a_missing_file_is_named() {
    let line = fails(&["identity", "show", "/no/such/key"]);
    assert!(line.contains("/no/such/key"), "{line}");
    let line = fails(&["demo", "--cache", "/no/such/cache"]);
    assert!(line.contains("make demo"), "{line}");
    let line = fails(&["study", "algorithms", "--cache", "/no/such/cache"]);
    assert!(line.contains("scripts/fetch-demo-data.sh"), "{line}");
}

const SETTINGS: &str = r#"
name = "from the command line"

[rounds]
rounds = 2
cohort = 4
min_survivors = 3
bits = 32
server_learning_rate = 1.0
deadlines_ms = [60000, 20000, 20000, 20000, 20000]

[mechanism]
update_clip = 16.0
scale = 65536.0
[mechanism.noise]
kind = "local-dp-sgd"
clip_norm = 1.0
per_round = { sampling_rate = 0.25, noise_multiplier = 2.0, steps = 3 }

[training]
sequence_length = 12
labels = 2
head_bias = true
feature_scale = 1.0
lora = { layers = 1, projections = ["query", "value"], rank = 2, alpha = 4.0, seed = 1 }
privacy = { clip_norm = 1.0, noise_multiplier = 2.0 }
sampling_rate = 0.25
local_steps = 3
learning_rate = 0.5
momentum = 0.5
"#;

/// Keys, roster, task, service and four clients, each step a command that the README shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = at("model");
    std::fs::create_dir(&model).unwrap();
    undertone_training::fixture::write(Path::new(&model)).unwrap();

    let authority = succeeds(&["authority", "init", "--out", &at("authority.key")]);
    let mut members = String::new();
    for client in 0..4 {
        let key = succeeds(&[
            "identity",
            "new",
            "--out",
            &at(&format!("client-{client}.key")),
        ]);
        writeln!(members, "{key}  # client {client}").unwrap();
        write_texts(&at(&format!("client-{client}.jsonl")), client);
    }
    std::fs::write(at("members.txt"), members).unwrap();
    std::fs::write(at("task.toml"), SETTINGS).unwrap();
    let (key, members, roster) = (at("authority.key"), at("members.txt"), at("task.roster"));
    let task = succeeds(&[
        "authority",
        "sign",
        "--authority",
        &key,
        "--members",
        &members,
        "--out",
        &roster,
    ]);
    assert!(succeeds(&["roster", "show", &roster]).contains(&authority));
    let database = format!("sqlite:{}", at("undertone.db"));
    let service = Service::start(BINARY, &database).await;
    let token = at("ops.token");
    let secret = succeeds(&["token", "create", "--database", &database, "--name", "ops"]);
    std::fs::write(&token, secret).unwrap();
    let (settings, server) = (at("task.toml"), service.url());
    let admin = ["--server", &server, "--token-file", &token];
    let create = [
        "task",
        "create",
        "--roster",
        &roster,
        "--settings",
        &settings,
        "--model",
        &model,
    ];
    assert_eq!(succeeds(&[&create[..], &admin[..]].concat()), task);

    let clients: Vec<_> = (0..4)
        .map(|client| {
            Command::new(BINARY)
                .args([
                    "join",
                    "--server",
                    &service.url(),
                    "--task",
                    &task,
                    "--json",
                ])
                .args(["--identity", &at(&format!("client-{client}.key"))])
                .args(["--authority", &authority, "--model", &model])
                .args(["--data", &at(&format!("client-{client}.jsonl"))])
                .args(["--state", &at(&format!("state-{client}"))])
                .args(["--min-honest", "2", "--max-epsilon", "8"])
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["rounds_finished"], 2, "{summary}");
    }
    let json = |command: &str| -> serde_json::Value {
        let shown = succeeds(&[&["task", command, &task, "--json"][..], &admin[..]].concat());
        serde_json::from_str(&shown).unwrap()
    };
    assert_eq!(json("show")["state"], "finished");
    let rounds = json("rounds");
    let rounds = rounds.as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    assert!(
        rounds.iter().all(|r| r["state"] == "finished"),
        "{rounds:?}"
    );
    let adapter = at("adapter.safetensors");
    succeeds(
        &[
            &["task", "result", &task, "--out", &adapter][..],
            &admin[..],
        ]
        .concat(),
    );
    let adapter = std::fs::read(adapter).unwrap();
    let adapter = undertone_protocol::adapter::Adapter::from_bytes(&adapter).unwrap();
    assert!(adapter.values().iter().any(|value| *value != 0.0));
}

fn write_texts(path: &str, client: u64) {
    let (texts, labels) = undertone_training::fixture::texts(30, client);
    let mut lines = String::new();
    for (text, label) in texts.iter().zip(labels) {
        writeln!(
            lines,
            "{}",
            serde_json::json!({ "text": text, "label": label })
        )
        .unwrap();
    }
    std::fs::write(path, lines).unwrap();
}

//! `undertone bench` on a few clients: every figure that it promises is there and makes sense.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

use serde_json::Value;
use tokio::process::Command;
use undertone_tests::database::Database;

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");

const PHASES: [&str; 5] = [
    "advertise-keys",
    "share-keys",
    "masked-input",
    "consistency-check",
    "unmask",
];

async fn bench(args: &[&str]) -> (bool, Value) {
    let database = Database::postgres().await;
    let output = Command::new(BINARY)
        .arg("bench")
        .args(args)
        .args(["--database", database.url(), "--json"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text);
    let report =
        report.unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), report)
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

/// Two rounds of 12 clients on a ring, with vectors of two chunks.
#[tokio::test]
async fn rounds_are_exact_and_every_figure_is_there() {
    let (ok, report) = bench(&[
        "service",
        "--clients",
        "12",
        "--length",
        "70000",
        "--rounds",
        "2",
        "--graph",
        "ring",
        "--corrupt",
        "0.1",
        "--dropout",
        "0.1",
    ])
    .await;
    assert!(ok, "{report:#}");
    assert_eq!(report["exact"], true, "{report:#}");
    assert_eq!(report["failed_requests"], 0, "{report:#}");
    assert!(report["failures"].as_array().unwrap().is_empty());
    assert!(report["retried_requests"].is_u64());
    for figure in [
        "requests",
        "requests_per_second",
        "wall_seconds",
        "server_peak_rss_bytes",
        "server_start_rss_bytes",
        "server_cpu_seconds",
        "sent_bytes",
    ] {
        assert!(positive(&report[figure]), "{figure}: {report:#}");
    }
    for phase in PHASES {
        let (p50, p99) = (&report["p50_ms"][phase], &report["p99_ms"][phase]);
        assert!(positive(p50) && positive(p99), "{phase}: {report:#}");
        assert!(p50.as_f64() <= p99.as_f64(), "{phase}: {report:#}");
    }
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert_eq!(
            (&round["exact"], &round["survivors"]),
            (&true.into(), &12.into())
        );
        assert_eq!(round["phases"].as_array().unwrap().len(), 5);
    }
    assert!(report["server_peak_rss_bytes"].as_u64() >= report["server_start_rss_bytes"].as_u64());
    assert_eq!(report["settings"]["graph"], "ring");
    for rate in ["chacha20", "sha256", "memory"] {
        let rate = &report["floor"][format!("{rate}_gb_per_second")];
        assert!(positive(rate), "{report:#}");
    }
    assert!(positive(&report["floor"]["server_ratio"]));
    let environment = &report["environment"];
    assert!(positive(&environment["cores"]) && environment["database"] == "postgres");
    assert_eq!(environment["version"], env!("CARGO_PKG_VERSION"));
}

/// Without a database it starts one, or says that this machine has none to start.
/// A round in one process, on the complete graph and on a ring, with clients that vanish.
#[tokio::test]
async fn the_protocol_is_measured_beside_its_floor() {
    let ring = ["--graph", "ring", "--corrupt", "0.01"];
    for (clients, dropped, bits, more) in [("6", "1", "20", &[][..]), ("60", "3", "16", &ring)] {
        let mut command = Command::new(BINARY);
        command.args(["bench", "protocol", "--length", "2000", "--json"]);
        command.args(["--clients", clients, "--dropped", dropped, "--bits", bits]);
        let output = command.args(more).output().await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        assert!(output.status.success());
        assert_eq!(report["exact"], true, "{report}");
        for figure in [
            "mask_ns_per_element_neighbour",
            "keystream_ns_per_element",
            "memory_add_ns_per_element",
            "mask_over_floor",
            "unmask_over_floor",
            "pack_ns_per_element",
            "add_packed_ns_per_element",
            "client_seconds",
            "aggregator_seconds",
            "upload_bytes",
            "download_bytes",
            "expansions",
        ] {
            assert!(positive(&report[figure]), "{figure}: {report}");
        }
        for figure in [
            "client_seconds",
            "aggregator_seconds",
            "client_off",
            "aggregator_off",
        ] {
            assert!(positive(&report["predicted"][figure]), "{figure}: {report}");
        }
        let masks = report["client_phases"]["masked-input"].as_f64().unwrap();
        assert!(masks > 0.0 && masks < report["client_seconds"].as_f64().unwrap());
        // Vectors of that many bits, and what else is sent.
        let packed = 2000 * bits.parse::<u64>().unwrap() / 8;
        assert!(report["upload_bytes"].as_u64().unwrap() > packed);
    }
    let refused = Command::new(BINARY)
        .args(["bench", "protocol", "--clients", "10", "--dropped", "9"])
        .output();
    let line = String::from_utf8(refused.await.unwrap().stderr).unwrap();
    assert!(line.contains("let fewer drop out"), "{line}");
}

#[tokio::test]
async fn it_starts_postgres_by_itself_and_people_can_read_it() {
    let output = Command::new(BINARY)
        .args(["bench", "service", "--clients", "4", "--length", "100"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    if told.contains("there is no PostgreSQL server to start") {
        assert!(told.contains("--database"), "{told}");
        return;
    }
    assert!(output.status.success(), "{text}{told}");
    for line in [
        "4 clients",
        "PostgreSQL",
        "sums: exact",
        "masked-input",
        "ChaCha20",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// Fewer bits than a sum of so many clients needs.
#[tokio::test]
async fn a_plan_that_cannot_be_is_one_clear_line() {
    let output = Command::new(BINARY)
        .args(["bench", "service", "--clients", "1000", "--bits", "8"])
        .output()
        .await
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(line.contains("more than 8 bits"), "{line}");
}

/// Steps of two short texts, each setting twice: the figures are there, and the rest follows from
/// the sizes alone.
#[tokio::test]
async fn training_is_measured_without_a_model() {
    let numbers = ["--batch", "2", "--length", "4", "--pairs", "2"];
    let run = |more: &'static [&'static str]| {
        let mut command = Command::new(BINARY);
        command.args(["bench", "training"]).args(numbers).args(more);
        async move { command.output().await.unwrap() }
    };
    let output = run(&["--json"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for cost in report["steps"].as_array().unwrap() {
        assert!(positive(&cost["time"]["wall"]["ratio"]), "{cost}");
        assert!(positive(&cost["values"]), "{cost}");
    }
    let bytes = |i: usize| report["base"][i]["bytes"].as_f64().unwrap();
    assert!(bytes(1) < 0.3 * bytes(0) && bytes(2) < 0.2 * bytes(0));
    let frozen = &report["frozen"];
    assert!(20.0 * frozen["bytes"].as_f64().unwrap() < frozen["candle_bytes"].as_f64().unwrap());
    let output = run(&["--model", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/config.json"));
}

/// Clients that only wait.
#[tokio::test]
async fn idle_polls_are_held_and_cost_little() {
    let (ok, report) = bench(&["idle", "--polls", "200", "--seconds", "3"]).await;
    assert!(ok, "{report:#}");
    assert_eq!(
        (&report["polls"], &report["failed_requests"]),
        (&200.into(), &0.into())
    );
    for figure in [
        "server_rss_bytes",
        "server_peak_rss_bytes",
        "server_start_rss_bytes",
    ] {
        assert!(positive(&report[figure]), "{figure}: {report:#}");
    }
    // Renewing leases at the least goes to the database.
    assert!(positive(&report["database_steps"]), "{report:#}");
    assert!(report["seconds"].as_f64().unwrap() >= 3.0);
}

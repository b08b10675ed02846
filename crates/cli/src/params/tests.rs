//! Tests of the command: what it prints, as text and as JSON, and what it refuses.

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    params: ParamsArgs,
}

fn params(line: &str) -> Result<String, String> {
    let words = std::iter::once("params").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run(&cli.params, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn json(line: &str) -> Value {
    serde_json::from_str(&params(&format!("{line} --json")).unwrap()).unwrap()
}

#[test]
fn a_ring_in_json() {
    let value = json("--clients 1000 --corrupt 0.05 --dropout 0.1");
    for (key, expected) in [
        ("k", 134),
        ("t", 99),
        ("clients", 1000),
        ("corrupt_clients", 50),
        ("dropped_clients", 100),
        ("security_bits", 80),
        ("correctness_bits", 20),
        ("length", 1_000_000),
        ("bits", 32),
    ] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert_eq!(value["shape"], "ring");
    assert_eq!(value["aggregator"]["assumed"], "lying");
    let (m, t_w) = (&value["witnesses"], &value["witness_threshold"]);
    assert!(2 * t_w.as_u64().unwrap() > m.as_u64().unwrap(), "{value}");
    for (event, bound) in [
        ("partial_sum", -80.0),
        ("two_views", -80.0),
        ("too_few_shares", -20.0),
        ("too_few_witnesses", -20.0),
    ] {
        let log2 = value["failure_log2"][event].as_f64().unwrap();
        assert!((bound - 10.0..=bound).contains(&log2), "{event}: {log2}");
    }
    let client = &value["client"];
    assert_eq!(client["prg_expansions"], 135);
    // The vector, and at least 144 bytes for each neighbour.
    let upload = client["upload_bytes"].as_u64().unwrap();
    assert!(
        (4_000_000 + 134 * 144..4_030_000).contains(&upload),
        "{upload}"
    );
    assert!(client["download_bytes"].as_u64().unwrap() > 134 * 308);
    let aggregator = &value["aggregator"];
    assert!(aggregator["received_bytes"].as_u64().unwrap() > 900 * 4_000_000);
    assert!(aggregator["sent_bytes"].is_u64() && aggregator["prg_expansions"].is_u64());
}

#[test]
fn a_complete_graph_leaves_nothing_to_chance() {
    let value = json("--clients 50 --corrupt 0.32 --dropout 0.1");
    assert_eq!(value["shape"], "complete");
    assert_eq!((&value["k"], &value["t"]), (&49.into(), &34.into()));
    assert_eq!(
        (&value["witnesses"], &value["witness_threshold"]),
        (&50.into(), &34.into())
    );
    let failures = value["failure_log2"].as_object().unwrap();
    assert!(
        failures.len() >= 3 && failures.values().all(Value::is_null),
        "{value}"
    );
    let text = params("--clients 50 --corrupt 0.32 --dropout 0.1").unwrap();
    assert!(text.contains("never  two different sets"), "{text}");
}

#[test]
fn flags_change_what_they_name() {
    let line = "--clients 1000 --corrupt 0.1 --dropout 0.1";
    let semi_honest = json(&format!("{line} --semi-honest"));
    assert_eq!(
        (&semi_honest["k"], &semi_honest["t"]),
        (&48.into(), &27.into())
    );
    assert!(semi_honest["witnesses"].is_null());
    assert_eq!(semi_honest["aggregator"]["assumed"], "semi-honest");

    let roster = json("--clients 1000 --roster 2000 --corrupt 0.05 --dropout 0.1");
    let usual = json(line);
    assert_eq!(roster["k"], usual["k"]);
    assert_eq!(roster["corrupt_clients"], 100);

    let wide = json(&format!("{line} --max-clients 1050"));
    assert_eq!(wide["corrupt_clients"], 105);
    let more = json(&format!("{line} --security-bits 90 --correctness-bits 25"));
    assert!(more["k"].as_u64() > usual["k"].as_u64());
    assert_eq!(json(&format!("{line} --ring")), usual);
    let small = json("--clients 60 --corrupt 0.05 --dropout 0.1 --ring");
    assert_eq!(small["shape"], "ring");
    let large = json("--clients 150 --corrupt 0.05 --dropout 0.1 --complete");
    assert_eq!(large["k"], 149);

    let bytes = |more: &str| json(&format!("{line} {more}"))["client"]["upload_bytes"].as_u64();
    let saved = bytes("").unwrap() - bytes("--length 8 --bits 8").unwrap();
    assert_eq!(saved, 4_000_000 - 8);
}

#[test]
fn the_table_explains_every_number() {
    let text = params("--clients 1000 --corrupt 0.05 --dropout 0.1").unwrap();
    println!("{text}");
    for part in [
        "k                 134  neighbours",
        "t                  99  shares",
        "cutting the ring",
        "witnesses         104  ",
        "t_w                70  ",
        "min_survivors      99  ",
        "2^-83.9  an aggregator that chooses who drops",
        "1,000,000 elements of 32 bits",
        "expands 135 masks",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{text}");
    println!(
        "{}",
        params("--clients 60 --corrupt 0.1 --dropout 0.1 --semi-honest").unwrap()
    );
}

#[test]
fn a_refusal_is_one_line_that_names_a_change() {
    let line = "--clients 1000 --dropout 0.1 --corrupt";
    let refusal = params(&format!("{line} 0.3")).unwrap_err();
    println!("{refusal}");
    assert_eq!(refusal.lines().count(), 1);
    let (_, remedy) = refusal
        .split_once("a corrupt fraction of at most ")
        .unwrap();
    let fraction = remedy.split(';').next().unwrap();
    params(&format!("{line} {fraction}")).unwrap();
    for (line, says) in [
        ("--clients 0 --corrupt 0.1 --dropout 0.1", "0 clients"),
        (
            "--clients 9 --corrupt 1.5 --dropout 0.1",
            "corrupt fraction is 1.5",
        ),
        (
            "--clients 9 --corrupt NaN --dropout 0.1",
            "corrupt fraction is NaN",
        ),
        (
            "--clients 9 --corrupt -1 --dropout 0.1",
            "corrupt fraction is -1",
        ),
        (
            "--clients 9 --corrupt 0.1 --dropout inf",
            "dropout fraction is inf",
        ),
        (
            "--clients 9 --corrupt 0.1 --dropout 0.1 --roster 3",
            "roster of 3",
        ),
        ("--clients 9 --corrupt 0.1 --dropout 0.1 --bits 7", "--bits"),
        (
            "--clients 9 --corrupt 0.1 --dropout 0.1 --ring --complete",
            "cannot be used with",
        ),
        ("--clients many --corrupt 0.1 --dropout 0.1", "--clients"),
        ("--clients 9 --corrupt 0.1", "--dropout"),
    ] {
        let refusal = params(line).unwrap_err();
        assert!(refusal.contains(says), "{line}: {refusal}");
    }
}

#[test]
fn the_examples_in_the_help_run() {
    let help = params("--help").unwrap_err();
    println!("{help}");
    assert!(help.contains(EXAMPLES), "{help}");
    let lines: Vec<&str> = EXAMPLES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("undertone params "))
        .collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        params(line).unwrap();
    }
}

#[test]
fn what_does_not_exist_has_its_own_exit_status() {
    let refused = choose(&Request::new(1000, 0.3, 0.1)).unwrap_err();
    assert_eq!(CliError::from(refused).status(), 2);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(CliError::from(full).status(), 1);
}

//! The command, line by line.

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    account: AccountArgs,
}

fn account(line: &str) -> Result<String, String> {
    let words = std::iter::once("account").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run(&cli.account, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn json(line: &str) -> Value {
    serde_json::from_str(&account(&format!("{line} --json")).unwrap()).unwrap()
}

const LINE: &str = "--sampling-rate 0.2 --noise-multiplier 3 --steps 50 --delta 1e-5";

#[test]
fn all_accountants_and_the_sentence() {
    let text = account(LINE).unwrap();
    // dp-accounting 0.6.0: 2.267152 by RDP, 2.060768 by PLD.
    assert!(text.contains("2.2672    upper bound "), "{text}");
    assert!(text.contains("2.0608    upper bound "), "{text}");
    assert!(text.contains("estimate, not a bound"), "{text}");
    let sentence = text.lines().last().unwrap();
    assert!(
        sentence.starts_with("(2.0608, 1e-5)-differentially private for each example, add-or-"),
        "{sentence}"
    );
    assert!(sentence.contains("50 steps"), "{sentence}");
}

#[test]
fn json_has_every_part() {
    let value = json("--sampling-rate 1 --noise-multiplier 10 --steps 100 --delta 1e-6");
    assert!((value["epsilon"]["rdp"].as_f64().unwrap() - 5.221_540).abs() < 1e-6);
    assert!((value["epsilon"]["pld"].as_f64().unwrap() - 4.886_554).abs() < 1e-6);
    assert_eq!(value["epsilon"]["pld"], value["epsilon"]["gdp"]);
    for (key, expected) in [
        ("unit", "example"),
        ("adjacency", "add_or_remove_one"),
        ("/meaning/pld", "upper-bound"),
        ("/meaning/gdp", "exact"),
        ("/events/0/kind", "gaussian"),
        ("/statement/unit", "example"),
    ] {
        let found = value.get(key).or_else(|| value.pointer(key));
        assert_eq!(found.unwrap(), expected, "{key}");
    }
    assert_eq!(value["delta"], 1e-6);
    assert_eq!(value["notes"], serde_json::json!([]));
    assert!(
        value["sentence"]
            .as_str()
            .unwrap()
            .contains("add-or-remove-one")
    );
    assert_eq!(json(LINE)["meaning"]["gdp"], "estimate");
}

#[test]
fn adjacency_unit_and_further_steps() {
    let here = json(LINE)["epsilon"]["pld"].as_f64().unwrap();
    let replace = json(&format!("{LINE} --adjacency replace-one --unit client"));
    assert!(replace["epsilon"]["pld"].as_f64().unwrap() > here);
    assert!(replace["epsilon"]["rdp"].as_f64() > replace["epsilon"]["pld"].as_f64());
    assert_eq!(replace["adjacency"], "replace_one");
    assert_eq!(replace["unit"], "client");
    let more = json(&format!("{LINE} --then q=0.2,s=3,T=25 --then q=1,s=50,T=2"));
    assert_eq!(more["events"].as_array().unwrap().len(), 3);
    assert!(more["epsilon"]["pld"].as_f64().unwrap() > here);
    // Equal steps are the same steps whichever way they are given.
    let split =
        "--sampling-rate 0.2 --noise-multiplier 3 --steps 20 --delta 1e-5 --then q=0.2,s=3,T=30";
    let split = json(split)["epsilon"]["pld"].as_f64().unwrap();
    assert!((split - here).abs() < 1e-12, "{split} {here}");
}

#[test]
fn wrong_input_says_what_is_wrong_and_what_to_choose() {
    for (line, says) in [
        (
            "--sampling-rate 2 --noise-multiplier 1 --steps 1 --delta 1e-5",
            "between 0 and 1",
        ),
        (
            "--sampling-rate x --noise-multiplier 1 --steps 1 --delta 1e-5",
            "not a number",
        ),
        (
            "--sampling-rate 0 --noise-multiplier 1 --steps 1 --delta 1e-5",
            "choose one above 0",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 0 --steps 1 --delta 1e-5",
            "above 0",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 0.001 --steps 1 --delta 1e-5",
            "choose 0.5 or more",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 0 --delta 1e-5",
            "--steps",
        ),
        (
            "--sampling-rate 0.1 --steps 1 --delta 1e-5",
            "--noise-multiplier",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1",
            "strictly between",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1e-3 --records 1000",
            "choose 1e-4 or less",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1e-5 --then q=2,s=1,T=1",
            "between 0 and 1",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1e-5 --then q=0.2,T=1",
            "are all needed",
        ),
        (
            "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1e-5 --then steps=2",
            "unknown part",
        ),
    ] {
        let error = account(line).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
    let fits = "--sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 9e-4 --records 1000";
    account(fits).unwrap();
}

#[test]
fn the_examples_in_the_help_run() {
    let help = account("--help").unwrap_err();
    println!("{help}");
    assert!(help.contains(EXAMPLES), "{help}");
    let joined = EXAMPLES.replace("\\\n", "");
    let lines: Vec<&str> = joined
        .lines()
        .filter_map(|line| line.trim().strip_prefix("undertone account "))
        .collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        account(line).unwrap();
    }
}

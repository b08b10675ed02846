//! The command, line by line.

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    calibrate: CalibrateArgs,
}

fn calibrate(line: &str) -> Result<String, String> {
    let words = std::iter::once("calibrate").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run(&cli.calibrate, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

const LINE: &str = "--epsilon 2 --delta 1e-5 --sampling-rate 0.1 --steps 40";

#[test]
fn the_noise_meets_the_target_and_little_more() {
    let mut last = 0.0;
    for by in ["pld", "rdp"] {
        let text = calibrate(&format!("{LINE} --accountant {by} --json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let epsilon = value["epsilon"][by].as_f64().unwrap();
        assert!(epsilon <= 2.0 && epsilon > 1.997, "{by}: {epsilon}");
        let sigma = value["noise_multiplier"].as_f64().unwrap();
        // Loss distributions come first: they need less noise.
        assert!(sigma > last, "{by}: {sigma} after {last}");
        last = sigma;
        assert_eq!(value["accountant"], by);
        assert_eq!(value["target_epsilon"], 2.0);
        assert_eq!(
            value["events"][0]["noise_multiplier"],
            value["noise_multiplier"]
        );
    }
}

#[test]
fn text_begins_with_the_noise() {
    let text = calibrate(&format!("{LINE} --unit client")).unwrap();
    let sigma = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("Noise multiplier: ");
    assert!(sigma.unwrap().parse::<f64>().unwrap() > 0.5);
    assert!(text.contains("for each client"), "{text}");
}

#[test]
fn wrong_input_says_what_is_wrong_and_what_to_choose() {
    for (line, says) in [
        (
            "--epsilon 0 --delta 1e-5 --sampling-rate 0.1 --steps 40",
            "raise the target epsilon",
        ),
        (
            "--epsilon -1 --delta 1e-5 --sampling-rate 0.1 --steps 40",
            "--epsilon",
        ),
        (
            "--epsilon 1 --delta 1e-5 --sampling-rate 0 --steps 40",
            "choose one above 0",
        ),
        (
            "--epsilon 1 --delta 1e-5 --sampling-rate 0.1 --steps 0",
            "--steps",
        ),
        (
            "--epsilon 1 --delta 0.1 --sampling-rate 0.1 --steps 4 --records 10",
            "or less",
        ),
        (
            "--epsilon 1 --delta 1e-5 --sampling-rate 0.1 --steps 4 --then q=1,s=1,T=9",
            "raise the target epsilon",
        ),
    ] {
        let error = calibrate(line).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn the_examples_in_the_help_run() {
    let help = calibrate("--help").unwrap_err();
    assert!(help.contains(EXAMPLES), "{help}");
    let joined = EXAMPLES.replace("\\\n", "");
    let lines: Vec<&str> = joined
        .lines()
        .filter_map(|line| line.trim().strip_prefix("undertone calibrate "))
        .collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        calibrate(line).unwrap();
    }
}

//! The report of a made-up run.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "small made-up numbers"
)]

use std::collections::BTreeMap;

use super::*;

const NAMES: [&str; 12] = [
    "north-mail",
    "harbour",
    "old-town",
    "university",
    "post-office",
    "clinic",
    "library",
    "observatory",
    "railway",
    "<script>alert(1)</script>",
    "museum & co",
    "city-hall",
];

/// Made-up numbers in the shape of a real run; the name of one client is an attack.
fn made_up() -> DemoResult {
    let clients: Vec<ClientSummary> = NAMES
        .iter()
        .enumerate()
        .map(|(i, name)| ClientSummary {
            name: (*name).to_owned(),
            examples: 250 + 37 * i,
            spam_rate: 0.05 + 0.06 * i as f64,
        })
        .collect();
    let models = |base: f64| -> BTreeMap<String, f64> {
        MODELS
            .iter()
            .enumerate()
            .map(|(i, (name, _))| ((*name).to_owned(), base - 0.0137 * i as f64))
            .collect()
    };
    DemoResult {
        rounds: made_up_rounds(),
        epsilon: 5.3496,
        delta: 1e-5,
        unit: "example".to_owned(),
        adjacency: "add-or-remove-one".to_owned(),
        accountant: undertone_privacy::accountant::rdp::NAME.to_owned(),
        accuracy: models(0.9312),
        auc: models(0.9814),
        seconds: 214.6,
        clients,
        settings: serde_json::json!({
            "rank": 4, "model": "a <b>model</b>", "dp": { "clip_norm": 1.0, "sampling_rate": 0.1 }
        }),
        held_out_examples: 1147,
        notes: vec!["A note with <i>markup</i> & an ampersand.".to_owned()],
        glimpse: made_up_glimpse(),
    }
}

fn made_up_rounds() -> Vec<RoundResult> {
    let phases = [
        "AdvertiseKeys",
        "ShareKeys",
        "MaskedInput",
        "ConsistencyCheck",
        "Unmask",
    ];
    let rounds: Vec<RoundResult> = (1..=8_u32)
        .map(|round| {
            let r = round as usize;
            let t = f64::from(round);
            RoundResult {
                round,
                survivors: 11,
                dropped: vec![
                    Dropped {
                        client: NAMES[(5 * r) % 12].to_owned(),
                        phase: phases[r % 3].to_owned(),
                    },
                    Dropped {
                        client: NAMES[(5 * r + 7) % 12].to_owned(),
                        phase: phases[2 + r % 3].to_owned(),
                    },
                ],
                exact: round != 3,
                seconds: 11.0 + 0.37 * t,
                accuracy: 0.93 - 0.3 * (-t / 1.8).exp(),
                auc: 0.981 - 0.2 * (-t / 1.5).exp(),
                epsilon: 1.9 + 0.4312 * t,
                outcome: "complete".to_owned(),
                phase_seconds: phases
                    .iter()
                    .enumerate()
                    .map(|(i, phase)| ((*phase).to_owned(), 0.11 + 0.4 * i as f64))
                    .chain([("Training".to_owned(), 8.25)])
                    .collect(),
            }
        })
        .collect();
    rounds
        .into_iter()
        .map(|round| {
            let lost = round
                .dropped
                .iter()
                .filter(|dropped| !dropped.is_in_sum())
                .count();
            RoundResult {
                survivors: 12 - lost,
                ..round
            }
        })
        .collect()
}

fn made_up_glimpse() -> Glimpse {
    // splitmix64: a fixed sequence without a pattern.
    let uniform = |i: u32| {
        let mut z = u64::from(i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let bell = |i: u32| (0..12).map(|k| uniform(12 * i + k)).sum::<f64>() - 6.0;
    Glimpse {
        plain: (0..200).map(|i| (0.02 * bell(i)) as f32).collect(),
        masked: (0..200).map(|i| uniform(i + 90_000)).collect(),
        mean: (0..200).map(|i| (0.006 * bell(i + 500)) as f32).collect(),
    }
}

/// Names of the elements that were opened, after checking that every one is closed in order.
fn elements(html: &str) -> Vec<String> {
    const EMPTY: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/', '\n'])
            .next()
            .unwrap()
            .to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "</{name}> closes nothing");
        } else {
            if !tag.ends_with('/') && !EMPTY.contains(&name.as_str()) {
                open.push(name.clone());
            }
            if name == "style" {
                rest = &rest[rest.find("</style>").expect("the style ends")..];
            }
            seen.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    seen
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let html = page::render(&made_up()).unwrap();
    let seen = elements(&html);
    let count = |name: &str| seen.iter().filter(|element| *element == name).count();
    assert_eq!(count("svg"), 5);
    assert_eq!(
        count("title"),
        1 + 5,
        "each plot has a title, and so has the page"
    );
    assert_eq!(count("desc"), 5);
    assert_eq!(count("h1"), 1);
    assert_eq!(count("table"), 6);
    for element in ["script", "img", "link", "iframe", "object", "i"] {
        assert_eq!(count(element), 0, "{element}");
    }
    // The style sheet, too, refers to nothing outside; plotters' namespace is no reference.
    assert!(
        !html
            .replace("http://www.w3.org/2000/svg", "")
            .contains("://")
    );
    assert!(!html.contains("url(") && !html.contains("@import"));
    assert!(!html.contains("#FEDC"), "every colour marker was replaced");
}

#[test]
fn every_value_is_escaped() {
    let html = page::render(&made_up()).unwrap();
    for raw in ["<script", "<i>", "<b>model", "museum & co"] {
        assert!(!html.contains(raw), "{raw}");
    }
    for escaped in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "museum &amp; co",
        "a &lt;b&gt;model&lt;/b&gt;",
        "&lt;i&gt;markup&lt;/i&gt; &amp; an ampersand",
    ] {
        assert!(html.contains(escaped), "{escaped}");
    }
}

#[test]
fn every_number_is_on_the_page() {
    let result = made_up();
    let html = page::render(&result).unwrap();
    let has = |text: &str| assert!(html.contains(text), "{text} is missing");
    has("5.35"); // ε, rounded up
    has("1e-5");
    has("3.6 min");
    has("1147");
    has("7 of 8");
    for value in result.accuracy.values() {
        has(&percent(*value));
    }
    for value in result.auc.values() {
        has(&decimal(*value, 4));
    }
    for client in &result.clients {
        has(&format!(">{}<", client.examples));
        has(&percent(client.spam_rate));
    }
    for round in &result.rounds {
        has(&format!(">{}<", decimal(round.seconds, 1)));
        has(&percent(round.accuracy));
        has(&decimal(round.auc, 4));
        has(&epsilon(round.epsilon));
    }
    has("dp.sampling_rate");
    has(">8.25 s<");
    for (name, _) in MODELS {
        has(name);
    }
}

#[test]
fn the_private_head_stands_right_under_the_main_result() {
    let result = made_up();
    let order: Vec<&str> = models(&result).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(order[..2], ["federated_private", "head_only_private"]);
    assert_eq!(order.len(), 6);
}

#[test]
fn a_round_that_was_not_exact_and_a_loss_are_said_plainly() {
    let mut result = made_up();
    let html = page::render(&result).unwrap();
    assert!(html.contains("but only 7 rounds gave the exact sum"));
    assert!(
        html.contains("5.5 points above the average client alone"),
        "0.0137 times 4"
    );
    for round in &mut result.rounds {
        round.exact = true;
    }
    result.accuracy.insert("head_only_private".to_owned(), 0.95);
    let html = page::render(&result).unwrap();
    assert!(html.contains("in every round the unmasked sum equals"));
    assert!(html.contains("1.9 points below a private head"));
}

#[test]
fn a_client_that_vanished_after_its_upload_is_shown_in_the_sum() {
    let mut result = made_up();
    result.rounds.truncate(1);
    let dropped = |client: &str, phase: &str| Dropped {
        client: client.to_owned(),
        phase: phase.to_owned(),
    };
    result.rounds[0].dropped = vec![
        dropped("harbour", "masked_input"),
        dropped("clinic", "Unmask"),
    ];
    let html = page::render(&result).unwrap();
    assert_eq!(html.matches("title=\"in the sum\"").count(), 10);
    assert!(html.contains("title=\"not in the sum, vanished at masked_input\""));
    assert!(html.contains("title=\"in the sum, vanished at Unmask\""));
}

#[test]
fn missing_numbers_are_dashes_not_failures() {
    let mut result = made_up();
    result.accuracy.clear();
    result.auc.insert("something_new".to_owned(), 0.5);
    result.rounds.truncate(1);
    result.rounds[0].auc = f64::NAN;
    result.rounds[0].accuracy = f64::NAN;
    result.clients.clear();
    let html = page::render(&result).unwrap();
    elements(&html);
    assert!(!html.contains("NaN"));
    assert!(html.contains("something_new"));
    result.rounds.clear();
    result.glimpse = Glimpse::default();
    elements(&page::render(&result).unwrap());
    assert!(!terminal_table(&result).contains("NaN"));
}

#[test]
fn the_terminal_tables_fit_and_hold_the_numbers() {
    let mut result = made_up();
    result.rounds[0].dropped[0].client =
        "a name that goes on and on, far beyond the forty columns that are left for it\x1b[2J"
            .to_owned();
    let text = terminal_table(&result);
    println!("{text}");
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    assert!(
        !text.contains('\x1b'),
        "a client's name must not steer the terminal"
    );
    assert!(text.contains('…'), "the long name is cut");
    for dropped in result
        .rounds
        .iter()
        .flat_map(|round| &round.dropped)
        .skip(1)
    {
        assert!(text.contains(&format!("{} ({})", dropped.client, dropped.phase)));
    }
    for round in &result.rounds {
        assert!(text.contains(&percent(round.accuracy)));
        assert!(text.contains(&epsilon(round.epsilon)));
    }
    for (name, _) in MODELS {
        assert!(text.contains(name), "{name}");
    }
    assert!(text.contains("NO"), "a round that was not exact stands out");
}

#[test]
fn files_are_written_with_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let result = made_up();
    let (html, json) = (
        folder.path().join("a/index.html"),
        folder.path().join("a/result.json"),
    );
    write_html(&result, &html).unwrap();
    write_json(&result, &json).unwrap();
    assert!(
        std::fs::read_to_string(&html)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(value["rounds"][2]["exact"], false);
    assert_eq!(
        value["rounds"][0]["survivors"], 11,
        "the other one vanished after its upload"
    );
    for name in [
        "federated_private",
        "federated",
        "central",
        "alone_mean",
        "head_only_private",
    ] {
        assert!(
            value["accuracy"][name].is_f64() && value["auc"][name].is_f64(),
            "{name}"
        );
    }
    let error = write_json(&result, &folder.path().join("a/index.html/x")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    // A look at the page: UNDERTONE_REPORT=/tmp/report.html cargo test -p undertone files_are
    if let Some(path) = std::env::var_os("UNDERTONE_REPORT") {
        write_html(&result, Path::new(&path)).unwrap();
    }
}

use std::collections::BTreeSet;

use undertone_privacy::{
    Delta, Mechanism, Noise, NoiseMultiplier, SamplingRate, SubsampledGaussian,
};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Chain, Head, HeadStatement};
use undertone_protocol::id::{Digest, ModelDigest, RosterIndex, RoundId, RoundNumber, TaskId};
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::roster::Roster;

use super::facts::Gathered;
use super::*;
use crate::budget::Beyond;
use crate::schedule::ScheduleSettings;
use crate::store::{
    GraphSettings, Participant, RoundStanding, RoundSummary, ServerOptimizer, TaskControl,
    TaskRecord, TaskSettings, TaskStatus,
};

const TASK: [u8; 16] = [7; 16];

/// What an attacker would put wherever a text may stand.
const NASTY: &str = "<script>alert(1)</script> \"q\" & 'a' | `c` *b* [l](http://x.example) ![i](y)";

fn key(seed: u8) -> IdentityKey {
    IdentityKey::from_seed(&Secret32::from([seed; 32]))
}

fn local(sigma: f64) -> Noise {
    Noise::LocalDpSgd {
        clip_norm: 1.0,
        per_round: SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
            steps: 4,
        },
    }
}

fn task(noise: Noise) -> TaskRecord {
    let members = (1..=3).map(|seed| key(seed).public()).collect();
    let roster = Roster::sign(&key(9), TaskId::from(TASK), members).unwrap();
    let mechanism = Mechanism {
        update_clip: 4.0,
        scale: 65536.0,
        rotation: None,
        noise,
    };
    let budget = TaskBudget {
        epsilon: Epsilon::new(6.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
        unit: PrivacyUnit::Example,
        beyond: Beyond::Stop,
    };
    TaskRecord {
        id: TaskId::from(TASK),
        name: NASTY.to_owned(),
        roster: roster.encode().unwrap(),
        training: b"{}".to_vec(),
        mechanism: serde_json::to_vec(&mechanism).unwrap(),
        settings: TaskSettings {
            rounds: 8,
            cohort: 3,
            min_survivors: 2,
            graph: GraphSettings::default(),
            schedule: ScheduleSettings::default(),
            bits: 32,
            server_optimizer: ServerOptimizer::default(),
            deadlines_ms: [1; 5],
            budget: (mechanism.noise != Noise::None).then_some(budget),
        },
        model: ModelDigest::from([1; 32]),
        status: TaskStatus::Running,
        control: TaskControl::Run,
        rounds_ended: 3,
        created_at: 1_800_000_000_000,
        exhausted_at: None,
    }
}

fn round(number: u32, standing: RoundStanding, inputs: u32) -> RoundSummary {
    RoundSummary {
        id: RoundId::from([3; 32]),
        number: RoundNumber(number),
        standing,
        phase: PhaseName::Unmask,
        deadline: 0,
        opened_at: 0,
        ended_at: Some(1),
        reason: None,
        received: Some([3, 3, inputs, 3, 3]),
        transcript: None,
        model: None,
        erased_at: None,
    }
}

/// Three rounds: one finished, one failed with inputs, one failed without.
fn report(noise: Noise) -> PrivacyReport {
    let statement = HeadStatement {
        chain: Chain::Task(TaskId::from(TASK)),
        head: Head {
            sequence: 12,
            digest: Digest::from([5; 32]),
        },
        time: 1_800_000_100_000,
    };
    let participant = |client, inputs, sums| Participant {
        client: RosterIndex(client),
        seen: Releases { inputs, sums },
        late: 1,
    };
    Gathered {
        task: task(noise),
        rounds: vec![
            round(1, RoundStanding::Finished, 3),
            round(2, RoundStanding::Failed, 2),
            round(3, RoundStanding::Failed, 0),
        ],
        participants: vec![participant(0, 2, 1), participant(2, 1, 1)],
        seen: Releases { inputs: 2, sums: 1 },
        made_at: 1_800_000_200_000,
        audit: Some(statement.sign(&key(8)).unwrap().into()),
    }
    .report()
    .unwrap()
}

fn epsilon_after(rounds: u64) -> Epsilon {
    let Noise::LocalDpSgd { per_round, .. } = local(1.1) else {
        panic!("no noise");
    };
    let delta = Delta::new(1e-5).unwrap();
    undertone_privacy::promise::epsilon(&per_round.into(), rounds, delta).unwrap()
}

#[test]
fn figures_stand_apart_and_are_the_accountants() {
    let report = report(local(1.1));
    let example = |view, of: &[Figure]| figure(of, (PrivacyUnit::Example, view)).unwrap().get();
    let course: Vec<(f64, f64)> = report
        .course
        .iter()
        .map(|p| {
            (
                example(View::Aggregator, &p.after),
                example(View::ModelOnly, &p.after),
            )
        })
        .collect();
    let (one, two) = (epsilon_after(1).get(), epsilon_after(2).get());
    // The failed round with inputs counts against the aggregator alone, the one without not at all.
    assert_eq!(course, [(one, one), (two, one), (two, one)]);
    let [first, third] = report.participants.as_slice() else {
        panic!("{:?}", report.participants);
    };
    assert_eq!(
        example(View::Aggregator, &first.spent).to_bits(),
        two.to_bits()
    );
    assert_eq!(
        example(View::ModelOnly, &third.spent).to_bits(),
        one.to_bits()
    );
    assert_eq!(third.key, key(3).public().to_string());
    assert_eq!(report.absent(), 1);
    let budget = report.budget.as_ref().unwrap();
    assert_eq!(budget.spent, Some(epsilon_after(2)));
    let left = budget.remaining.unwrap().get();
    assert!((left + two - 6.0).abs() < 1e-12);
    assert!(figure(&first.spent, (PrivacyUnit::Client, View::Aggregator)).is_none());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<PrivacyReport>(&json).unwrap(),
        report
    );
}

#[test]
fn both_documents_say_all_that_makes_a_figure_meaningful() {
    let report = report(local(1.1));
    let (html, markdown) = (report.html().unwrap(), report.markdown());
    let epsilon = epsilon_after(2).to_string();
    for text in [
        epsilon.as_str(),
        "add-or-remove-one",
        "1e-5",
        "Proposition 12",
        "Poisson-subsampled Gaussian",
        "each client",
        "the aggregator",
        "those who see only the models",
        "not a whole client",
        "its own ledger knows",
        "No amplification is claimed",
        "Who takes part",
        "failed after inputs had been taken",
        &report.mechanism_digest,
        &key(1).public().to_string(),
        &key(8).public().to_string(),
        "2027-01-15",
    ] {
        let plain = |document: &str| document.replace("\\_", "_").to_lowercase();
        assert!(
            plain(&markdown).contains(&text.to_lowercase()),
            "{text} in Markdown"
        );
        assert!(
            plain(&html).contains(&text.to_lowercase()),
            "{text} in HTML"
        );
    }
    assert!(html.contains("<svg") && html.contains("Epsilon over rounds"));
}

#[test]
fn without_noise_it_says_so_and_shows_no_figure() {
    let report = report(Noise::None);
    assert!(report.promised().is_empty() && report.budget.is_none());
    let (html, markdown) = (report.html().unwrap(), report.markdown());
    for document in [&html, &markdown] {
        assert!(document.contains("adds no noise"), "{document}");
        assert!(document.contains("no budget of its own"));
    }
    assert!(!html.contains("<svg"));
}

/// Whatever stands in a text, it is a text.
#[test]
fn every_value_is_escaped() {
    let mut report = report(local(1.1));
    for text in [&mut report.assumptions, &mut report.not_covered] {
        text.push(NASTY.to_owned());
    }
    report.task = NASTY.to_owned();
    report.mechanism = serde_json::json!({ "nasty": NASTY });
    report.mechanism_digest = NASTY.to_owned();
    report.training_digest = NASTY.to_owned();
    report.participants[0].key = NASTY.to_owned();
    for promise in report.promises.iter_mut().chain(&mut report.at_the_end) {
        match &mut promise.says {
            undertone_privacy::Says::Nothing { reason } => NASTY.clone_into(reason),
            undertone_privacy::Says::DifferentialPrivacy {
                accountant,
                mechanism,
                ..
            } => {
                NASTY.clone_into(accountant);
                NASTY.clone_into(mechanism);
            }
        }
    }
    let html = report.html().unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    let tags: BTreeSet<&str> = html
        .split('<')
        .skip(1)
        .map(|rest| rest.split(['>', ' ', '/']).next().unwrap())
        .collect();
    assert!(
        !tags.contains("script") && !tags.contains("img") && !tags.contains("a"),
        "{tags:?}"
    );
    let markdown = report.markdown();
    assert!(!markdown.contains("<script"), "{markdown}");
    let name = markdown.lines().next().unwrap();
    assert!(
        name.contains("\\[l\\](http://x.example) \\!\\[i\\](y)"),
        "{name}"
    );
    assert!(
        name.contains("\\`c\\` \\*b\\*") && name.contains("\\|"),
        "{name}"
    );
    // Each row of a table has as many cells as its head.
    for table in markdown
        .split("\n\n")
        .filter(|block| block.starts_with('|'))
    {
        let cells = |row: &str| row.replace("\\|", "").matches('|').count();
        let mut rows = table.lines();
        let head = cells(rows.next().unwrap());
        assert!(rows.all(|row| cells(row) == head), "{table}");
    }
}

/// The page is complete: it names nothing that a browser would fetch.
#[test]
fn nothing_is_loaded_from_elsewhere() {
    let mut report = report(local(1.1));
    report.name = "spam filter".to_owned();
    let html = report.html().unwrap();
    for request in [
        "src=", "href=", "url(", "@import", "http:", "https:", "<link", "<iframe", "<script",
    ] {
        assert!(!html.contains(request), "{request}");
    }
    assert!(html.contains("default-src 'none'"));
}

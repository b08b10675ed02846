use proptest::prelude::*;
use tempfile::TempDir;
use undertone_privacy::{Delta, Epsilon, Event, NoiseMultiplier, SamplingRate, SubsampledGaussian};
use undertone_protocol::keys::{IdentityKey, Secret32};

use super::*;
use crate::ledger;
use crate::receipt::receipts;

const TASK: [u8; 16] = [7; 16];

fn round(n: u8) -> RoundId {
    RoundId::from([n; 32])
}

fn cost() -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(0.1).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
        steps: 4,
    }
}

fn budget() -> Budget {
    Budget {
        epsilon: Epsilon::new(8.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    }
}

fn beginning(n: u8, costs: Costs, filters: Vec<Judged>) -> Beginning {
    Beginning {
        task: TASK.into(),
        round: round(n),
        number: RoundNumber(n.into()),
        costs,
        mechanism: [9; 32].into(),
        filters,
    }
}

fn example() -> Costs {
    Costs {
        example: Some(cost().into()),
        client: None,
    }
}

async fn begin(journal: &mut Journal, n: u8) -> Result<(), ClientError> {
    journal.begin(beginning(n, example(), Vec::new())).await
}

async fn whole_round(journal: &mut Journal, n: u8) {
    begin(journal, n).await.unwrap();
    journal.spend(round(n), Vec::new()).await.unwrap();
    journal.sign(round(n)).await.unwrap();
    journal.answer(round(n)).await.unwrap();
}

fn example_account(journal: &Journal) -> (Ledger, u32) {
    let Account { ledger, unbounded } = journal.account(PrivacyUnit::Example, budget());
    (ledger, unbounded)
}

fn steps_spent(journal: &Journal) -> u64 {
    let (ledger, without_noise) = example_account(journal);
    assert_eq!(without_noise, 0);
    ledger
        .entries()
        .iter()
        .map(undertone_privacy::Event::steps)
        .sum()
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join(FILE)
}

fn is_step<T: std::fmt::Debug>(result: &Result<T, ClientError>, name: &str) -> bool {
    matches!(result, Err(ClientError::Step { step, .. }) if *step == name)
}

/// Spec: R-4.20, R-4.21.
#[tokio::test]
async fn a_restart_remembers_and_abstains() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    whole_round(&mut journal, 1).await;
    begin(&mut journal, 2).await.unwrap();
    drop(journal);

    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(journal.has_begun(round(1)) && journal.has_begun(round(2)));
    assert!(!journal.has_begun(round(3)) && !journal.in_doubt());
    assert!(is_step(&begin(&mut journal, 2).await, "begin"));
    assert_eq!(journal.rounds_begun(TASK.into()), 2);
    assert_eq!(journal.rounds_begun([8; 16].into()), 0);
    // Round 2 was begun, but its input was not sent.
    assert_eq!(steps_spent(&journal), 4);
    let (ledger, _) = example_account(&journal);
    let mut expected = Ledger::new(budget());
    expected.record_past(&cost());
    assert_eq!(ledger.spent(), expected.spent());
}

/// Spec: R-9.6, R-10.8.
#[tokio::test]
async fn no_step_is_taken_twice_or_out_of_order() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(is_step(&journal.spend(round(1), Vec::new()).await, "spend"));
    begin(&mut journal, 1).await.unwrap();
    assert!(is_step(&journal.answer(round(1)).await, "answer"));
    assert!(is_step(&journal.sign(round(1)).await, "sign"));
    journal.spend(round(1), Vec::new()).await.unwrap();
    assert!(is_step(&journal.spend(round(1), Vec::new()).await, "spend"));
    journal.sign(round(1)).await.unwrap();
    assert!(is_step(&journal.sign(round(1)).await, "sign"));
    journal.answer(round(1)).await.unwrap();
    assert!(is_step(&journal.answer(round(1)).await, "answer"));
    drop(journal);
    // Nor after a restart; and what was refused left no line behind.
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(is_step(&journal.answer(round(1)).await, "answer"));
    assert_eq!(fs::read_to_string(file(&dir)).unwrap().lines().count(), 4);
}

/// Spec: R-4.20, R-8.9.
#[tokio::test]
async fn each_line_is_on_disk_when_its_step_returns() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let lines = || {
        let text = fs::read_to_string(file(&dir)).unwrap();
        let last = text.lines().last().unwrap().to_owned();
        (text.lines().count(), last)
    };
    begin(&mut journal, 1).await.unwrap();
    journal.spend(round(1), Vec::new()).await.unwrap();
    let (count, last) = lines();
    assert_eq!(count, 2);
    let json: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(json["record"]["event"], "spent");
    assert_eq!(json["record"]["round"], round(1).to_string());
}

/// Spec: R-4.23.
#[tokio::test]
async fn one_client_at_a_time() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        Journal::open(dir.path()),
        Err(ClientError::StateDirInUse { .. })
    ));
    drop(journal);
    Journal::open(dir.path()).unwrap();
}

/// Spec: R-4.22.
#[tokio::test]
async fn a_torn_line_costs_budget_and_a_round() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    whole_round(&mut journal, 1).await;
    begin(&mut journal, 2).await.unwrap();
    let intact = fs::read(file(&dir)).unwrap();
    journal.spend(round(2), Vec::new()).await.unwrap();
    drop(journal);
    let all = fs::read(file(&dir)).unwrap();
    // Wherever the last line is cut: its newline alone may be missing, or all but one byte.
    for cut in (intact.len() + 1..all.len() - 1)
        .step_by(7)
        .chain([all.len() - 1])
    {
        fs::write(file(&dir), &all[..cut]).unwrap();
        for reopened in 0..2 {
            let journal = Journal::open(dir.path()).unwrap();
            assert!(journal.in_doubt(), "cut at {cut}, opened {reopened}");
            assert_eq!(steps_spent(&journal), 8, "round 2 counts as spent");
        }
    }
    let mut journal = Journal::open(dir.path()).unwrap();
    let number = RoundNumber(3);
    journal
        .abstain(TASK.into(), round(3), number)
        .await
        .unwrap();
    assert!(!journal.in_doubt() && journal.has_begun(round(3)));
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(!journal.in_doubt() && journal.has_begun(round(3)));
    assert_eq!(steps_spent(&journal), 8, "an abstention costs nothing");
    assert_eq!(journal.rounds_begun(TASK.into()), 2);
    assert!(is_step(&journal.spend(round(3), Vec::new()).await, "spend"));
    whole_round(&mut journal, 4).await;
    assert_eq!(steps_spent(&journal), 12);
}

/// Spec: R-4.22.
#[tokio::test]
async fn any_change_before_the_end_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    whole_round(&mut journal, 1).await;
    drop(journal);
    let good = fs::read(file(&dir)).unwrap();
    for i in 0..good.len() - 1 {
        let mut bad = good.clone();
        bad[i] ^= 2;
        fs::write(file(&dir), &bad).unwrap();
        let error = Journal::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, ClientError::JournalDamaged { .. }),
            "byte {i}"
        );
        assert_eq!(
            fs::read(file(&dir)).unwrap(),
            bad,
            "byte {i}: left as it is"
        );
    }
    let lines: Vec<&str> = std::str::from_utf8(&good).unwrap().lines().collect();
    for gone in 0..lines.len() - 1 {
        let mut rest = lines.clone();
        rest.remove(gone);
        fs::write(file(&dir), format!("{}\n", rest.join("\n"))).unwrap();
        let error = Journal::open(dir.path()).unwrap_err();
        assert!(
            error.to_string().contains("Restore it from a backup"),
            "{error}"
        );
    }
    // A chain that holds, around a step that cannot follow.
    let mut chain = Chain::START;
    let out_of_order = record::write(
        &mut chain,
        &Record::Signed {
            round: Hex(round(1)),
        },
    );
    fs::write(file(&dir), out_of_order.unwrap()).unwrap();
    assert!(matches!(
        Journal::open(dir.path()),
        Err(ClientError::JournalDamaged { line: 1, .. })
    ));
}

#[tokio::test]
async fn updates_without_noise_are_counted_apart() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let bare = beginning(1, Costs::default(), Vec::new());
    journal.begin(bare).await.unwrap();
    assert_eq!(example_account(&journal).1, 0);
    journal.spend(round(1), Vec::new()).await.unwrap();
    let (ledger, without_noise) = example_account(&journal);
    assert_eq!((ledger.entries().len(), without_noise), (0, 1));
}

/// A whole round with its receipts, judged by a budget.
async fn round_with_receipts(journal: &mut Journal, n: u8, key: &IdentityKey) {
    let judged = Judged {
        unit: PrivacyUnit::Example,
        budget: budget(),
        order: 7.5,
    };
    let begun = beginning(n, example(), vec![judged]);
    let which = (begun.task, begun.round, begun.number);
    let kept = receipts(which, begun.mechanism, &begun.costs, key).unwrap();
    journal.begin(begun).await.unwrap();
    journal.spend(round(n), kept).await.unwrap();
}

fn client_key() -> IdentityKey {
    IdentityKey::from_seed(&Secret32::from([5; 32]))
}

/// What version 0.1 wrote: no mechanism, no receipts, no `kind` in a cost.
///
/// Spec: R-4.20.
#[tokio::test]
async fn a_journal_of_an_earlier_version_is_read_and_goes_on() {
    let dir = TempDir::new().unwrap();
    fs::write(file(&dir), include_str!("old_journal.jsonl")).unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    // Rounds 1 and 2 were spent, 3 was begun.
    assert_eq!(steps_spent(&journal), 8);
    assert!(journal.has_begun(round(3)) && !journal.has_begun(round(4)));
    round_with_receipts(&mut journal, 4, &client_key()).await;
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(steps_spent(&journal), 12);
    // The order is that of the first spend, which the old lines do not name: it follows from it.
    let (ledger, _) = example_account(&journal);
    let mut expected = Ledger::new(budget());
    expected.record_past(&cost());
    assert_eq!(ledger.order(), expected.order());
    let checked = ledger::verify(dir.path(), Some(client_key().public())).unwrap();
    assert!(checked.is_good(), "{checked:?}");
    assert_eq!((checked.receipts, checked.notes.len()), (1, 2));
}

/// Spec: R-4.26.
#[tokio::test]
async fn the_order_of_the_first_spend_stays() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    round_with_receipts(&mut journal, 1, &client_key()).await;
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    // Whatever the budget is by now.
    let larger = Budget {
        epsilon: Epsilon::new(50.0).unwrap(),
        ..budget()
    };
    let account = journal.account(PrivacyUnit::Example, larger);
    assert_eq!(account.ledger.order(), Some(7.5));
}

/// Spec: R-4.24, R-4.25.
#[tokio::test]
async fn receipts_are_checked_against_the_journal_and_the_key() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let key = client_key();
    for n in 1..=3 {
        round_with_receipts(&mut journal, n, &key).await;
    }
    // A reader does not need the lock.
    let good = ledger::verify(dir.path(), Some(key.public())).unwrap();
    assert!(good.is_good() && good.notes.is_empty(), "{good:?}");
    assert_eq!(good.receipts, 3);
    let other = IdentityKey::from_seed(&Secret32::from([6; 32])).public();
    let bad = ledger::verify(dir.path(), Some(other)).unwrap();
    assert_eq!((bad.receipts, bad.faults.len()), (0, 3), "{bad:?}");
    let report = ledger::read(dir.path(), budget()).unwrap();
    assert_eq!(report.spends.len(), 3);
    let [unit] = report.units.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(unit.budget, Some(budget()));
    let ledger = journal.account(PrivacyUnit::Example, budget()).ledger;
    assert_eq!(unit.epsilon, ledger.spent().ok());
    assert_eq!(unit.remaining, Some(ledger.remaining()));
    drop(journal);

    // Someone who writes the file anew, chain and all, has no signature for it.
    let text = fs::read_to_string(file(&dir)).unwrap();
    let forged = rewritten(&text, |json| {
        json.replace(r#"\"steps\":4"#, r#"\"steps\":1"#)
    });
    fs::write(file(&dir), forged).unwrap();
    let bad = ledger::verify(dir.path(), Some(key.public())).unwrap();
    assert!(
        bad.faults.iter().any(|f| f.contains("signature")),
        "{bad:?}"
    );
    // Or the journal's own cost, with the receipt left as it is; or no receipt at all.
    for (from, to) in [
        (r#""steps":4}"#, r#""steps":1}"#),
        (r#""receipts":["#, r#""receipts":[],"x":["#),
    ] {
        let forged = rewritten(&text, |json| json.replace(from, to));
        fs::write(file(&dir), &forged).unwrap();
        match ledger::verify(dir.path(), Some(key.public())) {
            Ok(bad) => assert_eq!(bad.faults.len(), 3, "{bad:?}"),
            Err(error) => assert!(matches!(error, ClientError::JournalDamaged { .. })),
        }
    }
}

/// The lines with their records changed and their chain made anew.
fn rewritten(text: &str, change: impl Fn(&str) -> String) -> String {
    let (mut reading, mut writing) = (Chain::START, Chain::START);
    let mut lines = String::new();
    for line in text.lines() {
        record::read(&mut reading, line).unwrap();
        let json = line.split_once(r#","record":"#).unwrap().1;
        lines.push_str(&record::chained(
            &mut writing,
            &change(json.strip_suffix('}').unwrap()),
        ));
    }
    lines
}

#[tokio::test]
async fn an_export_is_checked_without_the_journal() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let key = client_key();
    for n in 1..=3 {
        round_with_receipts(&mut journal, n, &key).await;
    }
    let export = ledger::export(dir.path(), budget()).unwrap();
    let json = serde_json::to_string(&export).unwrap();
    let export: ledger::Export = serde_json::from_str(&json).unwrap();
    let good = export.verify(Some(key.public()));
    assert!(good.is_good() && good.receipts == 3, "{good:?}");
    let fault = |change: fn(&mut ledger::Export)| {
        let mut changed = export.clone();
        change(&mut changed);
        changed.verify(Some(client_key().public())).faults.concat()
    };
    let less = fault(|e| e.units[0].epsilon = Epsilon::new(0.1).ok());
    assert!(less.contains("the receipts sum up to"), "{less}");
    let twice = fault(|e| e.receipts.push(e.receipts[0].clone()));
    assert!(twice.contains("two receipts"), "{twice}");
    let changed = fault(|e| e.receipts[1].number = 7);
    assert!(changed.contains("signature"), "{changed}");
    let free = fault(|e| e.receipts[1].cost = "null".to_owned());
    assert!(free.contains("signature"), "{free}");
    let format = fault(|e| e.format.clear());
    assert!(format.contains("format"), "{format}");
    // What was left out is not seen here: the service's log and lists of survivors name the rounds.
    assert_eq!(fault(|e| e.receipts.truncate(2)), "");
}

proptest! {
    #[test]
    fn records_round_trip(q in 0.0..=1.0_f64, sigma in 1e-3..1e3_f64, steps in any::<u64>(), id in any::<[u8; 32]>()) {
        let cost = SubsampledGaussian {
            sampling_rate: SamplingRate::new(q).unwrap(),
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
            steps,
        };
        let record = Record::Begun { task: Hex(TASK.into()), round: Hex(id.into()), number: 3, cost: Some(StoredEvent(cost.into())), client_cost: None, mechanism: None, filters: Vec::new() };
        let (mut writing, mut reading) = (Chain::START, Chain::START);
        let line = record::write(&mut writing, &record).unwrap();
        let Record::Begun { round, cost: Some(StoredEvent(Event::Gaussian(back))), .. } = record::read(&mut reading, line.trim_end()).unwrap() else {
            panic!("another record came back");
        };
        prop_assert_eq!((round.0, back.steps), (RoundId::from(id), steps));
        // JSON numbers may be read off by one unit in the last place.
        prop_assert!((back.noise_multiplier.get() - sigma).abs() <= sigma * 1e-15);
        prop_assert!((back.sampling_rate.get() - q).abs() <= q * 1e-15);
        prop_assert_eq!(writing, reading);
    }
}

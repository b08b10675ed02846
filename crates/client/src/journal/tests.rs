use proptest::prelude::*;
use tempfile::TempDir;
use undertone_privacy::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

use super::*;

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

async fn begin(journal: &mut Journal, n: u8) -> Result<(), ClientError> {
    let number = RoundNumber(n.into());
    journal
        .begin(TASK.into(), round(n), number, Some(cost()))
        .await
}

async fn whole_round(journal: &mut Journal, n: u8) {
    begin(journal, n).await.unwrap();
    journal.spend(round(n)).await.unwrap();
    journal.sign(round(n)).await.unwrap();
    journal.answer(round(n)).await.unwrap();
}

fn steps_spent(journal: &Journal) -> u64 {
    let (ledger, without_noise) = journal.ledger(budget());
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

/// Spec.
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
    let (ledger, _) = journal.ledger(budget());
    let mut expected = Ledger::new(budget());
    expected.record_past(&cost());
    assert_eq!(ledger.spent(), expected.spent());
}

/// Spec.
#[tokio::test]
async fn no_step_is_taken_twice_or_out_of_order() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(is_step(&journal.spend(round(1)).await, "spend"));
    begin(&mut journal, 1).await.unwrap();
    assert!(is_step(&journal.answer(round(1)).await, "answer"));
    assert!(is_step(&journal.sign(round(1)).await, "sign"));
    journal.spend(round(1)).await.unwrap();
    assert!(is_step(&journal.spend(round(1)).await, "spend"));
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

/// Spec.
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
    journal.spend(round(1)).await.unwrap();
    let (count, last) = lines();
    assert_eq!(count, 2);
    let json: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(json["record"]["event"], "spent");
    assert_eq!(json["record"]["round"], round(1).to_string());
}

/// Spec.
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

/// Spec.
#[tokio::test]
async fn a_torn_line_costs_budget_and_a_round() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    whole_round(&mut journal, 1).await;
    begin(&mut journal, 2).await.unwrap();
    let intact = fs::read(file(&dir)).unwrap();
    journal.spend(round(2)).await.unwrap();
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
    assert!(is_step(&journal.spend(round(3)).await, "spend"));
    whole_round(&mut journal, 4).await;
    assert_eq!(steps_spent(&journal), 12);
}

/// Spec.
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
    let (task, number) = (TASK.into(), RoundNumber(1));
    journal.begin(task, round(1), number, None).await.unwrap();
    assert_eq!(journal.ledger(budget()).1, 0);
    journal.spend(round(1)).await.unwrap();
    let (ledger, without_noise) = journal.ledger(budget());
    assert_eq!((ledger.entries().len(), without_noise), (0, 1));
}

proptest! {
    #[test]
    fn records_round_trip(q in 0.0..=1.0_f64, sigma in 1e-3..1e3_f64, steps in any::<u64>(), id in any::<[u8; 32]>()) {
        let cost = SubsampledGaussian {
            sampling_rate: SamplingRate::new(q).unwrap(),
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
            steps,
        };
        let record = Record::Begun { task: Hex(TASK.into()), round: Hex(id.into()), number: 3, cost: Some(cost) };
        let (mut writing, mut reading) = (Chain::START, Chain::START);
        let line = record::write(&mut writing, &record).unwrap();
        let Record::Begun { round, cost: Some(back), .. } = record::read(&mut reading, line.trim_end()).unwrap() else {
            panic!("another record came back");
        };
        prop_assert_eq!((round.0, back.steps), (RoundId::from(id), steps));
        // JSON numbers may be read off by one unit in the last place.
        prop_assert!((back.noise_multiplier.get() - sigma).abs() <= sigma * 1e-15);
        prop_assert!((back.sampling_rate.get() - q).abs() <= q * 1e-15);
        prop_assert_eq!(writing, reading);
    }
}

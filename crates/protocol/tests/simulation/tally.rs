//! Rounds by their seed, and what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use undertone_protocol::RoundFailure;

use crate::attacks::Attack;
use crate::honest::Round;
use crate::invariants::{self, Broken};
use crate::justice;
use crate::mischief::Mischief;
use crate::network::Weather;
use crate::plan::Plan;
use crate::trace::Trace;

/// What happened how often.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// What must have happened at least once in any thousand rounds: nothing of the simulation
    /// may quietly fall asleep.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mischief = Mischief::ALL
            .iter()
            .map(|m| format!("corrupt client: {m:?}"));
        let attacks = Attack::ALL.iter().map(|a| format!("attack: {a:?}"));
        let weather = Weather::ALL.iter().map(|w| format!("network: {w:?}"));
        let crashes = ["client", "client restart", "aggregator"];
        let crashes = crashes.iter().map(|c| format!("crash: {c}"));
        let results = [
            "exact",
            "exact, shares set aside",
            "too few in AdvertiseKeys",
            "too few in ShareKeys",
            "too few in MaskedInput",
            "too few in ConsistencyCheck",
            "below threshold",
            "below threshold, dealt badly",
            "bad dealer",
        ];
        let results = results.iter().map(|r| format!("honest aggregator: {r}"));
        let learned = (0..=2).map(|sums| format!("lying aggregator: learned {sums} sums"));
        let all = mischief.chain(attacks).chain(weather).chain(crashes);
        all.chain(results)
            .chain(learned)
            .filter(|what| !self.0.contains_key(what))
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:6}  {what}")?;
        }
        Ok(())
    }
}

/// Plays the round of a seed and checks every invariant.
pub(crate) fn play(seed: u64, trace: Trace, tally: &mut Tally) -> Broken {
    if seed.is_multiple_of(2) {
        honest(seed, trace, tally)
    } else {
        lying(seed, trace, tally)
    }
}

fn honest(seed: u64, trace: Trace, tally: &mut Tally) -> Broken {
    let mut round = Round::draw(seed, trace);
    let result = round.run();
    tally.count(format!("shape: {}", round.setup.params.shape().name()));
    tally.count(format!("network: {:?}", round.weather));
    for crash in round.crashes.iter().collect::<BTreeSet<_>>() {
        tally.count(format!("crash: {crash}"));
    }
    for mischief in round.processes.iter().filter_map(|p| p.mischief) {
        tally.count(format!("corrupt client: {mischief:?}"));
    }
    let name = match &result {
        Ok(aggregate) if aggregate.set_aside.is_empty() => "exact".to_owned(),
        Ok(_) => "exact, shares set aside".to_owned(),
        Err(RoundFailure::TooFewClients { phase, .. }) => format!("too few in {phase}"),
        Err(RoundFailure::BelowThreshold {
            dealt_badly: true, ..
        }) => "below threshold, dealt badly".to_owned(),
        Err(RoundFailure::BelowThreshold { .. }) => "below threshold".to_owned(),
        Err(RoundFailure::BadDealer { .. }) => "bad dealer".to_owned(),
        Err(RoundFailure::Inconsistent(_)) => "inconsistent".to_owned(),
    };
    trace.note(0, || format!("result: {name}"));
    tally.count(format!("honest aggregator: {name}"));
    justice::check(&round, &result)
}

fn lying(seed: u64, trace: Trace, tally: &mut Tally) -> Broken {
    let mut plan = Plan::draw(seed, trace);
    plan.play();
    tally.count(format!("shape: {}", plan.liar.setup.params.shape().name()));
    for attack in &plan.attacks {
        tally.count(format!("attack: {attack:?}"));
    }
    for (phase, _) in plan.liar.refusals() {
        tally.count(format!("lying aggregator: a client refuses in {phase}"));
    }
    let (learned, broken) = invariants::check(&plan.liar.evidence());
    trace.note(0, || format!("the attacker learned {:?}", learned.sums));
    tally.count(format!(
        "lying aggregator: learned {} sums",
        learned.sums.len()
    ));
    broken
}

//! What must hold after every round, whoever lied.

use std::collections::BTreeSet;

use undertone_protocol::id::Position;

use crate::client::Client;
use crate::knowledge::{Evidence, Learned, Sum};

/// How often each thing was found broken; empty for a sound round.
pub(crate) type Broken = Vec<String>;

/// Checks the second and third invariant, and returns what the attacker learned.
pub(crate) fn check(evidence: &Evidence<'_>) -> (Learned, Broken) {
    let mut broken = Broken::new();
    for client in &evidence.honest {
        broken.extend(
            conduct(evidence, client).map(|what| format!("client {}: {what}", client.index)),
        );
    }
    let learned = evidence.learn();
    for client in &learned.both {
        broken.push(format!("both secrets of client {client} are known"));
    }
    for (at, _) in evidence.directories.iter().enumerate() {
        let sums: Vec<&Sum> = learned.sums.iter().filter(|s| s.directory == at).collect();
        if sums.len() > 1 {
            broken.push(format!(
                "{} sums under directory {at}: {sums:?}",
                sums.len()
            ));
        }
        let views = views(evidence, at);
        if views.len() > 1 {
            broken.push(format!(
                "{} views were unmasked under directory {at}",
                views.len()
            ));
        }
        for sum in sums {
            let whole = views
                .iter()
                .any(|(_, survivors)| honest_of(evidence, at, survivors) == sum.clients);
            if !whole {
                broken.push(format!(
                    "partial sum under directory {at}: {:?}",
                    sum.clients
                ));
            }
            if sum.clients.len() < 2 {
                broken.push(format!("the input of {:?} is known", sum.clients));
            }
        }
    }
    (learned, broken)
}

/// What one honest client did wrong.
fn conduct(evidence: &Evidence<'_>, client: &Client) -> impl Iterator<Item = &'static str> {
    let said = &client.said;
    let statements: BTreeSet<_> = said
        .statements
        .iter()
        .map(|s| {
            (
                *s.directory.as_bytes(),
                *s.sharers.as_bytes(),
                *s.survivors.as_bytes(),
            )
        })
        .collect();
    let mut kinds = BTreeSet::new();
    let mut both = false;
    for revelation in said.answers.iter().flat_map(|answer| &answer.shares) {
        both |= !kinds.insert(revelation.dealer);
    }
    let small = !said.answers.is_empty()
        && said
            .survivors
            .as_ref()
            .is_none_or(|u3| u3.count() < evidence.setup.params.min_survivors());
    [
        (statements.len() > 1, "it signed two statements"),
        (said.answers.len() > 1, "it answered twice"),
        (both, "it revealed two shares of one dealer"),
        (small, "it unmasked fewer than min_survivors"),
    ]
    .into_iter()
    .filter_map(|(wrong, what)| wrong.then_some(what))
}

/// The views (U2, U3) of the clients that answered under a directory, as positions.
fn views(evidence: &Evidence<'_>, at: usize) -> BTreeSet<(Vec<Position>, Vec<Position>)> {
    let digest = evidence.directories[at].digest();
    evidence
        .honest
        .iter()
        .filter(|c| c.directory() == Some(digest) && !c.said.answers.is_empty())
        .filter_map(|c| {
            let (sharers, survivors) = (c.said.sharers.as_ref()?, c.said.survivors.as_ref()?);
            Some((sharers.iter().collect(), survivors.iter().collect()))
        })
        .collect()
}

fn honest_of(evidence: &Evidence<'_>, at: usize, survivors: &[Position]) -> BTreeSet<u32> {
    let directory = &evidence.directories[at];
    let all = survivors
        .iter()
        .map(|p| directory.entry(*p).unwrap().sender.0);
    all.filter(|c| !evidence.setup.corrupt.contains(c))
        .collect()
}

//! Rosters, round parameters, rules.

use undertone_protocol::id::{RoundNumber, TaskId};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey, Secret32};
use undertone_protocol::params::{RoundParams, SECURITY_BITS};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Rule;
use undertone_protocol::threshold::hypergeometric::Population;

use crate::files::json::Hex;
use crate::files::parameters::{Case, Fields, Numbers};
use crate::read;

fn key(bytes: &Hex) -> IdentityPublicKey {
    IdentityPublicKey::from(bytes.array::<32>())
}

/// Spec.
#[test]
fn rosters_and_parameters_are_read_or_refused() {
    for case in read::<Case>("parameters.json") {
        match &case {
            Case::Roster { .. } => roster(&case),
            Case::RosterRefused {
                authority,
                encoding,
                requirement,
            } => {
                let read = Roster::decode(&encoding.0, key(authority));
                assert!(read.is_err(), "{requirement}");
            }
            Case::RoundParameters {
                fields,
                encoding,
                round_id,
            } => {
                let params = RoundParams::decode(&encoding.0).unwrap();
                assert_eq!(Fields::of(&params), **fields);
                assert_eq!(params.round, RoundNumber(fields.round));
                assert_eq!(Hex::new(params.id().as_bytes()), *round_id);
                assert_eq!(Hex::new(params.encoding()), *encoding);
            }
            Case::RoundParametersRefused {
                encoding,
                requirement,
            } => assert!(RoundParams::decode(&encoding.0).is_err(), "{requirement}"),
            Case::Rules {
                numbers,
                accepted,
                requirement,
            } => {
                let checked = rule(*numbers).check(SECURITY_BITS);
                assert_eq!(checked.is_ok(), *accepted, "{requirement}: {checked:?}");
            }
            Case::Tail {
                population,
                marked,
                draws,
                above,
                log2,
            } => {
                let found = Population::new(*population, *marked, *draws).log2_tail(*draws, *above);
                let expected = log2.unwrap_or(f64::NEG_INFINITY);
                assert!(found.to_bits() == expected.to_bits() || (found - expected).abs() < 1e-6);
            }
        }
    }
}

fn roster(case: &Case) {
    let Case::Roster {
        authority_seed,
        authority,
        task,
        members,
        encoding,
        digest,
    } = case
    else {
        return;
    };
    let signer = IdentityKey::from_seed(&Secret32::from(authority_seed.array()));
    assert_eq!(Hex::new(signer.public().as_bytes()), *authority);
    let keys = members.iter().map(key).collect();
    let made = Roster::sign(&signer, TaskId::from(task.array()), keys).unwrap();
    assert_eq!(Hex(made.encode().unwrap()), *encoding);
    let read = Roster::decode(&encoding.0, key(authority)).unwrap();
    assert_eq!(read, made);
    assert_eq!(Hex::new(read.digest().as_bytes()), *digest);
}

fn rule(numbers: Numbers) -> Rule {
    Rule {
        min_clients: numbers.min_clients,
        max_clients: numbers.max_clients,
        neighbours: numbers.neighbours,
        threshold: numbers.threshold,
        witnesses: numbers.witnesses,
        witness_threshold: numbers.witness_threshold,
        corrupt: numbers.corrupt,
        min_survivors: numbers.min_survivors,
    }
}

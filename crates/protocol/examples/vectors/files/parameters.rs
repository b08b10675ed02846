//! Rosters, round parameters and their rules.

use serde::{Deserialize, Serialize};
use undertone_protocol::codec::{Label, encode};
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterDigest, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};
use undertone_protocol::params::{ParamsFields, PhaseDeadlines, RoundParams, SECURITY_BITS};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Rule;
use undertone_protocol::threshold::hypergeometric::Population;

use super::json::Hex;
use super::random::{identity, secret};

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A roster.
    Roster {
        /// The authority's private key.
        authority_seed: Hex,
        /// Its public key.
        authority: Hex,
        /// The task.
        task: Hex,
        /// The members' public keys by roster index.
        members: Vec<Hex>,
        /// The encoding of the roster, with its signature.
        encoding: Hex,
        /// The roster digest.
        digest: Hex,
    },
    /// Bytes that are no roster of an authority.
    RosterRefused {
        /// The pinned key.
        authority: Hex,
        /// The bytes.
        encoding: Hex,
        /// The requirement that they break.
        requirement: String,
    },
    /// Round parameters.
    RoundParameters {
        /// The fields.
        fields: Box<Fields>,
        /// Their encoding.
        encoding: Hex,
        /// The round's id.
        round_id: Hex,
    },
    /// Bytes that are no acceptable round parameters.
    RoundParametersRefused {
        /// The bytes.
        encoding: Hex,
        /// The requirement that they break.
        requirement: String,
    },
    /// The numbers that decide about safety, and whether they pass.
    Rules {
        /// The numbers.
        numbers: Numbers,
        /// Whether hold.
        accepted: bool,
        /// The requirement that they break, or keep by little.
        requirement: String,
    },
    /// log2 P[Hyp(M, K, s) > x]; absent if the probability is 0.
    Tail {
        /// M.
        population: u32,
        /// K.
        marked: u32,
        /// s.
        draws: u32,
        /// x.
        above: u32,
        /// To six decimals.
        log2: Option<f64>,
    },
}

/// Of the fields of `RoundParams`, those that decide about safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numbers {
    pub(crate) min_clients: u32,
    pub(crate) max_clients: u32,
    pub(crate) neighbours: u16,
    pub(crate) threshold: u16,
    pub(crate) witnesses: u16,
    pub(crate) witness_threshold: u16,
    pub(crate) corrupt: u32,
    pub(crate) min_survivors: u32,
}

/// The fields of `RoundParams` in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    pub(crate) version: u16,
    pub(crate) suite: u16,
    pub(crate) task: Hex,
    pub(crate) round: u32,
    pub(crate) nonce: Hex,
    pub(crate) length: u32,
    pub(crate) bits: u8,
    pub(crate) min_clients: u32,
    pub(crate) max_clients: u32,
    pub(crate) neighbours: u16,
    pub(crate) threshold: u16,
    pub(crate) witnesses: u16,
    pub(crate) witness_threshold: u16,
    pub(crate) corrupt: u32,
    pub(crate) min_survivors: u32,
    pub(crate) roster: Hex,
    pub(crate) model: Hex,
    pub(crate) training: Hex,
    pub(crate) mechanism: Hex,
    pub(crate) deadlines: [u32; 5],
}

impl Fields {
    pub(crate) fn of(fields: &ParamsFields) -> Self {
        let (rule, times) = (fields.rule, fields.deadlines);
        Self {
            version: fields.version,
            suite: fields.suite,
            task: Hex::new(fields.task.as_bytes()),
            round: fields.round.0,
            nonce: Hex::new(fields.nonce),
            length: fields.length,
            bits: fields.bits,
            min_clients: rule.min_clients,
            max_clients: rule.max_clients,
            neighbours: rule.neighbours,
            threshold: rule.threshold,
            witnesses: rule.witnesses,
            witness_threshold: rule.witness_threshold,
            corrupt: rule.corrupt,
            min_survivors: rule.min_survivors,
            roster: Hex::new(fields.roster.as_bytes()),
            model: Hex::new(fields.model.as_bytes()),
            training: Hex::new(fields.training.as_bytes()),
            mechanism: Hex::new(fields.mechanism.as_bytes()),
            deadlines: [
                times.advertise_keys,
                times.share_keys,
                times.masked_input,
                times.consistency_check,
                times.unmask,
            ],
        }
    }
}

impl From<Rule> for Numbers {
    fn from(rule: Rule) -> Self {
        Self {
            min_clients: rule.min_clients,
            max_clients: rule.max_clients,
            neighbours: rule.neighbours,
            threshold: rule.threshold,
            witnesses: rule.witnesses,
            witness_threshold: rule.witness_threshold,
            corrupt: rule.corrupt,
            min_survivors: rule.min_survivors,
        }
    }
}

/// What makes good numbers bad.
type Change<T> = fn(&mut T);

/// The task of all vectors.
pub(crate) fn task() -> TaskId {
    TaskId::from(*secret("task").first_chunk().unwrap())
}

/// Round parameters of a rule; nonce and digests are the secrets of names.
pub(crate) fn fields(name: &str, rule: Rule, roster: RosterDigest) -> ParamsFields {
    ParamsFields {
        version: 1,
        suite: 1,
        task: task(),
        round: RoundNumber(7),
        nonce: secret(&format!("{name}, nonce")),
        length: 10,
        bits: 20,
        rule,
        roster,
        model: ModelDigest::of(b"model"),
        training: TrainingDigest::of(b"training"),
        mechanism: MechanismDigest::of(b"mechanism"),
        deadlines: PhaseDeadlines {
            advertise_keys: 60_000,
            share_keys: 10_000,
            masked_input: 20_000,
            consistency_check: 5_000,
            unmask: 70_000,
        },
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = rosters();
    cases.extend(round_parameters());
    cases.extend(rules());
    for (population, marked, draws, above) in [
        (10, 3, 4, 1),
        (20, 10, 5, 4),
        (12, 1, 4, 0),
        (12, 1, 4, 1),
        (5, 9, 3, 2),
        (1000, 50, 67, 31),
        (1000, 100, 89, 46),
        (100_000, 10_000, 124, 62),
    ] {
        let log2 = Population::new(population, marked, draws).log2_tail(draws, above);
        let log2 = log2.is_finite().then_some((log2 * 1e6).round() / 1e6);
        cases.push(Case::Tail {
            population,
            marked,
            draws,
            above,
            log2,
        });
    }
    cases
}

fn rosters() -> Vec<Case> {
    let authority = identity("authority");
    let members: Vec<_> = (0..3)
        .map(|i| identity(&format!("member {i}")).public())
        .collect();
    let roster = Roster::sign(&authority, task(), members.clone()).unwrap();
    let encoding = roster.encode().unwrap();
    let refused = |bytes: Vec<u8>, requirement: &str| Case::RosterRefused {
        authority: Hex::new(authority.public().as_bytes()),
        encoding: Hex(bytes),
        requirement: requirement.to_owned(),
    };
    let mut forged = encoding.clone();
    forged[20] ^= 1;
    let twice = signed_roster(&authority, &[members[0], members[1], members[0]]);
    let other = signed_roster(&identity("other authority"), &members);
    vec![
        Case::Roster {
            authority_seed: Hex::new(authority.seed().expose()),
            authority: Hex::new(authority.public().as_bytes()),
            task: Hex::new(task().as_bytes()),
            members: members.iter().map(|m| Hex::new(m.as_bytes())).collect(),
            encoding: Hex(encoding.clone()),
            digest: Hex::new(roster.digest().as_bytes()),
        },
        refused(forged, "R-4.1"),
        refused(other, "R-4.1"),
        refused(signed_roster(&authority, &[]), "R-4.3"),
        refused(twice, "R-4.3"),
        refused([encoding.as_slice(), &[0]].concat(), "R-3.1"),
    ]
}

/// A roster with a valid signature, whoever is in it.
fn signed_roster(authority: &IdentityKey, members: &[IdentityPublicKey]) -> Vec<u8> {
    let mut bytes = task().as_bytes().to_vec();
    bytes.extend(encode("members", &members).unwrap());
    let signature = authority.sign(Label::RosterSignature, &[], &bytes);
    bytes.extend(authority.public().as_bytes());
    bytes.extend(encode("signature", &signature).unwrap());
    bytes
}

fn round_parameters() -> Vec<Case> {
    let roster = RosterDigest::from(secret("parameters, roster"));
    let good = fields("parameters", Rule::complete(10, 3), roster);
    let params = RoundParams::new(good.clone()).unwrap();
    let changes: [(&str, Change<ParamsFields>); 7] = [
        ("R-4.6", |f| f.version = 2),
        ("R-4.6", |f| f.suite = 0),
        ("R-4.12", |f| f.round = RoundNumber(0)),
        ("R-4.12", |f| f.length = 0),
        ("R-4.12", |f| f.bits = 7),
        ("R-4.12", |f| f.bits = 65),
        ("R-4.14", |f| f.rule.threshold -= 1),
    ];
    let refused = |bytes: &[u8], requirement: &str| Case::RoundParametersRefused {
        encoding: Hex::new(bytes),
        requirement: requirement.to_owned(),
    };
    let encoding = params.encoding();
    let mut cases = vec![
        Case::RoundParameters {
            fields: Box::new(Fields::of(&good)),
            encoding: Hex::new(encoding),
            round_id: Hex::new(params.id().as_bytes()),
        },
        refused(&encoding[..232], "R-3.2"),
        refused(&[encoding, &[0]].concat(), "R-3.1"),
    ];
    cases.extend(changes.map(|(requirement, change)| {
        let mut fields = good.clone();
        change(&mut fields);
        refused(&encode("parameters", &fields).unwrap(), requirement)
    }));
    cases
}

fn rules() -> Vec<Case> {
    let complete = Rule::complete(10, 3);
    let ring = Rule {
        min_clients: 1000,
        max_clients: 1000,
        neighbours: 134,
        threshold: 99,
        witnesses: 101,
        witness_threshold: 76,
        corrupt: 50,
        min_survivors: 900,
    };
    let list: [(Rule, &str, Change<Rule>); 26] = [
        (complete, "R-4.14", |_| ()),
        (complete, "R-4.13", |r| r.min_survivors -= 1),
        (complete, "R-4.13", |r| r.min_clients -= 1),
        (complete, "R-4.13", |r| r.max_clients = 6),
        (complete, "R-4.14", |r| r.threshold -= 1),
        (complete, "R-4.14", |r| r.witness_threshold -= 1),
        (complete, "R-4.14", |r| r.corrupt += 1),
        (complete, "R-4.14", |r| r.witnesses -= 1),
        (complete, "R-4.13", |r| r.neighbours = 254),
        (complete, "R-4.13", |r| r.neighbours = 255),
        (Rule::complete(2, 0), "R-4.13", |_| ()),
        (Rule::complete(2, 1), "R-4.13", |_| ()),
        (Rule::complete(255, 84), "R-4.14", |_| ()),
        (ring, "R-4.16", |_| ()),
        (ring, "R-4.16", |r| r.threshold -= 1),
        (ring, "R-4.16", |r| r.corrupt += 1),
        (ring, "R-4.16", |r| r.corrupt += 4),
        (ring, "R-4.16", |r| r.threshold = 67),
        (ring, "R-4.16", |r| r.threshold = 135),
        (ring, "R-4.15", |r| r.neighbours = 133),
        (ring, "R-4.15", |r| r.neighbours = 256),
        (ring, "R-4.17", |r| r.witness_threshold = 70),
        (ring, "R-4.17", |r| r.witness_threshold = 50),
        (ring, "R-4.17", |r| r.witness_threshold = 102),
        (ring, "R-4.17", |r| {
            (r.witnesses, r.witness_threshold) = (1001, 900);
        }),
        (ring, "R-4.13", |r| r.min_survivors = 98),
    ];
    list.map(|(mut rule, requirement, change)| {
        change(&mut rule);
        Case::Rules {
            numbers: rule.into(),
            accepted: rule.check(SECURITY_BITS).is_ok(),
            requirement: requirement.to_owned(),
        }
    })
    .into()
}

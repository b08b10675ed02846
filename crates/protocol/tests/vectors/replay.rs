//! Whole rounds again, message by message, from the secrets and answers that the files list.

use std::collections::BTreeMap;
use std::sync::Arc;

use undertone_protocol::aggregator::memory::{MemoryAggregator, Receipt};
use undertone_protocol::aggregator::{PhaseName, RoundContext};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::{Participant, SentInput, SignedStatement};
use undertone_protocol::directory::{Directory, LocalDirectory};
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey, Secret32};
use undertone_protocol::message::{Share, Signed};
use undertone_protocol::params::{RoundParams, Trust};
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::{RingVector, Sign};

use crate::files::graph::indices;
use crate::files::json::{Hex, elements, numbers};
use crate::files::parameters::Fields;
use crate::files::random::{Listed, Script};
use crate::files::round::{Client, Round};
use crate::files::wire::ToJson;
use crate::read;

struct Replay {
    round: Round,
    params: Arc<RoundParams>,
    roster: Arc<Roster>,
}

impl Replay {
    fn open(name: &str) -> Self {
        let round = read::<Round>(name).remove(0);
        let params = Arc::new(RoundParams::decode(&round.params.0).unwrap());
        let authority = IdentityPublicKey::from(round.authority.array::<32>());
        let roster = Arc::new(Roster::decode(&round.roster.0, authority).unwrap());
        assert_eq!(Fields::of(&params), round.fields);
        assert_eq!(Hex::new(params.id().as_bytes()), round.round_id);
        Self {
            round,
            params,
            roster,
        }
    }

    fn participant(&self, client: &Client) -> Participant {
        let identity = IdentityKey::from_seed(&Secret32::from(client.identity_seed.array()));
        let (params, roster) = (self.params.clone(), self.roster.clone());
        let trust = Trust {
            corrupt: self.round.assumed_corrupt,
        };
        Participant::new(params, roster, Arc::new(identity), trust).unwrap()
    }

    /// Every message of one client from its secrets and the answers that it was given.
    fn client(&self, client: &Client) {
        let seeds = [client.cipher_seed.array(), client.mask_seed.array()];
        let participant = self.participant(client);
        assert_eq!(participant.index(), RosterIndex(client.index));
        let (state, message) = participant
            .advertise_keys(&mut Script(seeds.to_vec()))
            .unwrap();
        assert_eq!(Hex(message), client.advertise_keys);
        let Some(view) = &client.directory_view else {
            assert_eq!(client.stops_before.as_deref(), Some("share-keys"));
            return;
        };
        self.directory_view(client, view);

        let shares = |list: &Option<Vec<Hex>>| -> Vec<Share> {
            let list = list.as_ref().unwrap().iter();
            list.map(|share| Share::from(share.array())).collect()
        };
        let lists = vec![
            shares(&client.self_mask_shares),
            shares(&client.mask_key_shares),
        ];
        let seed = client.self_mask_seed.as_ref().unwrap().array();
        let (state, message) = state
            .share_keys(&view.0, &mut Listed(lists), &mut Script(vec![seed]))
            .unwrap();
        assert_eq!(Some(Hex(message)), client.share_keys);

        let Some(dealt) = &client.dealt else {
            assert_eq!(client.stops_before.as_deref(), Some("masked-input"));
            return;
        };
        let input = RingVector::from_elements(self.params.ring(), &numbers(&client.input));
        let (state, message) = state.masked_input(&dealt.0, input).unwrap();
        self.masked_input(client, &message);
        assert_eq!(Some(Hex(message)), client.masked_input);
        self.last_phases(client, state);
    }

    fn last_phases(&self, client: &Client, state: SentInput) {
        let answer = &self.round.survivors_answer.0;
        let (state, message): (SignedStatement, _) = state.consistency_check(answer).unwrap();
        assert_eq!(message.map(Hex), client.consistency_check);
        let witness = self.round.witnesses.contains(&client.position);
        assert_eq!(client.consistency_check.is_some(), witness);
        if client.stops_before.is_none() {
            let message = state.unmask(&self.round.statements_answer.0).unwrap();
            assert_eq!(Some(Hex(message)), client.unmask);
        }
    }

    fn directory_view(&self, client: &Client, view: &Hex) {
        let own = Signed::decode(&client.advertise_keys.0).unwrap().message;
        let local = LocalDirectory::decode(&self.params, &self.roster, &own, &view.0).unwrap();
        assert_eq!(Hex::new(local.digest().as_bytes()), self.round.directory);
        assert_eq!(local.position(), Position(client.position));
        assert_eq!(
            indices(local.neighbours().iter().copied()),
            client.neighbours
        );
    }

    /// The masked vector is the input with the listed masks, and nothing else.
    fn masked_input(&self, client: &Client, message: &[u8]) {
        let (ring, length) = (self.params.ring(), self.params.vector_length());
        let mut expected = RingVector::from_elements(ring, &numbers(&client.input));
        let masks = client.masks.as_ref().unwrap();
        let peers = client.neighbours.iter().copied();
        let peers = peers
            .filter(|v| self.round.sharers.members.contains(v))
            .map(Some);
        let peers: Vec<_> = std::iter::once(None).chain(peers).collect();
        assert!(masks.iter().map(|mask| mask.peer).eq(peers));
        for mask in masks {
            let sign = if mask.sign == 1 {
                Sign::Plus
            } else {
                Sign::Minus
            };
            expected.mask(&[(Secret32::from(mask.key.array()), sign)]);
        }
        let payload = &message[message.len() - ring.packed_length(length)..];
        assert_eq!(RingVector::unpack(ring, length, payload).unwrap(), expected);
    }

    /// Who sits where, and both sets, from the AdvertiseKeys messages and from who stops when.
    fn sets(&self) {
        let round = &self.round;
        let entries = round.clients.iter();
        let entries = entries.map(|c| Signed::decode(&c.advertise_keys.0).unwrap());
        let directory = Directory::new(&self.params, &self.roster, entries.collect()).unwrap();
        let graph = directory.graph();
        assert_eq!(Hex::new(directory.digest().as_bytes()), round.directory);
        assert_eq!(indices(graph.witnesses()), round.witnesses);
        for client in &round.clients {
            let position = directory.position(RosterIndex(client.index)).unwrap();
            assert_eq!(position, Position(client.position));
            assert_eq!(indices(graph.neighbours(position)), client.neighbours);
        }
        if let Some(order) = &round.order {
            assert_eq!(order.len(), directory.len());
            assert_eq!(order[..round.witnesses.len()], *round.witnesses);
            for (here, next) in order.iter().zip(order.iter().cycle().skip(1)) {
                assert_eq!(graph.slot(Position(*here), Position(*next)), Some(0));
            }
        }
        let sent = |message: fn(&Client) -> &Option<Hex>| {
            let sent = round.clients.iter().filter(|c| message(c).is_some());
            Bitmap::new(directory.len(), sent.map(|c| Position(c.position)))
        };
        let digest = |set: &Bitmap| set.digest(self.params.id(), directory.digest());
        for (set, listed, listed_digest) in [
            (
                sent(|c| &c.share_keys),
                &round.sharers,
                &round.sharers_digest,
            ),
            (
                sent(|c| &c.masked_input),
                &round.survivors,
                &round.survivors_digest,
            ),
        ] {
            assert_eq!(set.to_json(), *listed);
            assert_eq!(Hex::new(digest(&set).as_bytes()), *listed_digest);
        }
    }

    /// The aggregator's side: its answers and the result from the listed messages.
    fn aggregator(&self) {
        let round = &self.round;
        let context = RoundContext::new(self.params.clone(), self.roster.clone()).unwrap();
        let mut aggregator = MemoryAggregator::new(context, round.clients.len(), 0);
        let mut now = 0;
        for phase in PhaseName::ALL {
            assert_eq!(aggregator.phase(), Some(phase));
            for client in &round.clients {
                let (answer, message) = exchange(round, client, phase);
                let Some(message) = message else { continue };
                let given = aggregator.answer(RosterIndex(client.index)).unwrap();
                assert_eq!(given.map(Hex).as_ref(), answer, "{phase}");
                assert_eq!(aggregator.receive(&message.0), Ok(Receipt::Accepted));
            }
            now += 100_000;
            assert!(aggregator.advance(now));
        }
        let result = aggregator.result().unwrap().as_ref().unwrap();
        let clients: Vec<_> = result.clients.iter().map(|client| client.0).collect();
        assert_eq!(clients, round.result_clients);
        assert_eq!(result.survivors.to_json(), round.survivors);
        assert_eq!(elements(result.sum.elements()), round.sum);
        assert_eq!(Hex(result.sum.pack()), round.packed_sum);
        assert_eq!(Hex::new(result.transcript.as_bytes()), round.transcript);
        assert!(result.set_aside.is_empty());
        self.plain_sum(&result.sum);
    }

    fn plain_sum(&self, sum: &RingVector) {
        let clients = self.round.clients.iter();
        let inputs: BTreeMap<_, _> = clients.map(|c| (c.index, numbers(&c.input))).collect();
        let mut plain = RingVector::zeros(self.params.ring(), self.params.vector_length());
        for client in &self.round.result_clients {
            let input = RingVector::from_elements(self.params.ring(), &inputs[client]);
            plain.add(&input).unwrap();
        }
        assert_eq!(*sum, plain);
    }
}

/// What a client fetches before its message of a phase, and the message.
fn exchange<'a>(
    round: &'a Round,
    client: &'a Client,
    phase: PhaseName,
) -> (Option<&'a Hex>, Option<&'a Hex>) {
    match phase {
        PhaseName::AdvertiseKeys => (None, Some(&client.advertise_keys)),
        PhaseName::ShareKeys => (client.directory_view.as_ref(), client.share_keys.as_ref()),
        PhaseName::MaskedInput => (client.dealt.as_ref(), client.masked_input.as_ref()),
        PhaseName::ConsistencyCheck => (
            Some(&round.survivors_answer),
            client.consistency_check.as_ref(),
        ),
        PhaseName::Unmask => (Some(&round.statements_answer), client.unmask.as_ref()),
    }
}

/// Spec.
#[test]
fn a_round_on_the_complete_graph_is_the_same_bytes() {
    let replay = Replay::open("round_complete.json");
    replay
        .round
        .clients
        .iter()
        .for_each(|client| replay.client(client));
    replay.sets();
    replay.aggregator();
}

/// Spec.
#[test]
fn a_round_on_the_ring_is_the_same_bytes() {
    let replay = Replay::open("round_ring.json");
    replay
        .round
        .clients
        .iter()
        .for_each(|client| replay.client(client));
    replay.sets();
    replay.aggregator();
}

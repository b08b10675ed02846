//! Plays a whole round and writes it down.

use std::collections::BTreeMap;
use std::sync::Arc;

use undertone_protocol::aggregator::memory::MemoryAggregator;
use undertone_protocol::aggregator::{PhaseName, RoundContext};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::{
    AdvertisedKeys, Participant, SentInput, SharedKeys, SignedStatement,
};
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::mask::{pairwise_mask_key, self_mask_key};
use undertone_protocol::message::Signed;
use undertone_protocol::params::{RoundParams, Trust};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Shape;
use undertone_protocol::vector::{RingVector, Sign};

use super::graph::indices;
use super::json::{Hex, elements, numbers};
use super::parameters::{Fields, fields, task};
use super::random::{Listed, Script, identity, secret, split};
use super::round::{Client, Mask, Round, Setup};
use super::wire::ToJson;

/// A client while the round is played.
struct Player {
    record: Client,
    stop: Option<PhaseName>,
    vector: RingVector,
    advertised: Option<AdvertisedKeys>,
    shared: Option<SharedKeys>,
    sent: Option<SentInput>,
    signed: Option<SignedStatement>,
}

impl Player {
    fn sends(&self, phase: PhaseName) -> bool {
        self.stop.is_none_or(|stop| phase < stop)
    }
}

/// Plays a round and writes it down.
pub(crate) fn record(setup: &Setup) -> Round {
    Game::new(setup).play()
}

struct Game<'a> {
    setup: &'a Setup,
    roster: Arc<Roster>,
    params: Arc<RoundParams>,
    players: Vec<Player>,
    aggregator: MemoryAggregator,
    now: u64,
}

impl<'a> Game<'a> {
    fn new(setup: &'a Setup) -> Self {
        let member = |i: u32| identity(&format!("{}, identity {i}", setup.name));
        let authority = identity(&format!("{}, authority", setup.name));
        let keys = (0..setup.roster).map(|i| member(i).public()).collect();
        let roster = Arc::new(Roster::sign(&authority, task(), keys).unwrap());
        let mut fields = fields(setup.name, setup.rule, roster.digest());
        fields.bits = setup.bits;
        let params = Arc::new(RoundParams::new(fields).unwrap());
        let present: Vec<u32> = (0..setup.roster)
            .filter(|i| !setup.absent.contains(i))
            .collect();
        let context = RoundContext::new(params.clone(), roster.clone()).unwrap();
        let aggregator = MemoryAggregator::new(context, present.len(), 0);
        let mut game = Self {
            setup,
            roster,
            params,
            players: Vec::new(),
            aggregator,
            now: 0,
        };
        game.players = present
            .into_iter()
            .map(|index| game.player(index))
            .collect();
        game
    }

    fn secret(&self, client: u32, what: &str) -> [u8; 32] {
        secret(&format!("{}, client {client}, {what}", self.setup.name))
    }

    /// Phase 1 of one client.
    fn player(&self, index: u32) -> Player {
        let identity = identity(&format!("{}, identity {index}", self.setup.name));
        let seed = Hex::new(identity.seed().expose());
        let trust = Trust {
            corrupt: self.setup.assumed_corrupt,
        };
        let (params, roster) = (self.params.clone(), self.roster.clone());
        let participant = Participant::new(params, roster, Arc::new(identity), trust).unwrap();
        let seeds = ["cipher seed", "mask seed"].map(|what| self.secret(index, what));
        let mut rng = Script(seeds.to_vec());
        let (advertised, message) = participant.advertise_keys(&mut rng).unwrap();
        let mut input = RingVector::zeros(self.params.ring(), self.params.vector_length());
        let key = Secret32::from(self.secret(index, "input"));
        input.mask(&[(key.clone(), Sign::Plus)]);
        Player {
            record: Client {
                index,
                position: 0,
                neighbours: Vec::new(),
                stops_before: None,
                identity_seed: seed,
                input: elements(input.elements()),
                cipher_seed: Hex::new(seeds[0]),
                mask_seed: Hex::new(seeds[1]),
                advertise_keys: Hex(message),
                directory_view: None,
                self_mask_seed: None,
                self_mask_shares: None,
                mask_key_shares: None,
                share_keys: None,
                dealt: None,
                masks: None,
                masked_input: None,
                consistency_check: None,
                unmask: None,
            },
            stop: None,
            vector: input,
            advertised: Some(advertised),
            shared: None,
            sent: None,
            signed: None,
        }
    }

    fn close(&mut self) {
        self.now += 100_000;
        assert!(self.aggregator.advance(self.now));
    }

    fn answer(&self, client: u32) -> Hex {
        Hex(self
            .aggregator
            .answer(RosterIndex(client))
            .unwrap()
            .unwrap())
    }

    /// Runs one phase for all clients that send in it.
    fn phase(&mut self, phase: PhaseName, mut step: impl FnMut(&Self, &mut Player) -> Option<Hex>) {
        let mut players = std::mem::take(&mut self.players);
        let mut messages = Vec::new();
        for player in players.iter_mut().filter(|player| player.sends(phase)) {
            messages.extend(step(self, player));
        }
        self.players = players;
        for message in &messages {
            self.aggregator.receive(&message.0).unwrap();
        }
        self.close();
    }

    fn play(mut self) -> Round {
        self.phase(PhaseName::AdvertiseKeys, |_, player| {
            Some(player.record.advertise_keys.clone())
        });
        let entries = self.players.iter();
        let entries = entries.map(|p| Signed::decode(&p.record.advertise_keys.0).unwrap());
        let directory = Directory::new(&self.params, &self.roster, entries.collect()).unwrap();
        self.seat(&directory);
        self.phase(PhaseName::ShareKeys, Self::share_keys);
        let sharers = self.left_after(PhaseName::ShareKeys);
        self.phase(PhaseName::MaskedInput, |game, player| {
            game.masked_input(player, &directory, &sharers)
        });
        let survivors = self.left_after(PhaseName::MaskedInput);
        let survivors_answer = self.answer(self.players[0].record.index);
        self.phase(PhaseName::ConsistencyCheck, Self::consistency_check);
        let statements_answer = self.answer(self.players[0].record.index);
        self.phase(PhaseName::Unmask, |_, player| {
            let state = player.signed.take().unwrap();
            let message = Hex(state.unmask(&statements_answer.0).unwrap());
            player.record.unmask = Some(message.clone());
            Some(message)
        });
        self.write(
            &directory,
            [sharers, survivors],
            [survivors_answer, statements_answer],
        )
    }

    /// Everyone's position and neighbours, and who stops when.
    fn seat(&mut self, directory: &Directory) {
        let order = self.order(directory);
        let graph = directory.graph();
        for (position, player) in (0..).zip(&mut self.players) {
            player.record.position = position;
            player.record.neighbours = indices(graph.neighbours(Position(position)));
        }
        for (at, phase) in self.setup.stops {
            let at = order.as_ref().map_or(*at, |order| order[*at as usize]);
            let player = &mut self.players[at as usize];
            player.stop = Some(*phase);
            player.record.stops_before = Some(phase.text().to_owned());
        }
    }

    /// Who sits where, followed around the ring: slot 0 is the next place.
    fn order(&self, directory: &Directory) -> Option<Vec<u32>> {
        let graph = directory.graph();
        (self.params.shape() == Shape::Ring).then(|| {
            let first = graph.witnesses().next().unwrap();
            let next = |at: &Position| graph.neighbours(*at).first().copied();
            let around = std::iter::successors(Some(first), next);
            indices(around.take(directory.len()))
        })
    }

    fn left_after(&self, phase: PhaseName) -> Bitmap {
        let left = self.players.iter().filter(|player| player.sends(phase));
        let left = left.map(|player| Position(player.record.position));
        Bitmap::new(self.players.len(), left)
    }

    fn share_keys(&self, player: &mut Player) -> Option<Hex> {
        let record = &mut player.record;
        let own = u16::from(self.params.shape() == Shape::Complete);
        let holders = record.neighbours.len() + usize::from(own);
        let seed = self.secret(record.index, "self-mask seed");
        let shares = |what: &str, secret| {
            let name = format!("{}, client {}, {what}", self.setup.name, record.index);
            split(&name, secret, holders, self.params.threshold())
        };
        let lists = [
            shares("share of b", seed),
            shares("share of s", record.mask_seed.array()),
        ];
        let [b, s] = lists.each_ref().map(|list| {
            let bytes = list.iter().map(|share| Hex::new(share.expose()));
            Some(bytes.collect())
        });
        let view = self.answer(record.index);
        let state = player.advertised.take().unwrap();
        let mut splitter = Listed(lists.to_vec());
        let dealt = state.share_keys(&view.0, &mut splitter, &mut Script(vec![seed]));
        let (state, message) = dealt.unwrap();
        player.shared = Some(state);
        record.directory_view = Some(view);
        record.self_mask_seed = Some(Hex::new(seed));
        (record.self_mask_shares, record.mask_key_shares) = (b, s);
        record.share_keys = Some(Hex(message));
        record.share_keys.clone()
    }

    fn masked_input(
        &self,
        player: &mut Player,
        directory: &Directory,
        sharers: &Bitmap,
    ) -> Option<Hex> {
        let record = &mut player.record;
        let dealt = self.answer(record.index);
        let state = player.shared.take().unwrap();
        let (state, message) = state.masked_input(&dealt.0, player.vector.clone()).unwrap();
        player.sent = Some(state);
        record.dealt = Some(dealt);
        record.masks = Some(self.masks(record, directory, sharers));
        record.masked_input = Some(Hex(message));
        record.masked_input.clone()
    }

    fn masks(&self, record: &Client, directory: &Directory, sharers: &Bitmap) -> Vec<Mask> {
        let round = self.params.id();
        let seed = Secret32::from(record.self_mask_seed.as_ref().unwrap().array());
        let self_mask = Mask {
            peer: None,
            sign: 1,
            key: Hex::new(self_mask_key(&seed, round).expose()),
        };
        let key = EphemeralKey::from_seed(Secret32::from(record.mask_seed.array()));
        let own = (directory.entry(Position(record.position)).unwrap(), &key);
        let peers = record
            .neighbours
            .iter()
            .filter(|v| sharers.contains(Position(**v)));
        let pairwise = peers.map(|v| {
            let peer = directory.entry(Position(*v)).unwrap();
            let key = pairwise_mask_key(own, peer, round, directory.digest()).unwrap();
            Mask {
                peer: Some(*v),
                sign: if record.position < *v { 1 } else { -1 },
                key: Hex::new(key.expose()),
            }
        });
        std::iter::once(self_mask).chain(pairwise).collect()
    }

    fn consistency_check(&self, player: &mut Player) -> Option<Hex> {
        let survivors = self.answer(player.record.index);
        let state = player.sent.take().unwrap();
        let (state, message) = state.consistency_check(&survivors.0).unwrap();
        player.signed = Some(state);
        player.record.consistency_check = message.map(Hex);
        player.record.consistency_check.clone()
    }

    fn write(
        self,
        directory: &Directory,
        [sharers, survivors]: [Bitmap; 2],
        [survivors_answer, statements_answer]: [Hex; 2],
    ) -> Round {
        let round = self.params.id();
        let digest = |set: &Bitmap| Hex::new(set.digest(round, directory.digest()).as_bytes());
        let result = self.aggregator.result().unwrap().as_ref().unwrap();
        self.check_sum(&result.clients, &result.sum);
        Round {
            randomness: format!(
                "Each secret is SHA-256 of `undertone test vectors: NAME`, NAME being `{0}, \
                 identity I`, `{0}, client I, cipher seed` (or `mask seed`, `self-mask seed`), \
                 `{0}, client I, share of b J` (or `share of s J`) for slots J from 0 to t - 2; \
                 the other shares follow. The input is PRG(`{0}, client I, input`).",
                self.setup.name
            ),
            authority: Hex::new(self.roster.authority().as_bytes()),
            roster: Hex(self.roster.encode().unwrap()),
            assumed_corrupt: self.setup.assumed_corrupt,
            params: Hex::new(self.params.encoding()),
            fields: Fields::of(&self.params),
            round_id: Hex::new(round.as_bytes()),
            directory: Hex::new(directory.digest().as_bytes()),
            order: self.order(directory),
            witnesses: indices(directory.graph().witnesses()),
            sharers_digest: digest(&sharers),
            sharers: sharers.to_json(),
            survivors_digest: digest(&survivors),
            survivors: survivors.to_json(),
            survivors_answer,
            statements_answer,
            result_clients: result.clients.iter().map(|client| client.0).collect(),
            sum: elements(result.sum.elements()),
            packed_sum: Hex(result.sum.pack()),
            transcript: Hex::new(result.transcript.as_bytes()),
            clients: self
                .players
                .into_iter()
                .map(|player| player.record)
                .collect(),
        }
    }

    fn check_sum(&self, clients: &[RosterIndex], sum: &RingVector) {
        let records = self.players.iter().map(|player| &player.record);
        let inputs: BTreeMap<u32, _> = records.map(|r| (r.index, numbers(&r.input))).collect();
        let mut plain = RingVector::zeros(self.params.ring(), self.params.vector_length());
        for client in clients {
            let input = RingVector::from_elements(self.params.ring(), &inputs[&client.0]);
            plain.add(&input).unwrap();
        }
        assert_eq!(sum, &plain);
    }
}

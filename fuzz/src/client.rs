//! One client that is fed arbitrary answers of the aggregator, which holds the keys of all other
//! clients. With no input left the answers are honest. Whatever it is told, the client reveals only
//! what it may: checked here by rules written down a second time.

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec;
use undertone_protocol::graph::Graph;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::message::{
    ConsistencyCheck, Delivery, MASKED_INPUT_HEADER, Message, SecretKind, ShareCommitments,
    ShareKeysBody, Signed, Unmask,
};
use undertone_protocol::transcript::View;
use undertone_protocol::vector::RingVector;

use crate::edit::{self, Edit};
use crate::hostile::{self, DirectoryView, honest};
use crate::lies::{
    DealtLie, SetLie, StatementLie, ViewLie, draw, draw_all, lose, rank, swap, toggle,
};
use crate::player::Player;
use crate::world::{World, index, world};

/// Runs one client through the round.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let setting = input.arbitrary::<u8>().unwrap_or(0);
    let ring = setting & 1 == 1;
    let world = world(ring);
    let victim = usize::from(setting >> 1) % world.members();
    // Whatever the answers, an error is all that may come of it.
    let answered = Scene {
        world,
        ring,
        victim,
    }
    .play(&mut input);
    assert!(
        answered.is_some() || !data.iter().skip(1).all(|b| *b == 0),
        "honest answers are refused"
    );
}

struct Scene {
    world: &'static World,
    ring: bool,
    victim: usize,
}

/// What the client has accepted so far, in the aggregator's words.
struct Told {
    members: Vec<RosterIndex>,
    graph: Graph,
    shared: ShareKeysBody,
    sharers: Bitmap,
    deliveries: Vec<Delivery>,
    survivors: Bitmap,
}

impl Scene {
    fn play(&self, input: &mut Unstructured<'_>) -> Option<()> {
        let mut client = Player::new(self.world, self.victim);
        let advertised = client
            .step(PhaseName::AdvertiseKeys, &[])
            .expect("its own message")?;
        assert_eq!(
            advertised,
            honest(self.ring).entries[self.victim]
                .encode()
                .expect("short")
        );

        let view = self.view(draw(input));
        let shared = client.step(PhaseName::ShareKeys, &view).ok()??;
        let mut told = self.understand(&view, &shared);

        let (sharers, lies) = (draw::<SetLie>(input).unwrap_or_default(), draw_all(input));
        let dealt = self.dealt(&told, &sharers, lies);
        let body = client.step(PhaseName::MaskedInput, &dealt).ok()??;
        let dealt: DealtToClient = codec::decode("dealt", &dealt).expect("it was accepted");
        (told.sharers, told.deliveries) = (dealt.sharers, dealt.deliveries);
        self.check_sharers(&told, &body);

        let lie = draw::<SetLie>(input).unwrap_or_default();
        let mut survivors = toggle(&told.sharers, &lie.toggled)
            .encode("U3")
            .expect("short");
        edit::apply(&mut survivors, &lie.edits);
        let statement = client.step(PhaseName::ConsistencyCheck, &survivors).ok()?;
        told.survivors = codec::decode("U3", &survivors).expect("it was accepted");
        self.check_survivors(&told, statement.as_deref());

        let statements = self.statements(&told, draw_all(input));
        let revealed = client.step(PhaseName::Unmask, &statements).ok()??;
        self.check_revealed(&told, &statements, &revealed);
        Some(())
    }

    fn view(&self, lie: Option<ViewLie>) -> Vec<u8> {
        let directory = &honest(self.ring).directory;
        let bytes = directory.encode_for(index(self.victim)).expect("a member");
        let mut view: DirectoryView = codec::decode("view", &bytes).expect("its own encoding");
        match lie {
            None => return bytes,
            Some(ViewLie::Bytes(edits)) => {
                let mut bytes = bytes;
                edit::apply(&mut bytes, &edits);
                return bytes;
            }
            Some(ViewLie::Other(changes)) => {
                return hostile::other_view(self.world, self.ring, self.victim, &changes);
            }
            Some(ViewLie::Both(changes, edits)) => {
                let mut bytes = hostile::other_view(self.world, self.ring, self.victim, &changes);
                edit::apply(&mut bytes, &edits);
                return bytes;
            }
            Some(ViewLie::Member(which)) => view.members = toggle(&view.members, &[which]),
            Some(ViewLie::LoseEntry(which)) => lose(&mut view.entries, which),
            Some(ViewLie::SwapEntries(a, b)) => swap(&mut view.entries, a, b),
            Some(ViewLie::AddNode(node)) => view.nodes.push(node.into()),
            Some(ViewLie::LoseNode(which)) => lose(&mut view.nodes, which),
            Some(ViewLie::SwapNodes(a, b)) => swap(&mut view.nodes, a, b),
        }
        codec::encode("view", &view).expect("short")
    }

    /// What an accepted view says. The client's own digest of it stands in what it signed.
    fn understand(&self, view: &[u8], shared: &[u8]) -> Told {
        let view: DirectoryView = codec::decode("view", view).expect("it was accepted");
        let shared: ShareKeysBody = codec::decode("it", shared).expect("its own message");
        let params = &self.world.params;
        let members: Vec<_> = view.members.iter().map(|bit| RosterIndex(bit.0)).collect();
        assert!(params.directory_sizes().contains(&members.len()));
        assert!(members.contains(&index(self.victim)));
        let graph = Graph::new(params, members.len(), shared.header.message.directory);
        let mut shown = graph.neighbours(rank(&members, index(self.victim)));
        shown.push(rank(&members, index(self.victim)));
        shown.sort_unstable();
        let entries = view
            .entries
            .iter()
            .map(|entry| rank(&members, entry.message.sender));
        assert!(
            entries.eq(shown),
            "other entries than its own and its neighbours'"
        );
        let mut keys = BTreeSet::new();
        for entry in &view.entries {
            let message = &entry.message;
            entry
                .verify(params.id(), &self.world.roster)
                .expect("an unsigned entry");
            for key in [message.cipher_key, message.mask_key] {
                assert!(keys.insert(key), "a key stands twice");
                assert!(!key.is_low_order() && key.is_canonical());
            }
        }
        let empty = Bitmap::new(members.len(), []);
        Told {
            members,
            graph,
            shared,
            sharers: empty.clone(),
            deliveries: Vec::new(),
            survivors: empty,
        }
    }

    fn dealt(&self, told: &Told, sharers: &SetLie, lies: Vec<DealtLie>) -> Vec<u8> {
        let all = Bitmap::new(
            told.members.len(),
            (0..told.members.len()).map(Position::from_index),
        );
        let sharers_set = toggle(&all, &sharers.toggled);
        let me = rank(&told.members, index(self.victim));
        let mut dealers = told.graph.neighbours(me);
        dealers.retain(|dealer| sharers_set.contains(*dealer));
        dealers.sort_unstable();
        let deliveries = dealers.iter().map(|dealer| {
            let client = told.members[dealer.index()].0 as usize;
            let body = &honest(self.ring).dealt[client];
            let mut header = body.header.message.clone();
            header.directory = told.shared.header.message.directory;
            let slot = usize::from(told.graph.slot(*dealer, me).expect("a neighbour"));
            let share = body.dealing.shares[slot % body.dealing.shares.len()];
            Delivery {
                header: self.sign(header, client),
                share,
            }
        });
        let mut dealt = DealtToClient {
            deliveries: deliveries.collect(),
            sharers: sharers_set,
        };
        let mut damage = sharers.edits.clone();
        for lie in lies {
            let count = dealt.deliveries.len().max(1);
            let at = |which: u8| usize::from(which) % count;
            match lie {
                DealtLie::Bytes(edits) => damage.extend(edits),
                DealtLie::Lose(which) => lose(&mut dealt.deliveries, which),
                DealtLie::Swap(a, b) => swap(&mut dealt.deliveries, a, b),
                _ if dealt.deliveries.is_empty() => {}
                DealtLie::Double(which) => {
                    let delivery = dealt.deliveries[at(which)].clone();
                    dealt.deliveries.insert(at(which), delivery);
                }
                DealtLie::Resign(which, edits) => {
                    let delivery = &mut dealt.deliveries[at(which)];
                    if let Some(header) = self.resign(&delivery.header, &edits) {
                        delivery.header = header;
                    }
                }
                DealtLie::Forge(which, signer) => {
                    let delivery = &mut dealt.deliveries[at(which)];
                    let message = delivery.header.message.clone();
                    delivery.header = self.sign(message, usize::from(signer));
                }
                DealtLie::Damage(which, edits) => {
                    let share = &mut dealt.deliveries[at(which)].share;
                    let mut bytes = codec::encode("share", share).expect("short");
                    edit::apply(&mut bytes, &edits);
                    *share = codec::decode("share", &bytes).unwrap_or(*share);
                }
            }
        }
        let mut bytes = codec::encode("dealt", &dealt).expect("short");
        edit::apply(&mut bytes, &damage);
        bytes
    }

    /// The client masked its input, against a U2 that it may mask against.
    fn check_sharers(&self, told: &Told, body: &[u8]) {
        let (params, me) = (&self.world.params, rank(&told.members, index(self.victim)));
        self.check_set(told, &told.sharers);
        let mut dealers = told.graph.neighbours(me);
        dealers.retain(|dealer| told.sharers.contains(*dealer));
        dealers.sort_unstable();
        assert_eq!(dealers.len(), told.deliveries.len());
        for (dealer, delivery) in dealers.iter().zip(&told.deliveries) {
            let header = &delivery.header;
            assert_eq!(header.message.sender, told.members[dealer.index()]);
            assert_eq!(
                header.message.directory,
                told.shared.header.message.directory
            );
            header
                .verify(params.id(), &self.world.roster)
                .expect("a phantom dealer");
        }
        let packed = &body[MASKED_INPUT_HEADER..];
        let masked = RingVector::unpack(params.ring(), params.vector_length(), packed);
        let input = self.world.input(self.victim);
        assert!(
            masked.expect("its own message") != input,
            "the input is bare"
        );
    }

    fn check_set(&self, told: &Told, set: &Bitmap) {
        let (params, me) = (&self.world.params, rank(&told.members, index(self.victim)));
        assert_eq!(set.size(), told.members.len());
        assert!(set.contains(me) && set.count() >= params.min_survivors());
        let own = told.graph.slot(me, me).map(|_| me);
        let holders = told.graph.neighbours(me).into_iter().chain(own);
        let holders = holders.filter(|holder| set.contains(*holder)).count();
        assert!(holders >= params.threshold(), "{holders} holders");
    }

    fn check_survivors(&self, told: &Told, statement: Option<&[u8]>) {
        self.check_set(told, &told.survivors);
        assert!(told.survivors.is_subset(&told.sharers));
        let witness = told
            .graph
            .is_witness(rank(&told.members, index(self.victim)));
        assert_eq!(statement.is_some(), witness);
        if let Some(bytes) = statement {
            let signed = Signed::<ConsistencyCheck>::decode(bytes).expect("its own message");
            assert_eq!(signed.message, self.own_statement(told));
        }
    }

    fn own_statement(&self, told: &Told) -> ConsistencyCheck {
        let (round, directory) = (self.world.params.id(), told.shared.header.message.directory);
        let view = View {
            directory,
            sharers: told.sharers.digest(round, directory),
            survivors: told.survivors.digest(round, directory),
        };
        view.statement(index(self.victim))
    }

    fn statements(&self, told: &Told, lies: Vec<StatementLie>) -> Vec<u8> {
        let said_by = |client: usize, signer: usize| {
            let mut statement = self.own_statement(told);
            statement.sender = index(client);
            self.sign(statement, signer)
        };
        let witnesses = told
            .graph
            .witnesses()
            .filter(|w| told.survivors.contains(*w));
        let witnesses = witnesses.map(|w| told.members[w.index()].0 as usize);
        let mut statements: Vec<_> = witnesses.map(|client| said_by(client, client)).collect();
        let mut damage = Vec::new();
        for lie in lies {
            let count = statements.len().max(1);
            let at = |which: u8| usize::from(which) % count;
            match lie {
                StatementLie::Bytes(edits) => damage.extend(edits),
                StatementLie::Lose(which) => lose(&mut statements, which),
                StatementLie::Outsider(client) => {
                    let client = usize::from(client) % self.world.members();
                    statements.push(said_by(client, client));
                }
                _ if statements.is_empty() => {}
                StatementLie::Double(which) => statements.push(statements[at(which)].clone()),
                StatementLie::Resign(which, edits) => {
                    if let Some(other) = self.resign(&statements[at(which)], &edits) {
                        statements[at(which)] = other;
                    }
                }
                StatementLie::Forge(which, signer) => {
                    let client = statements[at(which)].message.sender.0 as usize;
                    statements[at(which)] = said_by(client, usize::from(signer));
                }
            }
        }
        let mut bytes = codec::encode("statements", &statements).expect("short");
        edit::apply(&mut bytes, &damage);
        bytes
    }

    /// The client revealed: `t_w` witnesses signed its view, and of each dealer of U2 it revealed
    /// at most the one share that its U3 asks for, and only a share that the dealer committed to.
    fn check_revealed(&self, told: &Told, statements: &[u8], revealed: &[u8]) {
        let params = &self.world.params;
        let statements: Vec<Signed<ConsistencyCheck>> =
            codec::decode("statements", statements).expect("they were accepted");
        let own = self.own_statement(told);
        let mut witnesses = BTreeSet::new();
        for signed in &statements {
            let sender = signed.message.sender;
            let at = told.members.iter().position(|member| *member == sender);
            let at = at.map(Position::from_index);
            if at.is_some_and(|at| told.graph.witnesses().any(|witness| witness == at))
                && signed.message
                    == (ConsistencyCheck {
                        sender,
                        ..own.clone()
                    })
                && signed.verify(params.id(), &self.world.roster).is_ok()
            {
                witnesses.insert(sender);
            }
        }
        assert!(
            witnesses.len() >= params.witness_threshold(),
            "unmasked below t_w"
        );
        assert!(
            told.survivors.count() >= params.min_survivors(),
            "unmasked below min_survivors"
        );

        let message = Signed::<Unmask>::decode(revealed)
            .expect("its own message")
            .message;
        assert_eq!(message.sender, index(self.victim));
        let sorted = message.shares.is_sorted_by(|a, b| a.dealer < b.dealer);
        assert!(sorted, "two shares of one dealer");
        for revelation in &message.shares {
            let dealer = revelation.dealer;
            assert!(told.sharers.contains(dealer));
            let dropped = !told.survivors.contains(dealer);
            let kind = revelation.share.kind();
            assert_eq!(
                kind == SecretKind::MaskKey,
                dropped,
                "the other kind of {dealer}"
            );
            let (slot, commitments) = self.committed(told, dealer);
            let client = told.members[dealer.index()];
            let expected = match kind {
                SecretKind::SelfMask => commitments.self_mask,
                SecretKind::MaskKey => commitments.mask_key,
            };
            let share = revelation.share.share();
            assert_eq!(share.commitment(kind, params.id(), client, slot), expected);
        }
    }

    /// What the client was shown of its share of one dealer.
    fn committed(&self, told: &Told, dealer: Position) -> (u8, ShareCommitments) {
        let me = rank(&told.members, index(self.victim));
        let slot = told
            .graph
            .slot(dealer, me)
            .expect("it holds a share of this dealer");
        if dealer == me {
            return (slot, told.shared.dealing.own.expect("the complete graph"));
        }
        let client = told.members[dealer.index()];
        let delivery = told
            .deliveries
            .iter()
            .find(|d| d.header.message.sender == client);
        (slot, delivery.expect("it was delivered").share.commitments)
    }

    /// Signs as another client. The victim's own key is out of reach: its place signs with the
    /// next one's.
    fn sign<M: Message>(&self, message: M, signer: usize) -> Signed<M> {
        let members = self.world.members();
        let signer = signer % members;
        let own = signer == self.victim && message.sender() == index(self.victim);
        let signer = if signer == self.victim && !own {
            (signer + 1) % members
        } else {
            signer
        };
        Signed::sign(
            message,
            self.world.params.id(),
            &self.world.identities[signer],
        )
        .expect("short")
    }

    fn resign<M: Message>(&self, signed: &Signed<M>, edits: &[Edit]) -> Option<Signed<M>> {
        let mut bytes = codec::encode("message", &signed.message).ok()?;
        edit::apply(&mut bytes, edits);
        let message: M = codec::decode("message", &bytes).ok()?;
        let signer = message.sender().0 as usize;
        (signer != self.victim).then(|| self.sign(message, signer))
    }
}

//! A round with an honest aggregator, whose messages the attacker may change on the way.

use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::{
    AdvertiseKeysPhase, MaskedInputPhase, Recovery, RoundContext, ShareKeysPhase, UnmaskPhase,
};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::client::{SharedKeys, SignedStatement};
use undertone_protocol::codec;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::message::{ConsistencyCheck, ShareKeysBody, Signed, Unmask};

use super::Lab;

/// Everyone has shared keys.
pub(crate) struct Session {
    pub(crate) states: Vec<SharedKeys>,
    pub(crate) directory: Directory,
    pub(crate) messages: Vec<ShareKeysBody>,
    pub(crate) sharing: ShareKeysPhase,
    pub(crate) masked: MaskedInputPhase,
}

impl Session {
    /// Opens the round; corrupt dealers may change what they deal and sign it again.
    pub(crate) fn open(lab: &mut Lab, deal: impl Fn(&mut ShareKeysBody)) -> Self {
        let (states, entries): (Vec<_>, Vec<_>) =
            (0..lab.cohort()).map(|c| lab.advertise(c)).unzip();
        let context = RoundContext::new(lab.params.clone(), lab.roster.clone()).unwrap();
        let phase = AdvertiseKeysPhase::new(context).close(entries).unwrap();
        let directory = phase.directory().clone();
        let (mut sharing, mut messages) = (Vec::new(), Vec::new());
        for (client, state) in (0..).map(RosterIndex).zip(states) {
            let bytes = directory.encode_for(client).unwrap();
            let (state, message) = state
                .share_keys(&bytes, &mut lab.splitter(), &mut lab.rng)
                .unwrap();
            sharing.push(state);
            let mut body: ShareKeysBody = codec::decode("ShareKeys", &message).unwrap();
            deal(&mut body);
            body.header.message.dealing = body.dealing.digest().unwrap();
            body.header = lab.sign(body.header.message);
            let bytes = codec::encode("ShareKeys", &body).unwrap();
            messages.push(phase.check(&bytes).unwrap());
        }
        Self {
            states: sharing,
            directory,
            masked: phase.clone().close(messages.clone()).unwrap(),
            sharing: phase,
            messages,
        }
    }

    /// Goes on to the statements; `deliver` may change what one client is handed.
    pub(crate) fn sign(
        self,
        deliver: impl Fn(u32, &mut DealtToClient),
    ) -> (Vec<Signed<ConsistencyCheck>>, Vec<SignedStatement>) {
        let n = self.directory.len();
        let all = Bitmap::new(n, self.directory.positions());
        let all = all.encode("U3").unwrap();
        let signed = (0..).zip(self.states).map(|(client, state)| {
            let dealt = self.masked.dealt_to(RosterIndex(client)).unwrap();
            let mut dealt: DealtToClient = codec::decode("dealt", &dealt).unwrap();
            deliver(client, &mut dealt);
            let dealt = codec::encode("dealt", &dealt).unwrap();
            let (state, _) = state.masked_input(&dealt, Lab::input(client)).unwrap();
            let (state, bytes) = state.consistency_check(&all).unwrap();
            let statement = bytes.map(|bytes| Signed::decode(&bytes).unwrap());
            (statement, state)
        });
        let (statements, states): (Vec<_>, _) = signed.unzip();
        (statements.into_iter().flatten().collect(), states)
    }

    /// Goes on to the answers, and to the phase that takes them.
    pub(crate) fn reveal(
        self,
        deliver: impl Fn(u32, &mut DealtToClient),
    ) -> (UnmaskPhase, Vec<Unmask>) {
        let everyone: Vec<RosterIndex> = self
            .messages
            .iter()
            .map(|m| m.header.message.sender)
            .collect();
        let phase = self.masked.clone().close(everyone).unwrap();
        let (statements, states) = self.sign(deliver);
        let phase = phase.close(&statements).unwrap();
        let answers = states
            .into_iter()
            .map(|s| s.unmask(phase.statements()).unwrap())
            .map(|bytes| Signed::<Unmask>::decode(&bytes).unwrap().message)
            .collect();
        (phase, answers)
    }
}

/// Signs the answers, has them checked, and recovers.
pub(crate) fn recover(
    lab: &Lab,
    phase: &UnmaskPhase,
    answers: &[Unmask],
) -> Result<Recovery, RoundFailure> {
    let checked: Vec<_> = answers
        .iter()
        .map(|m| phase.check(&sign(lab, m.clone())).unwrap())
        .collect();
    phase.recover(&checked)
}

pub(crate) fn sign(lab: &Lab, message: Unmask) -> Vec<u8> {
    lab.sign(message).encode().unwrap()
}

/// Whether an answer reveals anything of a dealer.
pub(crate) fn reveals(answer: &Unmask, dealer: u32) -> bool {
    answer.shares.iter().any(|r| r.dealer == Position(dealer))
}

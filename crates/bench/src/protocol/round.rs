//! A whole round, played: the last client is measured, and so is the aggregator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use undertone_protocol::aggregator::{
    AdvertiseKeysPhase, ConsistencyCheckPhase, MaskedInputPhase, Recovery, RoundContext,
};
use undertone_protocol::client::{AdvertisedKeys, Participant, SentInput, SharedKeys};
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::shamir::SystemSplitter;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use super::ProtocolPlan;
use super::clock::{process_seconds, thread_seconds};
use crate::error::BenchError;
use crate::generator;
use crate::process::OwnMemory;

/// Everyone's keys, and the round's parameters.
pub(super) struct Setup {
    params: Arc<RoundParams>,
    roster: Arc<Roster>,
    identities: Vec<Arc<IdentityKey>>,
    trust: Trust,
    dropped: usize,
}

/// What a played round came to.
#[derive(Default)]
pub(super) struct Played {
    pub(super) client: BTreeMap<&'static str, f64>,
    pub(super) aggregator: BTreeMap<&'static str, f64>,
    pub(super) unmask_wall: f64,
    pub(super) expansions: usize,
    pub(super) upload: usize,
    pub(super) download: usize,
    /// The most memory until it was looked at last, which lets it count anew.
    pub(super) peak: Option<u64>,
    pub(super) client_peak: Option<u64>,
    pub(super) aggregator_peak: Option<u64>,
    pub(super) exact: bool,
}

impl Played {
    fn look(&mut self) -> Option<OwnMemory> {
        self.peak = self.peak.max(OwnMemory::peak());
        OwnMemory::now()
    }

    /// Does a part of the client's work, and counts it.
    fn client<T>(&mut self, phase: &'static str, work: impl FnOnce() -> T) -> T {
        timed(&mut self.client, phase, work)
    }

    /// Does a part of the aggregator's work, and counts it.
    fn aggregator<T>(&mut self, phase: &'static str, work: impl FnOnce() -> T) -> T {
        timed(&mut self.aggregator, phase, work)
    }
}

fn timed<T>(
    into: &mut BTreeMap<&'static str, f64>,
    phase: &'static str,
    work: impl FnOnce() -> T,
) -> T {
    let started = thread_seconds();
    let done = work();
    *into.entry(phase).or_default() += thread_seconds() - started;
    done
}

impl Setup {
    pub(super) fn new(plan: &ProtocolPlan, rule: Rule, ring: Ring) -> Result<Self, BenchError> {
        let mut rng = generator()?;
        let authority = IdentityKey::generate(&mut rng);
        let identities: Vec<_> = (0..plan.clients)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let members = identities.iter().map(|key| key.public()).collect();
        let roster = Arc::new(Roster::sign(&authority, TaskId::from([1; 16]), members)?);
        let params = RoundParams::new(ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: roster.task(),
            round: RoundNumber(1),
            nonce: *Secret32::random(&mut rng).expose(),
            length: plan.length,
            bits: ring.bits(),
            rule,
            roster: roster.digest(),
            model: ModelDigest::of(b"benchmark"),
            training: TrainingDigest::of(b"benchmark"),
            mechanism: MechanismDigest::of(b"benchmark"),
            deadlines: PhaseDeadlines {
                advertise_keys: 1,
                share_keys: 1,
                masked_input: 1,
                consistency_check: 1,
                unmask: 1,
            },
        })?;
        Ok(Self {
            params: Arc::new(params),
            roster,
            identities,
            trust: Trust {
                corrupt: Some(plan.corrupt),
            },
            dropped: usize::try_from(plan.dropped).unwrap_or(usize::MAX),
        })
    }

    /// The input of a client: the key stream of a key that is its own.
    fn input(&self, client: usize) -> RingVector {
        let mut key = [9; 32];
        key.iter_mut()
            .zip(client.to_le_bytes())
            .for_each(|(k, c)| *k = c);
        let mut input = RingVector::zeros(self.params.ring(), self.params.vector_length());
        input.mask(&[(Secret32::from(key), Sign::Plus)]);
        input
    }

    /// Plays the round. The last client is the one that is measured, on one thread; the others work on
    /// all cores. The aggregator works on one thread, but for taking masks off.
    pub(super) fn play(
        &self,
        single: &rayon::ThreadPool,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<Played, BenchError> {
        let mut played = Played::default();
        step("keys and shares");
        let (phase, states) = self.set_up(single, &mut played)?;
        step("masks");
        let mut sum = RingVector::zeros(self.params.ring(), self.params.vector_length());
        let mut plain = sum.clone();
        let sums = (&mut sum, &mut plain);
        let (phase, states) = self.mask(single, &mut played, (phase, states), sums)?;
        step("unmasking");
        let recovery = reveal(single, &mut played, phase, states)?;
        played.unmask(&recovery, &mut sum);
        played.exact = sum == plain;
        Ok(played)
    }

    /// Keys and shares of everyone.
    fn set_up(
        &self,
        single: &rayon::ThreadPool,
        played: &mut Played,
    ) -> Result<(MaskedInputPhase, Vec<SharedKeys>), BenchError> {
        let measured = self.identities.len().saturating_sub(1);
        let context = RoundContext::new(self.params.clone(), self.roster.clone())?;
        let phase = AdvertiseKeysPhase::new(context);
        let advertise = |client: usize| {
            let identity = self.identities.get(client).cloned();
            let identity = identity.ok_or_else(|| BenchError::Plan("no such client".to_owned()))?;
            let (params, roster) = (self.params.clone(), self.roster.clone());
            let own = Participant::new(params, roster, identity, self.trust)?;
            Ok::<_, BenchError>(own.advertise_keys(&mut generator()?)?)
        };
        let mut sent = others(0..measured, advertise)?;
        sent.push(single.install(|| played.client("advertise-keys", || advertise(measured)))?);
        played.upload += sent.last().map_or(0, |(_, message)| message.len());
        let (states, messages): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let phase = played.aggregator("advertise-keys", || {
            let received = messages.iter().map(|message| phase.check(message));
            let received = received.collect::<Result<Vec<_>, _>>()?;
            phase.close(received).map_err(|e| failed(&e))
        })?;

        let directories = played.aggregator("share-keys", || {
            let clients = 0..self.identities.len();
            let encoded = clients.map(|client| phase.directory().encode_for(index(client)));
            encoded.collect::<Result<Vec<_>, _>>()
        })?;
        played.download += directories.last().map_or(0, Vec::len);
        let mut work: Vec<_> = states.into_iter().zip(directories).collect();
        let last = work.pop();
        let share = |(state, directory): (AdvertisedKeys, Vec<u8>)| {
            let mut rng = generator()?;
            Ok::<_, BenchError>(state.share_keys(&directory, &mut SystemSplitter, &mut rng)?)
        };
        let mut sent = others(work, share)?;
        if let Some(last) = last {
            sent.push(single.install(|| played.client("share-keys", || share(last)))?);
        }
        played.upload += sent.last().map_or(0, |(_, message)| message.len());
        let (states, messages): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let phase = played.aggregator("share-keys", || {
            let received = messages.iter().map(|message| phase.check(message));
            let received = received.collect::<Result<Vec<_>, _>>()?;
            phase.close(received).map_err(|e| failed(&e))
        })?;
        Ok((phase, states))
    }

    /// Masked inputs of all but those that vanish, and their sum.
    fn mask(
        &self,
        single: &rayon::ThreadPool,
        played: &mut Played,
        (phase, states): (MaskedInputPhase, Vec<SharedKeys>),
        (sum, plain): (&mut RingVector, &mut RingVector),
    ) -> Result<(ConsistencyCheckPhase, Vec<SentInput>), BenchError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut states: Vec<_> = states.into_iter().enumerate().skip(self.dropped).collect();
        let (mut summed, mut waiting) = (Vec::new(), Vec::new());
        let last = states.pop();
        let mut states = states.into_iter();
        loop {
            let mut batch = Vec::new();
            for (client, state) in states.by_ref().take(cores) {
                let dealt = played.aggregator("masked-input", || phase.dealt_to(index(client)))?;
                batch.push((client, state, dealt));
            }
            if batch.is_empty() {
                break;
            }
            let masked = others(batch, |(client, state, dealt)| {
                let input = self.input(client);
                let (state, message) = state.masked_input(&dealt, input)?;
                Ok((client, state, message))
            })?;
            for (client, state, message) in masked {
                played.aggregator("masked-input", || receive(&phase, sum, &message))?;
                plain.add(&self.input(client))?;
                summed.push(index(client));
                waiting.push(state);
            }
        }
        if let Some((client, state)) = last {
            let dealt = played.aggregator("masked-input", || phase.dealt_to(index(client)))?;
            played.download += dealt.len();
            let input = self.input(client);
            let memory = played.look();
            let masked = single
                .install(|| played.client("masked-input", || state.masked_input(&dealt, input)));
            let (state, message) = masked?;
            played.client_peak = memory.and_then(OwnMemory::added);
            played.upload += message.len();
            played.aggregator("masked-input", || receive(&phase, sum, &message))?;
            plain.add(&self.input(client))?;
            summed.push(index(client));
            waiting.push(state);
        }
        let phase = phase.close(summed).map_err(|e| failed(&e))?;

        Ok((phase, waiting))
    }
}

fn index(client: usize) -> RosterIndex {
    RosterIndex(u32::try_from(client).unwrap_or(u32::MAX))
}

/// Statements and shares of the survivors, and the masks that are then known.
fn reveal(
    single: &rayon::ThreadPool,
    played: &mut Played,
    phase: ConsistencyCheckPhase,
    mut waiting: Vec<SentInput>,
) -> Result<Recovery, BenchError> {
    let encoded = phase.survivors_encoded()?;
    played.download += encoded.len();
    let last = waiting.pop();
    let mut signed = others(waiting, |state| Ok(state.consistency_check(&encoded)?))?;
    if let Some(state) = last {
        let check = || played.client("consistency-check", || state.consistency_check(&encoded));
        signed.push(single.install(check)?);
    }
    let (states, statements): (Vec<_>, Vec<_>) = signed.into_iter().unzip();
    played.upload += statements
        .last()
        .and_then(Option::as_ref)
        .map_or(0, Vec::len);
    let phase = played.aggregator("consistency-check", || {
        let received = statements
            .iter()
            .flatten()
            .map(|message| phase.check(message));
        let received = received.collect::<Result<Vec<_>, _>>()?;
        phase.close(&received).map_err(|e| failed(&e))
    })?;

    played.download += phase.statements().len();
    let mut states = states;
    let last = states.pop();
    let mut revealed = others(states, |state| Ok(state.unmask(phase.statements())?))?;
    if let Some(state) = last {
        let unmask = || played.client("unmask", || state.unmask(phase.statements()));
        revealed.push(single.install(unmask)?);
    }
    played.upload += revealed.last().map_or(0, Vec::len);
    played.aggregator("unmask", || {
        let received = revealed.iter().map(|message| phase.check(message));
        let received = received.collect::<Result<Vec<_>, _>>()?;
        phase.recover(&received).map_err(|e| failed(&e))
    })
}

impl Played {
    /// Takes the masks off on all cores.
    fn unmask(&mut self, recovery: &Recovery, sum: &mut RingVector) {
        let memory = self.look();
        let (wall, processor) = (Instant::now(), process_seconds());
        recovery.unmask(sum);
        self.unmask_wall = wall.elapsed().as_secs_f64();
        let processor = process_seconds() - processor;
        self.aggregator.insert("masks", processor);
        self.aggregator_peak = memory.and_then(OwnMemory::added);
        self.expansions = recovery.expansions();
    }
}

/// What the service does with a masked input: header, then the vector as it comes in.
fn receive(
    phase: &MaskedInputPhase,
    sum: &mut RingVector,
    message: &[u8],
) -> Result<(), BenchError> {
    let (header, payload) = message.split_at(MaskedInputPhase::HEADER_LENGTH.min(message.len()));
    let header = phase.check_header(header)?;
    let mut check = phase.payload_check(&header);
    check.update(payload)?;
    check.finish()?;
    sum.add_packed(0..sum.len(), payload)?;
    Ok(())
}

/// The work of all others, on all cores.
fn others<I, T>(
    work: I,
    each: impl Fn(I::Item) -> Result<T, BenchError> + Sync + Send,
) -> Result<Vec<T>, BenchError>
where
    I: IntoParallelIterator,
    I::Iter: IndexedParallelIterator,
    T: Send,
{
    work.into_par_iter().map(each).collect()
}

fn failed(failure: &undertone_protocol::RoundFailure) -> BenchError {
    BenchError::RoundFailed {
        number: 1,
        reason: failure.to_string(),
    }
}

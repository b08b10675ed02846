//! A round with an honest aggregator, over the network, with crashes of every party and corrupt
//! clients.

use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::{Aggregate, PhaseName};
use undertone_protocol::threshold::Shape;

use crate::client::Client;
use crate::dice::Dice;
use crate::mischief::{Mischief, Tamper};
use crate::network::{Event, Network, RETRY, Reply, Verdict, Weather};
use crate::service::Service;
use crate::setup::{Setup, draw_rule};
use crate::trace::Trace;

/// One party: the client, and the process around it.
pub(crate) struct Process {
    pub(crate) client: Client,
    up: bool,
    outbox: Option<(PhaseName, Vec<u8>)>,
    /// What a corrupt client is up to.
    pub(crate) mischief: Option<Mischief>,
    /// Messages of and to it that went wrong, by the phase that was open.
    pub(crate) losses: [u64; 5],
    vanishes: Option<PhaseName>,
    /// It crashed, or is corrupt: nobody counts on it.
    pub(crate) excused: bool,
}

/// A round under way.
pub(crate) struct Round {
    pub(crate) setup: Setup,
    pub(crate) processes: Vec<Process>,
    pub(crate) service: Service,
    pub(crate) weather: Weather,
    pub(crate) crashes: Vec<&'static str>,
    network: Network,
    dice: Dice,
    trace: Trace,
    /// For how long the aggregator was down, by phase.
    pub(crate) down: [u64; 5],
}

impl Round {
    /// Draws everything from the seed.
    pub(crate) fn draw(seed: u64, trace: Trace) -> Self {
        let mut dice = Dice::new(seed, 10);
        let shape = if dice.percent(5) {
            Shape::Ring
        } else {
            Shape::Complete
        };
        let rule = draw_rule(&mut dice, shape);
        let members = rule.max_clients + dice.pick(&[0, 0, 0, 0, 0, 0, 0, 1]);
        let all: Vec<u32> = (0..members).collect();
        let corrupt = dice.some(&all, rule.corrupt as usize);
        let setup = Setup::new(seed, members, rule, corrupt.into_iter().collect());
        trace.note(0, || {
            format!("honest aggregator, {members} members, {rule:?}")
        });
        let weather = dice.pick(&[
            Weather::Calm,
            Weather::Calm,
            Weather::Lossy,
            Weather::Slow,
            Weather::Storm,
        ]);
        let mut round = Self::new(setup, weather, dice, trace);
        round.draw_faults();
        round
    }

    /// A round without faults, as yet.
    pub(crate) fn new(setup: Setup, weather: Weather, mut dice: Dice, trace: Trace) -> Self {
        trace.note(0, || format!("{weather:?}, corrupt: {:?}", setup.corrupt));
        let mut network = Network::new(weather, Dice::new(setup.seed, 11));
        let processes = (0..setup.members())
            .map(|index| {
                let corrupt = setup.corrupt.contains(&index);
                let mischief = corrupt.then(|| dice.pick(&Mischief::ALL));
                if let Some(mischief) = mischief {
                    trace.note(0, || format!("client {index} is corrupt: {mischief:?}"));
                }
                network.at(dice.between(0, 30), Event::Wake(index));
                Process {
                    client: Client::new(&setup, index),
                    up: true,
                    outbox: None,
                    mischief,
                    losses: [0; 5],
                    vanishes: None,
                    excused: corrupt,
                }
            })
            .collect();
        network.at(0, Event::Tick);
        Self {
            service: Service::new(&setup),
            setup,
            processes,
            weather,
            crashes: Vec::new(),
            network,
            dice,
            trace,
            down: [0; 5],
        }
    }

    /// Draws crashes, clients that are cut off and clients that come late.
    fn draw_faults(&mut self) {
        let open = u64::from(self.setup.params.deadlines.unmask);
        for client in 0..self.setup.members() {
            if self.dice.percent(7) {
                self.crash(client, open);
            }
            if self.dice.percent(4) {
                let from = self.dice.between(0, 3 * open);
                let to = from + self.dice.between(open / 2, 2 * open);
                self.network.cut.insert(client, (from, to));
                self.trace.note(0, || {
                    format!("client {client} is cut off from {from} to {to}")
                });
            }
        }
        if self.dice.percent(8) {
            // Whoever is left after a massacre: it makes rounds fail in every phase.
            let at = self.dice.between(0, 3 * open / 2);
            for client in 0..self.setup.members() {
                if self.dice.percent(40) {
                    self.network
                        .at(at + self.dice.between(0, 60), Event::Crash(client));
                    self.processes[client as usize].excused = true;
                    self.crashes.push("client");
                }
            }
        }
        if self.dice.percent(12) {
            let at = self.dice.between(0, 400);
            let back = at + self.dice.between(1, 2 * open);
            self.network.at(at, Event::AggregatorCrash);
            self.network.at(back, Event::AggregatorRestart);
            self.crashes.push("aggregator");
        }
    }

    fn crash(&mut self, client: u32, open: u64) {
        let at = self.dice.between(0, open);
        self.network.at(at, Event::Crash(client));
        self.processes[client as usize].excused = true;
        self.crashes.push("client");
        if self.dice.percent(60) {
            self.network
                .at(at + self.dice.between(1, open), Event::Restart(client));
            self.crashes.push("client restart");
        }
    }

    /// The client stops before it sends its message of a phase.
    pub(crate) fn vanish(&mut self, client: u32, before: PhaseName) {
        let process = &mut self.processes[client as usize];
        (process.vanishes, process.excused) = (Some(before), true);
    }

    /// Runs to the end of the round.
    pub(crate) fn run(&mut self) -> Result<Aggregate, RoundFailure> {
        let latest = 20 * u64::from(self.setup.params.deadlines.unmask);
        loop {
            if let Some(result) = self.service.result() {
                return result.clone();
            }
            let event = self.network.next().unwrap();
            assert!(self.network.now < latest, "the round does not end");
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.network.now;
        match event {
            Event::Wake(client) => self.wake(client),
            Event::Put(client, phase, bytes) => {
                if !self.service.up {
                    return self.lost(client);
                }
                let verdict = self.service.put(client, phase, &bytes);
                self.note(client, || format!("{phase} at the aggregator: {verdict:?}"));
                // The acknowledgement of a service that dies now is not sent, but the message is stored.
                if self.dice.percent(99) || self.weather == Weather::Calm {
                    self.send(client, &Event::Receipt(client, phase, verdict));
                } else {
                    self.lost(client);
                }
                self.tick();
            }
            Event::Get(client, phase) => {
                if !self.service.up {
                    return self.lost(client);
                }
                let reply = self.service.get(client, phase);
                self.send(client, &Event::Answer(client, phase, reply));
            }
            Event::Receipt(client, phase, verdict) => self.receipt(client, phase, verdict),
            Event::Answer(client, phase, reply) => self.answer(client, phase, &reply),
            Event::Tick => {
                self.network.at(now + 5, Event::Tick);
                if self.service.up {
                    self.tick();
                } else {
                    self.down[self.phase()] += 5;
                }
            }
            Event::Crash(client) => {
                self.note(client, || "crashes".to_owned());
                let process = &mut self.processes[client as usize];
                (process.up, process.outbox) = (false, None);
                process.client.leave();
            }
            Event::Restart(client) => {
                let process = &mut self.processes[client as usize];
                process.up = true;
                process.client.restart(&self.setup);
                let phase = process.client.phase();
                self.note(client, || format!("is back, waiting for {phase:?}"));
                self.network.at(now + 1, Event::Wake(client));
            }
            Event::AggregatorCrash => {
                self.trace.note(now, || "the aggregator crashes".to_owned());
                self.service.up = false;
            }
            Event::AggregatorRestart => {
                self.service.restart(&self.setup);
                self.trace.note(now, || "the aggregator is back".to_owned());
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        let before = self.service.phase();
        if self.service.advance(self.network.now) {
            let after = self.service.phase();
            let now = self.network.now;
            self.trace
                .note(now, || format!("{before:?} closes, then {after:?}"));
        }
    }

    fn phase(&self) -> usize {
        self.service.phase().map_or(4, |phase| phase as usize)
    }

    fn lost(&mut self, client: u32) {
        let phase = self.phase();
        self.processes[client as usize].losses[phase] += 1;
    }

    fn send(&mut self, client: u32, event: &Event) {
        if self.network.send(client, event) {
            self.lost(client);
        }
    }

    fn note(&self, client: u32, what: impl FnOnce() -> String) {
        let now = self.network.now;
        self.trace
            .note(now, || format!("client {client} {}", what()));
    }

    /// A client does what is next: sends what is not acknowledged, or asks for what it waits for.
    fn wake(&mut self, client: u32) {
        let process = &mut self.processes[client as usize];
        if !process.up {
            return;
        }
        let event = match (&process.outbox, process.client.phase()) {
            (Some((phase, bytes)), _) => Event::Put(client, *phase, bytes.clone()),
            (None, Some(PhaseName::AdvertiseKeys)) => {
                self.step(client, &[]);
                self.network.at(self.network.now, Event::Wake(client));
                return;
            }
            (None, Some(phase)) => Event::Get(client, phase),
            (None, None) => return,
        };
        self.send(client, &event);
        self.network
            .at(self.network.now + RETRY, Event::Wake(client));
    }

    fn step(&mut self, client: u32, answer: &[u8]) {
        let seen = self.processes.iter().find(|p| p.mischief.is_none());
        let seen = seen.and_then(|p| p.client.said.advertised.as_ref());
        let seen = seen.map(|entry| (entry.message.sender.0, entry.message.mask_key));
        let process = &mut self.processes[client as usize];
        let Some(phase) = process.client.phase() else {
            return;
        };
        if process.vanishes == Some(phase) {
            return process.client.leave();
        }
        let mut message = process.client.step(&self.setup, answer);
        if let Some(bytes) = message.clone().filter(|_| process.mischief.is_some()) {
            let mischief = process.mischief.unwrap();
            let mut tamper = Tamper {
                setup: &self.setup,
                client,
                phase,
                dice: &mut self.dice,
                seen: seen.map(|(_, key)| key),
                extra: None,
            };
            message = mischief.tamper(&mut tamper, bytes);
            if let Some(extra) = tamper.extra {
                let at = self.network.now + 1;
                self.network.at(at, Event::Put(client, phase, extra));
            }
            if let (Mischief::CopiedKey, Some((victim, _))) = (mischief, seen) {
                self.processes[victim as usize].excused = true;
            }
            if (mischief, phase) == (Mischief::LateInput, PhaseName::MaskedInput) {
                let late = self.network.now + u64::from(self.setup.params.deadlines.unmask);
                let bytes = message.take().unwrap_or_default();
                self.network.at(late, Event::Put(client, phase, bytes));
            }
        }
        let process = &mut self.processes[client as usize];
        if let Some((_, error)) = &process.client.said.refused {
            self.trace.note(self.network.now, || {
                format!("client {client} refuses: {error}")
            });
        }
        process.outbox = message.map(|bytes| (phase, bytes));
    }

    fn receipt(&mut self, client: u32, phase: PhaseName, verdict: Verdict) {
        let process = &mut self.processes[client as usize];
        if !process.up || process.outbox.as_ref().is_none_or(|(of, _)| *of != phase) {
            return;
        }
        process.outbox = None;
        if verdict != Verdict::Stored {
            assert!(
                process.mischief.is_some() || verdict == Verdict::Closed,
                "an honest message is refused: client {client}, {phase}"
            );
            process.client.leave();
        }
    }

    fn answer(&mut self, client: u32, phase: PhaseName, reply: &Reply) {
        let process = &mut self.processes[client as usize];
        let waiting = process.outbox.is_none() && process.client.phase() == Some(phase);
        if !process.up || !waiting {
            return;
        }
        match reply {
            Reply::Early => {}
            Reply::Gone => process.client.leave(),
            Reply::Body(body) => {
                self.step(client, body);
                if let Some((phase, bytes)) = self.processes[client as usize].outbox.clone() {
                    self.send(client, &Event::Put(client, phase, bytes));
                }
            }
        }
    }
}

//! A network under a virtual clock: delay, loss, duplication, reordering, and clients that are cut
//! off for a while.

use std::collections::BTreeMap;

use undertone_protocol::aggregator::PhaseName;

use crate::dice::Dice;

/// The longest that a message usually takes, in milliseconds.
pub(crate) const DELAY: u64 = 20;

/// A client asks or sends again after so many milliseconds.
pub(crate) const RETRY: u64 = 40;

/// What became of a message that was sent to the aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is stored; also if the same bytes came again.
    Stored,
    Refused,
    /// Its phase is over.
    Closed,
}

/// The answer to a client that asks for what a phase hands out.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Early,
    Gone,
    Body(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Wake(u32),
    Put(u32, PhaseName, Vec<u8>),
    Get(u32, PhaseName),
    Receipt(u32, PhaseName, Verdict),
    Answer(u32, PhaseName, Reply),
    Tick,
    Crash(u32),
    Restart(u32),
    AggregatorCrash,
    AggregatorRestart,
}

/// How bad the network is in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Messages are delayed a little, so they may overtake each other.
    Calm,
    /// Some are lost, some come twice.
    Lossy,
    /// Most are lost.
    Storm,
    /// Some take much longer, up to the length of a phase and more.
    Slow,
}

impl Weather {
    pub(crate) const ALL: [Self; 4] = [Self::Calm, Self::Lossy, Self::Storm, Self::Slow];
}

/// What becomes of one message.
pub(crate) struct Fate {
    /// When it arrives, and when once more.
    pub(crate) at: Vec<u64>,
    /// It is lost, or so late that the sender has tried again long since.
    pub(crate) fault: bool,
}

pub(crate) struct Network {
    pub(crate) now: u64,
    weather: Weather,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
    dice: Dice,
    /// From when to when a client is cut off.
    pub(crate) cut: BTreeMap<u32, (u64, u64)>,
}

impl Network {
    pub(crate) fn new(weather: Weather, dice: Dice) -> Self {
        Self {
            now: 0,
            weather,
            queue: BTreeMap::new(),
            count: 0,
            dice,
            cut: BTreeMap::new(),
        }
    }

    /// Something that happens at a time.
    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.queue.insert((time, self.count), event);
    }

    /// Sends a message of or to a client. Returns whether anything went wrong with it.
    pub(crate) fn send(&mut self, client: u32, event: &Event) -> bool {
        let fate = self.fate(client);
        for time in fate.at {
            self.at(time, event.clone());
        }
        fate.fault
    }

    fn fate(&mut self, client: u32) -> Fate {
        let cut = self.cut.get(&client);
        let (lost, twice, slow) = match self.weather {
            Weather::Calm => (0, 0, 0),
            Weather::Lossy => (10, 15, 0),
            Weather::Storm => (55, 5, 5),
            Weather::Slow => (2, 5, 25),
        };
        if cut.is_some_and(|(from, to)| (*from..*to).contains(&self.now)) || self.dice.percent(lost)
        {
            return Fate {
                at: Vec::new(),
                fault: true,
            };
        }
        let fault = self.dice.percent(slow);
        let longest = if fault { 60 * DELAY } else { DELAY };
        let copies = 1 + usize::from(self.dice.percent(twice));
        let mut time = || self.now + self.dice.between(1, longest);
        Fate {
            at: (0..copies).map(|_| time()).collect(),
            fault,
        }
    }

    /// The next event; the clock moves to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((time, _), event) = self.queue.pop_first()?;
        self.now = time;
        Some(event)
    }
}

//! What the embedding application may watch.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, RoundNumber};
use undertone_protocol::vector::RingVector;

use crate::api::RoundResult;
use crate::error::{LostReason, RequestError};
use crate::policy::DeclineReason;

/// Something that a client is about to do or has done.
///
/// [`Event::InputEncoded`] holds this client's secret input: it is for local eyes only, to be shown
/// or compared on this machine and never to be sent or logged. `Debug` prints names, not contents.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The server opened a round.
    RoundOpened {
        /// The round.
        round: RoundId,
        /// Its number.
        number: RoundNumber,
    },
    /// This client does not take part in it.
    Declined {
        /// The round's number.
        number: RoundNumber,
        /// Why.
        reason: &'a DeclineReason,
    },
    /// Training begins.
    Training {
        /// The round's number.
        number: RoundNumber,
    },
    /// Training is over.
    Trained {
        /// The round's number.
        number: RoundNumber,
        /// How long it took.
        seconds: f64,
    },
    /// The update is on the ring, not yet masked. Secret: for local eyes only.
    InputEncoded {
        /// The round's number.
        number: RoundNumber,
        /// The round.
        round: RoundId,
        /// The trainer's update, `[d]`; empty where gradients of single examples are summed.
        update: &'a [f32],
        /// Its encoding with its noise, as many elements of `Z_2^b` as the round's vectors have: this
        /// client's term of the round's sum.
        vector: &'a RingVector,
    },
    /// A message is about to be sent; the journal has recorded it. The client waits for the
    /// observer before it sends.
    Sending {
        /// The round's number.
        number: RoundNumber,
        /// The message's phase.
        phase: PhaseName,
        /// The message, as it goes over the wire.
        bytes: &'a [u8],
    },
    /// The server has accepted the message.
    Sent {
        /// The round's number.
        number: RoundNumber,
        /// The message's phase.
        phase: PhaseName,
    },
    /// The client waits for a phase to open.
    Waiting {
        /// The round's number.
        number: RoundNumber,
        /// The phase that it waits for; `None` once it has unmasked and waits for the result.
        phase: Option<PhaseName>,
    },
    /// A request failed and will be made again.
    Retrying {
        /// How often it has failed, from 1.
        attempt: u32,
        /// How long the client waits first.
        delay: Duration,
        /// What went wrong.
        error: &'a RequestError,
    },
    /// The round ended with a sum that this client's input is part of.
    RoundFinished {
        /// The round's number.
        number: RoundNumber,
        /// What the server published.
        result: &'a RoundResult,
    },
    /// The round ended without one, or without this client. Its secrets are dropped.
    RoundLost {
        /// The round's number.
        number: RoundNumber,
        /// Why.
        reason: &'a LostReason,
    },
    /// The task has ended.
    TaskFinished,
}

impl Event<'_> {
    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RoundOpened { .. } => "RoundOpened",
            Self::Declined { .. } => "Declined",
            Self::Training { .. } => "Training",
            Self::Trained { .. } => "Trained",
            Self::InputEncoded { .. } => "InputEncoded",
            Self::Sending { .. } => "Sending",
            Self::Sent { .. } => "Sent",
            Self::Waiting { .. } => "Waiting",
            Self::Retrying { .. } => "Retrying",
            Self::RoundFinished { .. } => "RoundFinished",
            Self::RoundLost { .. } => "RoundLost",
            Self::TaskFinished => "TaskFinished",
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Watches a client. Each call is awaited in line: the client goes on when it returns.
///
/// `()` is the observer that watches nothing.
pub trait Observer: Send {
    /// Is told of one event.
    fn event(&mut self, event: Event<'_>) -> impl Future<Output = ()> + Send;
}

impl Observer for () {
    async fn event(&mut self, _event: Event<'_>) {}
}

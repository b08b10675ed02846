//! What can go wrong: an error about one message, and the end of a whole round.

use crate::id::RosterIndex;

/// Why a message, a set of parameters or an answer of the aggregator is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Bytes that are not the one canonical encoding of what they should be.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A round or a message of a version or suite that this build does not speak.
    #[error(
        "protocol version {version} with suite {suite} is not supported; this build speaks version {} with suite {}",
        crate::params::VERSION,
        crate::params::SUITE
    )]
    Unsupported {
        /// The version that was asked for.
        version: u16,
        /// The suite that was asked for.
        suite: u16,
    },
    /// Round parameters that break a rule.
    #[error("the round parameters are refused: {0}")]
    Params(String),
    /// The sender's index is not in the roster.
    #[error("client {0} is not on the roster of this task")]
    NotOnRoster(RosterIndex),
    /// The sender is on the roster but not in this round's directory or set.
    #[error("client {client} is not in {set} of this round")]
    NotInSet {
        /// Who sent the message.
        client: RosterIndex,
        /// The set that it is missing from.
        set: &'static str,
    },
    /// A signature that does not verify under the identity key of the roster.
    #[error("the signature of {signer} on {what} does not verify")]
    BadSignature {
        /// Who is said to have signed: a client, or the task authority.
        signer: String,
        /// What was signed.
        what: &'static str,
    },
    /// A key that must not be used: of low order, or one that stands twice.
    #[error("the key of client {client} is refused: {detail}")]
    BadKey {
        /// Whose key it is.
        client: RosterIndex,
        /// Why it is refused.
        detail: &'static str,
    },
    /// A digest that should bind this message to the round does not.
    #[error("{what} does not match what this party computed: the views conflict")]
    ViewMismatch {
        /// Which part of the view disagrees.
        what: &'static str,
    },
    /// A vector or list has the wrong number of elements.
    #[error("{what}: expected {expected}, got {found}")]
    WrongLength {
        /// What was counted.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Fewer parties than the parameters demand.
    #[error("{what}: {found} are there, {needed} are needed")]
    TooFew {
        /// What was counted.
        what: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many are there.
        found: usize,
    },
    /// A share does not open, or a combination of shares is not the secret that was committed to.
    #[error("secret sharing failed: {0}")]
    Sharing(&'static str),
}

/// Why a round ended without a sum. The task goes on with its next round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoundFailure {
    /// Fewer clients than `min_survivors` reached the end of a phase.
    #[error("too few clients at the end of {phase}: {found} of at least {needed}")]
    TooFewClients {
        /// The phase that closed.
        phase: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Fewer than the threshold of good shares of a secret came back.
    #[error(
        "the secret of client {client} cannot be recovered: {found} good shares of {needed} needed"
    )]
    BelowThreshold {
        /// Whose secret is lost.
        client: RosterIndex,
        /// The Shamir threshold t.
        needed: usize,
        /// How many good shares there are.
        found: usize,
        /// More holders answered without a share of this dealer than can be corrupt: then the
        /// dealer is at fault, and not its holders.
        dealt_badly: bool,
    },
    /// Enough shares came back, each as its dealer committed to it, but they combine to another
    /// secret than the dealer committed to: the dealer dealt badly.
    #[error("the shares that client {client} dealt do not recombine to its secret")]
    BadDealer {
        /// The dealer.
        client: RosterIndex,
    },
    /// A stored message no longer passes the check that it passed when it came.
    #[error("the stored state of the round is inconsistent: {0}")]
    Inconsistent(String),
}

impl RoundFailure {
    /// The client that made the round fail, if it is beyond doubt. What then happens to it is
    /// decided in the protocol specification, "Bad dealers": it has no part in later rounds.
    pub fn culprit(&self) -> Option<RosterIndex> {
        match self {
            Self::BadDealer { client }
            | Self::BelowThreshold {
                client,
                dealt_badly: true,
                ..
            } => Some(*client),
            _ => None,
        }
    }
}

//! What a client did, once it is done.

use std::fmt;

use serde::{Serialize, Serializer};
use undertone_privacy::accountant::rdp;
use undertone_privacy::{Adjacency, PrivacyStatement, PrivacyUnit, View};

use crate::costs::Account;
use crate::policy::DeclineReason;

/// What [`Client::run`](crate::Client::run) did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Why it ended.
    pub end: End,
    /// Rounds in which this client took part and that ended with a sum.
    pub rounds_finished: u32,
    /// Rounds in which this client took part and that failed, for all or for it alone.
    pub rounds_lost: u32,
    /// Rounds that this client declined.
    pub rounds_declined: u32,
    /// What was released from the data set so far, for each example, earlier runs and other tasks
    /// of the same state directory included.
    pub privacy: Privacy,
    /// The same for this client as a whole, where its policy has a budget for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_privacy: Option<Privacy>,
}

/// Why a client stopped taking part.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The task has ended.
    TaskFinished,
    /// The policy allows no further round, whatever its parameters: the privacy budget or the
    /// number of rounds is used up.
    PolicyExhausted(#[serde(serialize_with = "as_text")] DeclineReason),
}

fn as_text<S: Serializer>(reason: &DeclineReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskFinished => f.write_str("the task has ended"),
            Self::PolicyExhausted(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            end,
            rounds_finished,
            rounds_lost,
            rounds_declined,
            privacy,
            client_privacy,
        } = self;
        write!(
            f,
            "{rounds_finished} rounds finished, {rounds_lost} lost, {rounds_declined} declined; \
             {end}\n{privacy}"
        )?;
        match client_privacy {
            Some(privacy) => write!(f, "\n{privacy}"),
            None => Ok(()),
        }
    }
}

/// What has been released from one data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Nothing.
    NothingReleased,
    /// Only what this guarantee covers.
    Guaranteed(PrivacyStatement),
    /// Updates without noise were released, or with too little for any finite ε: no differential
    /// privacy guarantee can be stated. The masks still hid each of them within its sum.
    NoGuarantee {
        /// How many updates were released without noise that bounds anything at this unit.
        without_noise: u32,
    },
}

impl Privacy {
    /// Sums up a ledger and the updates that were released outside it.
    pub(crate) fn of(unit: PrivacyUnit, account: &Account) -> Self {
        let Account { ledger, unbounded } = account;
        match ledger.spent() {
            Ok(_) if *unbounded == 0 && ledger.entries().is_empty() => Self::NothingReleased,
            Ok(epsilon) if *unbounded == 0 => {
                let entries: Vec<String> =
                    ledger.entries().iter().map(ToString::to_string).collect();
                Self::Guaranteed(PrivacyStatement {
                    epsilon,
                    delta: ledger.budget().delta,
                    adjacency: Adjacency::AddOrRemoveOne,
                    unit,
                    // Charged when the input is sent, whatever becomes of the round.
                    view: Some(View::Aggregator),
                    accountant: rdp::NAME.to_owned(),
                    mechanism: entries.join(", and "),
                })
            }
            _ => Self::NoGuarantee {
                without_noise: *unbounded,
            },
        }
    }

    /// The guarantee, where there is one.
    pub fn statement(&self) -> Option<&PrivacyStatement> {
        match self {
            Self::Guaranteed(statement) => Some(statement),
            Self::NothingReleased | Self::NoGuarantee { .. } => None,
        }
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingReleased => f.write_str("nothing was released from this data set"),
            Self::Guaranteed(statement) => statement.fmt(f),
            Self::NoGuarantee { without_noise } => write!(
                f,
                "no differential privacy: {without_noise} updates were released without noise, \
                 or with too little for any finite epsilon"
            ),
        }
    }
}

//! Phase 4, ConsistencyCheck: one signed statement of what this client saw.

use std::collections::BTreeMap;

use super::masked_input::check_set;
use super::{Participant, SentInput};
use crate::bitmap::Bitmap;
use crate::directory::Directory;
use crate::error::ProtocolError;
use crate::id::Position;
use crate::message::ConsistencyCheck;
use crate::seal::SharePair;
use crate::transcript::View;

/// A client that signed its statement and waits for those of the witnesses.
#[derive(Debug)]
pub struct SignedStatement {
    pub(super) participant: Participant,
    pub(super) directory: Directory,
    pub(super) sharers: Bitmap,
    pub(super) survivors: Bitmap,
    pub(super) held: BTreeMap<Position, SharePair>,
    pub(super) statement: ConsistencyCheck,
}

impl SentInput {
    /// Checks U3 and signs (round, directory, U2, U3). Returns the message to send. The state is
    /// consumed: a client signs one such statement a round, ever.
    ///
    /// # Errors
    /// [`ProtocolError`] if U3 is too small, is no subset of U2 or lacks this client.
    pub fn consistency_check(
        self,
        survivors: &[u8],
    ) -> Result<(SignedStatement, Vec<u8>), ProtocolError> {
        let Self {
            participant,
            directory,
            position,
            sharers,
            held,
        } = self;
        let survivors = Bitmap::decode("the set U3", survivors, directory.len())?;
        check_set(&participant, &directory, position, &survivors, "U3")?;
        if !survivors.is_subset(&sharers) {
            return Err(ProtocolError::ViewMismatch {
                what: "U3, which must lie within U2,",
            });
        }
        let round = participant.round();
        let view = View {
            directory: directory.digest(),
            sharers: sharers.digest(round, directory.digest()),
            survivors: survivors.digest(round, directory.digest()),
        };
        let statement = view.statement(participant.index);
        let bytes = participant.sign(statement.clone())?;
        let next = SignedStatement {
            participant,
            directory,
            sharers,
            survivors,
            held,
            statement,
        };
        Ok((next, bytes))
    }
}

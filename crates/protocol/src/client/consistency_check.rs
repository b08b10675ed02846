//! Phase 4, ConsistencyCheck: one signed statement of what this client saw.
//!
//! Specification: chapter 9, "Phase 4: ConsistencyCheck".

use std::collections::BTreeMap;

use super::masked_input::check_set;
use super::{Participant, SentInput};
use crate::bitmap::Bitmap;
use crate::codec;
use crate::directory::LocalDirectory;
use crate::error::ProtocolError;
use crate::id::Position;
use crate::message::ConsistencyCheck;
use crate::seal::SharePair;
use crate::transcript::View;

/// A client that has made up its mind about what it saw, and waits for the witnesses' statements.
#[derive(Debug)]
pub struct SignedStatement {
    pub(super) participant: Participant,
    pub(super) directory: LocalDirectory,
    pub(super) sharers: Bitmap,
    pub(super) survivors: Bitmap,
    pub(super) held: BTreeMap<Position, SharePair>,
    pub(super) statement: ConsistencyCheck,
}

impl SentInput {
    /// Checks U3. A witness signs (round, directory, U2, U3): returns the message to send; others
    /// have nothing to send. The state is consumed: a client signs one such statement a round, ever.
    ///
    /// # Errors
    /// [`ProtocolError`] if U3 is too small, is no subset of U2 or lacks this client.
    pub fn consistency_check(
        self,
        survivors: &[u8],
    ) -> Result<(SignedStatement, Option<Vec<u8>>), ProtocolError> {
        let Self {
            participant,
            directory,
            sharers,
            held,
        } = self;
        let survivors: Bitmap = codec::decode("the set U3", survivors)?;
        check_set(&participant, &directory, &survivors, "U3")?;
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
        let message = if directory.witnesses().contains(&participant.index) {
            Some(participant.sign(statement.clone())?)
        } else {
            None
        };
        let next = SignedStatement {
            participant,
            directory,
            sharers,
            survivors,
            held,
            statement,
        };
        Ok((next, message))
    }
}

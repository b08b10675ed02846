//! The way of a masked input from the first bytes of its request to the running sum.
//!
//! ```text
//! header (132 bytes), verified -> room in memory -> vector, hashed as it comes -> queue of the round
//!     -> one transaction a batch: headers, sum of the batch added to one shard -> answer
//! ```
//!
//! In memory are the vectors that there is room for ([`UploadSettings::memory_bytes`]), however
//! many clients send. Where there is no room soon the answer is `overloaded`: clients come again.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput", section 8.5.

mod batch;
pub mod fault;
mod memory;
mod settings;
mod turns;

use std::sync::Arc;

use axum::body::Bytes;
pub use settings::UploadSettings;
use undertone_protocol::aggregator::{CheckedHeader, MaskedInputPhase, PayloadCheck};
use undertone_protocol::params::RoundParams;

use self::batch::{Queues, Shape};
use self::fault::Point;
use self::memory::{Memory, overloaded};
use self::turns::Turns;
use crate::api::body::Reader;
use crate::app::App;
use crate::problem::Problem;
use crate::store::{PackedInput, PutOutcome, Store, StoredMessage};

/// The masked inputs that this process is taking in.
#[derive(Debug)]
pub(crate) struct Uploads {
    settings: UploadSettings,
    memory: Memory,
    queues: Queues,
    turns: Turns,
}

impl Uploads {
    pub(crate) fn new(settings: &UploadSettings) -> Self {
        Self {
            settings: settings.clone(),
            memory: Memory::new(settings),
            queues: Queues::default(),
            turns: Turns::default(),
        }
    }

    /// What is set.
    pub(crate) fn settings(&self) -> &UploadSettings {
        &self.settings
    }

    /// Says so in the log if the vectors of a round are longer than the memory for them.
    pub(crate) fn check(&self, params: &RoundParams) {
        let vector = params.ring().packed_length(params.vector_length());
        if self.memory.exceeded_by(vector) {
            tracing::warn!(
                round = %params.id(),
                vector_bytes = vector,
                memory_bytes = self.settings.memory_bytes,
                "a masked vector is longer than upload.memory_bytes: they go in one by one; set it \
                 to several times the vector's length",
            );
        }
    }
}

/// Reads the header of a masked input and verifies it.
pub(crate) async fn header(
    reader: &mut Reader,
    phase: &MaskedInputPhase,
) -> Result<CheckedHeader, Problem> {
    let header = reader.prefix(MaskedInputPhase::HEADER_LENGTH).await?;
    Ok(phase.check_header(&header)?)
}

/// Takes the vector in that follows a header, and stores both. Once this returns an outcome, it is
/// durable.
pub(crate) async fn input<S: Store>(
    app: &Arc<App<S>>,
    reader: &mut Reader,
    phase: &MaskedInputPhase,
    header: CheckedHeader,
) -> Result<PutOutcome, Problem> {
    fault::at(Point::AfterHeader);
    let params = phase.context().params();
    let shape = Shape {
        round: params.id(),
        ring: params.ring(),
        length: params.vector_length(),
    };
    let bytes = shape.ring.packed_length(shape.length);
    let turn = app.uploads().turns.begin(shape.round, header.sender);
    let taken = async {
        let room = app.uploads().memory.room(bytes).await?;
        fault::at(Point::AfterRoom);
        reader.resume();
        let packed = receive(reader, phase.payload_check(&header), bytes).await?;
        fault::at(Point::AfterBody);
        Ok::<_, Problem>((room, packed))
    };
    let (room, packed) = tokio::select! {
        biased;
        () = turn.displaced() => {
            return Err(overloaded("displaced", "this client began another upload"));
        }
        taken = taken => taken?,
    };
    drop(turn);
    let header = StoredMessage {
        sender: header.sender,
        bytes: header.bytes,
    };
    let outcome = batch::store(app, shape, PackedInput { header, packed }, room).await?;
    fault::at(Point::BeforeAnswer);
    Ok(outcome)
}

/// Reads and checks a packed vector of `length` bytes.
async fn receive(
    reader: &mut Reader,
    mut check: PayloadCheck,
    length: usize,
) -> Result<Bytes, Problem> {
    let mut packed = Vec::with_capacity(length);
    while let Some(bytes) = reader.next().await? {
        check.update(&bytes)?;
        packed.extend_from_slice(&bytes);
        if check.missing() > 0 {
            fault::at(Point::MidBody);
        }
    }
    check.finish()?;
    Ok(packed.into())
}

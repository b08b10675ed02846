//! Named places on the way of a masked input, and of the sum, for tests that kill the process there.
//!
//! A test program installs a hook before it starts the service; nothing that an operator sets can.
//! Without one, a place costs one load from memory. There is a name for every place where the way
//! can be left: before and after each await, since a process that dies between two awaits has done
//! what it had done at the first.

use std::sync::OnceLock;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A place on the way of a masked input or of the sum, in order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[$doc])* $name,)*
        }

        impl Point {
            /// Every place.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Those on the way of a masked input; the rest are on the way of the sum.
            pub fn uploads() -> impl Iterator<Item = Self> {
                let upload = |point: &Self| *point <= Self::BeforeAnswer;
                Self::ALL.iter().copied().filter(upload)
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

points! {
    /// The header has been verified; nothing of the vector has been asked for.
    AfterHeader = "after-header";
    /// There is room for the vector.
    AfterRoom = "after-room";
    /// Part of the vector has come in.
    MidBody = "mid-body";
    /// The whole vector has come in and been verified.
    AfterBody = "after-body";
    /// A batch has been taken from the queue.
    BeforeBegin = "before-begin";
    /// The transaction has begun.
    AfterBegin = "after-begin";
    /// The round's row is locked.
    AfterRoundLocked = "after-round-locked";
    /// The headers are inserted.
    AfterHeaders = "after-headers";
    /// A chunk of the sum is next.
    BeforeChunk = "before-chunk";
    /// A stored chunk has been read and added to; it has not been written.
    ChunkAdded = "chunk-added";
    /// A chunk of the sum has been written.
    AfterChunk = "after-chunk";
    /// Everything is written.
    BeforeCommit = "before-commit";
    /// The transaction is durable.
    AfterCommit = "after-commit";
    /// The batch's outcome is about to be told to those who wait for it.
    BeforeWake = "before-wake";
    /// The answer is about to be given.
    BeforeAnswer = "before-answer";
    /// The masks are off a chunk of the sum; nothing of that is stored.
    ChunkUnmasked = "chunk-unmasked";
    /// A chunk of the sum is stored without masks.
    AfterUnmasked = "after-unmasked";
}

static HOOK: OnceLock<fn(Point)> = OnceLock::new();

/// Has `hook` called at every place from now on. The first one stays.
pub fn install(hook: fn(Point)) {
    let _ = HOOK.set(hook);
}

/// Marks a place.
#[inline]
pub(crate) fn at(point: Point) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}

//! The masking graph: who masks with whom, and who holds whose shares.
//!
//! A public function of the directory and nothing else, so no one chooses neighbours. Here the
//! graph is complete; the k-regular graph of `SecAgg+` (Bell et al., CCS 2020) takes its place
//! behind the same two functions.

use crate::directory::Directory;
use crate::id::Position;

/// The neighbours A(u) of a position, ascending. Symmetric: v is in A(u) if u is in A(v).
pub fn neighbours(directory: &Directory, of: Position) -> Vec<Position> {
    directory
        .positions()
        .filter(|position| *position != of)
        .collect()
}

/// Who holds shares of a dealer's secrets: A(u) and u itself, ascending.
pub fn holders(directory: &Directory, dealer: Position) -> Vec<Position> {
    let mut holders = neighbours(directory, dealer);
    holders.push(dealer);
    holders.sort_unstable();
    holders
}

/// The slot of a holder among a dealer's holders: fixes the x of its shares.
pub fn slot(directory: &Directory, dealer: Position, holder: Position) -> Option<u8> {
    holders(directory, dealer)
        .binary_search(&holder)
        .ok()
        .and_then(|slot| u8::try_from(slot).ok())
}

//! How a hostile aggregator departs from the honest answers, and the list and set changes for it.

use arbitrary::{Arbitrary, Unstructured};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::id::{Position, RosterIndex};

use crate::edit::Edit;
use crate::hostile::Change;

/// What the aggregator makes of the directory.
#[derive(Debug, Arbitrary)]
pub(crate) enum ViewLie {
    Bytes(Vec<Edit>),
    Other(Vec<Change>),
    Both(Vec<Change>, Vec<Edit>),
    Member(u8),
    LoseEntry(u8),
    SwapEntries(u8, u8),
    AddNode([u8; 32]),
    LoseNode(u8),
    SwapNodes(u8, u8),
}

/// What it makes of a set: the places that are turned over, and damage.
#[derive(Debug, Default, Arbitrary)]
pub(crate) struct SetLie {
    pub(crate) toggled: Vec<u8>,
    pub(crate) edits: Vec<Edit>,
}

/// What it makes of the shares dealt to the client.
#[derive(Debug, Arbitrary)]
pub(crate) enum DealtLie {
    Bytes(Vec<Edit>),
    Lose(u8),
    Double(u8),
    Swap(u8, u8),
    /// The dealer signs another header.
    Resign(u8, Vec<Edit>),
    /// Another client signs the header.
    Forge(u8, u8),
    /// The sealed shares are damaged.
    Damage(u8, Vec<Edit>),
}

/// What it makes of the witnesses' statements.
#[derive(Debug, Arbitrary)]
pub(crate) enum StatementLie {
    Bytes(Vec<Edit>),
    Lose(u8),
    Double(u8),
    /// The witness signs something else.
    Resign(u8, Vec<Edit>),
    /// Another client signs.
    Forge(u8, u8),
    /// Someone else, perhaps no witness, signs the client's statement.
    Outsider(u8),
}

pub(crate) fn draw<T: for<'a> Arbitrary<'a>>(input: &mut Unstructured<'_>) -> Option<T> {
    let lies = input.arbitrary::<u8>().ok()? % 3 == 1;
    lies.then(|| input.arbitrary().ok()).flatten()
}

pub(crate) fn draw_all<T: for<'a> Arbitrary<'a>>(input: &mut Unstructured<'_>) -> Vec<T> {
    std::iter::from_fn(|| draw(input)).take(6).collect()
}

pub(crate) fn rank(members: &[RosterIndex], client: RosterIndex) -> Position {
    let at = members.iter().position(|member| *member == client);
    Position::from_index(at.expect("a member"))
}

pub(crate) fn toggle(set: &Bitmap, places: &[u8]) -> Bitmap {
    let flipped = |at: &Position| {
        let times = places
            .iter()
            .filter(|place| usize::from(**place) % set.size().max(1) == at.index());
        times.count() % 2 == 1
    };
    let all = (0..set.size()).map(Position::from_index);
    Bitmap::new(
        set.size(),
        all.filter(|at| set.contains(*at) != flipped(at)),
    )
}

pub(crate) fn lose<T>(list: &mut Vec<T>, which: u8) {
    if let Some(at) = usize::from(which).checked_rem(list.len()) {
        list.remove(at);
    }
}

pub(crate) fn swap<T>(list: &mut [T], a: u8, b: u8) {
    let at = |which: u8| usize::from(which).checked_rem(list.len());
    if let (Some(a), Some(b)) = (at(a), at(b)) {
        list.swap(a, b);
    }
}

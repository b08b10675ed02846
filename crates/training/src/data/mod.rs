//! Real mail: reading, near-duplicates, the held-out split and the clients' shares.

mod dedup;
mod mail;
mod share;

pub use dedup::without_near_duplicates;
pub use mail::{Mail, parse_mail, read_corpus};
pub use share::{ClientShare, HeldOut, Wanted, deal_out, hold_out, partition};

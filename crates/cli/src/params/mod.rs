//! `undertone params`: the numbers that make a round safe, for so many clients of whom so many are
//! corrupt and so many drop out; or why there are none, and what to change.

mod answer;
mod table;

use std::io::Write;

use clap::Args;
use undertone_protocol::threshold::{Aggregator, Request, Shape, choose};

use crate::error::CliError;
use answer::Answer;

const EXAMPLES: &str = "\
Examples:
  A thousand clients, one in twenty corrupt, one in ten dropping out:
    undertone params --clients 1000 --corrupt 0.05 --dropout 0.1

  The same drawn from a roster of 2000, so that up to 100 of the corrupt may be in a round:
    undertone params --clients 1000 --roster 2000 --corrupt 0.05 --dropout 0.1

  Fifty clients, for a script, with the traffic for 250000 numbers of 20 bits:
    undertone params --clients 50 --corrupt 0.3 --dropout 0.1 --length 250000 --bits 20 --json

Up to 100 clients everyone masks with everyone and nothing is left to chance; beyond, with some
neighbours on a ring. Exit status 2 if nothing fits: the line on standard error says which input to
change. Bytes are those of the messages of the five phases; what is fetched before a round (adapter,
roster, parameters) and the sum come on top.";

/// Choose neighbours, threshold and witnesses of a round, and say what they guarantee.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ParamsArgs {
    /// Clients in a round: the fewest that a round may start with
    #[arg(long, value_name = "N")]
    clients: u32,
    /// The most clients that a round may start with; as many as --clients if left out
    #[arg(long, value_name = "N")]
    max_clients: Option<u32>,
    /// Fraction of the roster that may be corrupt, from 0 to below 1
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    corrupt: f64,
    /// Fraction of a round's clients that may drop out, from 0 to below 1
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    dropout: f64,
    /// Members of the roster, from which the aggregator picks; the round's clients if left out
    #[arg(long, value_name = "N")]
    roster: Option<u32>,
    /// Assume an aggregator that follows the protocol: to compare only, clients refuse such rounds
    #[arg(long)]
    semi_honest: bool,
    #[command(flatten)]
    shape: ShapeArgs,
    /// A leak by chance has probability at most 2^-B; 80 on the ring, else 40
    #[arg(long, value_name = "B")]
    security_bits: Option<u32>,
    /// A failed round by chance has probability at most 2^-B
    #[arg(long, value_name = "B", default_value_t = 20)]
    correctness_bits: u32,
    /// Elements of a client's vector, for the traffic
    #[arg(long, value_name = "D", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    length: u32,
    /// Bits of an element, 8 to 64
    #[arg(long, value_name = "BITS", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u8).range(8..=64))]
    bits: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The shape of the graph; complete up to 100 clients if left out.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ShapeArgs {
    /// Everyone masks with everyone, up to 255 clients
    #[arg(long)]
    complete: bool,
    /// Everyone masks with neighbours on a ring
    #[arg(long)]
    ring: bool,
}

/// Chooses the numbers and prints them to `out`.
///
/// # Errors
/// Nothing fits, or `out` cannot be written.
pub(crate) fn run(args: &ParamsArgs, out: &mut impl Write) -> Result<(), CliError> {
    let choice = choose(&args.request())?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &Answer::new(&choice, args.length, args.bits))?;
        writeln!(out)?;
    } else {
        table::print(&choice, (args.length, args.bits), out)?;
    }
    Ok(())
}

impl ParamsArgs {
    fn request(&self) -> Request {
        let shape = match (self.shape.complete, self.shape.ring) {
            (true, _) => Some(Shape::Complete),
            (_, true) => Some(Shape::Ring),
            _ => None,
        };
        Request {
            max_clients: self.max_clients,
            roster: self.roster,
            aggregator: if self.semi_honest {
                Aggregator::SemiHonest
            } else {
                Aggregator::Lying
            },
            shape,
            security_bits: self.security_bits,
            correctness_bits: self.correctness_bits,
            ..Request::new(self.clients, self.corrupt, self.dropout)
        }
    }
}

#[cfg(test)]
mod tests;

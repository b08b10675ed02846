//! The form for people: each number, what it is, and what it protects against.

use std::fmt::Display;
use std::io::{self, Write};

use indicatif::HumanCount;
use undertone_protocol::threshold::{Aggregator, Choice, Load, Shape};

/// A number, its name, what it is, and what it protects against.
fn row(
    out: &mut impl Write,
    name: &str,
    value: impl Display,
    meaning: &str,
    protects: &str,
) -> io::Result<()> {
    writeln!(out, "  {name:<13} {value:>7}  {meaning}")?;
    writeln!(out, "{:25}{protects}", "")
}

/// Prints the numbers, what can go wrong, and what a round costs.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn print(
    choice: &Choice,
    (length, bits): (u32, u8),
    out: &mut impl Write,
) -> io::Result<()> {
    numbers(choice, out)?;
    failures(choice, out)?;
    traffic(choice, (length, bits), out)
}

fn numbers(choice: &Choice, out: &mut impl Write) -> io::Result<()> {
    let case = &choice.case;
    let most = if case.max_clients > case.clients {
        format!(" to {}", case.max_clients)
    } else {
        String::new()
    };
    let aggregator = match case.aggregator {
        Aggregator::Lying => "the aggregator may lie",
        Aggregator::SemiHonest => "the aggregator is assumed to follow the protocol",
    };
    writeln!(
        out,
        "{}{most} clients of a roster of {} on a {}; {} may be corrupt, {} may drop out,\n\
         {aggregator}.\n",
        case.clients,
        case.roster,
        case.shape.name(),
        case.corrupt,
        case.dropped
    )?;
    let (ring, lying) = (
        case.shape == Shape::Ring,
        case.aggregator == Aggregator::Lying,
    );
    let neighbours = if ring {
        "neighbours that each client masks with, half on either side of the ring"
    } else {
        "neighbours that each client masks with: everyone else"
    };
    row(
        out,
        "k",
        choice.neighbours,
        neighbours,
        "Hides an input as long as one of them is honest and stays.",
    )?;
    row(
        out,
        "t",
        choice.threshold,
        "shares that recover a client's secret",
        match (ring, lying) {
            (true, true) => "Keeps the aggregator from cutting the ring and unmasking one part.",
            (false, true) => "Keeps the aggregator from collecting both secrets of a client.",
            _ => "Keeps corrupt neighbours from recovering a client's secrets.",
        },
    )?;
    match choice.witnesses {
        Some(witnesses) => {
            row(
                out,
                "witnesses",
                witnesses.count,
                "clients that sign which set of clients they saw",
                "Keeps the aggregator from showing different sets to different clients.",
            )?;
            row(
                out,
                "t_w",
                witnesses.threshold,
                "equal statements that a client waits for before it unmasks",
                "No two different sets can both get as many.",
            )?;
        }
        None => row(
            out,
            "witnesses",
            "none",
            "an aggregator that follows the protocol shows everyone the same set",
            "Clients refuse such rounds: these numbers are for comparison.",
        )?,
    }
    row(
        out,
        "min_survivors",
        choice.min_survivors,
        "the fewest clients whose sum may be unmasked",
        "At least two of them are honest, so no sum is one client's input.",
    )
}

fn failures(choice: &Choice, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nWhat can go wrong in a round, and at most how likely:"
    )?;
    for failure in &choice.failures {
        let likely = failure.log2.map_or_else(
            || "never".to_owned(),
            |log2| format!("2^{:.1}", (log2 * 10.0).ceil() / 10.0),
        );
        writeln!(out, "  {likely:>9}  {}", failure.event.meaning())?;
    }
    Ok(())
}

fn traffic(choice: &Choice, (length, bits): (u32, u8), out: &mut impl Write) -> io::Result<()> {
    let cost = choice.cost(length, bits);
    writeln!(
        out,
        "\nA round over {} elements of {} bits, with {} dropped out:",
        HumanCount(length.into()),
        bits,
        choice.case.dropped
    )?;
    let line = |out: &mut dyn Write, who: &str, load: Load| {
        writeln!(
            out,
            "  {who:<11} sends {} bytes, receives {} bytes, expands {} masks",
            HumanCount(load.sent),
            HumanCount(load.received),
            HumanCount(load.expansions)
        )
    };
    line(out, "a client", cost.client)?;
    line(out, "aggregator", cost.aggregator)
}

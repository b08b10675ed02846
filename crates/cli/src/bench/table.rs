//! The form for people.

use std::io::{self, Write};

use indicatif::{HumanBytes, HumanCount};
use undertone_bench::{Environment, IdleReport, ProtocolReport, Report};

/// Prints what a measurement of rounds found.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn service(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let settings = &report.settings;
    writeln!(
        out,
        "{} clients, {} elements of {} bits, {} round(s), {} graph: k = {}, t = {}",
        settings.clients,
        HumanCount(settings.length.into()),
        settings.bits,
        settings.rounds,
        settings.graph,
        settings.neighbours,
        settings.threshold,
    )?;
    environment(&report.environment, out)?;
    let exact = if report.exact { "exact" } else { "NOT EXACT" };
    writeln!(
        out,
        "\nsums: {exact}; requests: {} ({:.0} a second), {} failed, {} told to come again",
        HumanCount(report.requests),
        report.requests_per_second,
        report.failed_requests,
        report.retried_requests,
    )?;
    writeln!(
        out,
        "time: {:.2} s; the service: {:.2} s of processor time, {} of memory at most ({} at start)",
        report.wall_seconds,
        report.server_cpu_seconds,
        HumanBytes(report.server_peak_rss_bytes),
        HumanBytes(report.server_start_rss_bytes),
    )?;
    writeln!(
        out,
        "\n{:<18} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "phase", "messages", "p50 ms", "p99 ms", "most ms", "fetch p50", "fetch p99"
    )?;
    for phase in &report.phases {
        writeln!(
            out,
            "{:<18} {:>9} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            phase.phase,
            phase.messages,
            phase.message_p50_ms,
            phase.message_p99_ms,
            phase.message_max_ms,
            phase.fetch_p50_ms,
            phase.fetch_p99_ms,
        )?;
    }
    let floor = &report.floor;
    writeln!(
        out,
        "\nthis machine, one core: ChaCha20 {:.2} GB/s, SHA-256 {:.2} GB/s, memory {:.1} GB/s",
        floor.rates.chacha20_gb_per_second,
        floor.rates.sha256_gb_per_second,
        floor.rates.memory_gb_per_second,
    )?;
    writeln!(
        out,
        "at the least {:.2} s of one core: the service took {:.1} times that; unmasking {:.2} \
         times its {:.2} s",
        floor.server_seconds, floor.server_ratio, floor.unmask_ratio, floor.unmask_seconds,
    )?;
    for failure in &report.failures {
        writeln!(out, "failed: {failure}")?;
    }
    Ok(())
}

/// Prints what a round costs without a network.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn protocol(report: &ProtocolReport, out: &mut impl Write) -> io::Result<()> {
    let (settings, kernel) = (&report.settings, &report.kernel);
    writeln!(
        out,
        "{} clients of whom {} vanish, {} elements of {} bits, {} graph: k = {}, t = {}",
        settings.clients,
        settings.dropped,
        HumanCount(settings.length.into()),
        settings.bits,
        settings.graph,
        settings.neighbours,
        settings.threshold,
    )?;
    environment(&report.environment, out)?;
    let exact = if report.exact { "exact" } else { "NOT EXACT" };
    writeln!(out, "\nsum: {exact}\n\nan element, one core")?;
    for (what, nanoseconds) in [
        ("raw key stream", kernel.keystream_ns_per_element),
        ("memory add", kernel.memory_add_ns_per_element),
        (
            "mask, of one neighbour",
            kernel.mask_ns_per_element_neighbour,
        ),
        ("pack", kernel.pack_ns_per_element),
        ("add packed", kernel.add_packed_ns_per_element),
    ] {
        writeln!(out, "  {what:<24} {nanoseconds:>8.3} ns")?;
    }
    writeln!(
        out,
        "  masks take {:.2} times the key stream; unmasking on all cores {:.2} times",
        kernel.mask_over_floor, report.unmask_over_floor
    )?;
    let predicted = &report.predicted;
    for (who, seconds, off, phases) in [
        (
            "client",
            report.client_seconds,
            predicted.client_off,
            &report.client_phases,
        ),
        (
            "aggregator",
            report.aggregator_seconds,
            predicted.aggregator_off,
            &report.aggregator_phases,
        ),
    ] {
        writeln!(
            out,
            "\n{who}: {seconds:.4} s of processor time, {off:.2} times what its operations take by \
             themselves"
        )?;
        for (phase, seconds) in phases {
            writeln!(out, "  {phase:<24} {seconds:>8.4} s")?;
        }
    }
    let bytes = |bytes: usize| HumanBytes(u64::try_from(bytes).unwrap_or(u64::MAX));
    writeln!(
        out,
        "\na client sends {} and fetches {}; {} masks are taken off",
        bytes(report.upload_bytes),
        bytes(report.download_bytes),
        report.expansions
    )?;
    let vectors = |bytes: Option<u64>| {
        bytes.map_or_else(
            || "unknown".to_owned(),
            |added| format!("{}", HumanBytes(added)),
        )
    };
    writeln!(
        out,
        "memory: {} at most; masking adds {}, unmasking {}; a vector is {}",
        vectors(report.peak_rss_bytes),
        vectors(report.client_peak_bytes),
        vectors(report.aggregator_peak_bytes),
        bytes(report.vector_bytes),
    )
}

/// The head of a Markdown table of rounds.
pub(super) const ROUNDS: &str = "\
| clients | k | elements | masks over key stream | unmasking over key stream | a client, s | over the \
model | the aggregator, s | over the model | a client sends, bytes |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

/// One row of it.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn round(report: &ProtocolReport, out: &mut impl Write) -> io::Result<()> {
    let (settings, predicted) = (&report.settings, &report.predicted);
    writeln!(
        out,
        "| {} | {} | {} | {:.2} | {:.2} | {:.4} | {:.2} | {:.4} | {:.2} | {} |",
        settings.clients,
        settings.neighbours,
        settings.length,
        report.kernel.mask_over_floor,
        report.unmask_over_floor,
        report.client_seconds,
        predicted.client_off,
        report.aggregator_seconds,
        predicted.aggregator_off,
        report.upload_bytes,
    )
}

/// Prints what idle clients cost.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn idle(report: &IdleReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{} long polls held for {:.0} s",
        report.polls, report.seconds
    )?;
    environment(&report.environment, out)?;
    writeln!(
        out,
        "\nmemory of the service: {} with all of them, {} at most, {} before; {:.0} bytes a poll",
        HumanBytes(report.server_rss_bytes),
        HumanBytes(report.server_peak_rss_bytes),
        HumanBytes(report.server_start_rss_bytes),
        report.bytes_per_poll,
    )?;
    writeln!(
        out,
        "polls answered and made again: {}; failed: {}",
        report.answered, report.failed_requests
    )?;
    writeln!(
        out,
        "database: {:.1} steps a second; processor time: {:.3} s a second",
        report.database_steps_per_second, report.server_cpu_per_second,
    )
}

fn environment(environment: &Environment, out: &mut impl Write) -> io::Result<()> {
    let processor = environment.processor.as_deref().unwrap_or("processor");
    let commit = environment.commit.as_deref().unwrap_or("unknown commit");
    let build = if environment.release {
        "optimised"
    } else {
        "NOT OPTIMISED"
    };
    writeln!(
        out,
        "{} cores ({processor}), undertone {} ({commit}, {build}), {}",
        environment.cores, environment.version, environment.database,
    )
}

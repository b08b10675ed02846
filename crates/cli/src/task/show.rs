//! Tasks and rounds, for people and for programs.

use std::fs;
use std::io::Write;
use std::path::Path;

use undertone_client::admin::{Round, RoundDetail};
use undertone_privacy::Epsilon;
use undertone_protocol::id::RosterIndex;

use super::One;
use crate::admin::{AdminArgs, away, span};
use crate::error::CliError;

pub(super) async fn list(admin: &AdminArgs, out: &mut impl Write) -> Result<(), CliError> {
    let tasks = admin.client()?.tasks().await?;
    if admin.print(&tasks, out)? {
        return Ok(());
    }
    for task in tasks {
        let (state, ended, total) = (task.state.text(), task.rounds_ended, task.rounds_total);
        writeln!(
            out,
            "{}  {state:<9} {ended}/{total}  {}",
            task.task, task.name
        )?;
    }
    Ok(())
}

pub(super) async fn task(one: &One, out: &mut impl Write) -> Result<(), CliError> {
    let detail = one.admin.client()?.task(one.task).await?;
    if one.admin.print(&detail, out)? {
        return Ok(());
    }
    let task = &detail.task;
    writeln!(
        out,
        "{}: {}, {} of {} rounds ended",
        task.name,
        task.state.text(),
        task.rounds_ended,
        task.rounds_total
    )?;
    writeln!(out, "task       {}", task.task)?;
    writeln!(out, "made       {}", away(task.created_at_ms))?;
    writeln!(out, "adapter    {}", task.model)?;
    if let Some(budget) = &detail.budget {
        let spent = budget.spent.and_then(|spent| Epsilon::new(spent).ok());
        let spent = spent.map_or_else(|| "more than anything bounds".to_owned(), |e| e.to_string());
        writeln!(
            out,
            "budget     epsilon {} at delta {:e} for each {}; {spent} is spent, in {} of the {} \
             rounds that it covers",
            budget.epsilon, budget.delta, budget.unit, budget.rounds_taken, budget.rounds_covered
        )?;
    }
    writeln!(out, "settings   {}", detail.settings)?;
    writeln!(out, "mechanism  {}", detail.mechanism)?;
    writeln!(out, "training   {}", detail.training)?;
    Ok(())
}

pub(super) async fn rounds(one: &One, out: &mut impl Write) -> Result<(), CliError> {
    let rounds = one.admin.client()?.rounds(one.task).await?;
    if one.admin.print(&rounds, out)? {
        return Ok(());
    }
    for round in &rounds {
        writeln!(out, "round {:<4} {}", round.number, line(round))?;
    }
    Ok(())
}

pub(super) async fn client(
    one: &One,
    client: RosterIndex,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let rounds = one.admin.client()?.client_rounds(one.task, client).await?;
    if one.admin.print(&rounds, out)? {
        return Ok(());
    }
    for round in &rounds {
        let input = if round.gave_input {
            "gave its input"
        } else {
            "no input"
        };
        let answers = round.messages.iter().map(|message| {
            let late = if message.late { ", too late" } else { "" };
            format!("{} after {} ms{late}", message.phase, message.latency_ms)
        });
        let answers = answers.collect::<Vec<_>>().join("; ");
        let (number, state) = (round.number, round.state.text());
        writeln!(out, "round {number:<4} {state:<9} {input:<14}  {answers}")?;
    }
    Ok(())
}

/// A round in a line: how it stands, and what is known of it.
fn line(round: &Round) -> String {
    let mut parts = Vec::new();
    if let Some(ended) = round.ended_at_ms {
        let took = span(ended.saturating_sub(round.opened_at_ms));
        parts.push(format!("{}, took {took}", away(ended)));
    } else {
        let closes = round.closes_at_ms.map(away).unwrap_or_default();
        parts.push(format!("{}, closes {closes}", round.phase));
    }
    if let Some(survivors) = round.survivors {
        parts.push(format!("{survivors} survivors"));
    }
    if let Some(dropouts) = &round.dropouts {
        let lost = [
            ("share-keys", dropouts.share_keys),
            ("masked-input", dropouts.masked_input),
            ("unmask", dropouts.unmask),
        ];
        for (phase, lost) in lost {
            if let Some(lost) = lost.filter(|lost| *lost > 0) {
                parts.push(format!("{lost} lost before {phase}"));
            }
        }
    }
    if let Some(reason) = &round.reason {
        parts.push(format!("{}: {reason}", round.phase));
    }
    format!("{:<9} {}", round.state.text(), parts.join("; "))
}

/// Shows one round, and saves the adapter after it.
pub(super) async fn result(
    one: &One,
    number: Option<u32>,
    file: Option<&Path>,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let admin = one.admin.client()?;
    let number = match number {
        Some(number) => number,
        None => last_ended(admin.task(one.task).await?.task.rounds_ended)?,
    };
    let round = admin.round(one.task, number).await?;
    if let Some(file) = file {
        let adapter = admin.adapter_after(one.task, &round).await?;
        fs::write(file, adapter).map_err(CliError::save(file))?;
    }
    if !one.admin.print(&round, out)? {
        describe(&round, out)?;
        if let Some(file) = file {
            writeln!(out, "saved       {}", file.display())?;
        }
    }
    Ok(())
}

fn last_ended(ended: u32) -> Result<u32, CliError> {
    if ended == 0 {
        let message = "no round of the task has ended yet; `undertone task rounds` shows them";
        return Err(CliError::Input(message.to_owned()));
    }
    Ok(ended)
}

fn describe(round: &RoundDetail, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "round {}: {}", round.round.number, line(&round.round))?;
    if !round.clients.is_empty() {
        let clients: Vec<String> = round.clients.iter().map(ToString::to_string).collect();
        writeln!(out, "clients     {}", clients.join(" "))?;
    }
    if let Some(transcript) = round.round.transcript {
        writeln!(out, "transcript  {transcript}")?;
    }
    if let Some(model) = round.model_after {
        writeln!(out, "adapter     {model}")?;
    }
    for share in &round.set_aside {
        let (dealer, holder) = (share.dealer, share.holder);
        writeln!(out, "set aside   the share that {dealer} dealt to {holder}")?;
    }
    Ok(())
}

/// Shows the roster, or saves it.
pub(super) async fn roster(
    one: &One,
    file: Option<&Path>,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let roster = one.admin.client()?.roster(one.task).await?;
    if let Some(file) = file {
        fs::write(file, roster.encode()?).map_err(CliError::save(file))?;
    }
    if one.admin.json {
        one.admin.print(&crate::roster::to_json(&roster), out)?;
    } else if let Some(file) = file {
        writeln!(out, "saved {}: {} clients", file.display(), roster.len())?;
    } else {
        crate::roster::print(&roster, out)?;
    }
    Ok(())
}

//! The report as a Markdown document, to be put into others.

use std::fmt::Write as _;

use undertone_privacy::{Promise, Says};

use super::html::{shown, so_far};
use super::{PrivacyReport, figure};
use crate::page::words::{counted, utc};

impl PrivacyReport {
    /// The document.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Privacy of {}\n", escaped(&self.name))?;
        writeln!(
            out,
            "Task `{}`, {}: {} of {} have ended. Inputs were taken in {}, sums were published in {}. \
             As of {} UTC; the task was made {} UTC.\n",
            code(&self.task),
            self.state.text(),
            counted(self.rounds_ended, "round"),
            self.rounds_planned,
            self.seen.inputs,
            self.seen.sums,
            utc(self.made_at_ms),
            utc(self.created_at_ms)
        )?;
        for warning in self.warnings() {
            writeln!(out, "**{}**\n", escaped(&warning))?;
        }
        self.promise_rows(out)?;
        self.budget_words(out)?;
        self.mechanism_words_into(out)?;
        self.course_rows(out)?;
        self.participation_rows(out)?;
        self.audit_words(out)?;
        for (title, sentences) in [
            ("What this rests on", &self.assumptions),
            ("What is not covered", &self.not_covered),
        ] {
            writeln!(out, "## {title}\n")?;
            for sentence in sentences {
                writeln!(out, "- {}", escaped(sentence))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn promise_rows(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## What is promised, for whom and against whom\n")?;
        writeln!(
            out,
            "| hidden | against | ε of one round | ε so far | ε after all planned rounds |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for now in &self.promises {
            let mut ends = self.at_the_end.iter();
            let end = ends.find(|end| (end.unit, end.view) == (now.unit, now.view));
            let (unit, view) = (now.unit, now.view);
            match &now.says {
                Says::DifferentialPrivacy {
                    rounds,
                    round,
                    total,
                    ..
                } => writeln!(
                    out,
                    "| each {unit} | {view} | {round} | {} | {} |",
                    so_far(*rounds, *total),
                    shown(end.and_then(Promise::total))
                )?,
                Says::Nothing { reason } => writeln!(
                    out,
                    "| each {unit} | {view} | nothing is promised: {} | | |",
                    escaped(reason)
                )?,
            }
        }
        writeln!(
            out,
            "\nEach ε is an upper bound at δ {:e}, under {} adjacency, for a client that was in every \
             round that counts. Accounted by {}.\n",
            self.delta,
            self.adjacency(),
            escaped(&self.accountant())
        )
    }

    fn budget_words(&self, out: &mut String) -> std::fmt::Result {
        let Some(state) = &self.budget else {
            return writeln!(
                out,
                "The task has no budget of its own: as many rounds run as are planned.\n"
            );
        };
        writeln!(
            out,
            "Budget of the task: ε {} at δ {} for each {}. It covers {} in which inputs are taken; {} \
             were. Spent: ε {}. Left: ε {}. The service opens no round that would pass it.\n",
            state.budget.epsilon,
            state.budget.delta,
            state.budget.unit,
            counted(state.rounds_covered, "round"),
            self.seen.inputs,
            shown(state.spent),
            shown(state.remaining)
        )
    }

    fn mechanism_words_into(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Mechanism\n")?;
        match self.mechanism_words() {
            Some(words) => writeln!(out, "One round: {}.\n", escaped(&words))?,
            None => writeln!(out, "No mechanism with a promise.\n")?,
        }
        let digests = [
            ("mechanism digest", &self.mechanism_digest),
            ("training settings' digest", &self.training_digest),
        ];
        for (name, digest) in digests {
            writeln!(out, "- {name} `{}`", code(digest))?;
        }
        writeln!(
            out,
            "- {} clients on the roster; at most {} in a round, at least {} in a sum\n",
            self.members, self.cohort, self.min_survivors
        )
    }

    fn course_rows(&self, out: &mut String) -> std::fmt::Result {
        let promised = self.promised();
        writeln!(out, "## How it grew\n")?;
        let mut head = "| round | ended | inputs |".to_owned();
        let mut rule = "|---|---|---|".to_owned();
        for (unit, view) in &promised {
            write!(head, " ε, each {unit}, against {view} |")?;
            rule.push_str("---|");
        }
        writeln!(out, "{head}\n{rule}")?;
        for point in &self.course {
            let ended = if point.finished {
                "with a sum"
            } else {
                "without one"
            };
            write!(out, "| {} | {ended} | {} |", point.round, point.inputs)?;
            for pair in &promised {
                write!(out, " {} |", shown(figure(&point.after, *pair)))?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    fn participation_rows(&self, out: &mut String) -> std::fmt::Result {
        let promised = self.promised();
        writeln!(out, "## Participation\n")?;
        writeln!(
            out,
            "A client's ε is for the rounds that it was in. Its own ledger may say more: it counts \
             what it sent, also where that did not arrive, and what it spent in other tasks. No input \
             was taken of {} of the {} clients on the roster.\n",
            self.absent(),
            self.members
        )?;
        let mut head = "| client | key | inputs taken | in sums | too late |".to_owned();
        let mut rule = "|---|---|---|---|---|".to_owned();
        for (unit, view) in &promised {
            write!(head, " ε, each {unit}, against {view} |")?;
            rule.push_str("---|");
        }
        writeln!(out, "{head}\n{rule}")?;
        for part in &self.participants {
            write!(
                out,
                "| {} | `{}` | {} | {} | {} |",
                part.client,
                code(&part.key),
                part.seen.inputs,
                part.seen.sums,
                part.late
            )?;
            for pair in &promised {
                write!(out, " {} |", shown(figure(&part.spent, *pair)))?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    fn audit_words(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Audit log\n")?;
        let Some(head) = &self.audit else {
            return writeln!(
                out,
                "Nothing of this task has been recorded since the service was upgraded.\n"
            );
        };
        writeln!(
            out,
            "Each spend is an entry with the round, the mechanism and the cost, in a chain whose head \
             is signed. `undertone audit verify` checks the chain and what it says of privacy.\n"
        )?;
        writeln!(out, "- entry {} at {} UTC", head.sequence, utc(head.time))?;
        writeln!(out, "- head `{}`", head.head.0)?;
        writeln!(out, "- signature `{}`", head.signature.0)?;
        writeln!(out, "- key `{}`\n", head.key.0)
    }
}

/// Text that Markdown, and HTML within it, reads as nothing but text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// An id or a digest, within backticks: digits and letters.
fn code(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

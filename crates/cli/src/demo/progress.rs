//! Live progress on standard error: a bar for training and one for each phase. Where standard
//! error is no terminal, one line for each step instead.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use undertone_protocol::aggregator::PhaseName;
use undertone_study::Watch;

use super::settings::CLIENTS;

/// Bars of the whole demo.
#[derive(Debug)]
pub(super) struct Progress {
    bars: MultiProgress,
    step: ProgressBar,
    training: ProgressBar,
    phases: [ProgressBar; 5],
    live: bool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        let bars = MultiProgress::new();
        let clients = u64::from(CLIENTS);
        let bar = |name: &str| {
            let bar = bars.add(ProgressBar::new(clients));
            bar.set_style(style("  {msg:<18} [{bar:30}] {pos}/{len}"));
            bar.set_message(name.to_owned());
            bar
        };
        let step = bars.add(ProgressBar::new(1));
        step.set_style(style("{msg:<48} [{bar:30}] {percent}%"));
        let training = bar("training");
        let phases = PhaseName::ALL.map(|phase| bar(phase.text()));
        Arc::new(Self {
            step,
            training,
            phases,
            live: stderr().is_terminal(),
            bars,
        })
    }

    /// What the preparation of the mail is to tell.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        let progress = self.clone();
        Arc::new(move |event| match event {
            undertone_study::Progress::Step(step) => progress.begin(&step),
            undertone_study::Progress::Part { done, of } => progress.at(done, of),
        })
    }

    /// A new step of the demo begins.
    pub(super) fn begin(&self, what: &str) {
        self.step.set_length(1);
        self.step.set_position(0);
        self.step.set_message(what.to_owned());
        if !self.live {
            self.say(what);
        }
    }

    /// The step is so far.
    pub(super) fn at(&self, done: impl TryInto<u64>, all: impl TryInto<u64>) {
        self.step.set_length(all.try_into().unwrap_or(u64::MAX));
        self.step.set_position(done.try_into().unwrap_or(u64::MAX));
    }

    /// A round begins: empty bars.
    pub(super) fn round(&self, number: u32, of: u32) {
        self.begin(&format!("round {number} of {of}"));
        self.at(number.saturating_sub(1), of);
        self.training.set_position(0);
        for bar in &self.phases {
            bar.set_length(u64::from(CLIENTS));
            bar.set_position(0);
        }
    }

    /// One more client has trained.
    pub(super) fn trained(&self) {
        self.training.inc(1);
    }

    /// A phase has so many messages.
    pub(super) fn phase(&self, phase: PhaseName, received: usize) {
        let at = PhaseName::ALL.iter().position(|p| *p == phase);
        if let Some(bar) = at.and_then(|at| self.phases.get(at)) {
            bar.set_position(u64::try_from(received).unwrap_or(u64::MAX));
        }
    }

    /// A line above the bars.
    pub(super) fn say(&self, line: &str) {
        if self.live {
            // A line that cannot be shown is not worth stopping for.
            let _ = self.bars.println(line);
        } else {
            let _ = writeln!(stderr(), "{line}");
        }
    }

    /// Takes the bars away.
    pub(super) fn clear(&self) {
        let _ = self.bars.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

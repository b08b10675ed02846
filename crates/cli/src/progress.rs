//! Progress of a measurement or a study on standard error: a bar a step, or a line where it is no terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

/// One bar, for the phase that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    live: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{prefix} {msg:<18} [{bar:30}] {pos}/{len}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar,
            live: stderr().is_terminal(),
        }
    }

    /// What a study is to tell.
    pub(crate) fn watch_study(&self) -> undertone_study::Watch {
        let progress = self.clone();
        Arc::new(move |event| match event {
            undertone_study::Progress::Step(step) => {
                progress.bar.set_prefix(step.clone());
                if !progress.live {
                    progress.say(&step);
                }
            }
            undertone_study::Progress::Part { done, of } => progress.at(done, of),
        })
    }

    /// What a measurement is to tell.
    pub(crate) fn watch(&self) -> undertone_bench::Watch {
        let progress = self.clone();
        Arc::new(move |event| progress.show(event))
    }

    fn show(&self, event: undertone_bench::Progress) {
        match event {
            undertone_bench::Progress::Step(step) => self.say(&step),
            undertone_bench::Progress::Phase {
                phase, done, of, ..
            } => {
                self.bar.set_message(phase.text());
                self.at(done, of);
                if !self.live && done == of {
                    self.say(&format!("{phase}: {done} of {of}"));
                }
            }
        }
    }

    fn at(&self, done: usize, of: usize) {
        let wide = |count| u64::try_from(count).unwrap_or(u64::MAX);
        self.bar.set_length(wide(of));
        self.bar.set_position(wide(done));
    }

    pub(crate) fn say(&self, line: &str) {
        if self.live {
            self.bar.println(line);
        } else {
            // A line that cannot be shown is not worth stopping for.
            let _ = writeln!(stderr(), "{line}");
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

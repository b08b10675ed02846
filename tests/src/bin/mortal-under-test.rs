//! `undertone` that kills itself (SIGKILL) on the way of a masked input. Which place, and the how
//! manieth passing of it, the environment says: `UNDERTONE_TEST_KILL_AT=after-commit:2`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is test code")]

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use undertone_server::upload::fault::{self, Point};

static END: OnceLock<(Point, u32)> = OnceLock::new();
static PASSED: AtomicU32 = AtomicU32::new(0);

fn main() -> ExitCode {
    if let Ok(end) = std::env::var("UNDERTONE_TEST_KILL_AT") {
        let (name, passing) = end.split_once(':').expect("POINT:NUMBER");
        let point = Point::ALL.iter().find(|point| point.name() == name);
        let point = *point.expect("the name of a point");
        END.set((point, passing.parse().unwrap())).unwrap();
        fault::install(pass);
    }
    undertone::main()
}

fn pass(point: Point) {
    let Some((end, passing)) = END.get() else {
        return;
    };
    if point == *end && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passing {
        kill_process(getpid(), Signal::KILL).unwrap();
        // Nothing after this place happens, however long the signal takes.
        loop {
            std::thread::park();
        }
    }
}

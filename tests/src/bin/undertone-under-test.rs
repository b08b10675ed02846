//! `undertone`, for end-to-end tests that start and kill it as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    undertone::main()
}

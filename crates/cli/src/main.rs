//! The `undertone` binary; everything is in the library beside it.

use std::process::ExitCode;

/// Training frees and takes large buffers all the time: this allocator keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    undertone::main()
}

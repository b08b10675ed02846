//! The service as a process: started, looked at from outside, stopped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::BenchError;

/// How long the service may take to start.
const START_TIME: Duration = Duration::from_secs(30);

/// How long it may take to stop before it is killed.
const STOP_TIME: Duration = Duration::from_secs(10);

/// `undertone serve`, running.
#[derive(Debug)]
pub struct Service {
    child: Child,
    id: u32,
    url: String,
}

impl Service {
    /// Starts `program serve` on a free port of this machine.
    ///
    /// # Errors
    /// [`BenchError::Start`] if it does not come up.
    pub async fn start(
        program: &Path,
        database: &str,
        more: &[String],
    ) -> Result<Self, BenchError> {
        let failed = |reason: String| BenchError::Start(reason);
        let mut child = Command::new(program)
            .args(["serve", "--database", database, "--listen", "127.0.0.1:0"])
            .args(more)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(format!("{}: {e}", program.display())))?;
        let id = child.id().ok_or_else(|| failed("it has ended".into()))?;
        let output = child.stdout.take();
        let mut lines = BufReader::new(output.ok_or_else(|| failed("no output".into()))?).lines();
        let line = tokio::time::timeout(START_TIME, lines.next_line()).await;
        let line = line.map_err(|_| failed("it says nothing".into()))??;
        let line = line.ok_or_else(|| failed("it ended at once; see its log above".into()))?;
        let url = line.strip_prefix("listening on ").map(str::to_owned);
        let url = url.ok_or_else(|| failed(format!("its first line is: {line}")))?;
        Ok(Self { child, id, url })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The most memory that it has held, in bytes.
    ///
    /// # Errors
    /// [`BenchError::Process`] if it is gone.
    pub fn peak_rss(&self) -> Result<u64, BenchError> {
        self.memory("VmHWM:")
    }

    /// The memory that it holds, in bytes.
    ///
    /// # Errors
    /// [`BenchError::Process`] if it is gone.
    pub fn rss(&self) -> Result<u64, BenchError> {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> Result<u64, BenchError> {
        let path = PathBuf::from(format!("/proc/{}/status", self.id));
        let text = read(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib.saturating_mul(1024))
            .ok_or_else(|| unreadable(&path))
    }

    /// Seconds of processor time that it has used.
    ///
    /// # Errors
    /// [`BenchError::Process`] if it is gone.
    pub fn cpu_seconds(&self) -> Result<f64, BenchError> {
        let path = PathBuf::from(format!("/proc/{}/stat", self.id));
        let text = read(&path)?;
        // The name, in brackets, may hold anything; user and system time are the 12th and 13th
        // after it.
        let fields = text.rsplit_once(')').map(|(_, fields)| fields);
        let mut fields = fields.unwrap_or_default().split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let (user, system) = ticks().zip(ticks()).ok_or_else(|| unreadable(&path))?;
        let ticks = crate::report::real64(user.saturating_add(system));
        Ok(ticks / crate::report::real64(rustix::param::clock_ticks_per_second()))
    }

    /// Stops it as an operator would.
    pub async fn stop(mut self) {
        if let Some(id) = self.child.id()
            && let Some(id) = i32::try_from(id).ok()
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            // If it is gone already, there is nothing to stop.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIME, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

/// This process's own memory, as it stood when it was looked at; on systems that tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnMemory {
    held: u64,
}

impl OwnMemory {
    /// Looks, and lets the most that is held count from here on.
    pub(crate) fn now() -> Option<Self> {
        // 5 sets the high-water mark to what is held.
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        own_memory("VmRSS:").map(|held| Self { held })
    }

    /// The most that was held since, beyond what was held then.
    pub(crate) fn added(self) -> Option<u64> {
        own_memory("VmHWM:").map(|most| most.saturating_sub(self.held))
    }

    /// The most that was held since it was last looked at.
    pub(crate) fn peak() -> Option<u64> {
        own_memory("VmHWM:")
    }
}

fn own_memory(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|source| BenchError::Process {
        path: path.to_owned(),
        source,
    })
}

fn unreadable(path: &Path) -> BenchError {
    BenchError::Process {
        path: path.to_owned(),
        source: std::io::ErrorKind::InvalidData.into(),
    }
}

/// Allows this process, and those that it starts, so many open files.
///
/// # Errors
/// [`BenchError::OpenFiles`] if the system does not.
pub fn allow_open_files(needed: u64) -> Result<(), BenchError> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|now| now >= needed) {
        return Ok(());
    }
    let limit = limits.maximum.unwrap_or(u64::MAX);
    let refused = BenchError::OpenFiles { needed, limit };
    if limit < needed {
        return Err(refused);
    }
    let raised = Rlimit {
        current: limits.maximum.or(Some(needed)),
        maximum: limits.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| refused)
}

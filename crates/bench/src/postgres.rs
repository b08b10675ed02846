//! A PostgreSQL server for one measurement, as it comes but for its port: what is committed is on
//! disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::error::BenchError;

/// A running server; stopped and erased when dropped.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    version: String,
}

impl Cluster {
    /// Makes and starts one. Blocks for a few seconds.
    ///
    /// # Errors
    /// [`BenchError::NoPostgres`], [`BenchError::Postgres`].
    pub fn start() -> Result<Self, BenchError> {
        let programs = programs().ok_or(BenchError::NoPostgres)?;
        let folder = TempDir::with_prefix("undertone-bench.")?;
        if is_root() {
            // PostgreSQL refuses to run as root; its package made this user.
            let owned = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .output()?;
            succeeded(&owned)?;
        }
        let version = Command::new(programs.join("postgres"))
            .arg("--version")
            .output()?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version
            .replace("postgres (PostgreSQL)", "PostgreSQL")
            .trim()
            .to_owned();
        let mut cluster = Self {
            programs,
            folder,
            port: 0,
            version,
        };
        let data = cluster.data();
        let options = [
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ];
        let made = cluster
            .command("initdb")
            .arg("-D")
            .arg(&data)
            .args(options)
            .output()?;
        succeeded(&made)?;
        cluster.listen()?;
        Ok(cluster)
    }

    /// Starts it on a free port. Another program may take the port first, hence the loop.
    fn listen(&mut self) -> Result<(), BenchError> {
        let mut last = None;
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            self.port = free.local_addr()?.port();
            drop(free);
            let folder = self.folder.path().display();
            let options = format!("-p {} -c listen_addresses=127.0.0.1 -k {folder}", self.port);
            let log = self.folder.path().join("server.log");
            let mut start = self.command("pg_ctl");
            start.args(["start", "-s", "-w", "-t", "30", "-D"]);
            start.arg(self.data()).arg("-l").arg(&log);
            // The server would keep a pipe open.
            let status = start
                .args(["-o", &options])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if status.success() {
                return Ok(());
            }
            last = std::fs::read_to_string(&log).ok();
        }
        Err(BenchError::Postgres(tail(&last.unwrap_or_default())))
    }

    /// The address of its one database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Name and version.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of its programs, as the user that it may run as, in a folder which that user may enter.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-s", "-m", "immediate", "-D"])
            .arg(self.data());
        // If it is not running, there is nothing to stop.
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn is_root() -> bool {
    geteuid().is_root()
}

fn succeeded(output: &Output) -> Result<(), BenchError> {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::Postgres(tail(&text)))
}

/// The end of a log, on one line.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// The folder with the server's programs. Debian keeps them out of PATH, one folder a version.
fn programs() -> Option<PathBuf> {
    let complete = |folder: &Path| {
        ["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let versions = versions.into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .into_iter()
        .map(|(_, folder)| folder)
        .chain(std::env::split_paths(&path))
        .find(|folder| complete(folder))
}

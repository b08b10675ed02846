//! A PostgreSQL cluster of one test, which can be stopped and started again.

use std::path::{Path, PathBuf};

use rustix::process::getuid;
use tempfile::TempDir;
use tokio::process::Command;

/// A cluster; its server is stopped, and its files go, with it.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    options: String,
    port: u16,
}

impl Cluster {
    /// Makes a cluster and starts its server.
    pub async fn start() -> Self {
        let programs = server_programs();
        let folder = tempfile::tempdir().unwrap();
        if getuid().is_root() {
            // PostgreSQL refuses to run as root.
            run(Command::new("chown").arg("postgres").arg(folder.path())).await;
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        // As in scripts/with-postgres.sh: no operating system crashes here.
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -k {} -c fsync=off -c max_connections=100 \
             -c shared_buffers=32MB",
            folder.path().display()
        );
        let cluster = Self {
            programs,
            folder,
            options,
            port,
        };
        let data = cluster.data();
        let mut initdb = cluster.program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "postgres"]);
        run(initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])).await;
        cluster.up().await;
        cluster
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server.
    pub async fn up(&self) {
        let mut start = self.program("pg_ctl");
        start.args(["start", "-s", "-w", "-t", "30", "-o", &self.options]);
        let log = self.folder.path().join("server.log");
        run(start.arg("-D").arg(self.data()).arg("-l").arg(log)).await;
    }

    /// Stops the server as a crash would: connections break, nothing is written back.
    pub async fn crash(&self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "-s", "-w", "-m", "immediate"]);
        run(stop.arg("-D").arg(self.data())).await;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of the server, to be run as its user.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if getuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl").into_std();
        stop.args(["stop", "-s", "-m", "immediate", "-D"]);
        let _ = stop.arg(self.data()).status();
    }
}

/// The folder with the server's programs; Debian keeps it out of `PATH`, one for each version.
fn server_programs() -> PathBuf {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    folders.sort();
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let has = |folder: &PathBuf| is_there(folder, "initdb") && is_there(folder, "pg_ctl");
    folders
        .into_iter()
        .find(has)
        .expect("PostgreSQL's initdb and pg_ctl are not installed; run the tests by `make test`")
}

fn is_there(folder: &Path, program: &str) -> bool {
    folder.join(program).is_file()
}

async fn run(command: &mut Command) {
    let status = command.status().await.unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

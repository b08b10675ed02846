//! The service as a process that can be killed and started again.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// `undertone serve`, running.
#[derive(Debug)]
pub struct Service {
    binary: String,
    database: String,
    address: String,
    environment: Vec<(String, String)>,
    child: Child,
}

impl Service {
    /// Starts the service on a free port.
    pub async fn start(binary: &str, database: &str) -> Self {
        Self::start_with(binary, database, Vec::new()).await
    }

    /// The same, with variables in its environment.
    pub async fn start_with(
        binary: &str,
        database: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        let (child, address) = spawn(binary, database, "127.0.0.1:0", &environment).await;
        Self {
            binary: binary.into(),
            database: database.into(),
            address,
            environment,
            child,
        }
    }

    /// Kills it by SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops it where it stands, by SIGSTOP: it holds what it holds and does nothing any more.
    pub fn freeze(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }

    /// Waits until it is gone by itself.
    pub async fn gone(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Starts it again on the same port and database, with other variables in its environment.
    pub async fn restart_with(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
        self.restart().await;
    }

    /// Starts it again on the same port and database.
    pub async fn restart(&mut self) {
        let (child, address) = spawn(
            &self.binary,
            &self.database,
            &self.address,
            &self.environment,
        )
        .await;
        assert_eq!(address, self.address);
        self.child = child;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn spawn(
    binary: &str,
    database: &str,
    listen: &str,
    environment: &[(String, String)],
) -> (Child, String) {
    // A port that a killed process held may take a moment to be free.
    for _ in 0..50 {
        let mut child = Command::new(binary)
            .args(["serve", "--database", database, "--listen", listen])
            .env("RUST_LOG", "warn")
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if let Some(line) = lines.next_line().await.unwrap() {
            let address = line
                .strip_prefix("listening on http://")
                .expect("the first line");
            return (child, address.to_owned());
        }
        child.wait().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the service does not start on {listen}");
}

//! A small TCP proxy before several replicas: each connection goes to one that is alive.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// The proxy, running until the end of the test.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    alive: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Proxy {
    /// Starts it on a free port, with no replica behind it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            alive: Arc::default(),
        };
        let alive = proxy.alive.clone();
        tokio::spawn(async move {
            let turn = Arc::new(AtomicUsize::new(0));
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, alive.clone(), turn.clone()));
            }
        });
        proxy
    }

    /// Connections may go to this replica from now on.
    pub fn add(&self, replica: SocketAddr) {
        self.alive.lock().unwrap().push(replica);
    }

    /// No more connections go to this replica.
    pub fn remove(&self, replica: SocketAddr) {
        self.alive.lock().unwrap().retain(|alive| *alive != replica);
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Passes one connection on, to the replicas in turn. Where none is alive it is closed, as by a
/// proxy that has nobody to ask.
async fn serve(mut client: TcpStream, alive: Arc<Mutex<Vec<SocketAddr>>>, turn: Arc<AtomicUsize>) {
    let replica = {
        let alive = alive.lock().unwrap();
        if alive.is_empty() {
            return;
        }
        alive[turn.fetch_add(1, Ordering::Relaxed) % alive.len()]
    };
    if let Ok(mut server) = TcpStream::connect(replica).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

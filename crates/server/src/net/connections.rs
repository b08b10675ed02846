//! Connections: counted, in all and by address, and cut off when the other end reads nothing.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready as done};
use std::time::Duration;

use axum_server::accept::Accept;
use metrics::{counter, gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::LimitSettings;
use super::address::group;
use crate::telemetry::name;

/// Takes connections as long as there are not too many.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    counts: Arc<Counts>,
    stall: Duration,
}

#[derive(Debug)]
struct Counts {
    settings: LimitSettings,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// The place of one connection among all, given back when dropped.
#[derive(Debug)]
struct Place {
    counts: Arc<Counts>,
    /// `None` for a proxy, which speaks for many.
    address: Option<IpAddr>,
}

impl Counted {
    pub(super) fn new(settings: &LimitSettings) -> Self {
        Self {
            stall: settings.stall(),
            counts: Arc::new(Counts {
                settings: settings.clone(),
                open: Mutex::default(),
            }),
        }
    }
}

impl Counts {
    /// A place, or which limit is reached.
    fn place(self: &Arc<Self>, peer: SocketAddr) -> Result<Place, &'static str> {
        let peer = peer.ip().to_canonical();
        let address = (!self.settings.trusts(peer)).then(|| group(peer));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.settings.connections {
            return Err("all");
        }
        if let Some(address) = address {
            let of = open.by_address.entry(address).or_default();
            if *of >= self.settings.connections_per_address {
                return Err("address");
            }
            *of += 1;
        }
        open.all += 1;
        gauge!(name::CONNECTIONS).set(f64::from(open.all));
        let counts = self.clone();
        Ok(Place { counts, address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.counts.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        gauge!(name::CONNECTIONS).set(f64::from(open.all));
        if let Some(address) = self.address
            && let Some(of) = open.by_address.get_mut(&address)
        {
            *of = of.saturating_sub(1);
            if *of == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Counted {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().and_then(|peer| {
            self.counts.place(peer).map_err(|limit| {
                counter!(name::CONNECTIONS_REFUSED, "limit" => limit).increment(1);
                io::Error::other("too many connections")
            })
        });
        ready(place.and_then(|place| {
            stream.set_nodelay(true)?;
            let connection = Connection {
                stream,
                stall: self.stall,
                stalled: None,
                _place: place,
            };
            Ok((connection, service))
        }))
    }
}

/// One connection. Who takes nothing of what is sent to them for too long is cut off.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    stall: Duration,
    /// Runs while nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Connection {
    /// Passes on what a write came to; an error if it has waited too long.
    fn timed<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        done!(timer.as_mut().poll(context));
        timer.as_mut().reset(Instant::now() + stall);
        counter!(name::CONNECTIONS_STALLED).increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all_and_given_back() {
        let counts = Counted::new(&LimitSettings {
            connections: 3,
            connections_per_address: 2,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..LimitSettings::default()
        })
        .counts;
        let place = |peer: &str| counts.place(SocketAddr::new(peer.parse().unwrap(), 1));
        let first = place("192.0.2.1").unwrap();
        let _second = place("192.0.2.1").unwrap();
        assert_eq!(place("192.0.2.1").unwrap_err(), "address");
        let other = place("192.0.2.2").unwrap();
        assert_eq!(place("192.0.2.3").unwrap_err(), "all");
        drop(other);
        drop(first);
        let _again = place("192.0.2.1").unwrap();
        assert_eq!(place("192.0.2.1").unwrap_err(), "address");
        drop(place("10.0.0.1").unwrap());
        assert_eq!(counts.open.lock().unwrap().by_address.len(), 1);
    }

    /// Who reads nothing is cut off, who reads slowly is not.
    #[tokio::test]
    async fn a_reader_that_stalls_is_cut_off() {
        let counted = Counted::new(&LimitSettings {
            stall_s: 1,
            ..LimitSettings::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (mut connection, ()) = counted.accept(stream, ()).await.unwrap();
        let sending = tokio::spawn(async move {
            let piece = vec![7; 1 << 20];
            let mut sent = 0_usize;
            loop {
                match connection.write(&piece).await {
                    Ok(bytes) => sent += bytes,
                    Err(error) => return (sent, error.kind()),
                }
            }
        });
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            reader.read_exact(&mut buffer).await.unwrap();
        }
        assert!(!sending.is_finished(), "a slow reader was cut off");
        let (sent, error) = sending.await.unwrap();
        assert_eq!(error, io::ErrorKind::TimedOut);
        assert!(sent > 6 << 20);
    }
}

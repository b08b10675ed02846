//! Clients without the SDK: protocol states and single HTTP requests, so that a test can send what
//! the SDK never would.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::client::{
    AdvertisedKeys, Participant, SentInput, SharedKeys, SignedStatement,
};
use undertone_protocol::id::RoundId;
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::RingVector;

use crate::secrets::{RecordingRng, RecordingSplitter};
use crate::task::Task;

/// One HTTP client of one round.
#[derive(Debug, Clone)]
pub struct Http {
    http: Client,
    base: String,
}

/// What came back: status, and the problem's name or the receipt.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `accepted`, `repeated`, or the last part of the problem's type.
    pub word: String,
}

impl Reply {
    /// A reply to compare with.
    pub fn new(status: u16, word: &str) -> Self {
        Self {
            status,
            word: word.into(),
        }
    }
}

impl Http {
    /// Requests to `server`.
    pub fn new(server: &str) -> Self {
        // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            http: Client::new(),
            base: format!("{server}/v1"),
        }
    }

    /// GET of a binary body; panics unless 200.
    pub async fn get(&self, path: &str) -> Vec<u8> {
        let response = self
            .http
            .get(format!("{}/{path}", self.base))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.bytes().await.unwrap().to_vec()
    }

    /// GET of JSON, whatever the status.
    pub async fn json(&self, path: &str) -> (u16, Value) {
        let response = self
            .http
            .get(format!("{}/{path}", self.base))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// PUT of a message.
    pub async fn put(&self, round: &str, phase: PhaseName, index: u32, body: Vec<u8>) -> Reply {
        self.request(
            Method::PUT,
            &format!("rounds/{round}/{phase}/{index}"),
            body,
        )
        .await
    }

    /// Any request.
    pub async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Reply {
        let url = format!("{}/{path}", self.base);
        let response = self
            .http
            .request(method, url)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let kind = response
            .headers()
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let json: Value = response.json().await.unwrap();
        if let Some(receipt) = json["receipt"].as_str() {
            return Reply::new(status, receipt);
        }
        assert_eq!(kind, "application/problem+json");
        assert_eq!(json["status"], status);
        assert!(!json["detail"].as_str().unwrap().is_empty() && json["title"].is_string());
        let urn = json["type"].as_str().unwrap();
        Reply::new(status, urn.strip_prefix("urn:undertone:problem:").unwrap())
    }
}

/// A client's protocol state.
#[derive(Debug)]
pub enum State {
    /// Before AdvertiseKeys.
    Ready(Participant),
    /// After AdvertiseKeys.
    Advertised(AdvertisedKeys),
    /// After ShareKeys.
    Shared(SharedKeys),
    /// After MaskedInput.
    Sent(SentInput),
    /// After ConsistencyCheck.
    Signed(SignedStatement),
    /// After Unmask.
    Done,
}

/// All honest clients of one round, driven phase by phase.
#[derive(Debug)]
pub struct Clients {
    /// Requests to the service.
    pub http: Http,
    /// The round's id, as it stands in paths.
    pub round: String,
    /// The round's parameters.
    pub params: Arc<RoundParams>,
    /// Plain inputs.
    pub inputs: Vec<RingVector>,
    states: Vec<State>,
    rng: RecordingRng,
    shares: RecordingSplitter,
}

impl Clients {
    /// Waits for the task's first round and gets all clients ready.
    pub async fn join(task: &Task, server: &str) -> Self {
        Self::join_after(task, server, 0).await
    }

    /// Waits for the task's first round after round `after` and gets all clients ready.
    pub async fn join_after(task: &Task, server: &str, after: u32) -> Self {
        let http = Http::new(server);
        let path = format!("tasks/{}/round?after={after}&wait=10", task.id);
        let (_, next) = http.json(&path).await;
        let round = next["round"].as_str().unwrap().to_owned();
        let params = http.get(&format!("rounds/{round}/params")).await;
        let params = Arc::new(RoundParams::decode(&params).unwrap());
        assert_eq!(params.id(), round.parse::<RoundId>().unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let inputs = task.identities.iter().map(|_| {
            let elements: Vec<u64> = (0..params.vector_length())
                .map(|_| rng.next_u64())
                .collect();
            RingVector::from_elements(params.ring(), &elements)
        });
        let inputs = inputs.collect();
        let states = task
            .identities
            .iter()
            .map(|identity| {
                let (params, roster) = (params.clone(), task.roster.clone());
                State::Ready(
                    Participant::new(params, roster, identity.clone(), task.trust).unwrap(),
                )
            })
            .collect();
        Self {
            http,
            round,
            params,
            inputs,
            states,
            rng: RecordingRng::new(rng),
            shares: RecordingSplitter::default(),
        }
    }

    /// What stands in the debug output of every client's state.
    pub fn printed(&self) -> String {
        format!("{:?}", self.states)
    }

    /// Every secret that the clients drew, and the shares that they dealt.
    pub fn secrets(&self) -> impl Iterator<Item = [u8; 32]> {
        self.rng.drawn.iter().chain(&self.shares.0).copied()
    }

    /// The sum of these clients' inputs.
    pub fn plain_sum(&self, clients: impl IntoIterator<Item = usize>) -> RingVector {
        let mut sum = RingVector::zeros(self.params.ring(), self.params.vector_length());
        for client in clients {
            sum.add(&self.inputs[client]).unwrap();
        }
        sum
    }

    /// The message that a client would send next, from what the service answers; does not send it.
    pub async fn message(&mut self, client: usize) -> Vec<u8> {
        let round = &self.round;
        let state = std::mem::replace(&mut self.states[client], State::Done);
        let (next, message) = match state {
            State::Ready(state) => {
                let (next, message) = state.advertise_keys(&mut self.rng).unwrap();
                (State::Advertised(next), message)
            }
            State::Advertised(state) => {
                let directory = self
                    .http
                    .get(&format!("rounds/{round}/directory/{client}"))
                    .await;
                let (next, message) = state
                    .share_keys(&directory, &mut self.shares, &mut self.rng)
                    .unwrap();
                (State::Shared(next), message)
            }
            State::Shared(state) => {
                let dealt = self
                    .http
                    .get(&format!("rounds/{round}/dealt/{client}"))
                    .await;
                let (next, message) = state
                    .masked_input(&dealt, self.inputs[client].clone())
                    .unwrap();
                (State::Sent(next), message)
            }
            State::Sent(state) => {
                let survivors = self.http.get(&format!("rounds/{round}/survivors")).await;
                let (next, message) = state.consistency_check(&survivors).unwrap();
                // On the complete graph everyone is a witness.
                (State::Signed(next), message.unwrap())
            }
            State::Signed(state) => {
                let statements = self.http.get(&format!("rounds/{round}/statements")).await;
                (State::Done, state.unmask(&statements).unwrap())
            }
            State::Done => panic!("client {client} has left the round"),
        };
        self.states[client] = next;
        message
    }

    /// Sends a message of a client.
    pub async fn put(&self, phase: PhaseName, client: usize, body: Vec<u8>) -> Reply {
        self.http
            .put(&self.round, phase, u32::try_from(client).unwrap(), body)
            .await
    }

    /// Makes and sends the messages of these clients.
    pub async fn all(&mut self, phase: PhaseName, clients: impl IntoIterator<Item = usize>) {
        for client in clients {
            let message = self.message(client).await;
            assert_eq!(
                self.put(phase, client, message).await,
                Reply::new(200, "accepted")
            );
        }
    }

    /// Waits until the round is in another phase than `seen`; returns which.
    pub async fn left(&self, seen: PhaseName) -> String {
        for _ in 0..20 {
            let path = format!("rounds/{}/status?seen={seen}&wait=10", self.round);
            let (status, json) = self.http.json(&path).await;
            assert_eq!(status, 200, "{json}");
            if json["phase"] != seen.text() {
                return json["phase"].as_str().unwrap().to_owned();
            }
        }
        panic!("the round never left {seen}");
    }
}

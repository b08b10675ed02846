//! What tests of the operators' page share: tokens, and a client that is no browser.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use undertone_server::auth::{Scope, Token, TokenKind};
use undertone_server::driver::now_ms;
use undertone_server::store::{Actor, NewToken, Store};

/// Makes a token in the store that is valid for so many milliseconds.
pub async fn token(store: &impl Store, scopes: &[Scope], lasts_ms: u64) -> Token {
    let token = Token::draw(TokenKind::Admin).unwrap();
    let new = NewToken {
        id: token.id(),
        hash: token.hash(),
        name: "Ada's laptop".to_owned(),
        scopes: scopes.iter().copied().collect(),
        created_at: now_ms(),
        expires_at: now_ms() + lasts_ms,
    };
    store.create_token(&new, Actor::Database).await.unwrap();
    token
}

/// A client that keeps cookies and follows no redirect.
#[derive(Debug)]
pub struct Visit {
    http: Client,
    server: String,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// What came back.
#[derive(Debug)]
pub struct Seen {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Seen {
    /// Where it leads.
    pub fn location(&self) -> &str {
        self.header("location")
    }

    /// A header, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The token in the page's first form.
    pub fn csrf(&self) -> String {
        let (_, rest) = self
            .body
            .split_once("name=\"csrf\" value=\"")
            .expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Visit {
    /// A client of `server` that has no cookie.
    pub fn new(server: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            http: Client::builder().redirect(Policy::none()).build().unwrap(),
            server: server.to_owned(),
            cookies: Mutex::default(),
        }
    }

    /// One that has logged in.
    pub async fn logged_in(server: &str, token: &Token) -> Self {
        let visit = Self::new(server);
        let seen = visit.log_in(&token.reveal()).await;
        assert_eq!((seen.status, seen.location()), (303, "/"), "{}", seen.body);
        visit
    }

    /// Fills the login form in.
    pub async fn log_in(&self, token: &str) -> Seen {
        let csrf = self.get("/login").await.csrf();
        self.post("/login", &[("csrf", &csrf), ("token", token)])
            .await
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// Takes a cookie as if the service had sent it.
    pub fn keep(&self, name: &str, value: &str) {
        let mut cookies = self.cookies.lock().unwrap();
        cookies.insert(name.to_owned(), value.to_owned());
    }

    /// The response to a GET, whose body is yet to come.
    pub async fn begin(&self, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.server));
        self.send(request).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Seen {
        seen(self.begin(path).await).await
    }

    /// POST of a form.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Seen {
        self.post_with(path, fields, &[]).await
    }

    /// POST of a form with more headers.
    pub async fn post_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Seen {
        // Nothing in these tests needs to be escaped.
        let body: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut request = self
            .http
            .post(format!("{}{path}", self.server))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        seen(self.send(request).await).await
    }

    async fn send(&self, request: RequestBuilder) -> Response {
        let cookies: Vec<String> = {
            let cookies = self.cookies.lock().unwrap();
            cookies.iter().map(|(k, v)| format!("{k}={v}")).collect()
        };
        let response = request
            .header(COOKIE, cookies.join("; "))
            .send()
            .await
            .unwrap();
        let mut cookies = self.cookies.lock().unwrap();
        for set in response.headers().get_all(SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, rest) = set.split_once('=').unwrap();
            if rest.contains("Max-Age=0;") {
                cookies.remove(name);
            } else {
                let value = rest.split(';').next().unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        drop(cookies);
        response
    }
}

async fn seen(response: Response) -> Seen {
    Seen {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

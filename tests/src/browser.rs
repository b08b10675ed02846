//! A headless Chromium, driven through chromedriver by the W3C's `WebDriver` protocol.
//!
//! Each browser has a profile of its own, and resolves no name: a page that asked another host for
//! something would not get it, and leaves an error in the console, which tests look at.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The flags of a browser that asks nobody for anything, and runs as root where it must.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
];

/// How long to wait for something to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key under which `WebDriver` names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one window.
#[derive(Debug)]
pub struct Browser {
    http: Client,
    session: String,
    /// Killed when dropped, and with it the browser.
    _driver: Child,
    _profile: TempDir,
}

/// Starts chromedriver on a port that it chooses; returns its address.
async fn driver() -> (Child, String) {
    let program = std::env::var("UNDERTONE_CHROMEDRIVER");
    let program = program.unwrap_or_else(|_| "chromedriver".to_owned());
    let mut child = Command::new(&program)
        .arg("--port=0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{program} does not start: {error}. The tests of the operators' page need Chromium \
                 and chromedriver: run them by `make test`, or through scripts/with-chromium.sh, \
                 which installs both or says how"
            )
        });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
            // Whatever else it prints is read, so that it can go on printing.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, address);
        }
    }
    panic!("chromedriver ended before it had a port");
}

impl Browser {
    /// Starts a browser whose window is a desktop's.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (driver, address) = driver().await;
        let profile = tempfile::tempdir().unwrap();
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "args": flags });
        if let Ok(chromium) = std::env::var("UNDERTONE_CHROMIUM") {
            options["binary"] = chromium.into();
        }
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // Tests sign their certificates themselves.
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let http = Client::new();
        let opened = call(&http, Method::POST, &format!("{address}/session"), wish).await;
        let id = opened["sessionId"].as_str().unwrap();
        let browser = Self {
            session: format!("{address}/session/{id}"),
            http,
            _driver: driver,
            _profile: profile,
        };
        browser.window(1280, 900, false).await;
        browser
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.session);
        call(&self.http, Method::POST, &url, body).await
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.post("goog/cdp/execute", body).await
    }

    /// Makes the window as wide as this; narrow ones are phones.
    pub async fn window(&self, width: u32, height: u32, dark: bool) {
        let phone = width < 600;
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Runs no script from now on, on pages that are loaded from now on.
    pub async fn without_javascript(&self) {
        let off = json!({ "value": true });
        self.devtools("Emulation.setScriptExecutionDisabled", off)
            .await;
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// What a script returns.
    pub async fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.post("execute/sync", body).await
    }

    /// The text that the page shows.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The text of an element, as it is shown.
    pub async fn text_of(&self, css: &str) -> String {
        let find = format!("return document.querySelector({css:?})?.innerText");
        let text = self.script(&find).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element shows a text.
    pub async fn shows(&self, css: &str, text: &str) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let shown = self.text_of(css).await;
            if shown.contains(text) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{css} never showed `{text}`, but `{shown}`; the page:\n{}",
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn element(&self, using: &str, value: &str) -> String {
        let found = self
            .post("element", json!({ "using": using, "value": value }))
            .await;
        let id = found[ELEMENT].as_str();
        id.unwrap_or_else(|| panic!("no {value}: {found}"))
            .to_owned()
    }

    /// Clicks on a link, by its text.
    pub async fn follow(&self, link: &str) {
        let id = self.element("link text", link).await;
        self.post(&format!("element/{id}/click"), json!({})).await;
    }

    /// Clicks on an element.
    pub async fn click(&self, css: &str) {
        let id = self.element("css selector", css).await;
        self.post(&format!("element/{id}/click"), json!({})).await;
    }

    /// Types into a field.
    pub async fn enter(&self, css: &str, text: &str) {
        let id = self.element("css selector", css).await;
        let keys = json!({ "text": text });
        self.post(&format!("element/{id}/value"), keys).await;
    }

    /// What stands in the console since the last time, as level and text.
    pub async fn console(&self) -> Vec<(String, String)> {
        let log = self.post("se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        let word = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        entries
            .iter()
            .map(|entry| (word(entry, "level"), word(entry, "message")))
            .collect()
    }

    /// The cookies of the page, with what the browser keeps them by.
    pub async fn cookies(&self) -> Vec<Value> {
        let found = self.devtools("Network.getCookies", json!({})).await;
        found["cookies"].as_array().unwrap().clone()
    }

    /// Saves a picture of the whole page as PNG.
    pub async fn picture(&self, path: &Path) {
        let metrics = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &metrics["cssContentSize"];
        let clip = json!({
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1,
        });
        let wish = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", wish).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap());
        std::fs::write(path, bytes.unwrap()).unwrap();
    }

    /// Ends the session, so that the browser goes and its profile can.
    pub async fn close(self) {
        call(&self.http, Method::DELETE, &self.session, Value::Null).await;
    }
}

/// One command; panics if the driver refuses it.
async fn call(http: &Client, method: Method, url: &str, body: Value) -> Value {
    let mut request = http.request(method, url).timeout(PATIENCE * 2);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    let mut answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{url} {body}: {answer}");
    answer["value"].take()
}

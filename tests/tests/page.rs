//! The operators' page in headless Chromium: an operator logs in, watches a round go through its
//! phases, and pauses the task; and what every page owes to whoever looks at it.
//!
//! `make test` brings Chromium (scripts/with-chromium.sh). With `UNDERTONE_PICTURES=FOLDER` the
//! tests leave pictures of the pages there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::watch;
use undertone_privacy::{Noise, NoiseMultiplier, SamplingRate, SubsampledGaussian};
use undertone_protocol::aggregator::PhaseName;
use undertone_server::Settings;
use undertone_server::auth::Scope;
use undertone_server::store::{Store, TaskControl};
use undertone_tests::browser::Browser;
use undertone_tests::client::{Hold, Inputs, Moment, Running, spawn};
use undertone_tests::database::Database;
use undertone_tests::page::token;
use undertone_tests::task::{LENGTH, Task};

const CLIENTS: u16 = 5;
const HOUR_MS: u64 = 3_600_000;

/// A task whose clients add noise, so that there is a budget to show.
async fn task(database: &Database, rounds: u32, masked_input_ms: u32) -> Task {
    let per_round = SubsampledGaussian {
        sampling_rate: SamplingRate::new(0.01).unwrap(),
        noise_multiplier: NoiseMultiplier::new(2.0).unwrap(),
        steps: 20,
    };
    let noise = Noise::LocalDpSgd {
        clip_norm: 1.0,
        per_round,
    };
    let deadlines = [300_000, 300_000, masked_input_ms, 300_000, 300_000];
    let named = ("Spam filter, northern region", noise);
    let size = (CLIENTS, rounds);
    Task::with_noise(database.url(), size, LENGTH, named, |settings| {
        settings.deadlines_ms = deadlines;
    })
    .await
}

/// The clients of a task; each may be held somewhere until it is let go.
struct Crowd {
    running: Vec<Running>,
    _state: tempfile::TempDir,
    gates: Vec<watch::Sender<bool>>,
}

impl Crowd {
    fn join(task: &Task, server: &str, holds: &[Option<(u32, PhaseName)>]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let inputs = Inputs::default();
        let mut gates = Vec::new();
        let mut running = Vec::new();
        for (index, hold) in holds.iter().enumerate() {
            let (gate, released) = watch::channel(false);
            let hold = hold.map(|(round, phase)| Hold {
                round,
                phase,
                at: Moment::Sending,
                released,
            });
            gates.push(gate);
            running.push(spawn(task, index, server, state.path(), &inputs, hold));
        }
        Self {
            running,
            _state: state,
            gates,
        }
    }

    fn let_go(&self, client: usize) {
        self.gates[client].send_replace(true);
    }

    /// Lets everyone go, to the end of the task.
    async fn finish(&mut self, rounds: u32) {
        (0..self.gates.len()).for_each(|client| self.let_go(client));
        for client in self.running.drain(..) {
            assert_eq!(client.await.unwrap().unwrap().rounds_finished, rounds);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.running.iter().for_each(Running::abort);
    }
}

async fn log_in(browser: &Browser, server: &str, task: &Task, scopes: &[Scope]) {
    let token = token(&task.store, scopes, HOUR_MS).await;
    browser.open(server).await;
    browser.shows("h1", "Log in").await;
    browser.enter("#token", &token.reveal()).await;
    browser.click("form.login button").await;
    browser.shows("h1", "Tasks").await;
}

/// What is judged on every page, at every width and in both colour schemes.
const JUDGE: &str = r#"
    const faults = [];
    const seen = (e) => e.checkVisibility({ visibilityProperty: true });
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) {
      const wide = [...document.querySelectorAll("body *")]
        .filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1 && !e.closest(".hidden"));
      faults.push(`wider than the window: ${wide.slice(-1)[0]?.outerHTML.slice(0, 200)}`);
    }
    for (const e of document.querySelectorAll(".card, #tasks, #round")) {
      if (e.scrollWidth > e.clientWidth + 1) faults.push(`wider than its card: ${e.id || e.innerText.slice(0, 40)}`);
    }
    if (root.lang !== "en" || !document.title) faults.push("no language or no title");
    if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
    if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
    let level = 0;
    for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
      const next = Number(h.tagName[1]);
      if (next > level + 1) faults.push(`h${next} after h${level}: ${h.innerText}`);
      level = next;
    }
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    if (new Set(ids).size !== ids.length) faults.push(`an id twice: ${ids}`);
    for (const e of document.querySelectorAll("a, button, input, svg[role=img], progress, nav, table")) {
      if (e.type === "hidden") continue;
      const named = e.getAttribute("aria-label") || e.innerText?.trim() || e.labels?.length
        || (e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby")));
      if (!named) faults.push(`no name: ${e.outerHTML.slice(0, 200)}`);
    }
    for (const e of document.querySelectorAll("[aria-describedby]")) {
      for (const id of e.getAttribute("aria-describedby").split(" ")) {
        if (!document.getElementById(id)) faults.push(`described by nothing: ${id}`);
      }
    }
    // WCAG 2.2, "contrast ratio" and success criterion 1.4.3.
    const rgb = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b]
      .map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
      for (; e; e = e.parentElement) {
        const colour = rgb(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] === 1) return colour;
      }
      return [255, 255, 255];
    };
    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
      const text = words.currentNode, e = text.parentElement;
      if (!text.data.trim() || !seen(e) || e.closest("noscript, script, title, desc")) continue;
      const style = getComputedStyle(e);
      const colour = rgb(e.closest("svg") ? style.fill : style.color);
      const [a, b] = [light(colour), light(behind(e.closest("svg") ?? e))].sort((x, y) => y - x);
      if ((a + 0.05) / (b + 0.05) < 4.5) faults.push(`contrast ${(a + 0.05) / (b + 0.05)}: ${text.data}`);
    }
    for (const e of document.querySelectorAll("main a.button, main button, header a, header button")) {
      const box = e.getBoundingClientRect();
      if (seen(e) && box.height < 24) faults.push(`a small target: ${e.innerText}`);
    }
    const asked = performance.getEntriesByType("resource").map((entry) => entry.name);
    for (const name of asked) {
      if (new URL(name).origin !== location.origin) faults.push(`asked elsewhere: ${name}`);
    }
    return faults;
"#;

/// Judges a page wide and narrow, light and dark; leaves pictures where they are wanted.
async fn judge(browser: &Browser, name: &str) {
    let pictures = std::env::var_os("UNDERTONE_PICTURES").map(PathBuf::from);
    for (width, height) in [(1280, 900), (360, 740)] {
        for dark in [false, true] {
            browser.window(width, height, dark).await;
            let faults = browser.script(JUDGE).await;
            assert_eq!(
                faults,
                Value::Array(vec![]),
                "{name}, {width} px, dark: {dark}"
            );
            if let Some(folder) = &pictures {
                let scheme = if dark { "dark" } else { "light" };
                let file = Path::new(folder).join(format!("{name}-{width}-{scheme}.png"));
                browser.picture(&file).await;
            }
        }
    }
    browser.window(1280, 900, false).await;
}

/// Nothing was refused by the page's own policy, and nothing failed.
async fn quiet(browser: &Browser) {
    let console = browser.console().await;
    let loud = console
        .iter()
        .filter(|line| matches!(&*line.0, "WARNING" | "SEVERE"));
    let loud: Vec<_> = loud.collect();
    assert!(loud.is_empty(), "{loud:?}");
}

/// Waits until each of these elements shows its text.
async fn sees(browser: &Browser, expected: &[(&str, &str)]) {
    for (css, text) in expected {
        browser.shows(css, text).await;
    }
}

/// Whether the page is still the one that was loaded, and not loaded again.
async fn same_page(browser: &Browser) -> bool {
    browser.script("return window.marked === true").await == true
}

async fn mark(browser: &Browser) {
    browser.script("window.marked = true").await;
    browser.shows("#connection", "Live").await;
}

/// Watches a round from its first phase to the last. One client never sends its input: it drops
/// out. Others are held, so that each phase is there to be seen.
async fn watch(browser: &Browser, task: &Task, server: &str) -> Crowd {
    let holds = [
        Some((1, PhaseName::ShareKeys)),
        Some((1, PhaseName::ConsistencyCheck)),
        Some((1, PhaseName::Unmask)),
        None,
        Some((1, PhaseName::MaskedInput)),
    ];
    let crowd = Crowd::join(task, server, &holds);
    let share_keys = [
        ("#status", "Round 1 of 6: ShareKeys is open."),
        ("[data-phase=advertise-keys]", "5 of 5 received"),
        ("[data-phase=share-keys]", "4 of 5 received"),
        ("[data-phase=share-keys]", "closes in 4 min"),
        ("[data-phase=masked-input]", "not open yet"),
    ];
    sees(browser, &share_keys).await;
    crowd.let_go(0);
    let masked_input = [
        ("#status", "MaskedInput is open."),
        ("[data-phase=masked-input]", "4 of 5 received"),
    ];
    sees(browser, &masked_input).await;
    let consistency_check = [
        ("#status", "ConsistencyCheck is open."),
        ("[data-phase=masked-input]", "1 client did not answer"),
        ("#round", "1 (1 in MaskedInput)"),
        ("[data-phase=consistency-check]", "3 of 4 received"),
    ];
    sees(browser, &consistency_check).await;
    judge(browser, "task-open").await;
    crowd.let_go(1);
    browser.shows("#status", "Unmask is open.").await;
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_watches_a_round_and_pauses_the_task() {
    let database = Database::sqlite();
    let task = task(&database, 6, 12_000).await;
    let server = task.serve().await;
    let browser = Browser::start().await;
    log_in(&browser, &server, &task, &Scope::ALL).await;
    browser.shows("table", "0 of 6").await;
    judge(&browser, "tasks-empty").await;
    browser.follow("Spam filter, northern region").await;
    let first = ("#status", "Round 1 of 6: AdvertiseKeys is open.");
    sees(&browser, &[("h1", "Spam filter, northern region"), first]).await;
    mark(&browser).await;
    let crowd = watch(&browser, &task, &server).await;
    assert!(same_page(&browser).await, "it was live");

    browser.follow("Pause task").await;
    browser.shows("h1", "Pause task?").await;
    judge(&browser, "pause").await;
    browser.click("form.confirm button").await;
    let goes_on = "The task is paused: no round opens after this one.";
    sees(&browser, &[("#summary", "paused"), ("#status", goes_on)]).await;
    let control = || async { task.store.task(task.id).await.unwrap().unwrap().control };
    assert_eq!(control().await, TaskControl::Paused);

    mark(&browser).await;
    crowd.let_go(2);
    let over = [
        ("#status", "No round is open. The task is paused."),
        ("#rounds", "finished"),
        ("#rounds", "1 (1 in MaskedInput)"),
        ("#privacy", "after 1 round"),
    ];
    sees(&browser, &over).await;
    assert!(same_page(&browser).await, "it was live");
    judge(&browser, "task-paused").await;

    browser.follow("Resume task").await;
    browser.click("form.confirm button").await;
    browser.shows("#status", "Round 2 of 6").await;
    assert_eq!(control().await, TaskControl::Run);
    quiet(&browser).await;
    browser.close().await;
}

/// What comes in while someone reads leaves them where they are.
#[tokio::test(flavor = "multi_thread")]
async fn news_disturb_nobody() {
    let database = Database::sqlite();
    let task = task(&database, 6, 60_000).await;
    let server = task.serve().await;
    let mut holds = [None; CLIENTS as usize];
    holds[0] = Some((5, PhaseName::MaskedInput));
    let mut crowd = Crowd::join(&task, &server, &holds);
    let browser = Browser::start().await;
    browser.open(&server).await;
    judge(&browser, "login").await;
    log_in(&browser, &server, &task, &Scope::ALL).await;
    browser.shows("table", "round 5: MaskedInput").await;
    browser.shows("table", "round 4, 5 survivors").await;
    judge(&browser, "tasks").await;
    browser.follow("Spam filter, northern region").await;
    let masked_input = "[data-phase=masked-input]";
    browser.shows(masked_input, "4 of 5 received").await;
    browser.shows("#privacy table", "Round 4").await;
    judge(&browser, "task").await;

    let meaning = "#privacy > details";
    browser.click(&format!("{meaning} summary")).await;
    let focus = "document.querySelector('#summary a[href$=audit]').focus()";
    browser.script(focus).await;
    crowd.finish(6).await;
    browser.shows("#status", "All rounds have ended.").await;
    browser.shows("#summary", "6 of 6 rounds have ended").await;
    browser.shows("#privacy table", "Round 6").await;
    browser.shows(meaning, "its own ledger knows").await;
    let focused = "return document.activeElement.innerText";
    assert_eq!(browser.script(focused).await, "Audit log");
    judge(&browser, "task-over").await;
    quiet(&browser).await;
    browser.close().await;
}

/// The audit log of a task that is over, and of the service; then someone who may look and not
/// touch, without JavaScript.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_can_be_read() {
    let database = Database::sqlite();
    let task = task(&database, 7, 60_000).await;
    let server = task.serve().await;
    let mut crowd = Crowd::join(&task, &server, &[None; CLIENTS as usize]);
    crowd.finish(7).await;
    let browser = Browser::start().await;
    log_in(&browser, &server, &task, &Scope::ALL).await;
    browser.follow("Spam filter, northern region").await;
    browser.follow("Audit log").await;
    browser.shows("h1", "Audit log: Spam filter").await;
    browser.shows("main", "Privacy spent").await;
    let last = "tbody tr:first-child";
    browser.click(&format!("{last} summary")).await;
    browser.shows(last, "\"kind\":\"task-finished\"").await;
    judge(&browser, "audit").await;
    browser.follow("Earlier entries").await;
    browser.shows("main", "Task made").await;
    browser.follow("Latest entries").await;
    browser.shows(last, "Task finished").await;
    browser.follow("Service log").await;
    browser.shows("main", "POST /login: done").await;
    judge(&browser, "service").await;
    browser.click(".who button").await;
    browser.shows("h1", "Log in").await;
    quiet(&browser).await;

    browser.without_javascript().await;
    log_in(&browser, &server, &task, &[Scope::Read]).await;
    browser.follow("Spam filter, northern region").await;
    let text = browser.text().await;
    assert!(text.contains("All rounds have ended.") && text.contains("Download adapter"));
    assert!(!text.contains("Audit log") && !text.contains("Service log"));
    let pause = format!("{server}/tasks/{}/control/pause", task.id);
    browser.open(&pause).await;
    browser.shows("h1", "The token does not allow this").await;
    browser.close().await;
}

/// The file with a certificate for loopback that signs itself, and the file with its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let write = |name: &str, what: &str, der: &[u8]| {
        let file = folder.join(name);
        let text = STANDARD.encode(der);
        let pem = format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n");
        std::fs::write(&file, pem).unwrap();
        file
    };
    (
        write("tls.crt", "CERTIFICATE", certificate.der()),
        write("tls.key", "PRIVATE KEY", &key.serialize_der()),
    )
}

/// Over TLS the cookie is one that browsers take from this host alone, and over TLS alone.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_session_is_of_this_host_alone() {
    let database = Database::sqlite();
    let task = task(&database, 2, 60_000).await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let mut settings = Settings::default();
    settings.tls.certificate = Some(certificate);
    settings.tls.key = Some(key);
    let server = task.serve_with(settings).await;
    let server = server.replace("http://", "https://");
    let browser = Browser::start().await;
    log_in(&browser, &server, &task, &[Scope::Read]).await;
    let cookies = browser.cookies().await;
    assert_eq!(cookies.len(), 1, "the login's own is gone: {cookies:?}");
    let cookie = &cookies[0];
    assert_eq!(cookie["name"], "__Host-undertone");
    assert!(
        cookie["secure"] == true && cookie["httpOnly"] == true,
        "{cookie}"
    );
    assert_eq!(cookie["sameSite"], "Strict");
    browser.follow("Spam filter, northern region").await;
    browser.shows("#connection", "Live").await;
    quiet(&browser).await;
    browser.close().await;
}

//! A task's own privacy budget, what is shown of it, and clients that hold to theirs.

use std::fs;
use std::time::Duration;

use undertone_client::{DeclineReason, End, Summary};
use undertone_privacy::{
    Budget, Delta, Epsilon, Ledger, Mechanism, Noise, NoiseMultiplier, SamplingRate,
    SubsampledGaussian,
};
use undertone_tests::client::{Inputs, spawn_with};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

use super::{SETTINGS, Scene, strs};

const NOISE: &str = r#"noise = { kind = "local-dp-sgd", clip_norm = 1.0, per_round = { sampling_rate = 0.1, noise_multiplier = 1.1, steps = 4 } }"#;

fn cost() -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(0.1).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
        steps: 4,
    }
}

fn delta() -> Delta {
    Delta::new(1e-5).unwrap()
}

/// Epsilon of so many rounds.
fn epsilon(rounds: u32) -> f64 {
    let budget = Budget {
        epsilon: Epsilon::new(100.0).unwrap(),
        delta: delta(),
    };
    let mut ledger = Ledger::new(budget);
    (0..rounds).for_each(|_| ledger.record_past(&cost()));
    ledger.spent().unwrap().get()
}

/// A budget that covers two rounds and not three.
fn budget_for_two() -> f64 {
    f64::midpoint(epsilon(2), epsilon(3))
}

/// The settings of a private task, with a budget.
fn settings(budget: &str, noise: &str) -> String {
    let noisy = SETTINGS.replace(r#"noise = { kind = "none" }"#, noise);
    let line = "deadlines_ms = [60000, 60000, 60000, 60000, 60000]\n";
    let budgeted = noisy.replace(line, &format!("{line}budget = {budget}\n"));
    assert_ne!(budgeted, SETTINGS);
    budgeted
}

async fn everyone(scene: &Scene, task: &Task, budgets: [f64; 4]) -> Vec<Summary> {
    let inputs = Inputs::default();
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let change = |config: &mut undertone_client::JoinConfig| {
                config.policy.allow_no_noise = false;
                config.policy.budget.epsilon = Epsilon::new(budgets[index]).unwrap();
            };
            let url = scene.service.url();
            spawn_with(
                task,
                index,
                &url,
                scene.folder.path(),
                &inputs,
                None,
                change,
            )
        })
        .collect();
    let mut summaries = Vec::new();
    for client in clients {
        let ended = tokio::time::timeout(Duration::from_secs(90), client).await;
        summaries.push(ended.expect("a client hangs").unwrap().unwrap());
    }
    summaries
}

pub(crate) async fn a_task_stops_at_its_budget(database: Database) {
    let mut scene = Scene::new(database).await;
    let budget = budget_for_two();
    let line = format!(r#"{{ epsilon = {budget}, delta = 1e-5, beyond = "stop" }}"#);
    fs::write(scene.file("task.toml"), settings(&line, NOISE)).unwrap();
    scene.admin.succeeds(&strs(&scene.create()));
    let task = scene.task().await;
    let summaries = everyone(&scene, &task, [100.0; 4]).await;
    for summary in &summaries {
        assert_eq!(
            (summary.rounds_finished, &summary.end),
            (2, &End::TaskFinished)
        );
    }

    // It is durable: whoever serves next opens no round either.
    scene.service.kill().await;
    scene.service.restart().await;
    let admin = scene.admin.clone();
    let shown = admin.json(&["task", "show", &scene.task]);
    assert_eq!(shown["state"], "exhausted");
    assert_eq!(
        (&shown["rounds_ended"], &shown["rounds_total"]),
        (&2.into(), &3.into())
    );
    let left = &shown["budget"];
    assert_eq!(
        (&left["rounds_taken"], &left["rounds_covered"]),
        (&2.into(), &2.into())
    );
    assert!((left["spent"].as_f64().unwrap() - epsilon(2)).abs() < 1e-9);
    let words = admin.succeeds(&["task", "show", &scene.task]);
    assert!(
        words.contains("exhausted") && words.contains("in 2 of the 2 rounds"),
        "{words}"
    );
    for verb in ["resume", "pause", "cancel"] {
        if verb == "resume" {
            // It was never paused: nothing changes.
            admin.succeeds(&["task", verb, &scene.task]);
            continue;
        }
        let refused = admin.fails(&["task", verb, &scene.task]);
        assert!(
            refused.contains("privacy budget covers no further round"),
            "{refused}"
        );
    }
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/v1/tasks/{}", scene.service.url(), scene.task);
    let told: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&told["status"], &told["ended"]),
        (&"finished".into(), &"exhausted".into())
    );
    assert_eq!(task.rounds().await.len(), 2);

    report(&scene, &admin, &task);
    receipts(&scene, &admin, &task);
}

/// What an auditor is shown: the log checks, and the report says what the log says.
fn report(scene: &Scene, admin: &undertone_tests::cli::Cli, task: &Task) {
    admin.succeeds(&["audit", "verify"]);
    let (html, markdown) = (scene.file("privacy.html"), scene.file("privacy.md"));
    let files = ["--html", &html, "--markdown", &markdown];
    admin.succeeds(&[&["report", "privacy", &scene.task], &files[..]].concat());
    let report = admin.json(&["report", "privacy", &scene.task]);
    assert_eq!(report["state"], "exhausted");
    assert_eq!(report["seen"], serde_json::json!({"inputs": 2, "sums": 2}));
    assert_eq!(report["promises"].as_array().unwrap().len(), 4);
    assert_eq!(report["participants"].as_array().unwrap().len(), 4);
    for (index, part) in report["participants"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        assert_eq!(part["key"], task.identities[index].public().to_string());
        assert_eq!(part["seen"]["sums"], 2);
        let spent = part["spent"][0]["epsilon"].as_f64().unwrap();
        assert!((spent - epsilon(2)).abs() < 1e-9);
    }
    assert_eq!(report["audit"]["chain"], scene.task);
    let shown = Epsilon::new(epsilon(2)).unwrap().to_string();
    for file in [&html, &markdown] {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            text.contains(&shown) && text.contains("from afar"),
            "{text}"
        );
    }
    assert!(fs::read_to_string(&html).unwrap().contains("<svg"));
}

/// Each client's receipts verify under its key, and a changed one does not.
fn receipts(scene: &Scene, admin: &undertone_tests::cli::Cli, task: &Task) {
    for (index, identity) in task.identities.iter().enumerate() {
        let (state, key) = (
            scene.file(&format!("client-{index}")),
            identity.public().to_string(),
        );
        let shown = admin.json(&["ledger", "show", "--state", &state]);
        let spent = shown["units"][0]["epsilon"].as_f64().unwrap();
        assert!((spent - epsilon(2)).abs() < 1e-9);
        let verified = admin.json(&["ledger", "verify", "--state-dir", &state, "--key", &key]);
        assert_eq!(
            (&verified["valid"], &verified["receipts"]),
            (&true.into(), &2.into())
        );
        let file = scene.file(&format!("receipts-{index}.json"));
        admin.succeeds(&["ledger", "export", "--state", &state, "--out", &file]);
        let verify = ["ledger", "verify", "--receipts", &file, "--key", &key];
        let said = admin.succeeds(&verify);
        assert!(
            said.contains("2 receipts are as they were signed"),
            "{said}"
        );
        let text = fs::read_to_string(&file).unwrap();
        let changed = text.replacen(r#"\"steps\":4"#, r#"\"steps\":3"#, 1);
        assert_ne!(changed, text);
        fs::write(&file, changed).unwrap();
        let refused = admin.fails(&verify);
        assert!(refused.contains("the receipts do not verify"), "{refused}");
        let other = task.identities[(index + 1) % 4].public().to_string();
        admin.fails(&["ledger", "verify", "--state", &state, "--key", &other]);
    }
}

/// The service asks for three rounds; whose budget covers one takes part in one.
pub(crate) async fn a_client_holds_to_its_budget(database: Database) {
    let scene = Scene::new(database).await;
    let line = "{ epsilon = 50.0, delta = 1e-5 }";
    let short = settings(line, NOISE).replace("[60000, 60000", "[3000, 60000");
    fs::write(scene.file("task.toml"), short).unwrap();
    scene.admin.succeeds(&strs(&scene.create()));
    let task = scene.task().await;
    let one = f64::midpoint(epsilon(1), epsilon(2));
    let summaries = everyone(&scene, &task, [one, 100.0, 100.0, 100.0]).await;
    let [careful, others @ ..] = summaries.as_slice() else {
        panic!("no clients");
    };
    assert_eq!((careful.rounds_finished, careful.rounds_declined), (1, 1));
    let End::PolicyExhausted(DeclineReason::Budget { would_be, .. }) = &careful.end else {
        panic!("{careful}");
    };
    assert!((would_be.unwrap().get() - epsilon(2)).abs() < 1e-9);
    for other in others {
        assert_eq!((other.rounds_finished, &other.end), (3, &End::TaskFinished));
    }
    // The report tells them apart.
    let report = scene.admin.json(&["report", "privacy", &scene.task]);
    let sums = |client: usize| {
        report["participants"][client]["seen"]["sums"]
            .as_u64()
            .unwrap()
    };
    assert_eq!([0, 1, 2, 3].map(sums), [1, 3, 3, 3]);
}

/// Each refusal says what to choose.
pub(crate) async fn meaningless_settings_are_refused(database: Database) {
    let scene = Scene::new(database).await;
    let fine = format!("{{ epsilon = {}, delta = 1e-5 }}", epsilon(3) + 0.01);
    let two = format!("{{ epsilon = {}, delta = 1e-5 }}", budget_for_two());
    for (budget, noise, said) in [
        (
            two.as_str(),
            NOISE.to_owned(),
            "choose at most 2 rounds, a noise multiplier of ",
        ),
        (
            "{ epsilon = 0.0, delta = 1e-5 }",
            NOISE.to_owned(),
            "choose an epsilon above 0",
        ),
        (
            "{ epsilon = 6.0, delta = 1.0 }",
            NOISE.to_owned(),
            "strictly between 0 and 1",
        ),
        (
            r#"{ epsilon = 6.0, delta = 0.3, unit = "client" }"#,
            NOISE.to_owned(),
            "number of clients (4)",
        ),
        (
            r#"{ epsilon = 6.0, delta = 1e-5, unit = "client" }"#,
            NOISE.to_owned(),
            "promises nothing for each client",
        ),
        (
            &fine,
            r#"noise = { kind = "none" }"#.to_owned(),
            "promises nothing for each example",
        ),
        (
            &fine,
            NOISE.replace("clip_norm = 1.0", "clip_norm = 0.0"),
            "clip_norm is 0",
        ),
        (
            &fine,
            NOISE.replace("steps = 4", "steps = 0"),
            "release nothing",
        ),
        (
            &fine,
            NOISE.replace("multiplier = 1.1", "multiplier = 0.0"),
            "noise multiplier is 0",
        ),
    ] {
        fs::write(scene.file("task.toml"), settings(budget, &noise)).unwrap();
        let refused = scene.admin.fails(&strs(&scene.create()));
        assert!(refused.contains(said), "{budget} {noise}: {refused}");
    }
    fs::write(scene.file("task.toml"), settings(&fine, NOISE)).unwrap();
    scene.admin.succeeds(&strs(&scene.create()));
    let mechanism = scene.admin.json(&["task", "show", &scene.task])["mechanism"].clone();
    let mechanism: Mechanism = serde_json::from_value(mechanism).unwrap();
    assert!(matches!(mechanism.noise, Noise::LocalDpSgd { .. }));
}

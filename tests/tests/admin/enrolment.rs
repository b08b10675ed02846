//! Clients are invited and hand in their keys.

use std::fs;
use std::time::Duration;

use undertone_protocol::enrolment::prove;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_tests::cli::Cli;
use undertone_tests::database::Database;

use super::{Scene, strs};

const NAMES: [&str; 4] = ["north", "south", "it's \"east\"", "west"];

/// Four clients are invited and hand in their keys; the roster that is signed from the list lets a
/// task be made. A token that leaks lets one key in, and only with the proof that it is one's own.
pub(crate) async fn enrolled(database: Database) {
    let mut scene = Scene::new(database).await;
    let invite = ["enrol", "invite", "--list", "hospitals", "--expires", "1h"];
    let made = scene.admin.json(&[&invite[..], &NAMES].concat());
    let secrets: Vec<String> = made["invitations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["secret"].as_str().unwrap().to_owned())
        .collect();
    for (client, (name, secret)) in NAMES.iter().zip(&secrets).enumerate() {
        let accept = accept(&scene, secret, &client.to_string());
        let receipt = scene.admin.json(&strs(&accept));
        assert_eq!(receipt["receipt"], "accepted");
        assert_eq!(receipt["name"], *name);
        assert_eq!(scene.admin.json(&strs(&accept))["receipt"], "repeated");
    }
    scene.service.kill().await;
    scene.service.restart().await;
    others_are_refused(&scene, &secrets[0]).await;
    the_list_becomes_a_roster(&scene);
    let unused = unused_token(&scene.admin);
    impostor(&scene, &unused).await;
}

/// The command by which the owner of a key file hands it in.
fn accept(scene: &Scene, token: &str, key: &str) -> Vec<String> {
    let file = scene.file("enrolment.token");
    fs::write(&file, token).unwrap();
    let key = scene.file(&format!("client-{key}.key"));
    ["enrol", "accept", "--token-file", &file, "--identity", &key]
        .map(str::to_owned)
        .to_vec()
}

/// Tokens that are used, made up, of another kind or expired let nobody in.
async fn others_are_refused(scene: &Scene, used: &str) {
    let admin = &scene.admin;
    let other = scene.file("client-other.key");
    admin.succeeds(&["identity", "new", "--out", &other]);
    let made_up = format!("ue_{}_{}", "0".repeat(16), "0".repeat(64));
    for (token, key, says) in [
        (used, "other", "enrolment-refused"),
        (used, "1", "enrolment-refused"),
        (&made_up, "other", "enrolment-refused"),
        (&used.replace("ue_", "ut_"), "other", "it starts with ue_"),
    ] {
        let line = admin.fails(&strs(&accept(scene, token, key)));
        assert!(line.contains(says), "{line}");
    }
    let brief = admin.json(&[
        "enrol",
        "invite",
        "--list",
        "late",
        "--expires",
        "1s",
        "slow",
    ]);
    let brief = brief["invitations"][0]["secret"].as_str().unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let line = admin.fails(&strs(&accept(scene, brief, "other")));
    assert!(line.contains("expired"), "{line}");
}

/// The keys that came are what the authority signs, in the order of the invitations.
fn the_list_becomes_a_roster(scene: &Scene) {
    let (admin, members) = (&scene.admin, scene.file("enrolled.txt"));
    let list = [
        "enrol",
        "list",
        "--list",
        "hospitals",
        "--members",
        &members,
    ];
    let listed = admin.json(&list);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().all(|one| one["state"] == "enrolled"));
    let (key, roster) = (scene.file("authority.key"), scene.file("task.roster"));
    let sign = ["authority", "sign", "--authority", &key];
    let files = ["--members", &members, "--out", &roster];
    let task = admin.succeeds(&[&sign[..], &files].concat());
    assert_eq!(admin.succeeds(&strs(&scene.create())), task);
    let roster = admin.json(&["task", "roster", &task]);
    let keys: Vec<_> = listed.iter().map(|one| one["key"].clone()).collect();
    assert_eq!(roster["members"], serde_json::Value::from(keys));
    let tokens_only = ["token", "create", "--name", "t", "--scopes", "tokens"];
    let nobody = admin.with(&admin.succeeds(&tokens_only));
    assert!(nobody.fails(&list).contains("forbidden"));
}

/// A fresh token that nobody has used.
fn unused_token(admin: &Cli) -> String {
    let made = admin.json(&["enrol", "invite", "--list", "more", "someone"]);
    made["invitations"][0]["secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Whoever has a token but not the key's secret half does not get the key onto the list; of many
/// who come with one token at once, one does.
async fn impostor(scene: &Scene, token: &str) {
    let key = |seed: u8| IdentityKey::from_seed(&Secret32::from([seed; 32]));
    let id: [u8; 8] = hex::decode(&token[3..19]).unwrap().try_into().unwrap();
    let url = format!("{}/v1/enrolments", scene.service.url());
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let hand_in = |key: &IdentityKey, signer: &IdentityKey| {
        let proof = prove(signer, id);
        let body = serde_json::json!({
            "token": token, "key": key.public().to_string(), "signature": proof.to_string(),
        });
        let request = client.post(&url).header("content-type", "application/json");
        request.body(body.to_string()).send()
    };
    let refused = hand_in(&key(1), &key(2)).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("bad-signature"));
    let listed = scene.admin.json(&["enrol", "list", "--list", "more"]);
    assert_eq!(listed[0]["state"], "invited");

    let (one, two) = (key(3), key(4));
    let (first, second) = tokio::join!(hand_in(&one, &one), hand_in(&two, &two));
    let mut statuses = [
        first.unwrap().status().as_u16(),
        second.unwrap().status().as_u16(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

//! Clients are invited and hand in their keys.

use std::fs;
use std::time::Duration;

use undertone_protocol::enrolment::prove;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_tests::cli::{Cli, at};
use undertone_tests::database::Database;

use super::{Scene, strs};

/// Four clients are invited and hand in their keys; the roster that is signed from the list lets a
/// task be made. A token that leaks lets one key in, and only with the proof that it is one's own.
pub(crate) async fn enrolled(database: Database) {
    let mut scene = Scene::new(database).await;
    let admin = scene.admin.clone();
    let names = ["north", "south", "it's \"east\"", "west"];
    let invite = [
        &["enrol", "invite", "--list", "hospitals", "--expires", "1h"][..],
        &names,
    ]
    .concat();
    let made = admin.json(&invite);
    let secret = |at: usize| {
        made["invitations"][at]["secret"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let folder = scene.folder.path().to_owned();
    let accept = |token: &str, key: &str| {
        let file = at(&folder, "enrolment.token");
        fs::write(&file, token).unwrap();
        let key = at(&folder, &format!("client-{key}.key"));
        let accept = ["enrol", "accept", "--token-file", &file, "--identity", &key];
        accept.map(str::to_owned).to_vec()
    };
    for client in 0..4 {
        let accept = accept(&secret(client), &client.to_string());
        let receipt = admin.json(&strs(&accept));
        assert_eq!(receipt["receipt"], "accepted");
        assert_eq!(receipt["name"], names[client]);
        assert_eq!(admin.json(&strs(&accept))["receipt"], "repeated");
    }
    scene.service.kill().await;
    scene.service.restart().await;
    admin.succeeds(&["identity", "new", "--out", &scene.file("client-other.key")]);
    for (token, key, says) in [
        (secret(0), "other", "enrolment-refused"),
        (secret(0), "1", "enrolment-refused"),
        (
            format!("ue_{}_{}", "0".repeat(16), "0".repeat(64)),
            "other",
            "enrolment-refused",
        ),
        (
            secret(0).replace("ue_", "ut_"),
            "other",
            "it starts with ue_",
        ),
    ] {
        let line = admin.fails(&strs(&accept(&token, key)));
        assert!(line.contains(says), "{line}");
    }
    let brief = [
        "enrol",
        "invite",
        "--list",
        "late",
        "--expires",
        "1s",
        "slow",
    ];
    let brief = admin.json(&brief)["invitations"][0]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let line = admin.fails(&strs(&accept(&brief, "other")));
    assert!(line.contains("expired"), "{line}");

    let members = scene.file("enrolled.txt");
    let list = [
        "enrol",
        "list",
        "--list",
        "hospitals",
        "--members",
        &members,
    ];
    let listed = admin.json(&list);
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "enrolled")
    );
    let (key, roster) = (scene.file("authority.key"), scene.file("task.roster"));
    let sign = [
        "authority",
        "sign",
        "--authority",
        &key,
        "--members",
        &members,
    ];
    let task = admin.succeeds(&[&sign[..], &["--out", &roster]].concat());
    assert_eq!(admin.succeeds(&strs(&scene.create())), task);
    let roster = admin.json(&["task", "roster", &task]);
    let keys: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["key"].clone())
        .collect();
    assert_eq!(roster["members"], serde_json::Value::from(keys));
    let tokens_only = ["token", "create", "--name", "t", "--scopes", "tokens"];
    let nobody = admin.with(&admin.succeeds(&tokens_only));
    assert!(nobody.fails(&list).contains("forbidden"));
    impostor(&scene, &unused_token(&admin)).await;
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

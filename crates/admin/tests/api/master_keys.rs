//! Master keys over the API, and the note of a backup.

use axum::body::Body;
use serde_json::{Value, json};
use till_core::limit::Units;

use crate::harness::Instance;

async fn list(instance: &Instance) -> Vec<Value> {
    instance.get("/admin/master-keys").await.json()["masterKeys"].as_array().unwrap().clone()
}

async fn post(instance: &Instance, path: &str) -> crate::harness::Answer {
    instance.call("POST", path, Body::empty()).await
}

#[tokio::test]
async fn a_rotation_ends_nothing_and_a_retirement_all_of_one_master_key() {
    let instance = Instance::start().await;
    let old = instance.minted(5).await;
    let first = old["masterKey"].clone();
    let rotated = post(&instance, "/admin/master-keys/rotate").await.json();
    let second = rotated["masterKey"]["id"].clone();
    assert_eq!(rotated["masterKey"]["state"], "current");
    assert!(rotated["masterKey"].get("keysEnded").is_none());
    let new = instance.minted(5).await;
    assert_eq!((&new["masterKey"], &old["masterKey"]), (&second, &first));
    for key in [&old, &new] {
        assert!(instance.keys.open(key["scopedKey"].as_str().unwrap()).is_ok());
    }
    let states: Vec<_> =
        list(&instance).await.iter().map(|one| (one["id"].clone(), one["state"].clone())).collect();
    assert!(
        states.contains(&(first.clone(), json!("old")))
            && states.contains(&(second.clone(), json!("current")))
    );

    let current = format!("/admin/master-keys/{}/retire", second.as_str().unwrap());
    post(&instance, &current).await.assert_error(409, "conflict");
    post(&instance, "/admin/master-keys/00000000/retire").await.assert_error(404, "not_found");
    post(&instance, "/admin/master-keys/x/retire").await.assert_error(400, "invalid_id");

    let id = old["id"].as_str().unwrap().parse().unwrap();
    let held = instance.store.hold_exactly(id, Units::ONE_ACTIVATION).await.unwrap();
    let retire = format!("/admin/master-keys/{}/retire", first.as_str().unwrap());
    let retired = post(&instance, &retire).await.json();
    assert_eq!((&retired["masterKey"]["state"], &retired["keysEnded"]), (&json!("retired"), &json!(1)));
    assert_eq!((&retired["masterKey"]["keys"], &retired["masterKey"]["keysLive"]), (&json!(1), &json!(0)));
    assert!(held.ended().is_some(), "it is told before the answer");
    assert!(instance.keys.open(old["scopedKey"].as_str().unwrap()).is_err());
    assert!(instance.keys.open(new["scopedKey"].as_str().unwrap()).is_ok());
    assert_eq!(post(&instance, &retire).await.json()["keysEnded"], 0, "again");
    let audit = instance.audit().await;
    let count = |action: &str| audit.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!((count("master_key.rotate"), count("master_key.retire"), count("key.revoke")), (1, 1, 1));
}

#[tokio::test]
async fn what_can_not_be_made_is_no_rotation() {
    let instance = Instance::start().await;
    for _ in 8..16 {
        assert_eq!(post(&instance, "/admin/master-keys/rotate").await.status, 200);
    }
    let before = list(&instance).await;
    let said = post(&instance, "/admin/master-keys/rotate").await.assert_error(409, "conflict");
    assert!(said.contains("no more of them"), "{said}");
    assert_eq!(list(&instance).await, before);
}

#[tokio::test]
async fn keys_are_revoked_by_master_key() {
    let instance = Instance::start().await;
    let old = instance.minted(5).await;
    post(&instance, "/admin/master-keys/rotate").await;
    instance.minted(5).await;
    let revoke = |body: Value| async {
        let body = body;
        instance.call("POST", "/admin/keys/revoke", body.to_string()).await
    };
    let answer = revoke(json!({"master_key": old["masterKey"], "dry_run": true})).await.json();
    assert_eq!(answer["ids"], json!([old["id"]]));
    revoke(json!({"master_key": "x"})).await.assert_error(400, "invalid_field");
    assert_eq!(revoke(json!({"masterKey": "00000000"})).await.json()["ids"], json!([]));
    assert_eq!(revoke(json!({"master_key": old["masterKey"]})).await.json()["ids"], json!([old["id"]]));
}

#[tokio::test]
async fn a_backup_is_noted() {
    let instance = Instance::start().await;
    let note = |body: Value| async {
        let body = body;
        instance.call("POST", "/admin/backups", body.to_string()).await
    };
    let good = json!({"file": "/b/till.db", "sha256": "0a".repeat(32), "bytes": 4096});
    assert_eq!(note(good.clone()).await.json(), json!({"noted": true}));
    let entry = instance.audit().await.pop().unwrap();
    assert_eq!((&entry["action"], &entry["target"]), (&json!("backup.make"), &json!("/b/till.db")));
    for (field, value, code) in [
        ("file", json!(""), "invalid_field"),
        ("file", json!("a\nb"), "invalid_field"),
        ("sha256", json!("0A".repeat(32)), "invalid_field"),
        ("bytes", json!(-1), "invalid_field"),
        ("bytes", json!(null), "missing_field"),
        ("more", json!(1), "unknown_field"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        note(bad).await.assert_error(400, code);
    }
}

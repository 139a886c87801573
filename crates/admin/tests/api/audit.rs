//! The audit log over the API: filters, checkpoints, export, and finding a token.

use serde_json::{Value, json};
use till_core::audit::{Actor, FileParser, Proof, Verifier};
use till_core::token::{admin_token_hash, mint_admin_token};
use till_store::{AdminToken, Lookup, Put};

use crate::harness::{CANARY, Instance};

async fn seqs(instance: &Instance, query: &str) -> Vec<u64> {
    let answer = instance.get(&format!("/admin/audit?{query}")).await.json();
    let entries = answer["entries"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
    entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
}

/// As somebody does who has nothing but the file and the public key.
fn verify(instance: &Instance, file: &str) -> Proof {
    let public_key = instance.keys.audit_keys().public_key();
    let (mut parser, mut verifier) = (FileParser::default(), Verifier::new(vec![public_key]));
    parser.push(file.as_bytes(), |record| verifier.take(&record)).unwrap();
    parser.finish().unwrap();
    verifier.finish().unwrap()
}

async fn find(instance: &Instance, token: &str) -> Value {
    let answer = instance.call("POST", "/admin/audit/find", json!({"token": token}).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains(token));
    answer.json()
}

#[tokio::test]
async fn entries_are_filtered_and_ordered() {
    let instance = Instance::start().await;
    let first = instance.minted(5).await;
    let second = instance.minted(6).await;
    let first = first["id"].as_str().unwrap();
    instance.call("DELETE", &format!("/admin/keys/{first}"), axum::body::Body::empty()).await;
    let all = seqs(&instance, "").await;
    assert_eq!(all, [1, 2, 3, 4, 5], "token.create, master_key.add, two keys, a revocation");
    for (query, expected) in [
        ("order=desc", vec![5, 4, 3, 2, 1]),
        ("order=desc&after=3&limit=1", vec![2]),
        ("actor=owner", vec![3, 4, 5]),
        ("actor=system&action=token.*", vec![1]),
        ("action=key.create", vec![3, 4]),
        ("action=key.*&order=desc", vec![5, 4, 3]),
        ("action=*", vec![1, 2, 3, 4, 5]),
        ("action=key", vec![]),
        (&format!("target={first}"), vec![3, 5]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", vec![]),
        ("from=2020-01-01T00:00:00%2B01:00", vec![1, 2, 3, 4, 5]),
    ] {
        assert_eq!(seqs(&instance, query).await, expected, "{query}");
    }
    let shown = instance.get("/admin/audit/4").await.json()["entry"].clone();
    assert_eq!(shown["target"], second["id"]);
    for path in ["0", "6", "x", "+3", "03x", "18446744073709551616", "-1"] {
        instance.get(&format!("/admin/audit/{path}")).await.assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn an_export_is_whole_and_can_be_verified() {
    let instance = Instance::start().await;
    for _ in 0..3 {
        instance.minted(5).await;
    }
    for n in 0..1_200 {
        instance
            .store
            .audit_append("test.filler", "a \"target\",", json!({"n": n}), &Actor::system())
            .await
            .unwrap();
    }
    for (format, media_type) in [("jsonl", "application/jsonl"), ("csv", "text/csv; charset=utf-8")] {
        let answer = instance.get(&format!("/admin/audit/export?format={format}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, media_type));
        let proof = verify(&instance, &answer.text);
        // Others are the entries of the keys.
        assert_eq!((proof.entries, proof.instance_id), (1_206, instance.store.instance_id()));
        assert_eq!(answer.header("x-till-audit-entries"), "1206");
        assert_eq!(proof.checkpoints, 2, "a thousand entries, and the end");
        assert!(!answer.text.contains(CANARY) && !answer.text.contains("till_sk_"));
    }
    let page = instance.get("/admin/audit/checkpoints").await.json();
    assert_eq!(page["anchor"], Value::Null);
    assert_eq!(page["keys"][0]["publicKey"], instance.keys.audit_keys().public_key().to_string());
    assert_eq!(page["checkpoints"].as_array().unwrap().len(), 2);
    let head = &page["checkpoints"][1];
    assert_eq!((&head["seq"], &page["nextAfter"]), (&json!(1206), &json!(1206)));
    assert_eq!(instance.get("/admin/audit/1206").await.json()["entry"]["hash"], head["hash"]);
    let rest = instance.get("/admin/audit/checkpoints?after=1100&limit=5").await.json();
    assert_eq!(rest["checkpoints"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_leads_to_its_entries_and_stands_in_none() {
    let instance = Instance::start().await;
    let key = instance.minted(5).await;
    let (id, token) = (key["id"].as_str().unwrap(), key["scopedKey"].as_str().unwrap());
    instance.minted(6).await;
    instance.call("DELETE", &format!("/admin/keys/{id}"), axum::body::Body::empty()).await;

    let found = find(&instance, token).await;
    assert_eq!((&found["subject"], &found["complete"]), (&json!(id), &json!(true)));
    let actions: Vec<&str> =
        found["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["key.create", "key.revoke"]);
    let detail: Value = serde_json::from_str(found["entries"][0]["detail"].as_str().unwrap()).unwrap();
    let hash = instance.keys.audit_keys().token_hash(token);
    assert_eq!(detail["tokenHash"], till_core::hex::to_hex(&hash));

    // The owner's: its making, and everything that was done with it.
    let found = find(&instance, &instance.token).await;
    assert_eq!(found["subject"], "owner");
    assert_eq!(found["entries"].as_array().unwrap().len(), 4);
    // Replaced: it ends there, and that of the new one begins.
    let new = mint_admin_token([8; 32]).reveal_str().unwrap().to_owned();
    let old = instance.token.clone();
    let kept = instance.store.entity_fetch::<AdminToken>("owner").await.unwrap().unwrap();
    let lookups = Some(vec![Lookup { hash: admin_token_hash(&new), until: None }]);
    let put = Put { id: kept.id, version: Some(kept.version), is: kept.is, lookups, ends: false };
    instance.store.entity_put(put, "token.put", json!({}), &Actor::system()).await.unwrap();
    let mut instance = instance;
    instance.token.clone_from(&new);
    instance.minted(7).await;
    assert_eq!(find(&instance, &old).await["entries"].as_array().unwrap().len(), 5);
    assert_eq!(find(&instance, &new).await["entries"].as_array().unwrap().len(), 2);

    // Nobody's.
    let mut altered = token.to_owned();
    altered.replace_range(30..31, if &token[30..31] == "a" { "b" } else { "a" });
    let nobodys = mint_admin_token([77; 32]);
    for strange in [&altered, "till_sk_", nobodys.reveal_str().unwrap()] {
        assert_eq!(find(&instance, strange).await, json!({"subject": null, "entries": [], "complete": true}));
    }
    for body in [json!({}), json!({"token": 5}), json!({"token": CANARY}), json!({"token": "x", "note": 1})] {
        let answer = instance.call("POST", "/admin/audit/find", body.to_string()).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(!answer.text.contains(CANARY));
    }
    let log = instance.get("/admin/audit?limit=1000").await.text;
    for secret in [token, &old, &new, CANARY] {
        assert!(!log.contains(secret));
    }
}

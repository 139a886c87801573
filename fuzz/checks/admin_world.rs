//! An instance with one thing of every kind, for what is sent to the control plane.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::admin_bodies::Operation;
use crate::harness::{Answer, CANARY, Instance};

/// After so many changes there is a new one: lists and the log of this one are long.
const CHANGES_MAX: u32 = 300;

/// Passwords that are worked on, of which each takes some ten milliseconds.
const PASSWORDS_MAX: u32 = 2;

/// The project that has rules.
pub const RULED: &str = "ruled";

/// An instance, and what there is in it.
pub struct World {
    pub instance: Instance,
    /// Texts of admin tokens: of an admin of [`RULED`], of a minter with rules.
    pub admin: String,
    pub minter: String,
    /// A key of [`RULED`]: its id and its text.
    pub key: String,
    pub scoped_key: String,
    member: String,
    token: String,
    claim: String,
    changes: u32,
    passwords: u32,
}

impl World {
    pub async fn new() -> Self {
        let instance = Instance::start_in(TempDir::new().expect("a place for files"), false).await;
        let policy = json!({
            "providers": ["openai", "anthropic"], "models": ["gpt-*", "claude-sonnet-4"], "max_live_keys": 200,
            "key_limits": {"max_activations": 100, "max_spend_usd": "5"}, "max_key_lifetime_seconds": 86_400,
            "ceilings": {"day": {"max_spend_usd": "50"}, "lifetime": {"max_tokens": 1_000_000_000}},
        });
        let ruled = json!({"id": RULED, "policy": policy});
        made(&instance, "projects", &ruled).await;
        let stored = json!({"name": "stored", "provider": "openai", "upstream_key": CANARY, "policy": {"key_limits": {"max_activations": 60}}});
        made(&instance, "credentials", &stored).await;
        let member = made(&instance, "members", &json!({"login": "ada", "role": "admin"})).await;
        let admin =
            made(&instance, "tokens", &json!({"name": "admin", "role": "admin", "project": RULED})).await;
        let minting = json!({"name": "minter", "role": "minter", "policy": {"key_limits": {"max_activations": 50}, "models": ["gpt-4o*", "gpt-5"]}});
        let minter = made(&instance, "tokens", &minting).await;
        let token = made(&instance, "tokens", &json!({"name": "other", "role": "viewer"})).await;
        let wanted = json!({
            "provider": "openai", "upstream_key": CANARY, "project": RULED, "max_activations": 9, "max_spend_usd": "1",
            "ttl_seconds": 80_000, "metadata": {"team": "a"}, "scope": {"endpoints": ["chat"]},
        });
        let key = made(&instance, "keys", &wanted).await;
        let claimed = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 9, "claim_ttl_seconds": 600});
        let claim = made(&instance, "keys", &claimed).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let claim = text(&claim["key"]["claimUrl"]);
        Self {
            admin: text(&admin["adminToken"]),
            minter: text(&minter["adminToken"]),
            key: text(&key["key"]["id"]),
            scoped_key: text(&key["key"]["scopedKey"]),
            member: text(&member["member"]["id"]),
            token: text(&token["token"]["id"]),
            claim: claim
                .rsplit('/')
                .next()
                .and_then(|rest| rest.split('#').next())
                .expect("an id")
                .to_owned(),
            changes: 0,
            passwords: 0,
            instance,
        }
    }

    /// The path of an operation with an id in it: one that there is, if it is empty. `None` for what another route has.
    pub fn path(&self, operation: &Operation, id: &str) -> Option<String> {
        let Some((before, rest)) = operation.path.split_once('{') else {
            return Some(operation.path.clone());
        };
        let after = rest.split_once('}').expect("it is closed").1;
        let known = match before {
            "/admin/keys/" => &self.key,
            "/admin/projects/" => RULED,
            "/admin/tokens/" => &self.token,
            "/admin/credentials/" => "stored",
            "/admin/members/" => &self.member,
            "/claim/" => &self.claim,
            "/admin/holds/" => "hold_1-1",
            "/admin/master-keys/" => "00000000",
            _ => "1",
        };
        let id = if id.is_empty() { known } else { id };
        let is_other = id.contains(['/', '#'])
            || ["revoke", "find", "export", "checkpoints", "claim.js", "claim.css"].contains(&id);
        (!is_other && id != "." && id != "..").then(|| format!("{before}{id}{after}"))
    }

    /// Whether a password of this body would be worked on, after enough of that.
    pub fn is_too_slow(&mut self, operation: &str, body: &[u8]) -> bool {
        let has_password =
            matches!(operation, "member_create" | "member_update" | "login" | "password_change")
                && body.windows(8).any(|part| part == b"password");
        self.passwords += u32::from(has_password);
        has_password && self.passwords > PASSWORDS_MAX
    }

    /// Notes what an answer has changed. After what ends something there is to be a new one.
    pub fn note(&mut self, operation: &Operation, answer: &Answer) {
        if !answer.status.is_success() || operation.method == "GET" {
            return;
        }
        let is_harmless = ["_create", "key_explain", "audit_find", "backup_note", "key_update"];
        let is_harmless = is_harmless.iter().any(|part| operation.id.ends_with(part));
        self.changes += if is_harmless { 1 } else { CHANGES_MAX };
    }

    /// Whether there is to be a new one.
    pub fn is_worn(&self) -> bool {
        self.changes >= CHANGES_MAX
    }

    pub async fn close(self) -> Option<Self> {
        self.instance.store.close().await.expect("it can be closed");
        None
    }

    /// The rules of a thing, sent again as they were answered, are the same rules.
    pub async fn same_policy(&self, kind: &str, thing: &Value, id: &str) {
        let path = format!("/admin/{kind}/{}", thing[id].as_str().expect("an id"));
        let (policy, body) = (&thing["policy"], json!({"policy": thing["policy"]}));
        let answer = self.instance.call("PATCH", &path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{thing}: {}", answer.text);
        let again = answer.json();
        let again = again.as_object().expect("an object").values().find(|value| value[id] == thing[id]);
        assert_eq!(&again.expect("the thing")["policy"], policy, "{thing}");
    }
}

async fn made(instance: &Instance, kind: &str, body: &Value) -> Value {
    let answer = instance.call("POST", &format!("/admin/{kind}"), body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

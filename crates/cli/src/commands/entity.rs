//! What projects, members and admin tokens have in common: pages, changes that nobody overwrites, and what hangs on them.

use serde_json::Value;
use ureq::http::Method;

use crate::client::{Client, Refused, escape};

/// How often a change is made again from a newer version, where nobody said from which.
const TRIES: usize = 8;

pub(super) fn path(kind: &str, id: &str) -> String {
    format!("/admin/{kind}/{}", escape(id))
}

/// All of a kind, newest first.
pub(super) fn list(client: &Client, kind: &str, ended: bool) -> anyhow::Result<Vec<Value>> {
    client.get_all(&format!("/admin/{kind}{}", if ended { "?ended=true" } else { "" }), kind)
}

/// Changes something to what `body` makes of what there is. It is made from the version that was read, so that rules that
/// somebody else sets meanwhile are not lost; if `version` is given, only from that one.
pub(super) fn update(
    client: &Client,
    path: &str,
    of: &str,
    version: Option<u64>,
    body: impl Fn(&Value) -> anyhow::Result<Value>,
) -> anyhow::Result<Value> {
    let mut tries = TRIES;
    loop {
        let found = client.get(path)?;
        let body = body(&found[of])?;
        let from = version.or_else(|| found[of]["version"].as_u64());
        let done = client.change(&Method::PATCH, path, Some(&body), from);
        tries -= 1;
        match done {
            Err(error) if version.is_none() && tries > 0 && was_changed(&error) => {}
            done => return done,
        }
    }
}

fn was_changed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 412)
}

/// How many keys that are neither revoked nor expired a condition has: `project=…` or `created_by=…`.
pub(super) fn live_keys(client: &Client, condition: &str, value: &str) -> anyhow::Result<usize> {
    let keys = client.get_all(&format!("/admin/keys?{condition}={}", escape(value)), "keys")?;
    let is_live = |key: &&Value| !matches!(key["status"].as_str(), Some("revoked" | "expired"));
    Ok(keys.iter().filter(is_live).count())
}

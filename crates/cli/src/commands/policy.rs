//! Rules of a project, a member or an admin token: from flags to what the API takes, and from its answers to what people
//! read.

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::status::text;
use crate::args::administration::{PolicyChanges, PolicyFlags, PolicyPart};
use crate::exit::Usage;
use crate::local_file;

/// The windows of ceilings, in the order in which they are shown.
const WINDOWS: [&str; 3] = ["day", "month", "lifetime"];

/// Names of a limit in requests, tokens and dollars.
const LIMITS: [&str; 3] = ["max_activations", "max_tokens", "max_spend_usd"];

/// All rules of something new; nothing if none is given.
pub(super) fn of_new(flags: &PolicyFlags) -> anyhow::Result<Option<Value>> {
    changed(flags, &PolicyChanges::default(), &Value::Null)
}

/// Whether flags change any rule.
pub(super) fn changes_any(flags: &PolicyFlags, changes: &PolicyChanges) -> anyhow::Result<bool> {
    let touched = given(flags)?.into_iter().next().is_some() || flags.policy_file.is_some();
    Ok(touched || changes.clear_policy || !changes.clear.is_empty())
}

/// All rules as they are to be, where there are those of `before`, an answer of the server; nothing if none changes.
///
/// # Errors
/// A file of rules can't be used, or a rule is given and taken away at once.
pub(super) fn changed(
    flags: &PolicyFlags,
    changes: &PolicyChanges,
    before: &Value,
) -> anyhow::Result<Option<Value>> {
    if !changes_any(flags, changes)? {
        return Ok(None);
    }
    let mut policy = match &flags.policy_file {
        Some(file) => read(file)?,
        None if changes.clear_policy => json!({}),
        None => input(before),
    };
    if policy.is_null() {
        policy = json!({});
    }
    let given = given(flags)?;
    for part in &changes.clear {
        let path: &[&str] = match part {
            PolicyPart::Day => &["ceilings", "day"],
            PolicyPart::Month => &["ceilings", "month"],
            PolicyPart::Lifetime => &["ceilings", "lifetime"],
            PolicyPart::MaxLiveKeys => &["max_live_keys"],
            PolicyPart::Providers => &["providers"],
            PolicyPart::Models => &["models"],
            PolicyPart::KeyLimits => &["key_limits"],
            PolicyPart::KeyMaxLifetime => &["max_key_lifetime_seconds"],
        };
        if given.iter().any(|(set, _)| set.starts_with(path)) {
            bail!(Usage(format!("`{}` is given and taken away at once", path.join("."))));
        }
        remove(&mut policy, path);
    }
    for (path, value) in given {
        put(&mut policy, &path, value)?;
    }
    Ok(Some(policy))
}

fn put(policy: &mut Value, path: &[&str], value: Value) -> anyhow::Result<()> {
    let Some((name, below)) = path.split_first() else {
        *policy = value;
        return Ok(());
    };
    if policy.is_null() {
        *policy = json!({});
    }
    // A file can have anything.
    let fields =
        policy.as_object_mut().ok_or_else(|| Usage(format!("what `{name}` stands in is not an object")))?;
    put(fields.entry(*name).or_insert(Value::Null), below, value)
}

fn remove(policy: &mut Value, path: &[&str]) {
    if let Some((last, above)) = path.split_last() {
        let place = above.iter().try_fold(policy, |place, name| place.get_mut(*name));
        place.and_then(Value::as_object_mut).and_then(|place| place.remove(*last));
    }
}

/// Where in the rules the flags put what.
fn given(flags: &PolicyFlags) -> anyhow::Result<Vec<(Vec<&'static str>, Value)>> {
    let list = |all: &Vec<String>| if all.is_empty() { Value::Null } else { json!(all) };
    let limits = [
        (&["ceilings", "day"][..], flags.day_activations, flags.day_tokens, &flags.day_usd),
        (&["ceilings", "month"], flags.month_activations, flags.month_tokens, &flags.month_usd),
        (&["ceilings", "lifetime"], flags.lifetime_activations, flags.lifetime_tokens, &flags.lifetime_usd),
        (&["key_limits"], flags.key_max_activations, flags.key_max_tokens, &flags.key_max_usd),
    ];
    let mut all = Vec::new();
    for (place, activations, tokens, usd) in limits {
        for (name, value) in LIMITS.into_iter().zip([json!(activations), json!(tokens), json!(usd)]) {
            all.push(([place, &[name]].concat(), value));
        }
    }
    all.extend([
        (vec!["max_live_keys"], json!(flags.max_live_keys)),
        (vec!["providers"], list(&flags.provider)),
        (vec!["models"], list(&flags.model)),
        (vec!["max_key_lifetime_seconds"], json!(flags.key_max_lifetime)),
    ]);
    all.retain(|(_, value)| !value.is_null());
    Ok(all)
}

fn read(file: &std::path::Path) -> anyhow::Result<Value> {
    let text = local_file::read_secret(file)?;
    let rules: Value = serde_json::from_slice(text.reveal())
        .with_context(|| format!("the rules in {} are not JSON", file.display()))?;
    if !rules.is_object() {
        bail!(Usage(format!("the rules in {} are not a JSON object", file.display())));
    }
    Ok(input(&rules))
}

/// Rules as an answer or a file has them, as the server takes them: one spelling of names, and nothing that is null.
fn input(rules: &Value) -> Value {
    let Value::Object(fields) = rules else { return rules.clone() };
    let kept = fields.iter().filter(|(_, value)| !value.is_null());
    let fields: Map<String, Value> = kept.map(|(name, value)| (snake(name), input(value))).collect();
    Value::Object(fields)
}

/// `maxTokens` as `max_tokens`
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// What an answer says about rules, line by line; `used` is what was used of the ceilings, if the answer has it.
pub(super) fn pairs(policy: &Value, used: &Value) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<(&'static str, String)> = WINDOWS
        .into_iter()
        .map(|window| {
            let used = used.as_array().into_iter().flatten().find(|one| one["window"] == window);
            let title = match window {
                "day" => "ceiling per day",
                "month" => "ceiling per month",
                _ => "ceiling in all",
            };
            (title, bounds(&policy["ceilings"][window], used))
        })
        .collect();
    pairs.extend([
        ("live keys at most", text(&policy["maxLiveKeys"])),
        ("providers", listed(&policy["providers"])),
        ("models", listed(&policy["models"])),
        ("a key at most", bounds(&policy["keyLimits"], None)),
        ("a key lives at most", super::keys::idle(&policy["maxKeyLifetimeSeconds"])),
    ]);
    pairs
}

/// `$1.25/$5.00, 12/100 calls`, or `$5.00, 100 calls` where it is not said what was used.
pub(super) fn bounds(limits: &Value, used: Option<&Value>) -> String {
    let units = [("Spend", "Usd", "$", ""), ("Activations", "", "", " calls"), ("Tokens", "", "", " tokens")];
    let mut parts = Vec::new();
    for (what, suffix, before, after) in units {
        let limit = &limits[format!("max{what}{suffix}")];
        if limit.is_null() {
            continue;
        }
        let used = used.map(|used| text(&used[format!("used{what}{suffix}")]));
        let used = used.map_or_else(String::new, |used| format!("{before}{used}/"));
        parts.push(format!("{used}{before}{}{after}", text(limit)));
    }
    if parts.is_empty() { text(&Value::Null) } else { parts.join(", ") }
}

/// `a, b`
pub(super) fn listed(list: &Value) -> String {
    match list {
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => text(other),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::{bounds, changed, of_new, pairs};
    use crate::args::administration::ProjectsCommand;
    use crate::args::{Cli, Command};

    /// The rules that these flags make of those before.
    fn update(flags: &[&str], before: &Value) -> Option<Value> {
        let line = [&["till", "projects", "update", "p"], flags].concat();
        match Cli::try_parse_from(line).ok()?.command {
            Command::Projects(ProjectsCommand::Update(wanted)) => {
                changed(&wanted.policy, &wanted.changes, before).ok()?
            }
            _ => None,
        }
    }

    fn answer() -> Value {
        let none = json!({"maxActivations": null, "maxTokens": null, "maxSpendUsd": null});
        json!({
            "ceilings": {"day": {"maxActivations": 7, "maxTokens": null, "maxSpendUsd": "5.00"}, "month": none, "lifetime": none},
            "maxLiveKeys": 3, "providers": null, "models": ["gpt-5*"], "keyLimits": none, "maxKeyLifetimeSeconds": null,
        })
    }

    #[test]
    fn flags_become_rules() {
        let flags = [
            "--day-usd",
            "5",
            "--month-usd",
            "100",
            "--lifetime-usd",
            "500",
            "--day-tokens",
            "9",
            "--day-activations",
            "8",
            "--max-live-keys",
            "0",
            "--provider",
            "openai",
            "--provider",
            "google",
            "--model",
            "gpt-5*",
            "--key-max-usd",
            "1",
            "--key-max-activations",
            "2",
            "--key-max-tokens",
            "3",
            "--key-max-lifetime",
            "7d",
        ];
        let rules = json!({
            "ceilings": {"day": {"max_spend_usd": "5", "max_tokens": 9, "max_activations": 8},
                         "month": {"max_spend_usd": "100"}, "lifetime": {"max_spend_usd": "500"}},
            "max_live_keys": 0, "providers": ["openai", "google"], "models": ["gpt-5*"],
            "key_limits": {"max_spend_usd": "1", "max_activations": 2, "max_tokens": 3},
            "max_key_lifetime_seconds": 604_800,
        });
        assert_eq!(update(&flags, &Value::Null), Some(rules.clone()));
        let line = [&["till", "projects", "create", "p"][..], &flags].concat();
        match Cli::try_parse_from(line).unwrap().command {
            Command::Projects(ProjectsCommand::Create(wanted)) => {
                assert_eq!(of_new(&wanted.policy).unwrap(), Some(rules))
            }
            _ => panic!("another command"),
        }
    }

    #[test]
    fn what_is_not_given_stays() {
        let before = answer();
        assert_eq!(update(&["--name", "x"], &before), None);
        let kept = json!({"ceilings": {"day": {"max_activations": 7, "max_spend_usd": "5.00"}, "month": {}, "lifetime": {}},
                          "max_live_keys": 3, "models": ["gpt-5*"], "key_limits": {}});
        let with = |change: fn(&mut Value)| {
            let mut rules = kept.clone();
            change(&mut rules);
            Some(rules)
        };
        assert_eq!(
            update(&["--day-usd", "9"], &before),
            with(|rules| rules["ceilings"]["day"]["max_spend_usd"] = json!("9"))
        );
        assert_eq!(
            update(&["--clear", "day,models", "--max-live-keys", "4"], &before),
            with(|rules| {
                rules["ceilings"].as_object_mut().unwrap().remove("day");
                rules.as_object_mut().unwrap().remove("models");
                rules["max_live_keys"] = json!(4);
            })
        );
        assert_eq!(update(&["--clear-policy"], &before), Some(json!({})));
        assert_eq!(update(&["--clear-policy", "--model", "m"], &before), Some(json!({"models": ["m"]})));
        for wrong in [
            &["--clear", "day", "--day-usd", "1"][..],
            &["--clear", "key-limits", "--key-max-usd", "1"],
            &["--clear", "name"],
            &["--clear", "day", "--clear-policy"],
            &["--key-max-lifetime", "7"],
        ] {
            assert_eq!(update(wrong, &before), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_has_rules_in_either_spelling() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, answer().to_string()).unwrap();
        let rules =
            update(&["--policy-file", path, "--max-live-keys", "9"], &json!({"providers": ["x"]})).unwrap();
        assert_eq!((&rules["max_live_keys"], &rules["models"]), (&json!(9), &json!(["gpt-5*"])));
        assert!(rules.get("providers").is_none(), "a file is all rules");
        for wrong in ["[]", "{", ""] {
            std::fs::write(path, wrong).unwrap();
            assert_eq!(update(&["--policy-file", path], &Value::Null), None, "{wrong}");
        }
        assert_eq!(update(&["--policy-file", "/none"], &Value::Null), None);
        std::fs::write(path, r#"{"ceilings": 5}"#).unwrap();
        assert_eq!(update(&["--policy-file", path, "--day-usd", "1"], &Value::Null), None);
    }

    #[test]
    fn rules_are_shown() {
        let used = json!([{"window": "day", "usedActivations": 2, "usedTokens": 0, "usedSpendUsd": "1.25"}]);
        let shown = pairs(&answer(), &used);
        let of = |title: &str| shown.iter().find(|(one, _)| *one == title).unwrap().1.clone();
        assert_eq!(of("ceiling per day"), "$1.25/$5.00, 2/7 calls");
        assert_eq!((of("ceiling per month"), of("models")), ("-".to_owned(), "gpt-5*".to_owned()));
        assert_eq!(bounds(&answer()["ceilings"]["day"], None), "$5.00, 7 calls");
    }
}

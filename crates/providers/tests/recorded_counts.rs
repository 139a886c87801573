//! Recorded requests: what is held for an input that was counted is no less than what it used.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_providers::Registry;
use till_providers::count::{CountRequest, counted, is_tokenisable, tokenise, with_margin};
use till_providers::price::PriceTable;
use till_providers::request::{Question, facts};
use till_testkit::recorded::{Exchange, exchanges};

/// Tokens of input that an exchange used.
fn used(exchange: &Exchange) -> Option<u64> {
    let usage = exchange.expected.as_ref()?.usage.as_ref()?;
    usage.get("input_tokens").copied().filter(|_| exchange.status == 200)
}

/// Asks something about an exchange as if it came in now.
fn ask<T>(exchange: &Exchange, registry: &Registry, about: impl FnOnce(&Question<'_>) -> T) -> T {
    let provider = registry.get(&exchange.provider).expect("a known provider");
    let raw = RawPath::parse(exchange.path.as_bytes()).expect("a good path");
    let path: FinalPath = provider.final_path(&raw).expect("a good path");
    let body = exchange.request.to_string().into_bytes();
    let method: Method = exchange.method.parse().expect("a method");
    let headers = Fields::default();
    about(&Question { provider, method: &method, path: &path, query: None, headers: &headers, body: &body })
}

#[test]
fn a_tokenised_input_is_held_in_full() {
    let Some(exchanges) = exchanges() else { return };
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let mut margins: BTreeMap<&str, (u64, i64, &str)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for exchange in &exchanges {
        let Some(used) = used(exchange) else { continue };
        let count = ask(exchange, &registry, |question| {
            let asked = facts(question, &prices).ok().filter(|asked| asked.is_plain_text)?;
            let model = asked.model?;
            assert_eq!(
                is_tokenisable(question.provider, &model, question.body),
                tokenise(question.provider, &model, question.body).is_some()
            );
            tokenise(question.provider, &model, question.body)
        });
        let Some(count) = count else { continue };
        let held = with_margin(count);
        if held < used {
            wrong.push(format!("{}: {held} held, {used} used", exchange.id));
        }
        let margin = i64::try_from(held).expect("few") - i64::try_from(used).expect("few");
        let kind = if exchange.request.get("tools").is_some() { "with tools" } else { "without tools" };
        let entry = margins.entry(kind).or_insert((0, i64::MAX, ""));
        entry.0 += 1;
        if margin < entry.1 {
            *entry = (entry.0, margin, &exchange.id);
        }
    }
    for (kind, (number, least, id)) in &margins {
        println!("{kind}: {number} requests; at least {least} tokens more held than used ({id})");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!margins.is_empty());
}

/// What a request sends to a model, whatever the API.
fn conversation(request: &Value) -> Option<&Value> {
    let inner = request.pointer("/input/converse").unwrap_or(request);
    ["messages", "contents", "input"].into_iter().find_map(|name| inner.get(name))
}

#[test]
fn what_providers_counted_is_held_in_full() {
    let Some(exchanges) = exchanges() else { return };
    let registry = Registry::builtin();
    let is_count = |exchange: &&Exchange| {
        let path = exchange.path.to_lowercase();
        ["count_tokens", "counttokens", "count-tokens", "input_tokens"]
            .iter()
            .any(|verb| path.ends_with(verb))
    };
    let recording = |exchange: &Exchange| exchange.id.split('#').next().map(str::to_owned);
    let mut read = 0;
    let mut compared = 0;
    for count in exchanges.iter().filter(is_count) {
        let figure = counted(count.response.as_bytes());
        assert_eq!(figure.is_some(), count.status == 200, "{}: {}", count.id, count.response);
        let Some(figure) = figure else { continue };
        read += 1;
        for exchange in exchanges.iter().filter(|other| recording(other) == recording(count)) {
            let Some(used) = used(exchange) else { continue };
            if conversation(&exchange.request) != conversation(&count.request) {
                continue;
            }
            compared += 1;
            assert!(with_margin(figure) >= used, "{}: {figure} counted, {used} used", exchange.id);
            println!("{}: {figure} counted, {used} used", exchange.id);
            // What would be asked is what was asked then.
            let asked = ask(exchange, &registry, CountRequest::of);
            let asked = asked.unwrap_or_else(|| panic!("{} is not counted", exchange.id));
            assert_eq!(asked.path.replace("%3A", ":"), count.path.replace("%3A", ":"), "{}", exchange.id);
            let asked: Value = serde_json::from_slice(&asked.body).expect("JSON");
            let inner = asked.get("generateContentRequest").unwrap_or(&asked);
            assert_eq!(conversation(inner), conversation(&count.request), "{}", exchange.id);
        }
    }
    println!("{read} answers read, {compared} compared with what was used");
    assert!(read > 0);
}

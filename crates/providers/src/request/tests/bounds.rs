//! What requests may come to, in tokens and money.

use super::*;
use crate::price::{ModelPrice, PriceFile};

#[test]
fn a_model_without_a_price_has_no_bound_in_money() {
    let facts = passes("openai", CHAT, r#"{"model":"nobody-knows","messages":[]}"#);
    match demand(&facts, None, true, AT, true) {
        Err(BoundError::Unpriced { what }) => assert!(what.contains("nobody-knows"), "{what}"),
        other => panic!("{other:?}"),
    }
    let tokens = demand(&facts, None, false, AT, true).expect("a bound in tokens");
    assert_eq!((tokens.steps_min, tokens.steps_wanted, tokens.picos_per_step), (16, 4_096, 0));
    let strict = demand(&facts, None, false, AT, false).expect("a bound in tokens");
    assert_eq!(strict.steps_min, 4_096);
}

const PRIORITY: &str = "/model/amazon.nova-2-lite-v1:0/converse";

/// How many [`priced`] has.
const PRICED: usize = 23;

/// Requests whose models have prices for caches, tiers, long inputs.
fn priced() -> Vec<(&'static str, &'static str, String)> {
    let long = "x ".repeat(150_000);
    let gemini = |text: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"{text}"}}]}}]}}"#);
    let cached = |ttl: &str| {
        let control = format!(r#"{{"type":"ephemeral"{ttl}}}"#);
        messages(&format!(r#","max_tokens":500,"cache_control":{control}"#))
    };
    let part = |part: &str| format!(r#"{{"contents":[{{"parts":[{{{part}}}]}}]}}"#);
    let video = r#"{"content":{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"AAAA"}}]}}"#;
    let document = r#"{"model":"claude-sonnet-4-5","max_tokens":500,"messages":[{"role":"user","content":
        [{"type":"document","cache_control":{"type":"ephemeral"},"source":{"type":"url","url":"x"}}]}]}"#;
    let fast = r#"{"model":"claude-opus-5","max_tokens":500,"speed":"fast","messages":[],
        "cache_control":{"type":"ephemeral"}}"#;
    vec![
        ("openai", CHAT, chat(r#","n":3,"max_tokens":50"#)),
        ("openai", RESPONSES, r#"{"model":"gpt-5","input":"Hi"}"#.to_owned()),
        ("anthropic", MESSAGES, messages(r#","max_tokens":500"#)),
        ("anthropic", MESSAGES, cached("")),
        ("anthropic", MESSAGES, cached(r#","ttl":"1h""#)),
        ("google", "/v1beta/models/gemini-2.5-pro:generateContent", gemini("Hi")),
        ("google", "/v1beta/models/gemini-2.5-pro:generateContent", gemini(&long)),
        ("deepseek", "/chat/completions", r#"{"model":"deepseek-chat","messages":[]}"#.to_owned()),
        ("xai", CHAT, r#"{"model":"grok-4","messages":[],"max_tokens":100}"#.to_owned()),
        ("cohere", "/v2/chat", r#"{"model":"command-a-03-2025","messages":[]}"#.to_owned()),
        ("bedrock", CONVERSE, r#"{"system":[{"cachePoint":{"type":"default"}}]}"#.to_owned()),
        ("google", GEMINI, part(r#""inlineData":{"mimeType":"audio/mpeg","data":"AAAA"}"#)),
        ("google", GEMINI, part(r#""fileData":{"fileUri":"x"}"#)),
        ("google", GEMINI, part(r#""inlineData":{"mimeType":"image/png","data":"AAAA"}"#)),
        ("google", "/v1beta/models/gemini-2.5-flash-image:generateContent", gemini("Hi")),
        ("google", "/v1beta/models/gemini-3-pro-image-preview:generateContent", gemini("Hi")),
        ("google", "/v1beta/models/gemini-embedding-2:embedContent", video.to_owned()),
        ("anthropic", MESSAGES, document.to_owned()),
        ("anthropic", MESSAGES, document.replace("claude-sonnet-4-5", "claude-opus-5")),
        ("anthropic", MESSAGES, fast.to_owned()),
        ("openai", CHAT, r#"{"model":"gpt-5","messages":[],"service_tier":"priority"}"#.to_owned()),
        ("openai", CHAT, r#"{"model":"gpt-5","messages":[],"service_tier":"flex"}"#.to_owned()),
        ("bedrock", PRIORITY, r#"{"serviceTier":{"type":"priority"}}"#.to_owned()),
    ]
}

proptest! {
    /// Whatever part of the input is sound, pictures or text, comes from a cache or goes into one, however much of the
    /// output is reasoning or pictures, whenever within a day it is billed: it costs no more than what was set aside.
    #[test]
    fn usage_within_the_bound_costs_no_more(
        row in 0..PRICED,
        [input, cached, read, sound, pictures, video] in prop::array::uniform6(0..=1_000_u64),
        [output, reasoning, drawn, granted] in prop::array::uniform4(0..=1_000_u64),
        counted in prop::option::of(0..2_000_000_u64),
        later in 0..86_400_000_u64,
    ) {
        let (provider, path, body) = priced().swap_remove(row);
        let mut facts = passes(provider, path, &body);
        if let Some(counted) = counted {
            facts.tighten(counted);
        }
        let model = facts.model.clone().expect("a model");
        let price = PRICES.find(REGISTRY.get(provider).expect("built in").price_id(), &model).expect("a price");
        let demand = demand(&facts, Some(price), true, AT, true).expect("a demand");
        let steps = demand.steps_min + share(demand.steps_wanted - demand.steps_min, granted);
        let units = demand.units(steps).expect("countable");
        let mut usage = Usage::default();
        let input = share(facts.input.count(Unit::InputTokens), input);
        usage.set(Unit::InputTokens, input);
        let mut rest = input;
        let mut written = 0;
        for (unit, write, hit, part) in [
            (Unit::InputAudioTokens, Unit::CacheAudioWriteTokens, Unit::CacheAudioReadTokens, sound),
            (Unit::InputImageTokens, Unit::CacheImageWriteTokens, Unit::CacheImageReadTokens, pictures),
            (Unit::InputVideoTokens, Unit::InputVideoTokens, Unit::CacheVideoReadTokens, video),
            (Unit::InputTextTokens, Unit::CacheWriteTokens, Unit::CacheTextReadTokens, 1_000),
        ] {
            let most = if unit == Unit::InputTextTokens { rest } else { facts.input.count(unit).min(rest) };
            let count = share(most, part);
            rest -= count;
            let kept = share(count, cached);
            usage.add(unit, count);
            usage.add(hit, share(kept, read));
            usage.add(Unit::CacheReadTokens, share(kept, read));
            if facts.cache_write != CacheWrite::None && write != unit {
                usage.add(write, kept - share(kept, read));
                written += kept - share(kept, read);
            }
        }
        match facts.cache_write {
            CacheWrite::None => {}
            CacheWrite::FiveMinutes => usage.set(Unit::CacheWrite5mTokens, written),
            CacheWrite::OneHour => usage.set(Unit::CacheWrite1hTokens, written),
        }
        usage.set(Unit::CacheWriteTokens, written);
        let capped = share(demand.tokens_per_step * steps, output);
        let fixed = facts.input.count(Unit::OutputTokens);
        usage.set(Unit::OutputTokens, capped + fixed);
        usage.set(Unit::OutputReasoningTokens, share(capped, reasoning));
        for unit in facts.output.iter().flat_map(|output| &output.also) {
            usage.set(*unit, share(capped - share(capped, reasoning), drawn));
        }
        if fixed > 0 {
            usage.set(Unit::OutputImageTokens, share(fixed, drawn));
        }
        prop_assert!(usage.tokens() <= units.tokens, "{provider} {model}: {units:?} {usage:?}");
        let picos = price.rates(&facts.context, Timestamp(AT.0 + later)).cost_picos(&usage);
        prop_assert!(picos <= u128::from(units.spend_nanos) * 1_000, "{provider} {model}: {picos} {units:?} {usage:?}");
    }
}

fn share(whole: u64, part: u64) -> u64 {
    whole / 1_000 * part + whole % 1_000 * part / 1_000
}

/// The provider counted the input: the parts of it cost no more than that many tokens can.
#[test]
fn a_counted_input_bounds_its_parts() {
    let audio = r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"audio/mpeg","data":"AAAA"}}]}]}"#;
    let mut facts = passes("google", GEMINI, audio);
    let price = PRICES.find("google", "gemini-2.5-flash").expect("a price");
    let before = demand(&facts, Some(price), true, AT, true).expect("a demand");
    assert!(facts.tighten(1_000) && !facts.tighten(1_000));
    let after = demand(&facts, Some(price), true, AT, true).expect("a demand");
    assert_eq!(after.tokens_fixed, 1_000);
    let rates = price.rates(&facts.context, AT);
    let audio = rates.figure(Unit::InputAudioTokens).expect("a price of its own").base;
    assert_eq!(after.picos_fixed, u128::from(audio) * 1_000);
    assert!(before.picos_fixed > after.picos_fixed * 100);
}

/// A price from configuration.
fn configured(figures: serde_json::Value) -> ModelPrice {
    let mut row = figures;
    row["provider"] = "openai".into();
    row["model"] = "gpt-4o-mini".into();
    let file = PriceFile::read(&serde_json::json!([row])).expect("good rows");
    PriceTable::builtin().with_overrides(&file).find("openai", "gpt-4o-mini").expect("a price").clone()
}

#[test]
fn a_price_of_nothing_is_a_price() {
    let facts = passes("openai", CHAT, &chat(r#","max_tokens":50"#));
    let free = configured(serde_json::json!({ "input": "0", "output": "0" }));
    let units = |price: &ModelPrice| {
        let demand = demand(&facts, Some(price), true, AT, true).expect("a demand");
        demand.units(demand.steps_wanted).expect("countable")
    };
    assert_eq!(units(&free).spend_nanos, 0);
    assert!(units(&free).tokens > 50);
    // A fee for the request itself comes once, whatever is in it.
    let fee = configured(serde_json::json!({ "input": "0", "output": "0", "requests": "5" }));
    assert_eq!(units(&fee).spend_nanos, 5_000_000);
    // Half a price is none.
    let half = configured(serde_json::json!({ "input": "1" }));
    assert!(matches!(demand(&facts, Some(&half), true, AT, true), Err(BoundError::Unpriced { .. })));
    assert!(demand(&facts, Some(&half), false, AT, true).is_ok());
}

#[test]
fn what_is_too_much_to_count_is_not_granted() {
    let body = chat(r#","n":18446744073709551615,"max_tokens":18446744073709551615"#);
    let mut huge = passes("openai", CHAT, &body);
    for unit in [Unit::InputTokens, Unit::InputImageTokens, Unit::OutputTokens] {
        huge.input.set(unit, u64::MAX);
    }
    let dear =
        configured(serde_json::json!({ "input": "9000000", "output": "9000000", "input_image": "9000000" }));
    for price in [PRICES.find("openai", "gpt-4o-mini").expect("a price"), &dear] {
        for clamp in [true, false] {
            let demand = demand(&huge, Some(price), true, AT, clamp).expect("a demand");
            assert_eq!(demand.tokens_fixed, u64::MAX);
            assert_eq!((demand.units(1), demand.units(demand.steps_wanted)), (None, None));
        }
    }
}

/// With interleaved thinking the cap may be below the budget.
#[test]
fn a_cap_is_never_raised() {
    let body = messages(r#","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":9000}"#);
    let facts = passes("anthropic", MESSAGES, &body);
    let demand = demand(&facts, None, false, AT, true).expect("a demand");
    assert_eq!((demand.steps_min, demand.steps_wanted), (2_000, 2_000));
}

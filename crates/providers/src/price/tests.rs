use till_core::time::Timestamp;

use super::{ModelPrice, PriceContext, PriceFile, PriceMistake, PriceTable};
use crate::usage::{Unit, Usage};

const NOW: Timestamp = Timestamp(1_795_262_400_000);

fn usage(counts: &[(Unit, u64)]) -> Usage {
    counts.iter().copied().collect()
}

/// What a usage costs in pico-dollars.
fn cost(provider: &str, model: &str, tier: Option<&str>, counts: &[(Unit, u64)]) -> Option<u128> {
    let table = PriceTable::builtin();
    let mut context = PriceContext::default();
    if let Some(tier) = tier {
        context.set("service_tier", tier);
    }
    Some(table.find(provider, model)?.rates(&context, NOW).cost_picos(&usage(counts)))
}

#[test]
fn prices_of_well_known_models() {
    use Unit::{CacheReadTokens, CacheWrite1hTokens, CacheWriteTokens, InputTokens, OutputTokens};
    let million = 1_000_000;
    for (provider, model, tier, counts, dollars) in [
        ("openai", "gpt-4o-mini", None, vec![(InputTokens, million), (OutputTokens, million)], "0.75"),
        ("openai", "GPT-4o-mini-2024-07-18", None, vec![(InputTokens, million)], "0.15"),
        ("openai", "gpt-5", None, vec![(InputTokens, million), (CacheReadTokens, million)], "0.125"),
        ("openai", "gpt-5", Some("priority"), vec![(OutputTokens, million)], "20"),
        ("openai", "gpt-5", Some("flex"), vec![(OutputTokens, million)], "5"),
        ("openai", "gpt-5", Some("default"), vec![(OutputTokens, million)], "10"),
        ("azure-openai", "gpt-4o-mini", None, vec![(OutputTokens, million)], "0.60"),
        ("google", "gemini-2.5-pro", None, vec![(InputTokens, 200_000)], "0.25"),
        ("google", "gemini-2.5-pro", None, vec![(InputTokens, 200_001)], "0.5000025"),
        ("anthropic", "claude-sonnet-4-0", None, vec![(InputTokens, 3), (CacheWriteTokens, 2)], "0.0000105"),
        (
            "anthropic",
            "claude-sonnet-4-0",
            None,
            vec![(InputTokens, 3), (CacheWriteTokens, 2), (CacheWrite1hTokens, 2)],
            "0.000015",
        ),
    ] {
        let expected: till_core::money::Dollars = dollars.parse().expect("dollars");
        assert_eq!(cost(provider, model, tier, &counts), Some(expected.0 * 1_000), "{provider} {model}");
    }
    for (provider, model) in [("openai", "model-of-tomorrow"), ("nobody", "gpt-5"), ("openai", "")] {
        assert_eq!(cost(provider, model, None, &[]), None, "{provider} {model}");
    }
}

#[test]
fn every_price_is_found_under_its_own_name() {
    let table = PriceTable::builtin();
    let mut seen = 0;
    for (provider, model) in table.iter() {
        for name in model.clause.names() {
            let found = table.find(provider, name).expect("a model has its own name");
            let first = table
                .provider(provider)
                .expect("it has models")
                .models
                .iter()
                .find(|model| model.clause.holds(name));
            assert_eq!(found.id(), first.expect("it holds").id(), "{provider} {name}");
            seen += 1;
        }
    }
    assert!(seen > 3_000, "{seen}");
}

#[test]
fn a_name_is_found_again_as_it_was_found_first() {
    let table = PriceTable::builtin();
    // More than are remembered, and again.
    for round in 0..3 {
        for number in 0..300 {
            let name = format!("claude-sonnet-4-5-{number}");
            let all = table.iter().filter(|(provider, _)| *provider == "anthropic");
            let first =
                all.map(|(_, model)| model).find(|model| model.clause.holds(&name)).map(ModelPrice::id);
            assert_eq!(table.find("anthropic", &name).map(ModelPrice::id), first, "{name} in round {round}");
            assert!(table.find("anthropic", &format!("no-such-model-{number}")).is_none());
        }
    }
    let dashed = table.find("anthropic", "claude-sonnet-4-5-20250929").map(ModelPrice::id);
    assert_eq!(dashed, Some("claude-sonnet-4-5"));
    assert_eq!(table.find("anthropic", "Claude-Sonnet-4-5-20250929").map(ModelPrice::id), dashed);
}

#[test]
fn no_provider_of_the_file_is_overlooked() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../data/prices.json")).expect("it is JSON");
    let table = PriceTable::builtin();
    assert_eq!(Some(&**table.version()), file["date"].as_str());
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let mut expected: Vec<(String, String)> = list(&file["providers"])
        .iter()
        .flat_map(|provider| {
            let id = text(&provider["id"]);
            list(&provider["models"]).into_iter().map(move |model| (id.clone(), text(&model["id"])))
        })
        .collect();
    let mut found: Vec<(String, String)> =
        table.iter().map(|(provider, model)| (provider.to_owned(), model.id().to_owned())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(table.has_provider("openai") && !table.has_provider("gpt-5"));
}

#[test]
fn every_key_of_a_row_is_documented() {
    let document = include_str!("../../../../docs/prices.md");
    let (_, table) = document.split_once("| key | what it is |").expect("it has a table of keys");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let mut keys: Vec<&str> = PriceFile::keys().collect();
    let mut sorted = documented.clone();
    keys.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(sorted, keys);
}

/// Reads rows in the form of JSON.
fn rows(json: &str) -> Result<PriceFile, String> {
    let rows = serde_json::from_str(json).expect("JSON");
    let joined =
        |mistakes: Vec<PriceMistake>| mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    PriceFile::read(&rows).map_err(joined)
}

#[test]
fn a_row_of_configuration_comes_first() {
    let file = rows(
        r#"[
        {"provider": "openai", "model": "Tomorrow-*", "input": "2.50", "output": "0.000000001", "max_output": 9},
        {"provider": "openai", "model": "gpt-4o-mini", "input": "1"},
        {"provider": "ours", "model": "m", "requests": "5", "audio_hours": "0.111"}
    ]"#,
    )
    .expect("good rows");
    let plain = PriceTable::builtin();
    let table = PriceTable::builtin().with_overrides(&file);
    assert_ne!(plain.version(), table.version());
    assert!(table.version().starts_with(&**plain.version()));
    let rates = |provider, model| {
        let price = table.find(provider, model).expect("priced");
        price.rates(&PriceContext::default(), NOW)
    };
    let counts = usage(&[(Unit::InputTokens, 2), (Unit::OutputTokens, 1)]);
    // A thousandth of a pico-dollar per token is rounded up to one.
    assert_eq!(rates("openai", "tomorrow-1").cost_picos(&counts), 5_000_001);
    assert_eq!(table.find("openai", "tomorrow-1").and_then(super::ModelPrice::max_output), Some(9));
    assert_eq!(rates("openai", "gpt-4o-mini").cost_picos(&counts), 2_000_000);
    let max_output =
        |table: &PriceTable| table.find("openai", "gpt-4o-mini").and_then(super::ModelPrice::max_output);
    assert_eq!(max_output(&table), max_output(&plain));
    assert!(max_output(&table).is_some());
    assert_eq!(rates("openai", "gpt-4o").cost_picos(&usage(&[(Unit::InputTokens, 1)])), 2_500_000);
    assert_eq!(rates("ours", "m").cost_picos(&usage(&[(Unit::AudioMillis, 1_000)])), 5_030_833_334);
    // What OpenAI takes is not what others take for the same model.
    assert_eq!(rates("azure-openai", "gpt-4o-mini").cost_picos(&counts), 900_000);
    assert_eq!(table.iter().count(), plain.iter().count() + 3);
}

#[test]
fn a_row_of_configuration_has_thresholds_and_tiers() {
    let file = rows(
        r#"[{
        "provider": "openai", "model": "m", "input": "1", "output": "10",
        "above": {"200000": {"input": "2"}, "1000000": {"input": "3", "output": "30"}},
        "service_tier": {"priority": {"input": "5", "above": {"100": {"input": "6"}}}},
        "speed": {"fast": {"output": "70"}}
    }]"#,
    )
    .expect("a good row");
    let table = PriceTable::builtin().with_overrides(&file);
    let price = table.find("openai", "m").expect("priced");
    for (context, input, expected) in [
        (None, 200_000, (1, 10)),
        (None, 200_001, (2, 10)),
        (None, 1_000_001, (3, 30)),
        (Some(("service_tier", "priority")), 100, (5, 10)),
        (Some(("service_tier", "priority")), 101, (6, 10)),
        (Some(("service_tier", "flex")), 101, (1, 10)),
        (Some(("speed", "fast")), 200_001, (2, 70)),
    ] {
        let mut asked = PriceContext::default();
        if let Some((name, value)) = context {
            asked.set(name, value);
        }
        let counts = usage(&[(Unit::InputTokens, input), (Unit::OutputTokens, 1)]);
        let picos = u128::from(input) * expected.0 * 1_000_000 + expected.1 * 1_000_000;
        assert_eq!(price.rates(&asked, NOW).cost_picos(&counts), picos, "{context:?} {input}");
    }
    assert_eq!(price.variants("service_tier").collect::<Vec<_>>(), ["priority"]);
}

#[test]
fn bad_rows_are_refused_with_every_mistake() {
    for (row, expected) in [
        (r#""provider":"openai","model":"m""#, "0: has no price"),
        (r#""provider":"openai","model":"m","input":2.5"#, "0.input: must be dollars"),
        (r#""provider":"openai","model":"m","input":"-1""#, "0.input: must be dollars"),
        (r#""provider":"openai","model":"m","input":"1e3""#, "0.input: must be dollars"),
        (r#""provider":"openai","model":"m","input":"99999999999999999999""#, "0.input: must be dollars"),
        (r#""provider":"openai","model":"a*b","input":"1""#, "0.model: must be"),
        (r#""provider":"openai","model":"","input":"1""#, "0.model: must be"),
        (r#""model":"m","input":"1""#, "0.provider: is missing; it must be"),
        (r#""provider":"OpenAI","model":"m","input":"1""#, "0.provider: must be"),
        (r#""provider":"openai","model":"m","input":"1","max_output":0"#, "0.max_output: must be"),
        (r#""provider":"openai","model":"m","input":"1","context_window":"9""#, "0.context_window: must be"),
        (r#""provider":"openai","model":"m","inptu":"1","input":"1""#, "0.inptu: is not a key"),
        (r#""provider":"openai","model":"m","input":"1","above":5"#, "0.above: must have tables"),
        (r#""provider":"openai","model":"m","input":"1","above":{"2k":{}}"#, "0.above.2k: must be a number"),
        (r#""provider":"openai","model":"m","input":"1","above":{"09":{}}"#, "0.above.09: must be a number"),
        (
            r#""provider":"openai","model":"m","input":"1","above":{"9":{"output":"1"}}"#,
            "0.above.9.output: has no price below",
        ),
        (
            r#""provider":"openai","model":"m","input":"1","service_tier":{"flex":{"model":"x"}}"#,
            "0.service_tier.flex.model: is not a key",
        ),
        (
            r#""provider":"openai","model":"m","input":"1","speed":{"fast":{"above":{"9":{"input":"x"}}}}"#,
            "0.speed.fast.above.9.input: has no price below",
        ),
    ] {
        let error = rows(&format!("[{{{row}}}]")).expect_err(row);
        assert!(error.starts_with(expected), "{row}: {error}");
    }
    let error = rows(r#"[{"provider":"","inptu":"1"}, 5, {"provider":"a","model":"b","output":"c"}]"#);
    let error = error.expect_err("bad");
    let places: Vec<&str> = error.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(places, ["0.inptu", "0.provider", "0.model", "0", "1", "2.output"]);
    assert!(rows("5").expect_err("bad").contains("must be a list of tables"));
}

#[test]
fn audio_is_paid_by_the_hour_to_the_pico_dollar() {
    for (millis, picos) in [
        (0, 0),
        // Ten seconds at least.
        (1, 308_333_334),
        (10_000, 308_333_334),
        (3_600_000, 111_000_000_000),
        (3_600_001, 111_000_030_834),
    ] {
        let counts = [(Unit::AudioMillis, millis)];
        assert_eq!(cost("groq", "whisper-large-v3", None, &counts), Some(picos), "{millis}");
    }
}

#[test]
fn names_are_matched_as_their_source_matches_them() {
    let table = PriceTable::builtin();
    for (provider, model, expected) in [
        ("openai", "gpt-5-20250807", Some("gpt-5")),
        ("openai", "GPT-5-20250807", Some("gpt-5")),
        // No day of the calendar.
        ("openai", "gpt-5-6-sol-20250231", None),
        ("openai", "gpt-5.6-sol-20240229", Some("gpt-5.6-sol")),
        ("openai", "gpt-5.6-sol-20250229", None),
        ("openai", "openai/gpt-5", None),
        ("azure-openai", "gpt-5", Some("gpt-5")),
        ("huggingface", "Qwen/Qwen3-32B:groq", Some("qwen/qwen3-32b:groq")),
        // Which provider serves it, and at what price, is not said.
        ("huggingface", "Qwen/Qwen3-32B", None),
    ] {
        assert_eq!(table.find(provider, model).map(super::ModelPrice::id), expected, "{provider} {model}");
    }
    let tiers = |provider| table.find(provider, "gpt-5").expect("priced").variants("service_tier").count();
    assert!(tiers("openai") > 0);
    assert_eq!(tiers("azure-openai"), 0, "nobody says that Azure has the same tiers");
}

#[test]
fn parts_that_exceed_their_whole_are_paid() {
    let counts = [(Unit::InputTokens, 10), (Unit::CacheReadTokens, 30)];
    let expected = 30 * 75_000;
    assert_eq!(cost("openai", "gpt-4o-mini", None, &counts), Some(expected));
}

//! Recorded answers: the tokens and the price are what an independent calculator says, however the bytes are cut, or what
//! the documentation of the provider says in its stead. Where it does is computed here from the exchange itself, without
//! the reader.

use std::collections::BTreeSet;

use serde_json::Value;
use till_core::demand::nanos_up;
use till_core::fields::Fields;
use till_core::time::Timestamp;
use till_providers::Registry;
use till_providers::price::{PriceContext, PriceTable};
use till_providers::request::endpoint;
use till_providers::usage::{AnswerFormat, Charge, Reading, Unit, Usage, UsageReader};
use till_testkit::recorded::{Exchange, Random, exchanges};

/// Noon of 2026-11-22, UTC: the day on which the prices were computed.
const AT: Timestamp = Timestamp(1_795_348_800_000);

const SEED: u64 = 3;

/// Places at which each stream is cut off.
const CUTS: usize = 12;

/// Where the documentation counts something that the calculator leaves out.
struct Rule {
    units: &'static [Unit],
    /// What it counts in an answer, which is given as the documents in it and the last usage.
    count: fn(&Answer<'_>, Unit) -> u64,
    formats: &'static [AnswerFormat],
    reason: &'static str,
}

const RULES: [Rule; 7] = [
    Rule {
        units: &[Unit::WebSearches],
        count: |answer, _| answer.items("web_search_call"),
        formats: &[AnswerFormat::OpenAiResponses],
        reason: "each search of a web_search_call is charged: \
                 https://platform.openai.com/docs/guides/tools-web-search#output-and-citations",
    },
    Rule {
        units: &[Unit::StorageSearches],
        count: |answer, _| answer.items("file_search_call"),
        formats: &[AnswerFormat::OpenAiResponses],
        reason: "each file_search_call is charged: https://platform.openai.com/docs/pricing#built-in-tools",
    },
    Rule {
        units: &[Unit::WebSearches],
        count: |answer, _| answer.google_searches(),
        formats: &[AnswerFormat::Gemini],
        reason: "grounding is charged by the search, up to Gemini 2.5 by the prompt: \
                 https://ai.google.dev/gemini-api/docs/google-search#pricing",
    },
    Rule {
        units: &[
            Unit::InputTextTokens,
            Unit::InputAudioTokens,
            Unit::InputImageTokens,
            Unit::InputVideoTokens,
        ],
        count: |answer, unit| answer.modality("promptTokenDetails", unit),
        formats: &[AnswerFormat::Gemini],
        reason: "embeddings of media have prices of their own, and name them in promptTokenDetails: \
                 https://ai.google.dev/gemini-api/docs/pricing#gemini-embedding-2",
    },
    Rule {
        units: &[
            Unit::CacheReadTokens,
            Unit::CacheWriteTokens,
            Unit::InputAudioTokens,
            Unit::OutputAudioTokens,
            Unit::OutputReasoningTokens,
        ],
        count: |answer, unit| answer.chat_detail(unit),
        formats: &[AnswerFormat::OpenAiChat],
        reason: "the answer breaks its tokens down as OpenAI's do, which providers of that format copy: \
                 https://platform.openai.com/docs/api-reference/chat/object",
    },
    Rule {
        units: &[Unit::InputTokens, Unit::InputImageTokens],
        count: |answer, unit| {
            let units = answer.usage.get("billed_units").unwrap_or(&Value::Null);
            let count = |name: &str| units.get(name).and_then(Value::as_u64).unwrap_or(0);
            let text = if unit == Unit::InputTokens { count("input_tokens") } else { 0 };
            text + count("image_tokens")
        },
        formats: &[AnswerFormat::Cohere],
        reason: "images are billed beside the text: https://docs.cohere.com/reference/embed",
    },
    Rule {
        units: &[Unit::InputAudioMillis],
        count: |answer, _| {
            1000 * answer.usage.get("prompt_audio_seconds").and_then(Value::as_u64).unwrap_or(0)
        },
        formats: &[AnswerFormat::OpenAiChat],
        reason: "audio is charged by its length: https://docs.mistral.ai/capabilities/audio/",
    },
];

/// The documents of an answer, as anyone would read them.
struct Answer<'a> {
    documents: Vec<Value>,
    /// The last usage in them.
    usage: Value,
    model: &'a str,
}

impl<'a> Answer<'a> {
    fn of(exchange: &'a Exchange) -> Self {
        let text = exchange.response.replace("\r\n", "\n");
        let documents: Vec<Value> = if exchange.streamed {
            let events = text.split("\n\n").map(|event| {
                let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
                lines.collect::<Vec<_>>().join("\n")
            });
            events.filter_map(|data| serde_json::from_str(&data).ok()).collect()
        } else {
            serde_json::from_str(&text).into_iter().collect()
        };
        let places =
            ["/usage", "/response/usage", "/usageMetadata", "/meta", "/delta/usage", "/x_groq/usage"];
        let usages = documents.iter().rev().flat_map(|document| {
            places.iter().filter_map(|place| document.pointer(place)).filter(|usage| usage.is_object())
        });
        let usage = usages.into_iter().next().cloned().unwrap_or(Value::Null);
        let model = exchange.expected.as_ref().and_then(|expected| expected.model.as_deref());
        Self { documents, usage, model: model.unwrap_or_default() }
    }

    /// Steps of this kind in the whole response, but for looks at a page that was found.
    fn items(&self, kind: &str) -> u64 {
        let outputs = self.documents.iter().rev().flat_map(|document| {
            ["/response/output", "/output"].iter().filter_map(|place| document.pointer(place)?.as_array())
        });
        let items = outputs.into_iter().next().into_iter().flatten();
        let is_look = |item: &Value| {
            let action = item.pointer("/action/type").and_then(Value::as_str);
            matches!(action, Some("open_page" | "find_in_page"))
        };
        items.filter(|item| item["type"] == kind && !is_look(item)).count() as u64
    }

    /// Whether a stream ends without what the documentation ends it with.
    fn is_unfinished(&self, format: AnswerFormat) -> bool {
        let ends = |document: &Value| {
            let any = |list: &str, name: &str| {
                let list = document[list].as_array().into_iter().flatten();
                list.filter(|one| one[name].is_string()).count() > 0
            };
            match format {
                AnswerFormat::OpenAiChat => any("choices", "finish_reason"),
                AnswerFormat::Gemini => {
                    any("candidates", "finishReason") || document["promptFeedback"]["blockReason"].is_string()
                }
                AnswerFormat::Anthropic => document["delta"]["stop_reason"].is_string(),
                AnswerFormat::OpenAiResponses => {
                    ["response.completed", "response.incomplete", "response.failed"]
                        .iter()
                        .any(|kind| document["type"] == *kind)
                }
                _ => true,
            }
        };
        !self.documents.iter().any(ends)
    }

    fn google_searches(&self) -> u64 {
        let candidates =
            self.documents.iter().filter_map(|document| document["candidates"].as_array()).flatten();
        let queries = candidates
            .filter_map(|candidate| candidate.pointer("/groundingMetadata/webSearchQueries")?.as_array())
            .flatten();
        let queries: BTreeSet<_> =
            queries.filter_map(Value::as_str).filter(|query| !query.is_empty()).collect();
        let by_prompt = self.model.starts_with("gemini-1") || self.model.starts_with("gemini-2");
        if by_prompt { queries.len().min(1) as u64 } else { queries.len() as u64 }
    }

    fn modality(&self, name: &str, unit: Unit) -> u64 {
        let modalities: &[&str] = match unit {
            Unit::InputTextTokens => &["TEXT"],
            Unit::InputAudioTokens => &["AUDIO"],
            Unit::InputImageTokens => &["IMAGE", "DOCUMENT"],
            Unit::InputVideoTokens => &["VIDEO"],
            _ => &[],
        };
        let details = self.usage.get(name).and_then(Value::as_array).into_iter().flatten();
        let of_it =
            details.filter(|detail| modalities.iter().any(|modality| detail["modality"] == *modality));
        of_it.filter_map(|detail| detail["tokenCount"].as_u64()).sum()
    }

    fn chat_detail(&self, unit: Unit) -> u64 {
        let places: &[&str] = match unit {
            Unit::CacheReadTokens => {
                &["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens", "/cached_tokens"]
            }
            Unit::CacheWriteTokens => &["/prompt_tokens_details/cache_write_tokens"],
            Unit::InputAudioTokens => &["/prompt_tokens_details/audio_tokens"],
            Unit::OutputAudioTokens => &["/completion_tokens_details/audio_tokens"],
            Unit::OutputReasoningTokens => &["/completion_tokens_details/reasoning_tokens"],
            _ => &[],
        };
        let mut counts = places.iter().filter_map(|place| self.usage.pointer(place)?.as_u64());
        counts.next().unwrap_or(0)
    }
}

/// One thing on which the calculator and the documentation differ.
struct Disagreement {
    id: String,
    what: String,
    theirs: u64,
    ours: u64,
    reason: String,
}

/// What was found in all exchanges.
#[derive(Default)]
struct Findings {
    usages: usize,
    priced: usize,
    disagreements: Vec<Disagreement>,
    wrong: Vec<String>,
}

impl Findings {
    fn differ(&mut self, exchange: &Exchange, what: &str, theirs: u64, ours: u64, reason: &str) {
        let id = format!("{} {}", exchange.provider, exchange.id);
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.disagreements.push(Disagreement { id, what, theirs, ours, reason });
    }

    /// Compares the counts, and gives ours with what documentation decides put back to theirs.
    fn compare(&mut self, exchange: &Exchange, format: AnswerFormat, theirs: &Usage, ours: &Usage) -> Usage {
        let answer = Answer::of(exchange);
        let mut plain = ours.clone();
        for unit in Unit::ALL {
            let (their_count, count) = (theirs.count(unit), ours.count(unit));
            if their_count == count {
                continue;
            }
            let rule = RULES.iter().find(|rule| {
                rule.formats.contains(&format)
                    && rule.units.contains(&unit)
                    && (rule.count)(&answer, unit) == count
            });
            match rule {
                Some(rule) => self.differ(exchange, unit.as_str(), their_count, count, rule.reason),
                None => {
                    let name = unit.as_str();
                    self.wrong.push(format!("{}: {count} {name} instead of {their_count}", exchange.id));
                }
            }
            plain.set(unit, their_count);
        }
        plain
    }

    /// Compares the price. `plain` is what the calculator saw; what else there is must be what decides otherwise.
    fn compare_price(&mut self, exchange: &Exchange, prices: &PriceTable, reading: &Reading, plain: &Usage) {
        let Some(theirs) = exchange.expected.as_ref().and_then(|expected| expected.nanos()) else { return };
        self.priced += 1;
        let provider = &exchange.provider;
        let costs = reading.charges.iter().map(|charge| cost(prices, provider, charge));
        let tokens: Option<u128> = costs.sum();
        let stated = reading.reported_picos.unwrap_or(0);
        let ours = tokens.map(|tokens| tokens.max(stated)).and_then(nanos_up);
        if ours == Some(theirs) {
            return;
        }
        let [first, others @ ..] = &reading.charges[..] else { return };
        let mut reasons = Vec::new();
        for other in others {
            let model = other.model.as_deref().unwrap_or_default();
            reasons.push(format!(
                "what {model} did besides is billed beside the rest: \
                 https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool"
            ));
        }
        if tokens.is_some_and(|tokens| stated > tokens) {
            let source = "https://openrouter.ai/docs/use-cases/usage-accounting";
            reasons.push(format!("the provider states what it charged: {source}"));
        }
        if *plain != first.usage {
            let id = format!("{provider} {}", exchange.id);
            let counted = self.disagreements.iter().filter(|found| found.id == id);
            reasons.extend(counted.map(|found| found.reason.clone()));
        }
        let price = |context: &PriceContext| {
            let seen = Charge { usage: plain.clone(), context: context.clone(), ..first.clone() };
            cost(prices, provider, &seen).and_then(nanos_up)
        };
        // The calculator was not told how the request was served.
        let (served, untold) = (price(&first.context), price(&PriceContext::default()));
        if served != untold && !is_close(served, theirs, plain) {
            let values = ["service_tier", "speed"].map(|name| first.context.value(name).unwrap_or_default());
            reasons
                .push(format!("the answer says how it was served, which has prices of its own: {values:?}"));
        }
        let mut seen = [served, untold].into_iter().filter(|seen| is_close(*seen, theirs, plain)).peekable();
        let is_equal = seen.peek().is_some();
        if seen.all(|seen| seen != Some(theirs)) {
            reasons.push("a price with more places than pico-dollars have is rounded up".to_owned());
        }
        match ours {
            Some(ours) if is_equal && !reasons.is_empty() => {
                self.differ(exchange, "nano-dollars", theirs, ours, &reasons.join("; "));
            }
            _ => self.wrong.push(format!(
                "{provider} {}: {ours:?} instead of {theirs} nano-dollars {:?} {:?}",
                exchange.id, first.usage, first.context
            )),
        }
    }
}

/// Whether a price is the calculator's, but for less than a pico-dollar per unit: some prices are thirds of a cent, and
/// whole pico-dollars, rounded up, in the table.
fn is_close(ours: Option<u64>, theirs: u64, usage: &Usage) -> bool {
    let units: u128 = usage.iter().map(|(_, count)| u128::from(count)).sum();
    let most = nanos_up(units).unwrap_or(u64::MAX);
    ours.is_some_and(|ours| ours >= theirs && ours - theirs <= most)
}

fn format(exchange: &Exchange) -> AnswerFormat {
    let registry = Registry::builtin();
    let provider = registry.get(&exchange.provider).expect("a known provider");
    let raw = till_core::path::RawPath::parse(exchange.path.as_bytes()).expect("a good path");
    let path = provider.final_path(&raw).expect("a good path");
    let method = exchange.method.parse().expect("a method");
    endpoint(provider, &method, &path).map_or(AnswerFormat::Silent, |row| row.answer)
}

fn read<'b>(
    exchange: &Exchange,
    format: AnswerFormat,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> Reading {
    let mut headers = Fields::default();
    headers.push("content-type", exchange.content_type());
    let mut reader = UsageReader::new(format, &headers);
    for piece in pieces {
        reader.push(piece);
    }
    reader.finish()
}

fn random_pieces<'b>(bytes: &'b [u8], random: &mut Random) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((1 + random.below(700)).min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}

fn cost(prices: &PriceTable, provider: &str, charge: &Charge) -> Option<u128> {
    let price = prices.find(provider, charge.model.as_deref()?)?;
    Some(price.rates(&charge.context, AT).cost_picos(&charge.usage))
}

#[test]
fn usage_and_price_are_those_of_an_independent_calculator() {
    let Some(exchanges) = exchanges() else { return };
    let prices = PriceTable::builtin();
    let mut random = Random::new(SEED);
    println!("seed {SEED}");
    let mut findings = Findings::default();
    for exchange in &exchanges {
        let Some(expected) = exchange.expected.as_ref() else { continue };
        let (bytes, format) = (exchange.response.as_bytes(), format(exchange));
        let reading = read(exchange, format, [bytes]);
        assert_eq!(read(exchange, format, bytes.chunks(1)), reading, "{} one byte at a time", exchange.id);
        let pieces = random_pieces(bytes, &mut random);
        assert_eq!(read(exchange, format, pieces), reading, "{} in random pieces", exchange.id);
        let Some(counts) = &expected.usage else { continue };
        findings.usages += 1;
        let mut theirs = Usage::default();
        for (name, count) in counts {
            match Unit::from_name(name) {
                Some(unit) => theirs.set(unit, *count),
                None => findings.wrong.push(format!("{}: {count} of the unknown unit {name}", exchange.id)),
            }
        }
        if format == AnswerFormat::Silent {
            let reason = "the endpoint is not metered, so it is refused under a limit";
            findings.differ(exchange, "tokens", theirs.tokens(), 0, reason);
            continue;
        }
        if exchange.streamed && !reading.is_complete && Answer::of(exchange).is_unfinished(format) {
            let reason = "the stream has no end, so that its figures may not be the last ones";
            findings.differ(exchange, "tokens", theirs.tokens(), 0, reason);
            continue;
        }
        let Some(first) = reading.charges.first().filter(|_| reading.is_complete) else {
            findings.wrong.push(format!("{} {}: {reading:?}", exchange.id, exchange.path));
            continue;
        };
        let plain = findings.compare(exchange, format, &theirs, &first.usage);
        findings.compare_price(exchange, &prices, &reading, &plain);
    }
    for Disagreement { id, what, theirs, ours, reason } in &findings.disagreements {
        println!("{id} | {what} | {theirs} | {ours} | {reason}");
    }
    let Findings { usages, priced, disagreements, wrong } = findings;
    println!(
        "{usages} usages, {priced} prices, {} that documentation decides otherwise",
        disagreements.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(usages > 0);
}

#[test]
fn a_stream_that_is_cut_off_has_no_final_figures_but_those_of_the_whole() {
    let Some(exchanges) = exchanges() else { return };
    let mut random = Random::new(SEED);
    println!("seed {SEED}");
    for exchange in exchanges.iter().filter(|exchange| exchange.streamed) {
        let (bytes, format) = (exchange.response.as_bytes(), format(exchange));
        let whole = read(exchange, format, [bytes]);
        // Most of what matters is near the end.
        let near_the_end = bytes.len().saturating_sub(1_000);
        let cuts = (0..CUTS).map(|number| {
            let from = if number % 2 == 0 { near_the_end } else { 0 };
            from + random.below(bytes.len() - from + 1)
        });
        for end in cuts {
            let reading = read(exchange, format, [&bytes[..end]]);
            assert!(!reading.is_complete || reading == whole, "{} ends at {end}: {reading:?}", exchange.id);
        }
    }
}

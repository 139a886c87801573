//! Recorded answers through the whole proxy, in pieces of any size: the key is charged what an independent calculator
//! says.

use std::sync::{Arc, Mutex};

use till_core::limit::Limits;
use till_store::{KeyOptions, Outcome};
use till_testkit::recorded::{Exchange, Random, exchanges};
use till_testkit::upstream::{Step, Upstream, chunk};

use super::rig::{Options, Rig};

const SEED: u64 = 5;

/// Far above what any of them costs.
const TEN_THOUSAND_DOLLARS: u64 = 10_000_000_000_000;

/// What an answer has in it that is charged beside the tokens that the calculator sees, by the documentation of the
/// provider. The test of recorded answers in `till-providers` has the sources, and compares each charge.
const CHARGED_BESIDE: [&str; 5] =
    ["\"iterations\"", "\"cost\"", "\"web_search_call\"", "\"file_search_call\"", "\"webSearchQueries\""];

/// The answer, its body in pieces.
fn answer(exchange: &Exchange, mut length: impl FnMut() -> usize) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        exchange.status,
        exchange.content_type()
    );
    let mut bytes = head.into_bytes();
    let mut rest = exchange.response.as_bytes();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(length().clamp(1, rest.len()));
        let Step::Send(piece) = chunk(piece) else { unreachable!("a chunk is bytes") };
        bytes.extend_from_slice(&piece);
        rest = later;
    }
    let Step::Send(end) = chunk(b"") else { unreachable!("a chunk is bytes") };
    bytes.extend_from_slice(&end);
    vec![Step::Send(bytes)]
}

/// Longer answers do not go through one byte at a time here, which would take minutes; in `till-providers` they do.
const BYTE_BY_BYTE_MAX: usize = 8 * 1024;

#[tokio::test]
async fn every_recorded_answer_is_charged_what_it_costs() {
    charge_all(0).await;
}

#[tokio::test]
async fn every_other_recorded_answer_is_charged_what_it_costs() {
    charge_all(1).await;
}

/// Every second exchange, so that two processors have something to do.
#[expect(clippy::print_stdout, reason = "what a test says about itself")]
async fn charge_all(part: usize) {
    let Some(exchanges) = exchanges() else { return };
    println!("seed {SEED}");
    let exchanges: Vec<Exchange> = exchanges
        .into_iter()
        .skip(part)
        .step_by(2)
        .filter(|one| one.status == 200 && one.expected.as_ref().is_some_and(|known| known.usage.is_some()))
        // Refused for every scoped key.
        .filter(|one| one.request["background"] != true)
        .collect();
    let script: Arc<Mutex<Vec<Step>>> = Arc::default();
    let upstream = {
        let script = Arc::clone(&script);
        Upstream::start(move |_, _| script.lock().expect("no panic").clone()).await
    };
    let mut providers: Vec<&str> = exchanges.iter().map(|one| one.provider.as_str()).collect();
    providers.sort_unstable();
    providers.dedup();
    let url = upstream.url();
    let pointed: Vec<(&str, &str)> = providers.iter().map(|provider| (*provider, url.as_str())).collect();
    let rig = Rig::start(&pointed, Options::default()).await;
    let mut random = Random::new(SEED);
    let (mut charged, mut priced) = (0, 0);
    let mut wrong = Vec::new();
    for exchange in &exchanges {
        let expected = exchange.expected.as_ref().expect("filtered");
        let usage = expected.usage.as_ref().expect("filtered");
        let count = |name: &str| usage.get(name).copied().unwrap_or(0);
        let is_different = CHARGED_BESIDE.iter().any(|name| exchange.response.contains(name));
        let limits =
            Limits { tokens: Some(1 << 40), spend_nanos: Some(TEN_THOUSAND_DOLLARS), ..Limits::default() };
        // What has no bound passes too: here it is the answers that matter.
        let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
        let (token, id) = rig.mint_with(&exchange.provider, limits, options).await;
        let most = if exchange.response.len() > BYTE_BY_BYTE_MAX { 64 } else { 1 };
        let pieces: [&mut dyn FnMut() -> usize; 2] = [&mut || most, &mut || 1 + random.below(900)];
        let mut before = 0;
        for length in pieces {
            *script.lock().expect("no panic") = answer(exchange, length);
            let body = exchange.request.to_string();
            let got = rig.call(&token, &exchange.method, &exchange.path, &body).await;
            assert_eq!(got.status, 200, "{} {}", exchange.id, got.text());
            let asked_for_usage = exchange.request["stream_options"]["include_usage"] == true;
            if !exchange.streamed || asked_for_usage {
                assert_eq!(got.text(), exchange.response, "{}", exchange.id);
            }
            let record = rig.last_record(id).await;
            let key = rig.key(id).await;
            charged += 1;
            let (input, output) = (record.tokens.input, record.tokens.output);
            let (input_seen, output_seen) = (count("input_tokens"), count("output_tokens"));
            let is_more = is_different && input >= input_seen && output >= output_seen;
            if (input, output) != (input_seen, output_seen) && !is_more {
                wrong.push(format!("{}: {:?} instead of {usage:?}", exchange.id, record.tokens));
                continue;
            }
            let Some(nanos) = expected.nanos() else { continue };
            priced += 1;
            let cost = key.used.spend_nanos - before;
            before = key.used.spend_nanos;
            let is_explained = is_different && cost >= nanos;
            let is_certain = record.outcome == Outcome::Complete;
            if !(is_certain && (cost == nanos || is_explained)) {
                wrong.push(format!("{}: {cost} instead of {nanos}, {:?}", exchange.id, record.outcome));
            }
        }
    }
    println!("{charged} answers, {priced} with a price");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

//! The parts of till that every request goes through, one by one and without I/O: for counting instructions
//! (`bench-hot`) and for timing (`benches/hot.rs`).

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use till_core::demand::Demand;
use till_core::fields::Fields;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountChain, AccountId, Ledger, Verdict};
use till_core::limit::{Limits, Units};
use till_core::path::{FinalPath, RawPath};
use till_core::redact::Redactor;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_core::token::{IndexKey, KeyRing, MasterKey, token_fingerprint};
use till_core::upstream::{Placement, Upstream};
use till_providers::bound::demand;
use till_providers::price::{PriceContext, PriceTable};
use till_providers::request::{Question, endpoint, facts};
use till_providers::scope::check_endpoint;
use till_providers::usage::{AnswerFormat, Unit, Usage, UsageReader};
use till_providers::{Provider, Registry};

use crate::answers::{CHAT, EVENT_BYTES, answer, stream};

/// Noon of 2026-11-25, UTC: prices depend on the time.
const AT: Timestamp = Timestamp(1_795_608_000_000);

const PATH: &[u8] = b"/v1/chat/completions";

/// One of them, ready to run again and again.
pub struct HotPath {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// What it does, for the reader of the results.
    pub what: &'static str,
    run: Box<dyn FnMut()>,
}

impl HotPath {
    fn new<T>(name: &'static str, what: &'static str, mut run: impl FnMut() -> T + 'static) -> Self {
        let run = Box::new(move || {
            black_box(run());
        });
        Self { name, what, run }
    }

    /// Runs it once.
    pub fn run(&mut self) {
        (self.run)();
    }
}

/// All of them.
pub fn all() -> Vec<HotPath> {
    vec![
        token_open(),
        token_known(),
        head(),
        path(),
        endpoint_rules(),
        bound(),
        usage_json(),
        usage_stream(),
        usage_price(),
        redact_json(),
        redact_stream(),
        ledger("ledger-calls", "hold and settle one activation", calls()),
        ledger("ledger-spend", "hold and settle a call with limits in tokens and money", spend()),
    ]
}

fn upstream() -> Upstream {
    Upstream {
        key: Secret::new("sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"),
        provider: "openai".to_owned(),
        origin: "https://api.openai.com".to_owned(),
        placement: Placement::Header {
            name: "authorization".to_owned(),
            template: "Bearer {key}".to_owned(),
        },
    }
}

fn token() -> (KeyRing, String) {
    let ring = KeyRing::new(MasterKey::from_bytes([7; 32]), [1; 16], IndexKey::from_bytes([9; 32]));
    let minted = ring.mint(&upstream(), [3; 16]).expect("a good upstream key");
    let text = minted.scoped_key.reveal_str().expect("a token is text").to_owned();
    (ring, text)
}

fn token_open() -> HotPath {
    let (ring, text) = token();
    HotPath::new("token-open", "verify and open a scoped key that was not seen before", move || {
        ring.open(black_box(&text)).expect("a genuine token")
    })
}

fn token_known() -> HotPath {
    let (_, text) = token();
    HotPath::new("token-known", "the hash under which an opened key is remembered", move || {
        token_fingerprint(black_box(&text))
    })
}

/// As an official SDK sends them, with a token in the place of the key.
const LINES: &str = "Host: 127.0.0.1:7000\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
    Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.8.1\r\n\
    X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.8.1\r\nX-Stainless-OS: Linux\r\n\
    X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.3\r\n\
    Authorization: Bearer {token}\r\nX-Stainless-Async: false\r\nx-stainless-retry-count: 0\r\n\
    x-stainless-read-timeout: 600\r\nContent-Length: 234\r\n\r\n";

fn head() -> HotPath {
    let lines = LINES.replace("{token}", &token().1);
    HotPath::new(
        "head",
        "read the header lines of a request, and look for one that is not there",
        move || {
            let (fields, length) =
                Fields::parse(black_box(lines.as_bytes()), 100).ok().flatten().expect("lines");
            assert!(!fields.contains("origin"));
            (fields, length)
        },
    )
}

fn openai() -> Provider {
    Registry::builtin().get("openai").expect("a built-in provider").clone()
}

fn final_path(provider: &Provider, path: &[u8]) -> FinalPath {
    let raw = RawPath::parse(path).expect("a good path");
    provider.final_path(&raw).expect("a good path")
}

fn path() -> HotPath {
    let provider = openai();
    HotPath::new("path", "check a path and make it final", move || final_path(&provider, black_box(PATH)))
}

fn endpoint_rules() -> HotPath {
    let provider = openai();
    let path = final_path(&provider, PATH);
    HotPath::new("endpoint", "compare a path with the tables of endpoints", move || {
        let path = black_box(&path);
        check_endpoint(&provider, None, &Method::POST, path).expect("an open endpoint");
        (endpoint(&provider, &Method::POST, path), provider.denied_field(&Method::POST, path))
    })
}

fn bound() -> HotPath {
    let (provider, prices) = (openai(), PriceTable::builtin());
    let (path, headers) = (final_path(&provider, PATH), Fields::default());
    HotPath::new("request-bound", "read a chat body and bound its tokens and price", move || {
        let question = Question {
            provider: &provider,
            method: &Method::POST,
            path: &path,
            query: None,
            headers: &headers,
            body: black_box(CHAT.as_bytes()),
        };
        let facts = facts(&question, &prices).expect("a request that can be bounded");
        let price = facts.model.as_deref().and_then(|model| prices.find(provider.price_id(), model));
        demand(&facts, price, true, AT, true).expect("a model with a price")
    })
}

fn usage(body: Vec<u8>, content_type: &'static str, piece: usize) -> impl FnMut() -> usize {
    let mut headers = Fields::default();
    headers.push("content-type", content_type);
    move || {
        let mut reader = UsageReader::new(AnswerFormat::OpenAiChat, &headers);
        for piece in black_box(&body).chunks(piece) {
            reader.push(piece);
        }
        let reading = reader.finish();
        assert!(reading.is_complete, "the answer says what was used");
        reading.charges.len()
    }
}

fn usage_json() -> HotPath {
    let run = usage(answer().into_bytes(), "application/json", usize::MAX);
    HotPath::new("usage-json", "the usage in a JSON answer of 600 bytes", run)
}

fn usage_stream() -> HotPath {
    let run = usage(stream(), "text/event-stream", EVENT_BYTES);
    HotPath::new("usage-stream", "the usage in a stream of 200 events, 60 KB, one event at a time", run)
}

fn usage_price() -> HotPath {
    let (provider, prices) = (openai(), PriceTable::builtin());
    let usage = Usage::from_iter([
        (Unit::InputTokens, 24),
        (Unit::CacheReadTokens, 0),
        (Unit::OutputReasoningTokens, 0),
        (Unit::OutputTokens, 40),
    ]);
    HotPath::new("usage-price", "find the price of a model and what a usage costs", move || {
        let price = prices.find(provider.price_id(), black_box("gpt-4o-mini-2024-07-18"));
        let price = price.expect("a model with a price");
        price.cost_picos(&PriceContext::default(), AT, || Timestamp(AT.0 + 900), black_box(&usage))
    })
}

fn redact(body: Vec<u8>, piece: usize) -> impl FnMut() -> usize {
    let redactor = Arc::new(Redactor::new(&upstream()));
    let body = Bytes::from(body);
    move || {
        let (mut stream, mut length, mut rest) = (redactor.stream(), 0, black_box(&body).clone());
        while !rest.is_empty() {
            let piece = rest.split_to(piece.min(rest.len()));
            length += stream.push(piece).len();
        }
        length + stream.finish().len()
    }
}

fn redact_json() -> HotPath {
    let run = redact(answer().into_bytes(), usize::MAX);
    HotPath::new("redact-json", "search a JSON answer of 600 bytes for the upstream key", run)
}

fn redact_stream() -> HotPath {
    let run = redact(stream(), EVENT_BYTES);
    HotPath::new("redact-stream", "search a stream of 200 events, 60 KB, one event at a time", run)
}

fn calls() -> (Limits, Demand, Units) {
    let limits = Limits { activations: Some(u64::MAX >> 1), ..Limits::default() };
    (limits, Demand::ONE_ACTIVATION, Units::ONE_ACTIVATION)
}

fn spend() -> (Limits, Demand, Units) {
    let most = Some(u64::MAX >> 1);
    let limits = Limits { activations: None, tokens: most, spend_nanos: most };
    let demand = Demand {
        activations: 1,
        tokens_fixed: 60,
        picos_fixed: 9_000_000,
        tokens_per_step: 1,
        picos_per_step: 600_000,
        steps_wanted: 200,
        steps_min: 16,
    };
    (limits, demand, Units { activations: 1, tokens: 64, spend_nanos: 27_600 })
}

fn ledger(name: &'static str, what: &'static str, call: (Limits, Demand, Units)) -> HotPath {
    let (limits, demand, used) = call;
    let key = AccountId::Key(KeyId([5; 16]));
    let mut ledger = Ledger::new(1, false);
    ledger.load(key, Account::new(limits));
    HotPath::new(name, what, move || {
        let verdict = ledger.ask(AccountChain::of_key(key), black_box(&demand), false, AT);
        let Verdict::Granted(grant) = verdict else { panic!("there is always something left") };
        ledger.settle(grant.id, used).expect("sums that fit")
    })
}

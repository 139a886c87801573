//! Recorded answers: the tokens and the price are what an independent calculator says, however the bytes are cut.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use till_core::demand::nanos_up;
use till_core::time::Timestamp;
use till_providers::Registry;
use till_providers::price::PriceTable;
use till_providers::request::endpoint;
use till_providers::usage::{AnswerFormat, Charge, Reading, Unit, Usage, UsageReader};
use till_testkit::recorded::{Exchange, Random, exchanges};

/// Noon of 2026-11-22, UTC: the day on which the prices were computed.
const AT: Timestamp = Timestamp(1_795_348_800_000);

const SEED: u64 = 3;

/// Where the documentation of the provider decides otherwise: see `docs/metering.md`.
const DIFFERENT: [(&str, &str); 2] = [
    ("advisor", "what another model did for the answer is billed beside it"),
    ("openrouter", "the cost that the provider states has more in it than tokens"),
];

fn format(exchange: &Exchange) -> AnswerFormat {
    let registry = Registry::builtin();
    let provider = registry.get(&exchange.provider).expect("a known provider");
    let raw = till_core::path::RawPath::parse(exchange.path.as_bytes()).expect("a good path");
    let path = provider.final_path(&raw).expect("a good path");
    let method = exchange.method.parse().expect("a method");
    endpoint(provider, &method, &path).map_or(AnswerFormat::Silent, |row| row.answer)
}

fn read<'b>(exchange: &Exchange, pieces: impl IntoIterator<Item = &'b [u8]>) -> Reading {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, exchange.content_type().parse().expect("a content type"));
    let mut reader = UsageReader::new(format(exchange), &headers);
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
    let (mut usages, mut priced, mut explained) = (0, 0, 0);
    let mut wrong = Vec::new();
    for exchange in &exchanges {
        let Some(expected) = exchange.expected.as_ref() else { continue };
        let bytes = exchange.response.as_bytes();
        let reading = read(exchange, [bytes]);
        assert_eq!(read(exchange, bytes.chunks(1)), reading, "{} one byte at a time", exchange.id);
        let pieces = random_pieces(bytes, &mut random);
        assert_eq!(read(exchange, pieces), reading, "{} in random pieces", exchange.id);
        let Some(counts) = &expected.usage else { continue };
        usages += 1;
        let mut theirs = Usage::default();
        for (name, count) in counts {
            match Unit::from_name(name) {
                Some(unit) => theirs.set(unit, *count),
                None => wrong.push(format!("{}: unknown unit {name}", exchange.id)),
            }
        }
        let Some(first) = reading.charges.first().filter(|_| reading.is_complete) else {
            wrong.push(format!("{} {}: {reading:?}", exchange.id, exchange.path));
            continue;
        };
        let differs = |unit: &Unit| theirs.count(*unit) != first.usage.count(*unit);
        let units: Vec<_> = Unit::ALL.into_iter().filter(differs).map(Unit::as_str).collect();
        if !units.is_empty() {
            wrong.push(format!("{}: {units:?} {theirs:?} {:?}", exchange.id, first.usage));
        }
        let Some(nanos) = expected.nanos() else { continue };
        priced += 1;
        let costs = reading.charges.iter().map(|charge| cost(&prices, &exchange.provider, charge));
        let picos: Option<u128> = costs.sum();
        let ours = picos.map(|picos| picos.max(reading.reported_picos.unwrap_or(0))).and_then(nanos_up);
        if ours == Some(nanos) {
            continue;
        }
        let name = format!("{} {}", exchange.provider, exchange.id);
        if DIFFERENT.iter().any(|(part, _)| name.contains(part)) && ours > Some(nanos) {
            explained += 1;
        } else {
            wrong.push(format!("{name}: {ours:?} instead of {nanos} {:?} {:?}", first.usage, first.context));
        }
    }
    println!("{usages} usages, {priced} prices, {explained} that the documentation decides otherwise");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(usages > 0);
}

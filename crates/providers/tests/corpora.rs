//! The corpora of the fuzz targets, and random changes of them, without a fuzzer: see `fuzz/README.md`.

#[path = "../../../fuzz/checks/mod.rs"]
mod checks;

use std::collections::BTreeSet;

use till_providers::Registry;
use till_providers::request::{endpoint, endpoints};
use till_testkit::corpus::{replay, replay_some};

use checks::request_facts::{ENDPOINTS, Place};

/// Rows that no final path has: `/v1` is put in front of it, or taken off, before.
const NEVER_MATCHED: [(&str, &str); 2] =
    [("deepseek", "POST /chat/completions"), ("perplexity", "POST /v1/chat/completions")];

#[test]
fn requests_are_refused_or_bounded() {
    replay("request_facts", checks::request_facts::check);
}

#[test]
fn usage_is_read_however_it_is_cut() {
    replay("usage_reader", checks::usage_reader::check);
}

#[test]
fn the_chunk_filter_does_the_same_however_it_is_cut() {
    replay("chunk_filter", checks::chunk_filter::check);
}

#[test]
fn framing_changes_nothing() {
    replay("event_stream", checks::event_stream::check);
}

#[test]
fn only_what_was_minted_opens() {
    replay("token", checks::token::check);
}

#[test]
fn paths_and_rules_are_read_in_one_way() {
    replay("path_scope", checks::path_scope::check);
}

#[test]
fn echoes_are_found_however_they_are_cut() {
    replay_some("redaction", 200, checks::redaction::check);
}

#[test]
fn every_metered_endpoint_is_fuzzed() {
    let row = |index: usize| {
        let place = Place::of(b'A' + u8::try_from(index).expect("few"));
        let row = endpoint(place.provider, &http::Method::POST, &place.path).expect("a row");
        assert!(!row.is_free, "{:?}", ENDPOINTS[index]);
        (place.provider.id().to_owned(), row.pattern())
    };
    let fuzzed: BTreeSet<_> = (0..ENDPOINTS.len()).map(row).collect();
    let registry = Registry::builtin();
    let mut known: BTreeSet<_> = registry
        .iter()
        .flat_map(|provider| endpoints(provider).iter().map(move |row| (provider, row)))
        .filter(|(_, row)| !row.is_free)
        .map(|(provider, row)| (provider.id().to_owned(), row.pattern()))
        .collect();
    for (provider, pattern) in NEVER_MATCHED {
        assert!(known.remove(&(provider.to_owned(), pattern.to_owned())), "{provider} {pattern}");
    }
    assert_eq!(fuzzed, known);
}

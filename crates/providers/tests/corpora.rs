//! The corpora of the fuzz targets, and random changes of them, without a fuzzer: see `fuzz/README.md`.

#[path = "../../../fuzz/checks/mod.rs"]
mod checks;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use till_providers::Registry;
use till_providers::request::{endpoint, endpoints};
use till_testkit::recorded::Random;

use checks::request_facts::{ENDPOINTS, Place};

const SEED: u64 = 17;

/// Random changes per corpus.
const CHANGES: usize = 1_000;

/// Pieces of which hostile bodies and answers are made.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"data: ",
    b"[DONE]",
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\xff\xff\xff\xff",
];

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target].iter().collect();
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("readable").path())
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("readable"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files
}

/// Replays a corpus and random changes of it. Shows the input of what goes wrong as a literal.
fn replay(target: &str, check: fn(&[u8])) {
    let files = corpus(target);
    let run = |name: &str, input: &[u8]| {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| check(input))) {
            let shown: String = input.escape_ascii().to_string();
            eprintln!("{target}, {name}: b\"{shown}\"");
            std::panic::resume_unwind(cause);
        }
    };
    for (name, input) in &files {
        run(name, input);
    }
    let mut random = Random::new(SEED);
    for number in 0..CHANGES {
        let (name, input) = &files[random.below(files.len())];
        let other = &files[random.below(files.len())].1;
        run(&format!("change {number} of {name}"), &changed(input, other, &mut random));
    }
}

/// The input with a few bytes changed, taken out or put in, or with a part of another one.
fn changed(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(random.below(32) + 1);
        let word: Vec<u8> = match random.below(5) {
            0 => Vec::new(),
            1 => vec![u8::try_from(random.below(256)).expect("a byte")],
            2 => WORDS[random.below(WORDS.len())].to_vec(),
            3 => input[at..end].repeat(random.below(4)),
            _ => {
                let from = random.below(other.len() + 1);
                other[from..].iter().take(random.below(200)).copied().collect()
            }
        };
        let end = if random.below(2) == 0 { at } else { end.min(input.len()) };
        input.splice(at..end, word);
    }
    input
}

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

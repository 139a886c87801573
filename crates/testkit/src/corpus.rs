//! The corpora of the fuzz targets, without a fuzzer.
//!
//! A fuzz target is a check that must hold for any bytes. Here it runs with every committed file of its corpus and with
//! random changes of them, so that each test run has a little of what the long run does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::recorded::Random;

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

/// Replays a corpus and random changes of it. Shows the input of what goes wrong as a literal.
pub fn replay(target: &str, check: fn(&[u8])) {
    replay_some(target, CHANGES, check);
}

/// The same with so many changes, where one takes long.
pub fn replay_some(target: &str, changes: usize, check: fn(&[u8])) {
    let files = files(target);
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
    for number in 0..changes {
        let (name, input) = &files[random.below(files.len())];
        let other = &files[random.below(files.len())].1;
        run(&format!("change {number} of {name}"), &changed(input, other, &mut random));
    }
}

fn files(target: &str) -> Vec<(String, Vec<u8>)> {
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

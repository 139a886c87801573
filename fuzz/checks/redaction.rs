//! The search for the upstream key: what comes out is what the plainest search says, however the answer is cut.
//!
//! Input: a byte that picks the key; a byte that seeds the cuts; the answer. In it a byte from 1 to 5 stands for the key
//! in a form, in the spelling that the byte behind it says.

use std::sync::Arc;

use bytes::Bytes;
use till_core::redact::Redactor;
use till_core::secret::Secret;
use till_core::upstream::{Placement, Upstream};

use super::pieces::pieces;

#[path = "../../crates/core/src/redact/tests/naive.rs"]
mod naive;

const KEYS: [&str; 8] = [
    "sk-12345",
    "sk-proj-4f9Qz_7Lm-XbT0aWcR2e",
    "AKIA/IOSFODNN7+EXAMPLEKEY/wJ==",
    "quote\"back\\slash/",
    "\\u002f%2f\\/",
    "aaaaaaaab",
    "abababac",
    "some-user:password",
];

/// The plain search takes as long as the square of this.
const LENGTH_MAX: usize = 160;

/// Checks one input.
pub fn check(input: &[u8]) {
    let [pick, seed, answer @ ..] = input else { return };
    let key = KEYS[usize::from(*pick) % KEYS.len()];
    let is_basic = key.contains(':');
    let placement = match is_basic {
        true => Placement::Basic,
        false => Placement::Header { name: "x-api-key".into(), template: "{key}".into() },
    };
    let mut needles = vec![key.as_bytes()];
    if let Some((user, password)) = key.split_once(':').filter(|_| is_basic) {
        needles.extend([user.as_bytes(), password.as_bytes()]);
    }
    let answer = with_forms(answer, key);
    let upstream = Upstream {
        key: Secret::new(key),
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        placement,
    };
    let redactor = Arc::new(Redactor::new(&upstream));
    let (expected, _) = naive::search(&needles, &answer, true);
    let whole = redactor.redact_all(&answer);
    assert_eq!(whole.is_some(), expected != answer, "{key} in {:?}", answer.escape_ascii().to_string());
    shown_alike(&whole.unwrap_or(answer.clone()), &expected, "whole");
    shown_alike(&streamed(&redactor, pieces(&answer, *seed)), &expected, "in pieces");
    shown_alike(&streamed(&redactor, answer.chunks(1).collect()), &expected, "byte by byte");
    let cut = usize::from(*seed) * answer.len() / 256;
    let (_, hold) = naive::search(&needles, &answer[..cut], false);
    let mut stream = redactor.stream();
    let passed = stream.push(Bytes::copy_from_slice(&answer[..cut]));
    assert_eq!(passed.len() + stream.held_len(), cut, "bytes are neither passed on nor held");
    assert_eq!(
        stream.held_len(),
        cut - hold,
        "what is held of {:?}",
        answer[..cut].escape_ascii().to_string()
    );
}

fn streamed(redactor: &Arc<Redactor>, pieces: Vec<&[u8]>) -> Vec<u8> {
    let mut stream = redactor.stream();
    let mut out: Vec<u8> =
        pieces.iter().flat_map(|piece| stream.push(Bytes::copy_from_slice(piece))).collect();
    out.extend_from_slice(&stream.finish());
    out
}

fn shown_alike(found: &[u8], expected: &[u8], how: &str) {
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{how}");
}

/// The answer with the key written into it.
fn with_forms(answer: &[u8], key: &str) -> Vec<u8> {
    let forms = naive::forms(key.as_bytes());
    let mut written = Vec::new();
    let mut rest = answer.iter();
    while let Some(byte) = rest.next() {
        match usize::from(*byte).checked_sub(1).and_then(|form| forms.get(form)) {
            None => written.push(*byte),
            Some(form) => {
                let style = usize::from(rest.next().copied().unwrap_or_default());
                for (index, accepted) in form.characters.iter().enumerate() {
                    let mut spellings = naive::spellings(accepted[0]);
                    spellings.extend(naive::spellings(accepted[1]));
                    let chosen = if style < 128 { style } else { style + index * 5 };
                    written.extend_from_slice(&spellings[chosen % spellings.len()]);
                }
            }
        }
        if written.len() > LENGTH_MAX {
            break;
        }
    }
    written.truncate(LENGTH_MAX);
    written
}

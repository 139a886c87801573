mod naive;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;

use super::Redactor;
use crate::secret::Secret;
use crate::upstream::{Placement, Upstream};

const KEYS: [&str; 13] = [
    "sk-12345",
    "sk-proj-4f9Qz_7Lm-XbT0aWcR2e",
    "AKIA/IOSFODNN7+EXAMPLEKEY/wJ==",
    "quote\"back\\slash/",
    "100%25%done%",
    "\\\\\\\\n\\\\u005c",
    "\\u002f%2f\\/",
    "aaaaaaaab",
    "aaaaaaaaaaaa",
    "abababac",
    "~~~~~~~~???????>>>>>>>>",
    "user:pass",
    "abcdefghijklmnopqr/\"stuvwxyz0123",
];

fn upstream(key: &str, placement: Placement) -> Upstream {
    Upstream {
        key: Secret::new(key),
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        placement,
    }
}

fn redactor(key: &str) -> Arc<Redactor> {
    let placement = Placement::Header { name: "x-api-key".into(), template: "{key}".into() };
    Arc::new(Redactor::new(&upstream(key, placement)))
}

/// Pushes the text, split at these places, and returns what comes out and the number of replacements.
/// Nothing may be lost or held needlessly on the way.
fn stream(redactor: &Arc<Redactor>, needles: &[&[u8]], text: &[u8], cuts: &[usize]) -> (Vec<u8>, u64) {
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([text.len()]) {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(&text[from..to])));
        assert_eq!(out.len() + stream.held_len(), to, "bytes are neither passed on nor held");
        let (_, hold) = naive::search(needles, &text[..to], false);
        assert_eq!(stream.held_len(), to - hold, "held of {:?}", String::from_utf8_lossy(&text[..to]));
        from = to;
    }
    out.extend_from_slice(&stream.finish());
    (out, stream.replacements())
}

/// The text must come out as the naive search says, whole and split at these places. Returns that.
fn check(key: &str, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (expected, _) = naive::search(&[key.as_bytes()], text, true);
    let redactor = redactor(key);
    let whole = redactor.redact_all(text);
    let shown = String::from_utf8_lossy(text);
    assert_eq!(whole.is_some(), expected != text, "key {key} in {shown}");
    assert_eq!(whole.as_deref().unwrap_or(text), expected, "key {key} in {shown}");
    let (streamed, replacements) = stream(&redactor, &[key.as_bytes()], text, cuts);
    assert_eq!(streamed, expected, "key {key} in {shown} cut at {cuts:?}");
    assert_eq!(replacements > 0, expected != text);
    expected
}

/// [`check`], besides with every single split and byte by byte.
fn check_splits(key: &str, text: &[u8]) -> Vec<u8> {
    let expected = check(key, text, &[text.len() / 3, text.len() / 2]);
    let redactor = redactor(key);
    let mut bytewise = redactor.stream();
    let mut out: Vec<u8> = text.iter().flat_map(|byte| bytewise.push(vec![*byte].into())).collect();
    out.extend_from_slice(&bytewise.finish());
    assert_eq!(out, expected, "key {key} byte by byte");
    for cut in 0..=text.len() {
        let mut stream = redactor.stream();
        let parts = [
            stream.push(Bytes::copy_from_slice(&text[..cut])),
            stream.push(Bytes::copy_from_slice(&text[cut..])),
            stream.finish(),
        ];
        assert_eq!(parts.concat(), expected, "key {key} cut at {cut}");
    }
    expected
}

#[test]
fn no_more_is_held_than_the_beginning_of_a_form() {
    for key in KEYS {
        let half = &key[..key.len() / 2];
        let text = format!("{half}{{\\n{key}\\u00{half}%{key}..{half}\\");
        let bytewise: Vec<usize> = (1..text.len()).collect();
        check(key, text.as_bytes(), &bytewise);
    }
}

/// A form with each character written in the spelling that `choose` picks out of so many.
fn write_form(form: &naive::NaiveForm, mut choose: impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut text = Vec::new();
    for accepted in &form.characters {
        let mut spellings = naive::spellings(accepted[0]);
        spellings.extend(naive::spellings(accepted[1]));
        text.extend_from_slice(&spellings[choose(spellings.len()) % spellings.len()]);
    }
    text
}

#[test]
fn every_form_is_masked_at_every_split() {
    for key in KEYS {
        for form in naive::forms(key.as_bytes()) {
            // First alphabet, second alphabet, all percent-encoded, all \u, and alternating.
            for style in 0..5 {
                let mut index = 0;
                let written = write_form(&form, |count| {
                    index += 1;
                    match style {
                        0 => 0,
                        1 => count / 2,
                        2 => count - 8,
                        3 => count - 1,
                        _ => index * 5,
                    }
                });
                let text = [b"{\"error\":\"bad <", &written[..], b"> key\"}\n\n"].concat();
                let masked = check_splits(key, &text);
                assert!(masked[15..15 + written.len()].iter().all(|byte| *byte == b'*'), "{key}");
                assert_eq!(masked[..14], text[..14]);
                assert_eq!(masked[masked.len() - 7..], text[text.len() - 7..]);
            }
        }
    }
}

#[test]
fn a_key_is_found_wherever_it_stands() {
    for key in KEYS {
        for before in 0..70 {
            for after in [0, 1, 2, 3, 5, 40] {
                let text = [&vec![b'.'; before][..], key.as_bytes(), &vec![b'.'; after]].concat();
                let expected = [&vec![b'.'; before][..], &vec![b'*'; key.len()], &vec![b'.'; after]].concat();
                assert_eq!(redactor(key).redact_all(&text), Some(expected), "{before} {key} {after}");
            }
        }
    }
}

/// The one escape may fall on any place that the search looks at, and at any distance from the start.
#[test]
fn one_escaped_character_hides_nothing() {
    for key in KEYS {
        let redactor = redactor(key);
        for form in naive::forms(key.as_bytes()) {
            for escaped in 0..form.characters.len().min(24) {
                for spelling in [1, 2, 4] {
                    let mut index = 0;
                    let written = write_form(&form, |_| {
                        index += 1;
                        if index == escaped + 1 { spelling } else { 0 }
                    });
                    for before in 0..17 {
                        let text =
                            [&b"................."[..before], &written, b"....................."].concat();
                        let masked = redactor.redact_all(&text).unwrap_or_default();
                        let stars = masked.iter().filter(|byte| **byte == b'*').count();
                        assert_eq!(stars, written.len(), "{key}: {}", String::from_utf8_lossy(&text));
                    }
                }
            }
        }
    }
}

#[test]
fn base64_of_a_text_with_the_key_in_it_is_masked() {
    let key = "sk-proj-4f9Qz_7Lm-XbT0aWcR2e";
    for before in ["", "B", "Be", "Bearer ", "Authorization: Bearer "] {
        let text = STANDARD.encode(format!("{before}{key}\r\n"));
        let masked = redactor(key).redact_all(text.as_bytes()).expect("it is there");
        let stars = masked.iter().filter(|byte| **byte == b'*').count();
        assert!(stars >= (key.len() * 8 - 4) / 6, "{text}");
        assert_eq!(masked.len(), text.len());
    }
}

#[test]
fn text_that_resembles_the_key_passes_unchanged() {
    let key = "sk-proj-4f9Qz_7Lm-XbT0aWcR2e";
    for text in [
        "",
        "s",
        "sk-proj-",
        "sk-proj-4f9Qz_7Lm-XbT0aWcR2f, sk-proj-4f9Qz_7Lm-XbT0aWcR2 and sk-proj-4f9Qz_7Lm-XbT0aWcR2",
        "SK-PROJ-4F9QZ_7LM-XBT0AWCR2E .",
        "sk-proj-4f9Qz_7Lm-XbT0aWcR2\\e \\\\u0073k %73k-proj-4f9Qz_7Lm-XbT0aWcR2%6 \\u0073 \\u00",
        "k-proj-4f9Qz_7Lm-XbT0aWcR2e",
        "sk-proj-4f9Qz_7Lm-Xsk-proj-4f9Qz_7Lm-X.",
    ] {
        // In the end of a text the larger part counts as the key; here it is in the middle.
        let text = format!("{text}.");
        assert_eq!(check_splits(key, text.as_bytes()), text.as_bytes());
    }
    for index in 0..key.len() {
        let mut changed = key.as_bytes().to_vec();
        changed[index] = b'#';
        changed.push(b'.');
        assert_eq!(check(key, &changed, &[index]), changed);
    }
}

#[test]
fn occurrences_that_overlap_are_all_masked() {
    for (key, text, masked, replacements) in [
        ("abababac", "ababababac", "ab********", 1),
        ("aaaaaaaab", "aaaaaaaaaaab", "aaa*********", 1),
        ("abcd-abcd", "abcd-abcd-abcd.", "**************.", 1),
        ("abcd-abcd", "abcd-abcdabcd-abcd.", "******************.", 2),
        ("aaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "*************************************", 1),
        ("abcdefg\\", "abcdefg\\\\\"", "*********\"", 1),
        ("abcdefg\\", "abcdefg\\n", "********n", 1),
    ] {
        assert_eq!(check_splits(key, text.as_bytes()), masked.as_bytes());
        for cut in 0..text.len() {
            let (_, count) = stream(&redactor(key), &[key.as_bytes()], text.as_bytes(), &[cut]);
            assert_eq!(count, replacements, "{text} cut at {cut}");
        }
    }
}

#[test]
fn an_end_that_is_the_larger_part_of_the_key_is_masked() {
    let key = "sk-proj-4f9Qz_7Lm-XbT0aWcR2e";
    let hex: String = key.bytes().map(|byte| format!("{byte:02X}")).collect();
    for (text, told) in [(key, 14), (&hex, 28), (&STANDARD.encode(key), 19)] {
        for length in 1..text.len() {
            let cut_off = [b"data: ", &text.as_bytes()[..length]].concat();
            let masked = check_splits(key, &cut_off);
            assert_eq!(masked != cut_off, length >= told, "{length} of {text}");
        }
    }
    // Of the shortest keys at least eight bytes, so all.
    assert_eq!(check_splits("sk-12345", b"sk-1234"), b"sk-1234");
    assert_eq!(check_splits("sk-1234567", b"sk-12345"), b"********");
}

#[test]
fn parts_of_a_basic_credential_are_searched_for() {
    for (key, text, masked) in [
        ("username:password", "password username username:password", "******** ******** *****************"),
        ("me:long-password", "me long-password me:long-password", "me ************* ****************"),
        ("long-username:", "long-username long-username:", "************* **************"),
        ("a:b:c:d:e", "b:c:d:e a:b:c:d:e", "b:c:d:e *********"),
        ("only-a-user", "only-a-user", "***********"),
    ] {
        let redactor = Arc::new(Redactor::new(&upstream(key, Placement::Basic)));
        assert_eq!(redactor.redact_all(text.as_bytes()).as_deref(), Some(masked.as_bytes()));
        for cut in 0..text.len() {
            let mut stream = redactor.stream();
            let mut out = stream.push(Bytes::copy_from_slice(&text.as_bytes()[..cut])).to_vec();
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(&text.as_bytes()[cut..])));
            out.extend_from_slice(&stream.finish());
            assert_eq!(out, masked.as_bytes(), "cut at {cut}");
        }
        let sent = format!("Basic {}", STANDARD.encode(key));
        assert!(redactor.redact_all(sent.as_bytes()).is_some(), "{sent}");
    }
}

#[test]
fn header_names_are_searched_in_any_case() {
    let redactor = redactor("sk-Proj-4f9Qz");
    for (name, found) in [
        ("sk-proj-4f9qz", true),
        ("x-SK-PROJ-4F9QZ-y", true),
        ("x-%73k-proj-4f9qz", true),
        ("x-%53k-proj-4f9qz", true),
        ("736b2d50726f6a2d346639517a", true),
        ("sk-proj-4f9q", false),
        ("content-type", false),
        ("", false),
    ] {
        assert_eq!(redactor.contains_in_header_name(name.as_bytes()), found, "{name}");
    }
}

#[test]
fn nothing_found_is_neither_copied_nor_held() {
    let redactor = redactor("sk-proj-4f9Qz_7Lm-XbT0aWcR2e");
    let mut stream = redactor.stream();
    for text in ["data: {\"a\":\"b\\n\\u003c\"}\n\n", "data: [DONE]\n\n", "x", "100% sure!"] {
        let chunk = Bytes::from_static(text.as_bytes());
        let passed = stream.push(chunk.clone());
        assert_eq!((passed.as_ptr(), passed.len()), (chunk.as_ptr(), chunk.len()), "{text}");
        assert_eq!(stream.held_len(), 0);
    }
    assert!(stream.finish().is_empty());
    assert_eq!(stream.replacements(), 0);
}

#[test]
fn debug_shows_no_secret() {
    let redactor = redactor("sk-proj-4f9Qz");
    let mut stream = redactor.stream();
    stream.push(Bytes::from_static(b"sk-proj-4f"));
    assert_eq!(format!("{redactor:?}"), "Redactor { .. }");
    assert_eq!(format!("{stream:?}"), "RedactStream { held: 10, replacements: 0, .. }");
}

#[test]
fn many_backslashes_in_a_row_are_found_plain_and_escaped() {
    for count in [60, 63, 64, 65, 66, 200] {
        let key = "\\".repeat(count) + "end";
        for spelling in ["\\", "\\\\", "\\u005c", "%5C"] {
            let text = format!("<{}end>", spelling.repeat(count));
            let masked = format!("<{}>", "*".repeat(text.len() - 2));
            assert_eq!(redactor(&key).redact_all(text.as_bytes()), Some(masked.into_bytes()), "{text}");
        }
    }
}

#[test]
fn keys_of_any_length_are_prepared() {
    for length in 8..200 {
        let key: String = "kQ7/x+9_".chars().cycle().take(length).collect();
        assert_eq!(redactor(&key).redact_all(key.as_bytes()), Some(vec![b'*'; length]));
    }
    let key = "Zx9".repeat(1365);
    assert_eq!(redactor(&key).redact_all(key.as_bytes()), Some(vec![b'*'; key.len()]));
    // Too short to be a key: nothing is searched for and nothing breaks.
    for key in ["", "a", "abc", "abcd", "abcdefg"] {
        let redactor = redactor(key);
        assert_eq!(redactor.redact_all(b"abcdefg abcdefg"), None);
        assert!(!redactor.contains_in_header_name(b"abcdefg"));
    }
}

/// Pieces of text, of which some are the key in some form and spelling, whole or cut off.
fn pieces(key: &str, plan: &[(u8, Vec<u8>, String)]) -> Vec<u8> {
    let forms = naive::forms(key.as_bytes());
    let mut text = Vec::new();
    for (kind, choices, plain) in plan {
        text.extend_from_slice(plain.as_bytes());
        let mut choices = choices.iter().cycle().map(|choice| usize::from(*choice));
        let form = &forms[usize::from(*kind) % forms.len()];
        // Mostly plain spellings, as an echo has them.
        let written = write_form(form, |count| match choices.next() {
            Some(choice) if choice >= 128 => choice % count,
            _ => 0,
        });
        let keep = if *kind >= 200 { usize::from(*kind) - 200 } else { written.len() };
        text.extend_from_slice(&written[..written.len().min(keep)]);
    }
    text
}

fn plan(plain: &'static str) -> impl Strategy<Value = Vec<(u8, Vec<u8>, String)>> {
    prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 1..12), plain), 0..4)
}

proptest! {
    #[test]
    fn echoes_in_random_text_and_chunks(
        key in "[!-~]{8,40}",
        plan in plan("[ -~\n]{0,50}"),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let text = pieces(&key, &plan);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        check(&key, &text, &cuts);
    }

    /// Keys and text of few characters, so that escapes, forms and occurrences run into each other.
    #[test]
    fn keys_that_look_like_escapes(
        key in r#"[\\%/"u0256cCfF]{8,12}"#,
        plan in plan(r#"[\\%/"u0256cCfF]{0,20}"#),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let text = pieces(&key, &plan);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        check(&key, &text, &cuts);
    }

    #[test]
    fn keys_that_overlap_themselves(
        key in r"[ab\\]{8,10}",
        text in r"[ab\\]{0,60}",
        cuts in prop::collection::vec(0_usize..60, 0..4),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort_unstable();
        check(&key, text.as_bytes(), &cuts);
        let doubled = format!("{text}{key}{text}{}", key.replace('\\', "\\\\"));
        check(&key, doubled.as_bytes(), &cuts);
    }
}

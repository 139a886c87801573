//! A quick look that nearly all JSON passes.

use std::ops::Range;

use super::span::{IS_SCALAR, after_blanks, plain_string, quote_or_escape, run};

/// The most members of an object that are compared one by one.
const MEMBERS_MAX: usize = 32;

/// Room for the names of most texts.
const NAMES_USUAL: usize = 16;

/// The deepest nesting that is followed.
const DEPTH_MAX: usize = 64;

/// The text, if it is for sure one JSON value in which no object has a name twice. Of what is unusual it is not sure:
/// escaped names and characters, exponents, objects with many members.
pub(super) fn clear(text: &[u8]) -> Option<&str> {
    let mut look = Look { names: Vec::with_capacity(NAMES_USUAL) };
    let rest = look.value(after_blanks(text), DEPTH_MAX)?;
    if !after_blanks(rest).is_empty() {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// Whether a text is for sure one object, and clear. Tells where the name and the value of each of its members begin and end;
/// that counts only if it is one.
pub(super) fn members(text: &str, mut member: impl FnMut(Range<usize>, Range<usize>)) -> bool {
    let bytes = text.as_bytes();
    let mut look = Look { names: Vec::with_capacity(NAMES_USUAL) };
    let Some(inside) = after_blanks(bytes).strip_prefix(b"{") else { return false };
    let rest = look.list(inside, b'}', DEPTH_MAX, |look, named, depth| {
        let value = look.name(named, 0)?;
        let rest = look.value(value, depth)?;
        // Behind its first quote.
        let name = bytes.len() - named.len() + 1;
        member(name..name + look.names.last()?.len(), bytes.len() - value.len()..bytes.len() - rest.len());
        Some(rest)
    });
    rest.is_some_and(|rest| after_blanks(rest).is_empty())
}

/// Each function takes one thing from the beginning of a text and gives what stands behind it.
struct Look<'a> {
    /// Those of all objects that have not ended.
    names: Vec<&'a [u8]>,
}

impl<'a> Look<'a> {
    fn value(&mut self, text: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        match text.first()? {
            b'{' => {
                let begin = self.names.len();
                let rest = self.list(&text[1..], b'}', depth, |look, text, depth| {
                    let rest = look.name(text, begin)?;
                    look.value(rest, depth)
                });
                self.names.truncate(begin);
                rest
            }
            b'[' => self.list(&text[1..], b']', depth, Self::value),
            b'"' => string(&text[1..]),
            _ => {
                let (word, rest) = text.split_at(run(text, &IS_SCALAR));
                (matches!(word, b"true" | b"false" | b"null") || is_plain_number(word)).then_some(rest)
            }
        }
    }

    /// What stands between commas, up to the byte with which an object or array ends.
    fn list(
        &mut self,
        text: &'a [u8],
        end: u8,
        depth: usize,
        mut item: impl FnMut(&mut Self, &'a [u8], usize) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        let depth = depth.checked_sub(1)?;
        let mut text = after_blanks(text);
        if text.first() == Some(&end) {
            return Some(&text[1..]);
        }
        loop {
            text = after_blanks(item(self, text, depth)?);
            let (separator, rest) = text.split_first()?;
            match *separator {
                b',' => text = after_blanks(rest),
                byte if byte == end => return Some(rest),
                _ => return None,
            }
        }
    }

    /// A name and its colon, in an object whose other names stand in the list from `begin` on.
    fn name(&mut self, text: &'a [u8], begin: usize) -> Option<&'a [u8]> {
        let quoted = text.strip_prefix(b"\"")?;
        let (name, rest) = quoted.split_at(plain_string(quoted)?);
        let others = &self.names[begin..];
        if others.len() == MEMBERS_MAX || others.contains(&name) {
            return None;
        }
        self.names.push(name);
        after_blanks(&rest[1..]).strip_prefix(b":").map(after_blanks)
    }
}

/// The inside of a string and its last quote.
fn string(text: &[u8]) -> Option<&[u8]> {
    if let Some(length) = plain_string(text) {
        return Some(&text[length + 1..]);
    }
    let mut at = 0;
    loop {
        at += quote_or_escape(&text[at..])?;
        match (text[at], text.get(at + 1)) {
            (b'"', _) => break,
            (_, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            _ => return None,
        }
    }
    let has_controls = text[..at].iter().copied().fold(u8::MAX, u8::min) < b' ';
    (!has_controls).then_some(&text[at + 1..])
}

/// Whether it is a number without an exponent, and short enough to be in range.
fn is_plain_number(text: &[u8]) -> bool {
    const LENGTH_MAX: usize = 32;
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b"0"[..]),
    };
    let are_digits = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    text.len() <= LENGTH_MAX
        && are_digits(whole)
        && are_digits(fraction)
        && (whole.len() == 1 || whole[0] != b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{clear, members};
    use crate::json::parse;

    fn is_clear(text: &[u8]) -> bool {
        clear(text).is_some()
    }

    #[test]
    fn usual_bodies_are_clear() {
        for text in [
            "{}",
            " [ ] ",
            r#"{"model":"m","messages":[{"role":"user","content":"Say \"hi\",\né"},{"role":"user"}],"top_p":0.5,"n":-1}"#,
            "{\n  \"a\" : [ 1, 2.50, true, null ] ,\r\n\t\"b\":{\"a\":{}}}",
        ] {
            assert!(is_clear(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn nothing_is_clear_that_can_be_read_in_two_ways_or_not_at_all() {
        for text in [
            "",
            "{",
            "{}x",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\":1,\"a\":2}",
            "[{\"b\":{},\"b\":1}]",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "nul",
            "\"\n\"",
            "{\"\n\":1}",
            "\"\\x\"",
            "\"\\",
            "\"a",
            "\u{feff}{}",
        ] {
            assert!(!is_clear(text.as_bytes()) && parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(!is_clear(b"\"\xff\"") && !is_clear(b"{\"\xff\":1}"));
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(!is_clear(deep.as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn what_is_clear_is_read(
            pieces in proptest::collection::vec(
                proptest::sample::select(&[
                    "{", "}", "[", "]", ",", ":", "\"a\":", "\"b\":", "\"a\"", "1,", "2.50", "null,", "true", "-3", "01", " ", "\n", "\"\\u0061\":",
                    "\"x\\\"\"", "\\", "\"", "{\"a\":1}", "[1,\"b\"]", "\u{1}", "é",
                ][..]),
                0..16,
            ),
            junk in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            for text in [
                format!("{{{}}}", pieces.concat()).into_bytes(),
                format!("{{\"a\":{}}}", pieces.concat()).into_bytes(),
                [b"{\"a\":\"", &junk[..], b"\"}"].concat(),
            ] {
                prop_assert!(!is_clear(&text) || parse(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
                let Ok(text) = std::str::from_utf8(&text) else { continue };
                let mut found = serde_json::Map::new();
                let is_object = members(text, |name, value| {
                    found.insert(text[name].to_owned(), serde_json::from_str(&text[value]).expect("a value"));
                });
                prop_assert_eq!(is_object, text.trim_ascii_start().starts_with('{') && is_clear(text.as_bytes()));
                prop_assert!(!is_object || serde_json::from_str(text).is_ok_and(|expected: serde_json::Map<_, _>| found == expected));
            }
        }
    }
}

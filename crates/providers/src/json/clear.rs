//! A quick look that nearly all JSON passes.

use super::span::{IS_SCALAR, after_blanks, quote_or_escape, run, whole_string};

/// The most members of an object that are compared one by one.
const MEMBERS_MAX: usize = 32;

/// The deepest nesting that is followed.
const DEPTH_MAX: usize = 64;

/// Whether a text is for sure one JSON value in which no object has a name twice. Of what is unusual it is not sure:
/// escaped names and characters, exponents, objects with many members.
pub(super) fn is_clear(text: &[u8]) -> bool {
    let has_controls = text.iter().fold(false, |any, byte| any | (*byte < b' '));
    let mut look = Look { names: Vec::new(), has_controls };
    let rest = look.value(after_blanks(text), DEPTH_MAX);
    rest.is_some_and(|rest| after_blanks(rest).is_empty()) && std::str::from_utf8(text).is_ok()
}

/// Each function takes one thing from the beginning of a text and gives what stands behind it.
struct Look<'a> {
    /// Those of all objects that have not ended.
    names: Vec<&'a [u8]>,
    /// There are control characters, which may stand between values but not in a string.
    has_controls: bool,
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
            b'"' => self.string(&text[1..]),
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
        item: impl Fn(&mut Self, &'a [u8], usize) -> Option<&'a [u8]>,
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
        let (name, rest) = quoted.split_at(whole_string(quoted)?);
        let others = &self.names[begin..];
        if others.len() == MEMBERS_MAX || others.contains(&name) || self.is_bad(name) {
            return None;
        }
        self.names.push(name);
        after_blanks(&rest[1..]).strip_prefix(b":").map(after_blanks)
    }

    /// The inside of a string and its last quote.
    fn string(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = 0;
        loop {
            at += quote_or_escape(&text[at..])?;
            match (text[at], text.get(at + 1)) {
                (b'"', _) => return (!self.is_bad(&text[..at])).then_some(&text[at + 1..]),
                (_, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
                _ => return None,
            }
        }
    }

    fn is_bad(&self, string: &[u8]) -> bool {
        self.has_controls && string.iter().any(|byte| *byte < b' ')
    }
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

    use super::is_clear;
    use crate::json::parse;

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
            }
        }
    }
}

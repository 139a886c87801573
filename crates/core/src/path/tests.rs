use proptest::prelude::*;

use super::{PathError, PathRules, RawPath};

const LAX: PathRules = PathRules { encoded_slash: true, encoded_unreserved: true };

fn check(path: &str, expected: Result<(), PathError>) {
    assert_eq!(RawPath::parse(path.as_bytes()).map(|_| ()), expected, "{path:?}");
}

#[test]
fn accepts_ordinary_paths() {
    for path in [
        "/",
        "/v1/chat/completions",
        "/v1/models/",
        "/v1beta/models/gemini-2.5-pro:generateContent",
        "/v1/models/ft%3Agpt-4o",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse",
        "/repos/o/r/contents/a%20b%C3%A9.txt",
        "/..a/b../...",
        "/100%25",
        "/a%25zz",
        "/@a/b,c/(d)/e=f&g+h!~_*'$",
        "/a/[id].ts",
        "/%7Euser",
    ] {
        check(path, Ok(()));
    }
}

#[test]
fn refuses_ambiguous_paths() {
    use PathError::*;
    for (path, error) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("v1/models", NotAbsolute),
        ("http://a/b", NotAbsolute),
        ("/a b", NotVisibleAscii),
        ("/a\tb", NotVisibleAscii),
        ("/a\r\nb", NotVisibleAscii),
        ("/a\0b", NotVisibleAscii),
        ("/a\u{7f}b", NotVisibleAscii),
        ("/é", NotVisibleAscii),
        ("/a?b", ForbiddenCharacter),
        ("/a#b", ForbiddenCharacter),
        ("/a<b", ForbiddenCharacter),
        ("/%", InvalidPercent),
        ("/%2", InvalidPercent),
        ("/%zz", InvalidPercent),
        ("/%2x", InvalidPercent),
        ("/%u002e", InvalidPercent),
        ("/%c0%ae%c0%ae/", InvalidUtf8),
        ("/%C0%AF", InvalidUtf8),
        ("/%ff", InvalidUtf8),
        ("/%00", EncodedControl),
        ("/a%0d%0ab", EncodedControl),
        ("/a%7F", EncodedControl),
        ("/a%C2%85", EncodedControl),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/..%5C..", Backslash),
        ("/a;b", Semicolon),
        ("/a/..;/b", Semicolon),
        ("/a%3Bb", Semicolon),
        ("//", EmptySegment),
        ("//a", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a//", EmptySegment),
        ("/a/%2Fb", EmptySegment),
        ("/a%2F/b", EmptySegment),
        ("/a%2F%2fb", EmptySegment),
        ("/%2F", EmptySegment),
        ("/a%2F", EmptySegment),
        ("/a/%2f", EmptySegment),
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/a/./b", DotSegment),
        ("/a/../b", DotSegment),
        ("/a/..", DotSegment),
        ("/%2e", DotSegment),
        ("/%2e%2e/a", DotSegment),
        ("/.%2E/a", DotSegment),
        ("/%2E./a", DotSegment),
        ("/a%2F..%2Fb", DotSegment),
        ("/a%2f%2e%2e", DotSegment),
        ("/..%2fa", DotSegment),
        ("/%252e%252e/", DoubleEncoding),
        ("/%2525", DoubleEncoding),
        ("/%25%32%65", DoubleEncoding),
        ("/a%252Fb", DoubleEncoding),
    ] {
        check(path, Err(error));
    }
}

#[test]
fn the_provider_decides_about_slashes_and_unreserved() {
    use PathError::*;
    let strict = PathRules::default();
    for (path, rules, expected) in [
        ("/a/b", strict, Ok("/a/b")),
        ("/a%3Ab", strict, Ok("/a%3Ab")),
        ("/a%2Fb", strict, Err(EncodedSlash)),
        ("/a%2fb", LAX, Ok("/a%2fb")),
        ("/%761/x", strict, Err(EncodedUnreserved)),
        ("/a%2Ejson", strict, Err(EncodedUnreserved)),
        ("/%7Eu", strict, Err(EncodedUnreserved)),
        ("/%76%31", LAX, Ok("/%76%31")),
    ] {
        let raw = RawPath::parse(path.as_bytes()).unwrap();
        let made = raw.finalise(0, "", rules);
        assert_eq!(made.as_ref().map(|path| path.as_str()), expected.as_ref().map(|path| *path), "{path}");
    }
}

#[test]
fn rewrites_leading_segments() {
    for (path, dropped, prefix, expected) in [
        ("/x", 0, "/v1", "/v1/x"),
        ("/v1/v1/x/", 1, "", "/v1/x/"),
        ("/v1/x", 1, "/openai/v1", "/openai/v1/x"),
        ("/v1", 1, "/openai/v1", "/openai/v1"),
        ("/v1", 1, "", "/"),
        ("/v1/", 1, "", "/"),
        ("/", 3, "", "/"),
    ] {
        let raw = RawPath::parse(path.as_bytes()).unwrap();
        assert_eq!(raw.finalise(dropped, prefix, LAX).unwrap().as_str(), expected, "{path}");
    }
}

#[test]
fn a_rewrite_cannot_make_what_is_refused() {
    let raw = RawPath::parse(b"/x").unwrap();
    for (prefix, error) in
        [("/v1/..", PathError::DotSegment), ("/v1/", PathError::EmptySegment), ("v1", PathError::NotAbsolute)]
    {
        assert_eq!(raw.finalise(0, prefix, LAX), Err(error), "{prefix}");
    }
    for (prefix, error) in [("/a%2Fb", PathError::EncodedSlash), ("/%761", PathError::EncodedUnreserved)] {
        assert_eq!(raw.finalise(0, prefix, PathRules::default()), Err(error), "{prefix}");
    }
}

#[test]
fn strips_the_proxy_prefix() {
    for (path, rest) in [
        ("/proxy/openai/v1/models", "/v1/models"),
        ("/proxy/openai/", "/"),
        ("/proxy/openai", "/"),
        ("/proxy", "/"),
        ("/", "/"),
    ] {
        let raw = RawPath::parse(path.as_bytes()).unwrap();
        assert_eq!(raw.after_first().after_first().as_str(), rest, "{path}");
    }
}

#[test]
fn facts_about_a_dropped_part_are_dropped() {
    let raw = RawPath::parse(b"/a%2Fb/%76/c").unwrap();
    assert!(raw.finalise(0, "", PathRules::default()).is_err());
    assert!(raw.after_first().after_first().finalise(0, "", PathRules::default()).is_ok());
}

#[test]
fn decodes_for_comparison() {
    let raw = RawPath::parse(b"/a%2Fb/%C3%A9/").unwrap();
    let path = raw.finalise(0, "", LAX).unwrap();
    assert_eq!(path.decoded(), "/a/b/\u{e9}/");
    assert_eq!(path.decoded_segments().collect::<Vec<_>>(), ["a/b", "\u{e9}", ""]);
    assert_eq!(path.to_raw(), raw);
}

proptest! {
    /// Whatever is accepted has no dot or empty segment after any number of decodings, and no byte that splits a request.
    #[test]
    fn accepted_paths_stay_inside(path in "/([a-c./%;\\\\]|%[0-9a-fA-F]{2}|%25|%2[eEfF5]|\\.\\.){0,12}") {
        let Ok(raw) = RawPath::parse(path.as_bytes()) else { return Ok(()) };
        let decoded = raw.finalise(0, "", LAX).unwrap().decoded().into_owned();
        let segments: Vec<&str> = decoded[1..].split('/').collect();
        let (_, init) = segments.split_last().unwrap();
        prop_assert!(init.iter().all(|segment| !segment.is_empty()));
        prop_assert!(segments.iter().all(|segment| *segment != "." && *segment != ".."));
        prop_assert!(!decoded.contains(['\\', ';', '\0', '\r', '\n']));
        // A second decoding changes nothing.
        if let Ok(again) = RawPath::parse(decoded.as_bytes()) {
            prop_assert_eq!(again.finalise(0, "", LAX).unwrap().decoded().into_owned(), decoded);
        }
    }

    /// No input makes it panic, and what is accepted is kept byte for byte.
    #[test]
    fn any_bytes(path: Vec<u8>) {
        if let Ok(raw) = RawPath::parse(&path) {
            prop_assert_eq!(raw.as_str().as_bytes(), path);
            let _ = raw.after_first();
        }
    }
}

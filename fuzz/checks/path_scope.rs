//! Paths, rules and networks: what is accepted can be read in one way only, and a rule allows what a plain reading of it
//! allows.
//!
//! Input: three lines: a rule of a scope, `METHOD PATTERN`; a network or a pattern of models; what a table puts in front
//! of the path. The rest is the path: any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Method;
use till_core::path::{FinalPath, PathRules, RawPath};
use till_core::scope::{EndpointRule, Glob, Network};
use till_providers::Registry;

/// Checks one input.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (rule, network, prefix) = (text(), text(), text());
    let path = parts.next().unwrap_or_default();
    check_network(&network);
    check_glob(&network, &prefix);
    match RawPath::parse(path) {
        Ok(raw) => {
            let path = std::str::from_utf8(path).expect("ASCII");
            assert_eq!(raw.as_str(), path, "a path is taken as it came");
            is_read_in_one_way(path);
            check_final(&raw, &prefix);
            for rules in [PathRules::default(), PathRules { encoded_slash: true, encoded_unreserved: true }] {
                if let Ok(path) = raw.finalise(0, "", rules) {
                    check_rule(&rule, &path);
                }
            }
            providers_keep_what_is_final(&raw);
        }
        Err(error) => assert!(!is_plain(path), "{:?} is refused: {error}", String::from_utf8_lossy(path)),
    }
}

/// A path in which no reader sees anything but segments of letters, digits, `-` and `_`.
fn is_plain(path: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    path.strip_prefix(b"/").is_some_and(|path| {
        let mut segments = path.split(|byte| *byte == b'/');
        segments.all(|segment| !segment.is_empty() && segment.iter().all(plain))
    })
}

/// Percent sequences replaced, as the most forgiving server does: what is no sequence stays.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| *first == b'%' && !digits.starts_with('+'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// Servers differ in whether they decode before they split, decode twice, take a backslash for a slash, cut segments at a
/// semicolon. None of them may find something to walk.
fn is_read_in_one_way(path: &str) {
    let once = decoded(path.as_bytes());
    assert_eq!(decoded(&once), once, "{path:?} is another path when it is decoded twice");
    let text = std::str::from_utf8(&once).unwrap_or_else(|_| panic!("{path:?} decodes to no text"));
    let forbidden = |character: char| character.is_control() || matches!(character, '\\' | ';');
    assert!(!text.contains(forbidden), "{path:?} decodes to {text:?}");
    assert!(!path.contains(['?', '#']), "{path:?} ends early for some");
    for reading in [path, text] {
        let segments: Vec<&str> = reading[1..].split('/').collect();
        for (index, segment) in segments.iter().enumerate() {
            let segment = String::from_utf8_lossy(&decoded(segment.as_bytes())).into_owned();
            assert!(!matches!(&*segment, "." | ".."), "{path:?} can be walked as {reading:?}");
            assert!(!segment.is_empty() || index + 1 == segments.len(), "{path:?} has an empty segment");
        }
    }
    let trailing = |path: &str| path.ends_with('/');
    assert_eq!(trailing(path), trailing(text), "{path:?} ends in a slash for some");
}

/// What a table makes of a path is checked as the path was, and is what it says.
fn check_final(raw: &RawPath, prefix: &str) {
    for dropped in 0..3 {
        let Ok(path) = raw.finalise(dropped, prefix, PathRules::default()) else { continue };
        is_read_in_one_way(path.as_str());
        let kept = raw.segments().skip(dropped).fold(String::new(), |path, segment| path + "/" + segment);
        let kept = if dropped == 0 { raw.as_str() } else { &kept };
        let expected = format!("{prefix}{kept}");
        assert_eq!(path.as_str(), if expected.is_empty() { "/" } else { &expected });
        assert!(!path.has_encoded_slash() && !path.has_encoded_unreserved(), "{path}");
        let upper = path.as_str().to_ascii_uppercase();
        assert!(!upper.contains("%2F") && !upper.contains("%2E") && !upper.contains("%41"), "{path}");
        assert_eq!(path.to_raw().as_str(), path.as_str());
        assert_eq!(path.decoded().as_bytes(), decoded(path.as_str().as_bytes()));
    }
}

/// Whether a text fits a pattern, written as plainly as possible.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    // Which beginnings of the text the pattern so far fits.
    let mut fit = vec![false; text.len() + 1];
    fit[0] = true;
    for expected in pattern {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match expected {
                b'*' => fit[end] || (end > 0 && next[end - 1]),
                byte => end > 0 && fit[end - 1] && text[end - 1] == *byte,
            };
        }
        fit = next;
    }
    fit[text.len()]
}

fn check_rule(text: &str, path: &FinalPath) {
    let Ok(rule) = EndpointRule::parse(text) else { return };
    assert_eq!(EndpointRule::parse(&rule.to_string()).as_ref(), Ok(&rule));
    let (method, pattern) = text.split_once(' ').expect("a method and a path");
    let asked = if method == "*" { "POST" } else { method };
    let allows = |segments: &[String]| {
        let expected: Vec<&str> = pattern[1..].split('/').collect();
        let (expected, open) = match expected.split_last() {
            Some((&"**", before)) => (before, true),
            _ => (&expected[..], false),
        };
        (segments.len() == expected.len() || (open && segments.len() > expected.len()))
            && expected.iter().zip(segments).all(|(part, text)| fits(part.as_bytes(), text.as_bytes()))
    };
    let text_of = |bytes: &[u8]| String::from_utf8(decoded(bytes)).expect("it was checked");
    let split_first: Vec<String> =
        path.as_str()[1..].split('/').map(|segment| text_of(segment.as_bytes())).collect();
    let decoded_first: Vec<String> =
        text_of(path.as_str().as_bytes())[1..].split('/').map(str::to_owned).collect();
    assert_eq!(rule.matches(asked, path), allows(&split_first), "{rule} on {path}");
    let both = allows(&split_first) && allows(&decoded_first);
    assert_eq!(rule.matches_either_way(asked, path), both, "{rule} on {path}, either way");
    if method != "*" {
        assert!(!rule.matches("X-OTHER", path) || method == "X-OTHER", "{rule} and another method");
    }
    if rule.is_exact() && rule.matches(asked, path) {
        assert_eq!(path.decoded(), pattern, "{rule} is exact");
    }
}

fn check_glob(pattern: &str, text: &str) {
    if let Ok(glob) = Glob::parse(pattern) {
        assert_eq!(glob.matches(text), fits(pattern.as_bytes(), text.as_bytes()), "{pattern:?} and {text:?}");
    }
}

fn check_network(text: &str) {
    let Ok(network) = Network::parse(text) else { return };
    let shown = network.to_string();
    assert_eq!(Network::parse(&shown), Ok(network), "{text:?} is shown as {shown:?}");
    assert!(network.covers(&network));
    let number = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => (true, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (false, u128::from(address)),
    };
    let (address, length) = shown.split_once('/').unwrap_or((&shown, "128"));
    let (is_v4, first) = number(address.parse().expect("it was read"));
    let length: u32 = length.parse().expect("it was read");
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    for bit in 0..128 {
        let other = first ^ 1 << bit;
        let address = match is_v4 {
            true => IpAddr::V4(Ipv4Addr::from(u32::try_from(other >> 96).expect("32 bits"))),
            false => IpAddr::V6(Ipv6Addr::from(other)),
        };
        // An address that is IPv4 after all is in no network of IPv6.
        let expected = number(address).0 == is_v4 && number(address).1 & mask == first & mask;
        assert_eq!(network.contains(address), expected, "{address} in {shown}");
    }
}

/// The table of a provider is applied once: to what came out of it, it does nothing.
fn providers_keep_what_is_final(raw: &RawPath) {
    for provider in Registry::builtin().iter() {
        let Ok(place) = provider.place(&Method::POST, raw.clone()) else { continue };
        let path = place.path();
        is_read_in_one_way(path.as_str());
        let again = provider.place(&Method::POST, path.to_raw());
        let again = again.unwrap_or_else(|error| panic!("{}: {path}: {error}", provider.id()));
        assert_eq!(again.path().as_str(), path.as_str(), "{}: {raw}", provider.id());
    }
}

//! Tables for each part, invalid rows included.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{EndpointRule, Glob, Network, Outside, Scope};
use crate::path::{FinalPath, PathRules, RawPath};

fn path(text: &str) -> FinalPath {
    let rules = PathRules { encoded_slash: true, encoded_unreserved: true };
    RawPath::parse(text.as_bytes()).expect("a path").finalise(0, "", rules).expect("a good path")
}

#[test]
fn endpoints_match_whole_paths() {
    for (rule, method, tried, expected) in [
        ("POST /v1/chat/completions", "POST", "/v1/chat/completions", true),
        ("POST /v1/chat/completions", "GET", "/v1/chat/completions", false),
        ("POST /v1/chat/completions", "POST", "/v1/chat/completions/", false),
        ("POST /v1/chat/completions", "POST", "/v1/chat", false),
        ("POST /v1/chat/completions", "POST", "/v1/chat/completions/x", false),
        ("POST /v1/chat/completions", "POST", "/v1/Chat/completions", false),
        ("GET /v1/models/*", "GET", "/v1/models/gpt-4o", true),
        ("GET /v1/models/*", "HEAD", "/v1/models/gpt-4o", false),
        ("GET /v1/models/*", "GET", "/v1/models", false),
        ("GET /v1/models/*", "GET", "/v1/models/a/b", false),
        ("GET /v1/models/*", "GET", "/v1/models/a%2Fb", true),
        ("GET /v1/models/gpt-*", "GET", "/v1/models/gpt-4o", true),
        ("GET /v1/models/gpt-*", "GET", "/v1/models/o3", false),
        ("* /v1/files/**", "DELETE", "/v1/files/f/content", true),
        ("* /v1/files/**", "DELETE", "/v1/files", true),
        ("* /v1/files/**", "DELETE", "/v1/filesx", false),
        ("* /**", "GET", "/", true),
        ("GET /v1/x/", "GET", "/v1/x/", true),
        (
            "POST /v1beta/models/*:generateContent",
            "POST",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            true,
        ),
        (
            "POST /v1beta/models/*:generateContent",
            "POST",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            false,
        ),
    ] {
        let rule = EndpointRule::parse(rule).expect("a rule");
        assert_eq!(rule.matches(method, &path(tried)), expected, "{rule} {method} {tried}");
    }
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for text in [
        "",
        "POST",
        "/v1/x",
        "post /v1/x",
        "POST v1/x",
        "POST  /v1/x",
        "POST /v1/**/x",
        "POST /v1/a**",
        "POST /v1//x",
        "POST /v1/../x",
        "POST /v1/x?y",
        "POST /v1/%2e",
        "POST /v1/é",
    ] {
        assert!(EndpointRule::parse(text).is_err(), "{text}");
    }
}

#[test]
fn stars_stand_for_anything() {
    for (glob, text, expected) in [
        ("gpt-4o", "gpt-4o", true),
        ("gpt-4o", "gpt-4o-mini", false),
        ("gpt-4o*", "gpt-4o", true),
        ("gpt-4o*", "gpt-4o-mini", true),
        ("gpt-4o*", "GPT-4o", false),
        ("*", "", true),
        ("*-mini", "gpt-4o-mini", true),
        ("*-mini", "gpt-4o-mini-2024", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "axbxbxc", true),
        ("a*b*c", "axc", false),
        ("a*a", "a", false),
        ("**", "x", true),
    ] {
        assert_eq!(Glob::parse(glob).expect("a pattern").matches(text), expected, "{glob} {text}");
    }
    for text in ["", "a b", "a\n", &"x".repeat(257)] {
        assert!(Glob::parse(text).is_err(), "{text}");
    }
}

#[test]
fn networks_hold_what_begins_alike() {
    for (network, address, expected) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "10.0.0.1", false),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::1", "::1", true),
    ] {
        let parsed = Network::parse(network).expect("a network");
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(parsed.contains(address), expected, "{network} {address}");
        assert_eq!(Network::parse(&parsed.to_string()), Ok(parsed), "{network}");
    }
    for text in [
        "",
        "10.0.0",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.1/8",
        "::1/129",
        "2001:db8::1/32",
        "fe80::1%eth0",
        "::ffff:10.0.0.0/90",
        "010.0.0.1",
        "10.0.0.0/8/8",
        "localhost",
        " 10.0.0.1",
    ] {
        assert!(Network::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_network_covers_what_is_no_wider() {
    for (outer, inner, expected) in [
        ("10.0.0.0/8", "10.0.0.0/8", true),
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "10.0.0.0/7", false),
        ("10.1.0.0/16", "10.0.0.0/8", false),
        ("10.0.0.0/8", "11.0.0.0/8", false),
        ("0.0.0.0/0", "10.0.0.0/8", true),
        ("0.0.0.0/0", "::/0", false),
        ("::/0", "0.0.0.0/0", false),
        ("2001:db8::/32", "2001:db8:1::/48", true),
        ("10.0.0.0/8", "::ffff:10.1.0.0/112", true),
    ] {
        let parse = |text| Network::parse(text).expect("a network");
        assert_eq!(parse(outer).covers(&parse(inner)), expected, "{outer} {inner}");
    }
}

#[test]
fn a_part_that_is_given_allows_nothing_else() {
    let scope: Scope = serde_json::from_str(
        r#"{"endpoints":[],"models":["gpt-4o*"],"networks":["10.0.0.0/8"],"parameters":{"tools":false,"values":{"temperature":[0,0.5]}}}"#,
    )
    .expect("a scope");
    assert_eq!(scope.check_endpoint("GET", &path("/v1/x"), false), Err(Outside::Endpoint));
    assert_eq!(scope.check_model(Some("gpt-4o-mini")), Ok(()));
    assert_eq!(scope.check_model(None), Err(Outside::NoModel));
    assert!(scope.check_network("11.0.0.1".parse().expect("an address")).is_err());
    assert!(Scope::default().check_model(None).is_ok() && Scope::default().is_empty());
    for text in [r#"{"models":"gpt"}"#, r#"{"model":["x"]}"#, r#"{"networks":["x"]}"#] {
        assert!(serde_json::from_str::<Scope>(text).is_err(), "{text}");
    }
    let text = serde_json::to_string(&scope).expect("JSON");
    assert_eq!(serde_json::from_str::<Scope>(&text).expect("a scope"), scope);
}

/// Another way to compare, by trying every length for every star.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|length| naive(rest, &text[length..])),
        Some((first, rest)) => text.first() == Some(first) && naive(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn a_glob_matches_as_a_naive_one_does(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
        let glob = Glob::parse(&pattern).expect("a pattern");
        prop_assert_eq!(glob.matches(&text), naive(pattern.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
    }

    #[test]
    fn a_network_is_compared_bit_by_bit(address: u32, prefix in 0..=32_u32, other: u32) {
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        let base = std::net::Ipv4Addr::from(address & mask);
        let network = Network::parse(&format!("{base}/{prefix}")).expect("a network");
        let expected = (0..prefix).all(|bit| (address ^ other) >> (31 - bit) & 1 == 0);
        prop_assert_eq!(network.contains(std::net::Ipv4Addr::from(other).into()), expected);
    }
}

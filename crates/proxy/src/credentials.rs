//! Where clients put the scoped key, and how it is taken out of a request.
//!
//! Every place that some client uses is looked at for every provider, because clients disagree even about
//! one provider (`docs/clients.md`). Whatever starts with `till_sk_` in one of them is removed, so that it
//! never goes upstream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use till_core::denial::{Denial, DenialCode};
use till_core::fields::{self, Fields};
use till_core::token::{ADMIN_TOKEN_PREFIX, MASTER_KEY_PREFIX, SCOPED_KEY_PREFIX};

/// Headers that carry a bare key.
const BARE: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// Protocols that are offered for a WebSocket.
const PROTOCOLS: &str = "sec-websocket-protocol";

/// The query parameter of Google's APIs.
const QUERY_PARAMETER: &str = "key";

/// What stands before a key that is offered as a WebSocket protocol.
const PROTOCOL_PREFIX: &str = "openai-insecure-api-key.";

/// What the keys of till begin with.
const OURS: [&str; 3] = [SCOPED_KEY_PREFIX, ADMIN_TOKEN_PREFIX, MASTER_KEY_PREFIX];

/// What was taken out of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The scoped key; `None` when there is none anywhere.
    pub(crate) token: Option<String>,
    /// The query without it; untouched byte for byte otherwise.
    pub(crate) query: Option<String>,
}

/// Takes the scoped key out of headers and query.
///
/// # Errors
/// [`DenialCode::MalformedRequest`] when there are two different ones, [`DenialCode::InvalidKey`] when there is an
/// admin key or master key of till.
pub(crate) fn take(fields: &mut Fields, query: Option<&str>) -> Result<Taken, Denial> {
    let mut found = Found::default();
    fields.retain(|name, value| {
        let token = match name {
            b"authorization" => fields::text(value).and_then(in_authorization),
            _ if BARE.iter().any(|bare| bare.as_bytes() == name) => {
                fields::text(value).and_then(|value| bare(value.trim()))
            }
            _ => None,
        };
        let is_kept = token.is_none();
        found.add_all(token);
        is_kept
    });
    strip_protocols(fields, &mut found);
    let query = match query {
        Some(query) if OURS.iter().any(|prefix| query.contains(prefix)) => strip_query(query, &mut found),
        other => other.map(str::to_owned),
    };
    if found.has_admin_key {
        return Err(Denial::new(
            DenialCode::InvalidKey,
            "This request carries an admin key of till. Agents are given scoped keys (till_sk_…); an admin key goes to \
             /admin only, and is never forwarded.",
        ));
    }
    if found.differs {
        return Err(Denial::new(
            DenialCode::MalformedRequest,
            "This request carries two different scoped keys. Send one.",
        ));
    }
    Ok(Taken { token: found.token, query })
}

#[derive(Default)]
struct Found {
    token: Option<String>,
    differs: bool,
    has_admin_key: bool,
}

impl Found {
    fn add_all(&mut self, tokens: impl IntoIterator<Item = String>) {
        tokens.into_iter().for_each(|token| self.add(token));
    }

    fn add(&mut self, token: String) {
        if !token.starts_with(SCOPED_KEY_PREFIX) {
            self.has_admin_key = true;
            return;
        }
        match &self.token {
            Some(first) if *first != token => self.differs = true,
            Some(_) => {}
            None => self.token = Some(token),
        }
    }
}

/// Any key of till's own, so that none is ever forwarded.
fn bare(text: &str) -> Option<String> {
    OURS.iter().any(|prefix| text.starts_with(prefix)).then(|| text.to_owned())
}

/// `Bearer KEY`, `token KEY` (GitHub), `Basic …` with the key as user name or password (Stripe, git), or the
/// bare key.
fn in_authorization(value: &str) -> Option<String> {
    let value = value.trim();
    let Some((scheme, rest)) = value.split_once(' ') else {
        return bare(value);
    };
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return bare(rest);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest).ok()?;
    let decoded = std::str::from_utf8(&decoded).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((decoded, ""));
    bare(user).or_else(|| bare(password))
}

/// Browsers can't set headers on a WebSocket, so OpenAI takes the key as one of the protocols offered.
fn strip_protocols(fields: &mut Fields, found: &mut Found) {
    let Some(offered) = fields.get_text(PROTOCOLS) else { return };
    let token = |item: &str| item.trim().strip_prefix(PROTOCOL_PREFIX).and_then(bare);
    if !offered.split(',').any(|item| token(item).is_some()) {
        return;
    }
    let mut kept = Vec::new();
    for item in offered.split(',').map(str::trim) {
        match token(item) {
            Some(token) => found.add(token),
            None => kept.push(item),
        }
    }
    let kept = kept.join(", ");
    fields.remove(PROTOCOLS);
    if !kept.is_empty() {
        fields.push(PROTOCOLS, kept);
    }
}

fn strip_query(query: &str, found: &mut Found) -> Option<String> {
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some((QUERY_PARAMETER, value)) if bare(value).is_some() => found.add(value.to_owned()),
            _ => kept.push(parameter),
        }
    }
    (!kept.is_empty()).then(|| kept.join("&"))
}

#[cfg(test)]
mod tests {
    use till_core::fields::Fields;

    use super::{Taken, take};

    /// Headers and query of a request; what is left of them, and the token.
    #[track_caller]
    fn check(headers: &[(&str, &str)], query: Option<&str>, left: &[(&str, &str)], expected: Taken) {
        let mut fields: Fields = headers.iter().copied().collect();
        assert_eq!(take(&mut fields, query), Ok(expected));
        let text = |bytes| std::str::from_utf8(bytes).expect("text");
        let after: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
        assert_eq!(after, left);
    }

    fn taken(token: Option<&str>, query: Option<&str>) -> Taken {
        Taken { token: token.map(str::to_owned), query: query.map(str::to_owned) }
    }

    #[test]
    fn every_place_is_found_and_emptied() {
        let places: [(&str, &str); 9] = [
            ("authorization", "Bearer till_sk_a"),
            ("authorization", "bearer  till_sk_a"),
            ("authorization", "token till_sk_a"),
            ("authorization", "till_sk_a"),
            // till_sk_a: and x-access-token:till_sk_a
            ("authorization", "Basic dGlsbF9za19hOg=="),
            ("authorization", "Basic eC1hY2Nlc3MtdG9rZW46dGlsbF9za19h"),
            ("x-api-key", "till_sk_a"),
            ("x-goog-api-key", "till_sk_a"),
            ("api-key", " till_sk_a"),
        ];
        for (name, value) in places {
            let other = ("accept", "*/*");
            check(&[(name, value), other], Some("a=b"), &[other], taken(Some("till_sk_a"), Some("a=b")));
        }
    }

    #[test]
    fn a_key_among_websocket_protocols_is_found() {
        let name = "sec-websocket-protocol";
        check(
            &[(name, "realtime, openai-insecure-api-key.till_sk_a, openai-beta.realtime-v1")],
            None,
            &[(name, "realtime, openai-beta.realtime-v1")],
            taken(Some("till_sk_a"), None),
        );
        check(&[(name, "openai-insecure-api-key.till_sk_a")], None, &[], taken(Some("till_sk_a"), None));
        check(&[(name, "realtime")], None, &[(name, "realtime")], taken(None, None));
    }

    #[test]
    fn the_query_keeps_its_other_bytes() {
        check(
            &[],
            Some("alt=sse&key=till_sk_a&x=%2F+"),
            &[],
            taken(Some("till_sk_a"), Some("alt=sse&x=%2F+")),
        );
        check(&[], Some("key=till_sk_a"), &[], taken(Some("till_sk_a"), None));
        check(&[], Some("key=other&&"), &[], taken(None, Some("key=other&&")));
        check(&[], Some("q=till_sk_a"), &[], taken(None, Some("q=till_sk_a")));
    }

    #[test]
    fn the_same_key_twice_is_one_key() {
        // Azure's client sends both.
        check(
            &[("authorization", "Bearer till_sk_a"), ("api-key", "till_sk_a")],
            None,
            &[],
            taken(Some("till_sk_a"), None),
        );
    }

    #[test]
    fn what_is_not_ours_stays() {
        let others =
            [("authorization", "Bearer sk-other"), ("x-api-key", "sk-other"), ("authorization", "Basic !!")];
        check(&others[..2], None, &others[..2], taken(None, None));
        check(&others[2..], None, &others[2..], taken(None, None));
        check(
            &[("authorization", "Bearer till_sk_a"), ("authorization", "Bearer x")],
            None,
            &[("authorization", "Bearer x")],
            taken(Some("till_sk_a"), None),
        );
    }

    #[test]
    fn no_key_of_ours_goes_upstream() {
        for (name, value) in [
            ("authorization", "Bearer till_admin_x"),
            ("x-api-key", "till_admin_x"),
            ("x-goog-api-key", "till_master_x"),
            ("api-key", "till_admin_x"),
        ] {
            let mut fields = Fields::from_iter([("x-goog-api-key", "till_sk_a"), (name, value)]);
            assert!(take(&mut fields, None).is_err(), "{name}: {value}");
        }
        assert!(take(&mut Fields::default(), Some("a=b&key=till_admin_x")).is_err());
    }

    #[test]
    fn two_different_keys_are_refused() {
        let mut fields =
            Fields::from_iter([("authorization", "Bearer till_sk_a"), ("x-api-key", "till_sk_b")]);
        assert!(take(&mut fields, None).is_err());
        assert!(take(&mut Fields::default(), Some("key=till_sk_a&key=till_sk_b")).is_err());
    }
}

//! Where clients put the scoped key, and how it is taken out of a request.
//!
//! Every place that some client uses is looked at for every provider, because clients disagree even about
//! one provider (`docs/clients.md`). Whatever starts with `till_sk_` in one of them is removed, so that it
//! never goes upstream.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_core::token::{ADMIN_TOKEN_PREFIX, MASTER_KEY_PREFIX, SCOPED_KEY_PREFIX};

use crate::head::items;

/// Headers that a key may be alone in, or behind a scheme in the first one.
const HEADERS: [&str; 4] = [AUTHORIZATION, "x-api-key", "x-goog-api-key", "api-key"];
const AUTHORIZATION: &str = "authorization";

/// Protocols that are offered for a WebSocket.
const PROTOCOLS: &str = "sec-websocket-protocol";

/// The query parameter of Google's APIs.
const QUERY_PARAMETER: &str = "key";

/// What stands before a key that is offered as a WebSocket protocol.
const PROTOCOL_PREFIX: &str = "openai-insecure-api-key.";

/// What the keys of till begin with.
const OURS: [&str; 3] = [SCOPED_KEY_PREFIX, ADMIN_TOKEN_PREFIX, MASTER_KEY_PREFIX];

/// The scoped key of a request, where it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// `None` when there is none anywhere.
    pub(crate) token: Option<Cow<'a, [u8]>>,
    pub(crate) places: Places,
    differs: bool,
    has_admin_key: bool,
}

/// Which headers a key was found in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// For each of [`HEADERS`].
    headers: [bool; HEADERS.len()],
    protocols: bool,
}

/// Finds the scoped key in headers and query.
///
/// # Errors
/// [`DenialCode::MalformedRequest`] when there are two different ones, [`DenialCode::InvalidKey`] when there is an
/// admin key or master key of till.
pub(crate) fn find<'a>(fields: &'a Fields, query: Option<&'a str>) -> Result<Found<'a>, Denial> {
    let mut found = Found::default();
    for (place, name) in HEADERS.iter().enumerate() {
        for token in fields.get_all(name).filter_map(|value| in_header(name, value)) {
            found.places.headers[place] = true;
            found.add(token);
        }
    }
    for token in fields.get_all(PROTOCOLS).flat_map(items).filter_map(in_protocol) {
        found.places.protocols = true;
        found.add(token.into());
    }
    parameters_of(query).filter_map(in_parameter).for_each(|token| found.add(token.into()));
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
    Ok(found)
}

/// Takes it out of the headers, wherever it was found.
pub(crate) fn strip(fields: &mut Fields, places: Places) {
    for (header, _) in HEADERS.iter().zip(places.headers).filter(|(_, has_one)| *has_one) {
        fields.retain(|name, value| name != header.as_bytes() || in_header(header, value).is_none());
    }
    if !places.protocols {
        return;
    }
    let all = fields.get_all(PROTOCOLS).flat_map(items);
    let kept: Vec<&[u8]> = all.filter(|item| in_protocol(item).is_none()).collect();
    let kept = kept.join(&b", "[..]);
    fields.remove(PROTOCOLS);
    if !kept.is_empty() {
        fields.push(PROTOCOLS, kept);
    }
}

/// The query without it; untouched byte for byte otherwise.
pub(crate) fn stripped(query: Option<&str>) -> Option<String> {
    let query = query?;
    if parameters_of(Some(query)).all(|parameter| in_parameter(parameter).is_none()) {
        return Some(query.to_owned());
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| in_parameter(parameter).is_none()).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

impl<'a> Found<'a> {
    fn add(&mut self, token: Cow<'a, [u8]>) {
        if !token.starts_with(SCOPED_KEY_PREFIX.as_bytes()) {
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
fn ours(text: &[u8]) -> Option<&[u8]> {
    OURS.iter().any(|prefix| text.starts_with(prefix.as_bytes())).then_some(text)
}

fn in_header<'a>(name: &str, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    if name == AUTHORIZATION { in_authorization(value) } else { ours(value).map(Cow::Borrowed) }
}

/// `Bearer KEY`, `token KEY` (GitHub) and the like, `Basic …` with the key as user name or password (Stripe, git), or
/// the bare key.
fn in_authorization(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(space) = value.iter().position(|byte| matches!(byte, b' ' | b'\t')) else {
        return ours(value).map(Cow::Borrowed);
    };
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii_start());
    if !scheme.eq_ignore_ascii_case(b"basic") {
        // Whatever it is called: behind a word that nobody knows it would go upstream.
        return ours(rest).map(Cow::Borrowed);
    }
    let decoded = STANDARD.decode(rest).ok()?;
    decoded.splitn(2, |byte| *byte == b':').find_map(ours).map(|token| Cow::Owned(token.to_vec()))
}

/// Browsers can't set headers on a WebSocket, so OpenAI takes the key as one of the protocols offered.
fn in_protocol(item: &[u8]) -> Option<&[u8]> {
    ours(item.strip_prefix(PROTOCOL_PREFIX.as_bytes())?)
}

/// What of a query may have a key in it: nearly none has.
fn parameters_of(query: Option<&str>) -> impl Iterator<Item = &str> {
    let query = query.filter(|query| OURS.iter().any(|prefix| query.contains(prefix)));
    query.into_iter().flat_map(|query| query.split('&'))
}

fn in_parameter(parameter: &str) -> Option<&[u8]> {
    let (name, value) = parameter.split_once('=')?;
    ours(value.as_bytes()).filter(|_| name == QUERY_PARAMETER)
}

#[cfg(test)]
mod tests {
    use till_core::denial::Denial;
    use till_core::fields::Fields;

    use super::{Found, find, strip, stripped};

    /// What was taken out of a request.
    #[derive(Debug, PartialEq, Eq)]
    struct Taken {
        token: Option<Vec<u8>>,
        query: Option<String>,
    }

    fn take(fields: &mut Fields, query: Option<&str>) -> Result<Taken, Denial> {
        let Found { token, places, .. } = find(fields, query)?;
        let token = token.map(|token| token.into_owned());
        strip(fields, places);
        Ok(Taken { token, query: stripped(query) })
    }

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
        Taken { token: token.map(|token| token.as_bytes().to_vec()), query: query.map(str::to_owned) }
    }

    #[test]
    fn every_place_is_found_and_emptied() {
        let places: [(&str, &str); 11] = [
            ("authorization", "ApiKey till_sk_a"),
            ("authorization", "Bearer\ttill_sk_a"),
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
        let second = [(name, "realtime"), (name, "openai-insecure-api-key.till_sk_a")];
        check(&second, None, &[(name, "realtime")], taken(Some("till_sk_a"), None));
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
            ("authorization", "ApiKey till_admin_x"),
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

//! Where a request comes from, when a proxy of one's own stands in front.
//!
//! A header says anything that its sender likes. It is believed only as far as trusted machines wrote it: read from the
//! right, which is the end that the nearest one added, up to the first address that is not trusted. Only the one header
//! that the operator names is looked at, because a proxy that sets one passes the other through as the client wrote it.

use std::net::{IpAddr, SocketAddr};

use till_core::fields::{self, Fields};
use till_core::scope::Network;

/// Which proxies are believed, and how they say who asked them.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// How they say it.
    pub header: AddressHeader,
}

/// The header that proxies write addresses into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressHeader {
    /// `X-Forwarded-For`: addresses separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// The most entries that are looked at; nobody has so many proxies.
const HOPS_MAX: usize = 32;

impl TrustedProxies {
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The address that a request comes from; `None` when a trusted proxy says something that is no address.
    pub(crate) fn client(&self, peer: IpAddr, headers: &Fields) -> Option<IpAddr> {
        if self.networks.is_empty() || !self.trusts(peer) {
            return Some(peer.to_canonical());
        }
        let mut client = peer;
        for hop in self.hops(headers)?.into_iter().rev().take(HOPS_MAX) {
            client = hop?;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client.to_canonical())
    }

    /// What the header says, from left to right; `None` for what is no address. Nothing at all if it can't be read.
    fn hops(&self, headers: &Fields) -> Option<Vec<Option<IpAddr>>> {
        let mut hops = Vec::new();
        match self.header {
            AddressHeader::XForwardedFor => {
                for value in headers.get_all("x-forwarded-for") {
                    hops.extend(fields::text(value)?.split(',').map(|entry| address(entry.trim())));
                }
            }
            AddressHeader::Forwarded => {
                for value in headers.get_all("forwarded") {
                    hops.extend(elements(fields::text(value)?)?.into_iter().map(forwarded_for));
                }
            }
        }
        Some(hops)
    }
}

/// An address as proxies write it: alone, in brackets, with a port.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse().ok().map(IpAddr::V6);
    }
    text.parse::<SocketAddr>().ok().map(|address| address.ip())
}

/// The elements of `Forwarded`, split at commas outside of quotes.
fn elements(text: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                elements.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&text[start..]);
    (!is_quoted).then_some(elements)
}

/// The address after `for=` in an element; `None` for `unknown`, a name, or nothing.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let value = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    address(inside.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use till_core::fields::Fields;
    use till_core::scope::Network;

    use super::{AddressHeader, TrustedProxies};

    fn client(header: AddressHeader, trusted: &[&str], peer: &str, values: &[&str]) -> Option<IpAddr> {
        let networks = trusted.iter().map(|text| Network::parse(text).expect("a network")).collect();
        let name = if header == AddressHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
        let headers: Fields = values.iter().map(|value| (name, value)).collect();
        TrustedProxies { networks, header }.client(peer.parse().expect("an address"), &headers)
    }

    #[test]
    fn a_header_counts_as_far_as_trusted_proxies_wrote_it() {
        const TRUSTED: &[&str] = &["10.0.0.0/8", "::1"];
        let check = |peer: &str, values: &[&str], expected: Option<&str>| {
            let expected = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(
                client(AddressHeader::XForwardedFor, TRUSTED, peer, values),
                expected,
                "{peer} {values:?}"
            );
        };
        check("192.0.2.1", &["10.0.0.1"], Some("192.0.2.1"));
        check("10.0.0.1", &[], Some("10.0.0.1"));
        check("10.0.0.1", &["192.0.2.9"], Some("192.0.2.9"));
        check("::1", &["192.0.2.9"], Some("192.0.2.9"));
        // What the client wrote itself stands on the left.
        check("10.0.0.1", &["127.0.0.1, 192.0.2.9"], Some("192.0.2.9"));
        check("10.0.0.1", &["127.0.0.1", "192.0.2.9, 10.0.0.2"], Some("192.0.2.9"));
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3"));
        check("10.0.0.1", &["unknown, 10.0.0.2"], None);
        check("10.0.0.1", &["unknown, 192.0.2.9"], Some("192.0.2.9"));
        check("10.0.0.1", &["192.0.2.9, "], None);
        check("10.0.0.1", &["[2001:db8::1]:443"], Some("2001:db8::1"));
        check("10.0.0.1", &["192.0.2.9:1234"], Some("192.0.2.9"));
        check("::ffff:10.0.0.1", &["::ffff:192.0.2.9"], Some("192.0.2.9"));
    }

    #[test]
    fn the_standard_header_is_read_too() {
        let check = |value: &str, expected: Option<&str>| {
            let expected = expected.map(|text| text.parse().expect("an address"));
            let found = client(AddressHeader::Forwarded, &["10.0.0.0/8"], "10.0.0.1", &[value]);
            assert_eq!(found, expected, "{value}");
        };
        check("for=192.0.2.9", Some("192.0.2.9"));
        check("For=\"[2001:db8::1]:4711\"; proto=https", Some("2001:db8::1"));
        check("for=127.0.0.1, for=192.0.2.9;by=10.0.0.2, for=10.0.0.2", Some("192.0.2.9"));
        check("for=\"_hidden, for=127.0.0.1\", for=192.0.2.9", Some("192.0.2.9"));
        check("for=_hidden", None);
        check("for=\"192.0.2.9", None);
        check("proto=https", None);
        check("for=192.0.2.9;for=127.0.0.1", None);
    }
}

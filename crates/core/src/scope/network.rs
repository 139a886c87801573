//! Networks that requests may come from.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An address, or all addresses that begin alike (CIDR, RFC 4632 and RFC 4291 section 2.3).
///
/// An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// With nothing set beyond the prefix.
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an IPv4 or IPv6 address, or one with the length of a prefix as in 10.0.0.0/8; {0}")]
pub struct NotANetwork(&'static str);

impl Network {
    /// Reads an address or a network.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NotANetwork("the address can't be read"))?;
        let bits = bits(written);
        let prefix = match prefix {
            None => bits,
            Some(text) => {
                // A number in one spelling only: `/08` and `/+8` are none.
                let prefix: u8 = text.parse().map_err(|_| NotANetwork("the length can't be read"))?;
                if prefix.to_string() != text || prefix > bits {
                    return Err(NotANetwork("the length is not that of a prefix of this address"));
                }
                prefix
            }
        };
        let address = written.to_canonical();
        // 96 bits say that it is IPv4.
        let prefix = match (written, address) {
            (IpAddr::V6(_), IpAddr::V4(_)) => {
                prefix.checked_sub(96).ok_or(NotANetwork("the prefix has more in it than IPv4"))?
            }
            _ => prefix,
        };
        let network = Self { address, prefix };
        if masked(address, prefix) != number(address) {
            return Err(NotANetwork("bits beyond the prefix are set"));
        }
        Ok(network)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == number(self.address)
    }

    /// Whether all of another network is in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The number of an address with everything beyond the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> u128 {
    let beyond = u32::from(bits(address) - prefix);
    let kept = number(address).checked_shr(beyond).unwrap_or(0);
    kept.checked_shl(beyond).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.address) {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        Self::parse(&text)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

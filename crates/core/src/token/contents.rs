//! What is sealed in a scoped key: a [`SealedUpstream`] as bytes.
//!
//! ```text
//! version 1 · placement · text provider · text origin · text key
//! version 3 · placement · text provider · text origin · text name of the credential
//! placement = 1 · text name · text template   (header)
//!           | 2 · text name                   (query)
//!           | 3                               (basic)
//! text      = length 2, big-endian · bytes
//! ```
//! The encoding is closed: another version, another placement, a text that is not UTF-8, or a byte too many
//! is refused, because to overlook something here could send a real key to the wrong place.

use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::upstream::{NamedUpstream, Placement, SealedUpstream, Upstream};

const WITH_KEY: u8 = 1;
/// Not 2: the test vectors have had that as an example of a version that is refused.
const NAMED: u8 = 3;
const IN_HEADER: u8 = 1;
const IN_QUERY: u8 = 2;
const IN_BASIC: u8 = 3;

/// The bytes for `upstream`, or `None` when one of its texts is longer than a length field can say.
pub(super) fn encode(upstream: &Upstream) -> Option<Zeroizing<Vec<u8>>> {
    let Upstream { key, provider, origin, placement } = upstream;
    let mut bytes = destination(WITH_KEY, provider, origin, placement)?;
    // The key comes last, into reserved room, so that growing leaves no copy of it behind.
    bytes.reserve_exact(2 + key.len());
    push(&mut bytes, key.reveal())?;
    Some(bytes)
}

/// The same with a name in the place of the key.
pub(super) fn encode_named(upstream: &NamedUpstream) -> Option<Zeroizing<Vec<u8>>> {
    let NamedUpstream { credential, provider, origin, placement } = upstream;
    let mut bytes = destination(NAMED, provider, origin, placement)?;
    push(&mut bytes, credential.as_bytes())?;
    Some(bytes)
}

fn destination(
    version: u8,
    provider: &str,
    origin: &str,
    placement: &Placement,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![version]);
    match placement {
        Placement::Header { name, template } => {
            bytes.push(IN_HEADER);
            push(&mut bytes, name.as_bytes())?;
            push(&mut bytes, template.as_bytes())?;
        }
        Placement::Query { name } => {
            bytes.push(IN_QUERY);
            push(&mut bytes, name.as_bytes())?;
        }
        Placement::Basic => bytes.push(IN_BASIC),
    }
    push(&mut bytes, provider.as_bytes())?;
    push(&mut bytes, origin.as_bytes())?;
    Some(bytes)
}

fn push(bytes: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let length = u16::try_from(text.len()).ok()?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text);
    Some(())
}

/// What [`encode`] or [`encode_named`] turns into exactly these bytes, or `None`.
pub(super) fn decode(bytes: &[u8]) -> Option<SealedUpstream> {
    let mut reader = Reader(bytes);
    let version = reader.byte()?;
    let placement = reader.placement()?;
    let provider = reader.text()?;
    let origin = reader.text()?;
    let decoded = match version {
        WITH_KEY => {
            let key = Secret::new(reader.bytes()?);
            SealedUpstream::Key(Upstream { key, provider, origin, placement })
        }
        NAMED => {
            let credential = reader.text()?;
            SealedUpstream::Named(NamedUpstream { credential, provider, origin, placement })
        }
        _ => return None,
    };
    reader.0.is_empty().then_some(decoded)
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn placement(&mut self) -> Option<Placement> {
        match self.byte()? {
            IN_HEADER => Some(Placement::Header { name: self.text()?, template: self.text()? }),
            IN_QUERY => Some(Placement::Query { name: self.text()? }),
            IN_BASIC => Some(Placement::Basic),
            _ => None,
        }
    }
}

//! What is sealed in a scoped key: an [`Upstream`] as bytes.
//!
//! ```text
//! version 1 · placement · text provider · text origin · text key
//! placement = 1 · text name · text template   (header)
//!           | 2 · text name                   (query)
//!           | 3                               (basic)
//! text      = length 2, big-endian · bytes
//! ```
//! The encoding is closed: another version, another placement, a text that is not UTF-8, or a byte too many
//! is refused, because to overlook something here could send a real key to the wrong place.

use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::upstream::{Placement, Upstream};

const VERSION: u8 = 1;
const IN_HEADER: u8 = 1;
const IN_QUERY: u8 = 2;
const IN_BASIC: u8 = 3;

/// The bytes for `upstream`, or `None` when one of its texts is longer than a length field can say.
pub(super) fn encode(upstream: &Upstream) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![VERSION]);
    match &upstream.placement {
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
    push(&mut bytes, upstream.provider.as_bytes())?;
    push(&mut bytes, upstream.origin.as_bytes())?;
    // The key comes last, into reserved room, so that growing leaves no copy of it behind.
    bytes.reserve_exact(2 + upstream.key.len());
    push(&mut bytes, upstream.key.reveal())?;
    Some(bytes)
}

fn push(bytes: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let length = u16::try_from(text.len()).ok()?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text);
    Some(())
}

/// The upstream that [`encode`] turns into exactly these bytes, or `None`.
pub(super) fn decode(bytes: &[u8]) -> Option<Upstream> {
    let mut reader = Reader(bytes);
    if reader.byte()? != VERSION {
        return None;
    }
    let placement = reader.placement()?;
    let provider = reader.text()?;
    let origin = reader.text()?;
    let key = Secret::new(reader.bytes()?);
    reader.0.is_empty().then_some(Upstream { key, provider, origin, placement })
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

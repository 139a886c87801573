//! The tokens of the test vectors that must be refused, each with the reason.

use super::{INSTANCE, Invalid, OTHER_INSTANCE, counting, master, other_master, unhex, valid};
use crate::secret::Secret;
use crate::token::craft::{chain, payload_of, text, token_of, with_blocks};
use crate::token::payload::{Fingerprint, Header, TokenKeys, assemble};
use crate::token::{MasterKey, SCOPED_KEY_LEN_MAX, SCOPED_KEY_PREFIX, checked_text, mint_admin_token};

pub(super) fn invalid() -> Vec<Invalid> {
    let (a, b) = (Base::of(0), Base::of(2));
    let mut list = texts(&a);
    for (name, error, token) in
        structures(&a).into_iter().chain(strangers(&a)).chain(forgeries(&a, &b)).chain(blocks(&a))
    {
        list.push(Invalid { name: name.into(), error: error.into(), token: text(&token).into() });
    }
    list
}

/// The first valid token, taken apart so that its pieces can be put together wrongly.
struct Base {
    token: Secret,
    payload: Vec<u8>,
    keys: TokenKeys,
    header: Header,
    contents: Vec<u8>,
}

impl Base {
    /// The `n`-th of [`upstreams`].
    fn of(n: usize) -> Self {
        let valid = &valid()[n];
        let token = Secret::new(valid.token.as_str());
        let header = Header(unhex(&valid.header).try_into().expect("27 bytes"));
        let keys = TokenKeys::derive(&master(), &header);
        Self { payload: payload_of(&token), token, keys, header, contents: unhex(&valid.contents) }
    }

    /// With true keys and a true tag around another header, commitment or sealed part: what only somebody
    /// with the master key could make.
    fn refit(&self, header: &Header, commitment: &[u8], sealed: &[u8]) -> Secret {
        let keys = TokenKeys::derive(&master(), header);
        let tag = keys.first_tag(header, commitment, sealed).expect("short enough");
        let length = u16::try_from(sealed.len()).expect("short enough").to_be_bytes();
        token_of(&[&header.0[..], commitment, &length, sealed, &tag].concat())
    }

    fn with_contents(&self, contents: &[u8]) -> Secret {
        self.refit(&self.header, &self.payload[27..59], &self.keys.seal(&self.header, contents))
    }
}

type Row = (&'static str, &'static str, Secret);

/// Wrong as strings.
fn texts(a: &Base) -> Vec<Invalid> {
    let token = text(&a.token);
    let digits = &token[SCOPED_KEY_PREFIX.len()..token.len() - 7];
    let summed = |digits: &str| {
        let covered = format!("{SCOPED_KEY_PREFIX}{digits}");
        format!("{covered}_{}", checked_text::checksum(&covered))
    };
    let long = "0".repeat(SCOPED_KEY_LEN_MAX + 1 - SCOPED_KEY_PREFIX.len());
    [
        ("empty", "not_a_scoped_key", String::new()),
        ("an upstream key", "not_a_scoped_key", "sk-up-01".into()),
        ("an admin token", "not_a_scoped_key", text(&mint_admin_token(counting(7))).into()),
        ("capitals", "not_a_scoped_key", token.to_uppercase()),
        ("a space before", "not_a_scoped_key", format!(" {token}")),
        ("the prefix alone", "checksum", SCOPED_KEY_PREFIX.into()),
        ("no checksum", "checksum", token[..token.len() - 7].into()),
        ("a line break after", "checksum", format!("{token}\n")),
        ("too long by one character", "too_long", format!("{SCOPED_KEY_PREFIX}{long}")),
        ("no payload", "malformed", summed("")),
        ("a digit too many", "malformed", summed(&format!("{digits}0"))),
        ("a leading zero", "malformed", summed(&format!("0{digits}"))),
        ("a full block above 2^64-1", "malformed", summed(&format!("zzzzzzzzzzz{}", &digits[11..]))),
        (
            "a last block above its bytes",
            "malformed",
            summed(&format!("{}zz", &digits[..digits.len() / 11 * 11])),
        ),
        ("a character that is no digit", "malformed", summed(&format!("-{}", &digits[1..]))),
        ("an underscore inside", "malformed", summed(&format!("{}_{}", &digits[..11], &digits[12..]))),
    ]
    .map(|(name, error, token)| Invalid { name: name.into(), error: error.into(), token })
    .into()
}

/// Wrong in their structure or version.
fn structures(a: &Base) -> Vec<Row> {
    let with_version = |version| {
        let mut header = a.header;
        header.0[0] = version;
        let keys = TokenKeys::derive(&master(), &header);
        a.refit(&header, &*keys.commitment, &keys.seal(&header, &a.contents))
    };
    let length = |length: u16| {
        let mut payload = a.payload.clone();
        payload[59..61].copy_from_slice(&length.to_be_bytes());
        token_of(&payload)
    };
    vec![
        ("version 0", "unsupported_version", with_version(0)),
        ("version 2, reserved", "unsupported_version", with_version(2)),
        ("version 255", "unsupported_version", with_version(255)),
        ("a header alone", "malformed", token_of(&a.payload[..27])),
        ("a byte after the tag", "malformed", token_of(&[&a.payload[..], &[0]].concat())),
        ("a sealed length beyond the end", "malformed", length(u16::MAX)),
        ("a sealed length that leaves 31 bytes for the tag", "malformed", length(sealed_length(a) + 1)),
    ]
}

fn sealed_length(a: &Base) -> u16 {
    u16::from_be_bytes([a.payload[59], a.payload[60]])
}

/// True tokens of somebody else.
fn strangers(a: &Base) -> Vec<Row> {
    let foreign = |master: &MasterKey, header: Header| {
        let keys = TokenKeys::derive(master, &header);
        token_of(&assemble(&keys, &header, &a.contents).expect("short enough"))
    };
    let (ours, theirs) = (Fingerprint::of(&INSTANCE), Fingerprint::of(&OTHER_INSTANCE));
    let id = a.header.random_id();
    let (main, other) = (master(), other_master());
    vec![
        (
            "another instance, the same master key",
            "other_instance",
            foreign(&main, Header::new(main.id(), theirs, id)),
        ),
        (
            "another instance and master key",
            "other_instance",
            foreign(&other, Header::new(other.id(), theirs, id)),
        ),
        ("another master key", "unknown_master_key", foreign(&other, Header::new(other.id(), ours, id))),
        (
            "another master key under the id of ours",
            "forged",
            foreign(&other, Header::new(main.id(), ours, id)),
        ),
    ]
}

/// Pieces of true tokens, and tokens that somebody with the master key made wrongly.
fn forgeries(a: &Base, b: &Base) -> Vec<Row> {
    let splice = |at: usize| token_of(&[&a.payload[..at], &b.payload[at..]].concat());
    let tag_of_b = [&a.payload[..a.payload.len() - 32], &b.payload[b.payload.len() - 32..]].concat();
    let sealed_a = &a.payload[61..a.payload.len() - 32];
    let mut commitment = a.payload[27..59].to_vec();
    commitment[31] ^= 1;
    let contents = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut contents = a.contents.clone();
        change(&mut contents);
        a.with_contents(&contents)
    };
    vec![
        ("the header of one, the rest of another", "forged", splice(27)),
        ("header and commitment of one, the rest of another", "forged", splice(59)),
        ("the tag of another", "forged", token_of(&tag_of_b)),
        ("a wrong commitment under a true tag", "forged", a.refit(&a.header, &commitment, sealed_a)),
        (
            "a sealed part that doesn't open under a true tag",
            "forged",
            a.refit(&a.header, &a.payload[27..59], &[0; 40]),
        ),
        ("no sealed part under a true tag", "forged", a.refit(&a.header, &a.payload[27..59], &[])),
        ("contents version 2", "unsupported_contents", contents(&|bytes| bytes[0] = 2)),
        ("contents with placement 4", "unsupported_contents", contents(&|bytes| bytes[1] = 4)),
        ("contents with a byte too many", "unsupported_contents", contents(&|bytes| bytes.push(0))),
        (
            "contents with a byte too few",
            "unsupported_contents",
            contents(&|bytes| bytes.truncate(bytes.len() - 1)),
        ),
        ("contents that are not UTF-8", "unsupported_contents", contents(&|bytes| bytes[4] = 0xff)),
        ("no contents", "unsupported_contents", contents(&Vec::clear)),
    ]
}

/// With narrowing blocks.
fn blocks(a: &Base) -> Vec<Row> {
    let (one, two): (&[u8], &[u8]) = (b"first block", b"second block");
    let crowd = |n: usize| vec![one; n];
    let row =
        |blocks: &[&[u8]], chained: &[&[u8]]| with_blocks(&a.payload, blocks, chain(&a.payload, chained));
    vec![
        ("a block", "blocks_unsupported", row(&[one], &[one])),
        ("two blocks", "blocks_unsupported", row(&[one, two], &[one, two])),
        ("an empty block", "blocks_unsupported", row(&[b""], &[b""])),
        ("16 blocks", "blocks_unsupported", row(&crowd(16), &crowd(16))),
        ("17 blocks", "malformed", row(&crowd(17), &crowd(17))),
        ("a block under the tag before it", "forged", row(&[one], &[])),
        ("a block under the tag of another block", "forged", row(&[one], &[two])),
        ("the only block removed", "forged", row(&[], &[one])),
        ("the last block removed", "forged", row(&[one], &[one, two])),
        ("the first block removed", "forged", row(&[two], &[one, two])),
        ("blocks in another order", "forged", row(&[two, one], &[one, two])),
    ]
}

//! What is accepted and what is refused, by construction. The fixed examples are in `vectors.rs`.

use proptest::prelude::*;

use super::craft::{
    INSTANCE, MASTER, RANDOM_ID, chain, genuine, mint, payload_of, ring, ring_of, text, token_of,
};
use super::craft::{upstream, with_blocks};
use super::payload::{BLOCKS_MAX, Fingerprint, Header, Payload, TokenKeys};
use super::{IndexKey, KeyRing, MasterKey, MintError, SCOPED_KEY_LEN_MAX, SCOPED_KEY_PREFIX, TokenError};
use super::{checked_text, contents, token_fingerprint};
use crate::secret::Secret;
use crate::upstream::{Placement, SealedUpstream, Upstream, UpstreamKeyError};

fn refusal(token: &str) -> Option<TokenError> {
    ring().open(token).err()
}

fn check(token: &Secret, expected: TokenError) {
    assert_eq!(refusal(text(token)), Some(expected));
}

fn any_placement() -> impl Strategy<Value = Placement> {
    prop_oneof![
        ("[a-z-]{1,20}", ".{0,10}").prop_map(|(name, before)| {
            let template = format!("{before}{{key}}");
            Placement::Header { name, template }
        }),
        "[a-z]{1,20}".prop_map(|name| Placement::Query { name }),
        Just(Placement::Basic),
    ]
}

/// Key, provider, origin and placement: an [`Upstream`] has no `Debug`, which a strategy's value needs.
type Parts = (String, String, String, Placement);

fn any_parts() -> impl Strategy<Value = Parts> {
    ("s[!-~]{7,300}", "\\PC{0,20}", "\\PC{0,60}", any_placement())
}

fn upstream_of((key, provider, origin, placement): Parts) -> Upstream {
    Upstream { key: Secret::new(key), provider, origin, placement }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_minted_opens(parts in any_parts(), master: [u8; 32], instance: [u8; 16], random_id: [u8; 16]) {
        let upstream = upstream_of(parts);
        let ring = ring_of(master, instance);
        let Ok(minted) = ring.mint(&upstream, random_id) else { panic!("it is short enough") };
        let opened = match ring.open(text(&minted.scoped_key)) {
            Ok(opened) => opened,
            Err(error) => panic!("{error}"),
        };
        prop_assert!(opened.upstream == SealedUpstream::Key(upstream));
        prop_assert_eq!(opened.id, minted.id);
    }

    #[test]
    fn contents_that_decode_are_the_only_spelling(parts in any_parts(), at: prop::sample::Index, byte: u8) {
        let mut bytes = contents::encode(&upstream_of(parts)).expect("short enough").to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(decoded) = contents::decode(&bytes) {
            let again = match &decoded {
                SealedUpstream::Key(upstream) => contents::encode(upstream),
                SealedUpstream::Named(upstream) => contents::encode_named(upstream),
            };
            prop_assert_eq!(&*again.expect("no longer than before"), &bytes);
        }
    }

    #[test]
    fn any_bytes_as_payload_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0_u8..3) {
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        prop_assert!(refusal(text(&token_of(&bytes))).is_some());
    }

    #[test]
    fn any_text_is_refused(tail in "\\PC{0,80}") {
        prop_assert!(refusal(&tail).is_some());
        let with_prefix = format!("{SCOPED_KEY_PREFIX}{tail}");
        prop_assert!(refusal(&with_prefix).is_some());
    }
}

#[test]
fn every_changed_character_is_refused() {
    let token = mint(&ring(), "sk-12345", RANDOM_ID).scoped_key;
    for at in 0..token.len() {
        for character in "09AZaz_-é\n ".chars() {
            let old = &text(&token)[at..=at];
            let changed = format!("{}{character}{}", &text(&token)[..at], &text(&token)[at + 1..]);
            if old != character.to_string() {
                let expected = if at < SCOPED_KEY_PREFIX.len() {
                    TokenError::NotAScopedKey
                } else {
                    TokenError::Checksum
                };
                assert_eq!(refusal(&changed), Some(expected), "{at} {character}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_the_payload_is_refused() {
    let payload = payload_of(&mint(&ring(), "sk-12345", RANDOM_ID).scoped_key);
    for bit in 0..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        let right = match refusal(text(&token_of(&changed))) {
            Some(TokenError::UnsupportedVersion(version)) => bit / 8 == 0 && version == changed[0],
            Some(TokenError::UnknownMasterKey(_)) => (1..5).contains(&(bit / 8)),
            Some(TokenError::OtherInstance) => (5..11).contains(&(bit / 8)),
            // A changed length moves what follows: there may be no structure left, or one with a wrong tag.
            Some(TokenError::Malformed) => (59..61).contains(&(bit / 8)),
            Some(TokenError::Forged) => bit / 8 >= 11,
            _ => false,
        };
        assert!(right, "bit {bit}");
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let token = mint(&ring(), "sk-12345", RANDOM_ID).scoped_key;
    for length in 0..token.len() {
        assert!(refusal(&text(&token)[..length]).is_some(), "{length} characters");
    }
    let payload = payload_of(&token);
    for length in 0..payload.len() {
        assert!(refusal(text(&token_of(&payload[..length]))).is_some(), "{length} bytes");
    }
    for tail in [&[0][..], &[0, 0], &[0; 34]] {
        assert!(refusal(text(&token_of(&[&payload, tail].concat()))).is_some(), "{} bytes more", tail.len());
    }
}

#[test]
fn pieces_of_two_tokens_make_no_third() {
    let [a, b] = [RANDOM_ID, [7; 16]].map(|id| payload_of(&mint(&ring(), "sk-12345", id).scoped_key));
    let bounds = [0, 11, 27, 59, 61, a.len() - 32, a.len()];
    for (from, to) in
        bounds.iter().flat_map(|from| bounds.iter().map(move |to| (*from, *to))).filter(|(f, t)| f < t)
    {
        let spliced = [&a[..from], &b[from..to], &a[to..]].concat();
        let is_whole = spliced == a || spliced == b;
        assert_eq!(
            refusal(text(&token_of(&spliced))),
            (!is_whole).then_some(TokenError::Forged),
            "{from}..{to}"
        );
    }
}

#[test]
fn another_instance_or_master_key_is_refused() {
    let token = mint(&ring_of(MASTER, [0x2d; 16]), "sk-12345", RANDOM_ID).scoped_key;
    check(&token, TokenError::OtherInstance);
    let other = ring_of([0x3b; 32], INSTANCE);
    check(
        &mint(&other, "sk-12345", RANDOM_ID).scoped_key,
        TokenError::UnknownMasterKey(other.master_key_id()),
    );
    // Under the name of our master key, as if two of them had the same 4-byte id.
    let master = MasterKey::from_bytes([0x3b; 32]);
    let header = Header::new(ring().master_key_id(), Fingerprint::of(&INSTANCE), RANDOM_ID);
    let keys = TokenKeys::derive(&master, &header);
    let contents = contents::encode(&upstream("sk-12345")).expect("short enough");
    let payload = super::payload::assemble(&keys, &header, &contents).expect("short enough");
    check(&token_of(&payload), TokenError::Forged);
}

#[test]
fn the_commitment_is_checked_apart_from_the_tag() {
    // Who has the master key can make a true tag over a wrong commitment; it is refused all the same.
    let token = genuine(|keys, header| keys.seal(header, b"x"));
    let payload = payload_of(&token);
    let header = Header(*payload.first_chunk().expect("a payload starts with its header"));
    let keys = TokenKeys::derive(&MasterKey::from_bytes(MASTER), &header);
    let mut commitment: [u8; 32] = *payload[27..].first_chunk().expect("then comes the commitment");
    commitment[31] ^= 1;
    let tag = keys.first_tag(&header, &commitment, &payload[61..payload.len() - 32]).expect("short enough");
    let changed = [&header.0[..], &commitment, &payload[59..payload.len() - 32], &tag].concat();
    let parsed = Payload::parse(&changed).unwrap_or_else(|error| panic!("{error}"));
    assert!(!parsed.is_genuine(&keys));
    check(&token_of(&changed), TokenError::Forged);
}

#[test]
fn blocks_are_verified_and_then_refused() {
    let payload = payload_of(&mint(&ring(), "sk-12345", RANDOM_ID).scoped_key);
    let (a, b): (&[u8], &[u8]) = (b"a", b"bb");
    let root = chain(&payload, &[]);
    for (blocks, tag, expected) in [
        (&[a][..], chain(&payload, &[a]), TokenError::BlocksUnsupported),
        (&[a, b], chain(&payload, &[a, b]), TokenError::BlocksUnsupported),
        (&[b""], chain(&payload, &[b""]), TokenError::BlocksUnsupported),
        (&vec![a; BLOCKS_MAX], chain(&payload, &vec![a; BLOCKS_MAX]), TokenError::BlocksUnsupported),
        (&vec![a; BLOCKS_MAX + 1], chain(&payload, &vec![a; BLOCKS_MAX + 1]), TokenError::Malformed),
        (&[a], root, TokenError::Forged),
        (&[a], chain(&payload, &[b]), TokenError::Forged),
        (&[], chain(&payload, &[a]), TokenError::Forged),
        (&[a], chain(&payload, &[a, b]), TokenError::Forged),
        (&[b], chain(&payload, &[a, b]), TokenError::Forged),
        (&[b, a], chain(&payload, &[a, b]), TokenError::Forged),
    ] {
        check(&with_blocks(&payload, blocks, tag), expected);
    }
}

#[test]
fn only_the_canonical_text_is_accepted() {
    let token = mint(&ring(), "sk-12345", RANDOM_ID).scoped_key;
    let digits = &text(&token)[SCOPED_KEY_PREFIX.len()..token.len() - 7];
    for changed in [
        format!("{digits}0"),
        format!("0{digits}"),
        format!("{digits}-"),
        format!("{digits}_"),
        format!("{digits}zz"),
        format!("zzzzzzzzzzz{}", &digits[11..]),
        format!(" {digits}"),
    ] {
        let covered = format!("{SCOPED_KEY_PREFIX}{changed}");
        let token = format!("{covered}_{}", checked_text::checksum(&covered));
        assert_eq!(refusal(&token), Some(TokenError::Malformed), "{changed}");
    }
}

#[test]
fn sealed_parts_of_another_make_are_refused() {
    let good = contents::encode(&upstream("sk-12345")).expect("short enough");
    for (what, contents, expected) in [
        ("as it should be", good.to_vec(), None),
        ("empty", vec![], Some(TokenError::UnsupportedContents)),
        ("another version", [&[2], &good[1..]].concat(), Some(TokenError::UnsupportedContents)),
        ("another placement", [&[1, 4], &good[2..]].concat(), Some(TokenError::UnsupportedContents)),
        ("a byte too many", [&good[..], &[0]].concat(), Some(TokenError::UnsupportedContents)),
        ("a byte too few", good[..good.len() - 1].to_vec(), Some(TokenError::UnsupportedContents)),
        ("not UTF-8", [&good[..4], &[0xff], &good[5..]].concat(), Some(TokenError::UnsupportedContents)),
    ] {
        let token = genuine(|keys, header| keys.seal(header, &contents));
        assert_eq!(refusal(text(&token)), expected, "{what}");
    }
    check(&genuine(|_, _| vec![0; 40]), TokenError::Forged);
    check(&genuine(|_, _| vec![]), TokenError::Forged);
}

#[test]
fn length_is_bounded() {
    // The longest upstream key fits, with room for blocks.
    let longest = mint(&ring(), &"k".repeat(4096), RANDOM_ID).scoped_key;
    assert!(longest.len() < 6200, "{}", longest.len());
    assert!(refusal(text(&longest)).is_none());
    for (key, origin, expected) in [
        ("short".to_owned(), 10, MintError::UpstreamKey(UpstreamKeyError::TooShort)),
        ("k".repeat(4097), 10, MintError::UpstreamKey(UpstreamKeyError::TooLong)),
        (format!("{SCOPED_KEY_PREFIX}abc"), 10, MintError::UpstreamKey(UpstreamKeyError::ScopedKey)),
        ("k".repeat(4096), 2000, MintError::TooLong),
        ("k".repeat(4096), 70_000, MintError::TooLong),
    ] {
        let upstream = Upstream { origin: "o".repeat(origin), ..upstream(&key) };
        assert_eq!(ring().mint(&upstream, RANDOM_ID).err(), Some(expected));
    }
    for (length, expected) in
        [(SCOPED_KEY_LEN_MAX, TokenError::Checksum), (SCOPED_KEY_LEN_MAX + 1, TokenError::TooLong)]
    {
        let token = format!("{SCOPED_KEY_PREFIX}{}", "0".repeat(length - SCOPED_KEY_PREFIX.len()));
        assert_eq!(refusal(&token), Some(expected));
    }
}

#[test]
fn ids_depend_on_the_random_id_and_the_index_key_only() {
    let a = mint(&ring(), "sk-12345", RANDOM_ID).id;
    assert_eq!(a, mint(&ring_of([0; 32], [0; 16]), "sk-67890", RANDOM_ID).id);
    assert_ne!(a, mint(&ring(), "sk-12345", [7; 16]).id);
    let other = KeyRing::new(MasterKey::from_bytes(MASTER), INSTANCE, IndexKey::from_bytes([0; 32]));
    assert_ne!(a, mint(&other, "sk-12345", RANDOM_ID).id);
}

#[test]
fn a_token_shows_nothing_of_the_upstream_key() {
    let key = "sk-canary-0123456789";
    let payload = payload_of(&mint(&ring(), key, RANDOM_ID).scoped_key);
    for width in 4..=key.len() {
        for part in key.as_bytes().windows(width) {
            assert!(!payload.windows(width).any(|window| window == part));
        }
    }
}

#[test]
fn fingerprints_are_of_the_whole_string() {
    let hex: String = token_fingerprint("abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn tokens_of_older_master_keys_open_until_they_are_retired() {
    let index_key = || IndexKey::from_bytes([0x1e; 32]);
    let master = |byte| MasterKey::from_bytes([byte; 32]);
    let alone = |byte| KeyRing::new(master(byte), INSTANCE, index_key());
    let tokens: Vec<_> = (1..=4).map(|byte| mint(&alone(byte), "sk-upstream-key", [byte; 16])).collect();
    let id = |byte: u8| master(byte).id();
    let ring = alone(3).with_older([master(1), master(2), master(3)], [id(2)]);
    assert_eq!(ring.master_key_id(), id(3));
    assert_eq!(ring.master_key_ids(), [id(1), id(3)]);
    let outcomes = || {
        let open = |token: &super::Minted| ring.open(text(&token.scoped_key)).map(|opened| opened.id);
        tokens.iter().map(open).collect::<Vec<_>>()
    };
    let retired = |byte| Err(TokenError::RetiredMasterKey(id(byte)));
    let unknown = |byte| Err(TokenError::UnknownMasterKey(id(byte)));
    let opens = |at: usize| Ok(tokens[at].id);
    assert_eq!(outcomes(), [opens(0), retired(2), opens(2), unknown(4)]);

    ring.rotate(master(4));
    assert_eq!(ring.master_key_id(), id(4));
    assert_eq!(outcomes(), [opens(0), retired(2), opens(2), opens(3)]);
    let minted = mint(&ring, "sk-upstream-key", [9; 16]);
    assert_eq!(minted.master_key, id(4));
    assert!(alone(4).open(text(&minted.scoped_key)).is_ok());
    assert_eq!(alone(3).open(text(&minted.scoped_key)).err(), Some(TokenError::UnknownMasterKey(id(4))));
    // Ids do not depend on the master key: rows are found after a rotation.
    assert_eq!(minted.id, mint(&alone(1), "sk-upstream-key", [9; 16]).id);

    let before = ring.epoch();
    assert!(ring.retire(id(4)).is_err(), "the current one");
    ring.retire(id(1)).expect("an old one");
    assert!(ring.epoch() > before, "what was opened before is opened again");
    assert_eq!(outcomes(), [retired(1), retired(2), opens(2), opens(3)]);
    ring.rotate(master(4));
    assert_eq!(ring.master_key_ids(), [id(3), id(4)], "a rotation to the same one changes nothing");
}

#[test]
fn the_index_key_is_wrapped_for_every_master_key_alike() {
    let (one, two) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
    let index_key = IndexKey::from_bytes([0x1e; 32]);
    let ring = KeyRing::new(one, INSTANCE, index_key.clone());
    let wrapped = ring.wrap_index_key(&two);
    assert_eq!(wrapped, super::wrap_index_key(&index_key, &two, &INSTANCE));
    assert_eq!(super::index_key_wrapped_by(&wrapped), Some(two.id()));
    for bad in [&[][..], &[1, 2, 3], &[2, 1, 2, 3, 4, 5]] {
        assert_eq!(super::index_key_wrapped_by(bad), None);
    }
}

#[test]
fn ids_of_master_keys_are_read_as_they_are_written() {
    let id = MasterKey::from_bytes([1; 32]).id();
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "0123456", "012345678", "0123456g", "+1234567", "………"] {
        assert_eq!(text.parse::<super::MasterKeyId>(), Err(super::NotAMasterKeyId), "{text}");
    }
}

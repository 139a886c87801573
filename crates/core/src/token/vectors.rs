//! Keeps `docs/token-vectors.json` in step with the code.
//!
//! The file is made from the fixed inputs below, so that it is the same on every machine. One test compares
//! it, the other opens every token in it. After an intended change of the format, write it anew with
//!
//! ```text
//! TILL_UPDATE_VECTORS=1 cargo test -p till-core the_file_is_in_step
//! ```
//! and let `tests/token_vectors.py`, which shares no code with this crate, agree to it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::craft::{payload_of, text, token_of};
use super::payload::{Fingerprint, Payload, TokenKeys};
use super::{CredentialLabel, IndexKey, KeyRing, MasterKey, admin_token_hash, contents, mint_admin_token};
use super::{token_fingerprint, unwrap_index_key, wrap_index_key};
use crate::base62;
use crate::secret::Secret;
use crate::upstream::{NamedUpstream, Placement, SealedUpstream, Upstream};

mod invalid;

use invalid::invalid;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/token-vectors.json");

/// The whole file. Byte strings are in hexadecimal.
#[derive(Serialize, Deserialize)]
struct Vectors {
    about: Vec<String>,
    base62: Vec<Base62>,
    base62_invalid: Vec<String>,
    master_key: MasterKeyForms,
    instance: Instance,
    index_key: WrappedIndexKey,
    admin_token: AdminToken,
    credential: Credential,
    valid: Vec<Valid>,
    invalid: Vec<Invalid>,
    changes: Vec<Changes>,
}

#[derive(Serialize, Deserialize)]
struct Base62 {
    bytes: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct MasterKeyForms {
    bytes: String,
    text: String,
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Instance {
    id: String,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct WrappedIndexKey {
    bytes: String,
    wrapped: String,
    /// Wrapped by another master key; wrapped for another instance; a bit flipped.
    refused: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct AdminToken {
    random: String,
    token: String,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct Credential {
    name: String,
    upstream: UpstreamFields,
    sealed: String,
    refused: Vec<RefusedCredential>,
}

/// It does not open under this name and for this provider.
#[derive(Serialize, Deserialize)]
struct RefusedCredential {
    why: String,
    name: String,
    provider: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct Valid {
    name: String,
    upstream: UpstreamFields,
    random_id: String,
    header: String,
    seal_key: String,
    tag_root: String,
    contents: String,
    commitment: String,
    sealed: String,
    tag: String,
    token: String,
    token_fingerprint: String,
    key_id: String,
}

#[derive(Serialize, Deserialize)]
struct UpstreamFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Name of a stored key, in the place of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    provider: String,
    origin: String,
    placement: PlacementFields,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlacementFields {
    Header { name: String, template: String },
    Query { name: String },
    Basic,
}

#[derive(Serialize, Deserialize)]
struct Invalid {
    name: String,
    error: String,
    token: String,
}

/// One change at every position of a valid token. `errors` are runs: what is answered, and for how many
/// positions in a row.
#[derive(Serialize, Deserialize)]
struct Changes {
    change: Change,
    of: String,
    errors: Vec<(String, usize)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// Bit n of the payload, counted from the highest bit of the first byte; the checksum is right.
    FlipBit,
    /// Only the first n bytes of the payload; the checksum is right.
    CutPayload,
    /// Character n becomes `0`, or `1` where it was `0`.
    ReplaceCharacter,
    /// Only the first n characters.
    CutText,
}

impl Change {
    const ALL: [Self; 4] = [Self::FlipBit, Self::CutPayload, Self::ReplaceCharacter, Self::CutText];

    fn positions(self, token: &Secret) -> usize {
        match self {
            Self::FlipBit => payload_of(token).len() * 8,
            Self::CutPayload => payload_of(token).len(),
            Self::ReplaceCharacter | Self::CutText => token.len(),
        }
    }

    fn apply(self, token: &Secret, at: usize) -> String {
        let mut payload = payload_of(token);
        let characters = text(token);
        match self {
            Self::FlipBit => {
                payload[at / 8] ^= 0x80 >> (at % 8);
                text(&token_of(&payload)).to_owned()
            }
            Self::CutPayload => text(&token_of(&payload[..at])).to_owned(),
            Self::ReplaceCharacter => {
                let new = if &characters[at..=at] == "0" { '1' } else { '0' };
                format!("{}{new}{}", &characters[..at], &characters[at + 1..])
            }
            Self::CutText => characters[..at].to_owned(),
        }
    }
}

/// `N` bytes `start`, `start + 1`, …
fn counting<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|at| start.wrapping_add(u8::try_from(at).expect("fewer than 256")))
}

fn master() -> MasterKey {
    MasterKey::from_bytes(counting(0))
}

fn other_master() -> MasterKey {
    MasterKey::from_bytes(counting(1))
}

const INSTANCE: [u8; 16] = *b"till test vector";
const OTHER_INSTANCE: [u8; 16] = *b"till other vecto";

fn index_key() -> IndexKey {
    IndexKey::from_bytes(counting(0x80))
}

fn ring() -> KeyRing {
    KeyRing::new(master(), INSTANCE, index_key())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

fn upstreams() -> Vec<(&'static str, Upstream)> {
    let header =
        |name: &str, template: &str| Placement::Header { name: name.into(), template: template.into() };
    let upstream = |key: &str, provider: &str, origin: &str, placement| Upstream {
        key: Secret::new(key),
        provider: provider.into(),
        origin: origin.into(),
        placement,
    };
    let bearer = header("authorization", "Bearer {key}");
    let long: String = (0..164_u8).map(|at| char::from(b'a' + at % 26)).collect();
    vec![
        ("bearer", upstream("sk-up-01", "openai", "https://api.openai.com", bearer.clone())),
        ("bearer, 164 characters", upstream(&long, "openai", "https://api.openai.com", bearer.clone())),
        (
            "header",
            upstream(
                "sk-ant-up-0002",
                "anthropic",
                "https://api.anthropic.com",
                header("x-api-key", "{key}"),
            ),
        ),
        (
            "query",
            upstream(
                "AIza-up-0003",
                "google",
                "https://g.example/base",
                Placement::Query { name: "key".into() },
            ),
        ),
        ("basic", upstream("user:pass-04", "own-maps", "http://127.0.0.1:9000", Placement::Basic)),
    ]
}

fn valid() -> Vec<Valid> {
    let mut random_id = 0x40;
    let mut make = |name, upstream| {
        random_id += 1;
        valid_token(name, upstream, counting(random_id))
    };
    let mut valid: Vec<Valid> =
        upstreams().into_iter().map(|(name, upstream)| make(name, SealedUpstream::Key(upstream))).collect();
    for (name, from, credential) in [("named", 0, "openai-prod"), ("named, query", 3, "g")] {
        let (_, upstream) = &upstreams()[from];
        valid.push(make(name, SealedUpstream::Named(upstream.named(credential))));
    }
    valid
}

fn valid_token(name: &str, upstream: SealedUpstream, random_id: [u8; 16]) -> Valid {
    let (minted, contents) = match &upstream {
        SealedUpstream::Key(upstream) => (ring().mint(upstream, random_id), contents::encode(upstream)),
        SealedUpstream::Named(upstream) => {
            (ring().mint_named(upstream, random_id), contents::encode_named(upstream))
        }
    };
    let Ok(minted) = minted else { panic!("{name} can be minted") };
    let bytes = payload_of(&minted.scoped_key);
    let Ok(payload) = Payload::parse(&bytes) else { panic!("{name} has a structure") };
    let keys = TokenKeys::derive(&master(), &payload.header);
    Valid {
        name: name.into(),
        upstream: fields(&upstream),
        random_id: hex(&random_id),
        header: hex(&payload.header.0),
        seal_key: hex(&*keys.seal),
        tag_root: hex(&*keys.tag_root),
        contents: hex(&contents.expect("short enough")),
        commitment: hex(payload.commitment),
        sealed: hex(payload.sealed),
        tag: hex(payload.tag),
        token: text(&minted.scoped_key).into(),
        token_fingerprint: hex(&token_fingerprint(text(&minted.scoped_key))),
        key_id: minted.id.to_string(),
    }
}

fn fields(upstream: &SealedUpstream) -> UpstreamFields {
    let (key, credential, provider, origin, placement) = match upstream {
        SealedUpstream::Key(Upstream { key, provider, origin, placement }) => {
            (Some(text(key).to_owned()), None, provider, origin, placement)
        }
        SealedUpstream::Named(NamedUpstream { credential, provider, origin, placement }) => {
            (None, Some(credential.clone()), provider, origin, placement)
        }
    };
    UpstreamFields {
        key,
        credential,
        provider: provider.clone(),
        origin: origin.clone(),
        placement: match placement.clone() {
            Placement::Header { name, template } => PlacementFields::Header { name, template },
            Placement::Query { name } => PlacementFields::Query { name },
            Placement::Basic => PlacementFields::Basic,
        },
    }
}

fn credential() -> Credential {
    let name = "openai-prod";
    let (_, upstream) = upstreams().swap_remove(0);
    let provider = upstream.provider.as_str();
    let seal =
        |ring: KeyRing| ring.seal_credential(name, &upstream).unwrap_or_else(|error| panic!("{error}"));
    let sealed = seal(ring());
    let (mut flipped, mut older) = (sealed.clone(), sealed.clone());
    *flipped.last_mut().expect("it is not empty") ^= 1;
    *older.first_mut().expect("it is not empty") = 1;
    let refused = [
        ("another name", "openai-test", provider, sealed.clone()),
        ("another provider", name, "anthropic", sealed.clone()),
        ("another division of name and provider", "openai-pro", "dopenai", sealed.clone()),
        ("another instance", name, provider, seal(KeyRing::new(master(), OTHER_INSTANCE, index_key()))),
        ("another master key", name, provider, seal(KeyRing::new(other_master(), INSTANCE, index_key()))),
        ("a bit flipped", name, provider, flipped),
        ("another version", name, provider, older),
    ];
    let refused = refused.map(|(why, name, provider, sealed)| RefusedCredential {
        why: why.into(),
        name: name.into(),
        provider: provider.into(),
        sealed: hex(&sealed),
    });
    Credential {
        name: name.into(),
        upstream: fields(&SealedUpstream::Key(upstream.clone())),
        sealed: hex(&sealed),
        refused: refused.into(),
    }
}

fn changes() -> Vec<Changes> {
    let valid = &valid()[0];
    let token = Secret::new(valid.token.as_str());
    Change::ALL.map(|change| Changes { change, of: valid.name.clone(), errors: runs(change, &token) }).into()
}

fn runs(change: Change, token: &Secret) -> Vec<(String, usize)> {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for at in 0..change.positions(token) {
        let reason = answer(&change.apply(token, at));
        match runs.last_mut() {
            Some((last, count)) if *last == reason => *count += 1,
            _ => runs.push((reason, 1)),
        }
    }
    runs
}

/// The reason of the refusal, or `opened`.
fn answer(token: &str) -> String {
    ring().open(token).map_or_else(|error| error.reason(), |_| "opened").to_owned()
}

fn vectors() -> Vectors {
    let about = [
        "Test vectors of till's scoped-key format, version 1. docs/token-format.md specifies it and explains this file.",
        "Byte strings are in hexadecimal. All tokens are for the master key, instance and index key given here.",
        "Made by `TILL_UPDATE_VECTORS=1 cargo test -p till-core the_file_is_in_step`; checked by tests/token_vectors.py.",
    ];
    let strings: [&[u8]; 6] =
        [b"", b"\0", b"\xff", b"till", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"nine byte"];
    let base62 = strings.map(|bytes| Base62 { bytes: hex(bytes), text: base62::encode(bytes) });
    let random = counting(0x20);
    let admin_token = mint_admin_token(random);
    let mut flipped = wrap_index_key(&index_key(), &master(), &INSTANCE);
    flipped[52] ^= 1;
    Vectors {
        about: about.map(Into::into).into(),
        base62: base62.into(),
        base62_invalid: ["0", "0000", "00000000", "-0", "zz", "zzzzzzzzzzz", "0_"].map(Into::into).into(),
        master_key: MasterKeyForms {
            bytes: hex(&counting::<32>(0)),
            text: text(&master().to_text()).into(),
            id: master().id().to_string(),
        },
        instance: Instance { id: hex(&INSTANCE), fingerprint: hex(&Fingerprint::of(&INSTANCE).0) },
        index_key: WrappedIndexKey {
            bytes: hex(index_key().reveal()),
            wrapped: hex(&wrap_index_key(&index_key(), &master(), &INSTANCE)),
            refused: vec![
                hex(&wrap_index_key(&index_key(), &other_master(), &INSTANCE)),
                hex(&wrap_index_key(&index_key(), &master(), &OTHER_INSTANCE)),
                hex(&flipped),
            ],
        },
        admin_token: AdminToken {
            random: hex(&random),
            token: text(&admin_token).into(),
            hash: hex(&admin_token_hash(text(&admin_token))),
        },
        credential: credential(),
        valid: valid(),
        invalid: invalid(),
        changes: changes(),
    }
}

fn read() -> String {
    std::fs::read_to_string(FILE).unwrap_or_else(|error| panic!("{FILE}: {error}"))
}

#[test]
fn the_file_is_in_step() {
    let made = serde_json::to_string_pretty(&vectors()).expect("the fields are strings") + "\n";
    if std::env::var_os("TILL_UPDATE_VECTORS").is_some() {
        std::fs::write(FILE, &made).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    }
    assert!(
        read() == made,
        "docs/token-vectors.json differs from what this code makes. If the format was meant to change, run\n\
         TILL_UPDATE_VECTORS=1 cargo test -p till-core the_file_is_in_step"
    );
}

#[test]
fn the_file_is_answered_as_it_says() {
    let file: Vectors = serde_json::from_str(&read()).expect("the file has the fields of Vectors");
    assert!(file.valid.len() >= 5 && file.invalid.len() >= 40 && file.changes.len() == 4);
    for valid in &file.valid {
        let Ok(opened) = ring().open(&valid.token) else { panic!("{} opens", valid.name) };
        assert_eq!(opened.id.to_string(), valid.key_id, "{}", valid.name);
        let (opened, expected) = (fields(&opened.upstream), &valid.upstream);
        assert_eq!(serde_json::json!(opened), serde_json::json!(expected), "{}", valid.name);
    }
    for invalid in &file.invalid {
        assert_eq!(answer(&invalid.token), invalid.error, "{}", invalid.name);
    }
    for changes in &file.changes {
        let of =
            file.valid.iter().find(|valid| valid.name == changes.of).expect("a change is of a valid token");
        assert_eq!(runs(changes.change, &Secret::new(of.token.as_str())), changes.errors);
        assert!(changes.errors.iter().all(|(reason, _)| reason != "opened"));
    }
    for refused in &file.index_key.refused {
        assert!(unwrap_index_key(&unhex(refused), &master(), &INSTANCE).is_err(), "{refused}");
    }
    let Credential { name, upstream, sealed, refused } = &file.credential;
    let unseal = |name: &str, provider: &str, sealed: &str| {
        ring().unseal_credential(CredentialLabel { name, provider }, &unhex(sealed))
    };
    let found = unseal(name, &upstream.provider, sealed).unwrap_or_else(|error| panic!("{error}"));
    let found = serde_json::to_value(fields(&SealedUpstream::Key(found))).expect("texts");
    assert_eq!(found, serde_json::to_value(upstream).expect("texts"));
    for RefusedCredential { why, name, provider, sealed } in refused {
        assert!(unseal(name, provider, sealed).is_err(), "{why}");
    }
    for text in &file.base62_invalid {
        assert_eq!(base62::decode(text), None, "{text}");
    }
}

#[test]
fn the_worked_example_is_the_first_vector() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/token-format.md");
    let page = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{page}: {error}"));
    // The page breaks long lines.
    let page: String = page.split_whitespace().collect();
    let first = &valid()[0];
    for part in [
        &first.header,
        &first.seal_key,
        &first.tag_root,
        &first.contents,
        &first.commitment,
        &first.sealed,
        &first.tag,
        &first.token,
        &first.key_id,
    ] {
        assert!(page.contains(part.as_str()), "{part}");
    }
}

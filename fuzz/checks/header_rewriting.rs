//! Heads: what a provider gets is one request, with the real key in one place, and with everything else as it was sent;
//! what a client gets has neither the key nor anything of the other hop.
//!
//! Input: a byte that picks provider and placement; a byte that seeds the cuts; a request head. In it 1 stands for the scoped
//! key, 2 for `Basic` credentials with it as the user and 3 with it as the password, 4 for the real key. With the highest bit of
//! the second byte the rest is read as the fields of an answer instead.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use till_core::fields::Fields;
use till_core::upstream::Placement;
use till_proxy::fuzzing::{Account, Passed};

const KEY: &str = "sk-proj-4f9Qz_7Lm-XbT0aWcR2e";

/// Provider, placement, host of the provider.
fn accounts() -> &'static [(Account, Placement, &'static str)] {
    static ACCOUNTS: OnceLock<Vec<(Account, Placement, &'static str)>> = OnceLock::new();
    ACCOUNTS.get_or_init(|| {
        let header =
            |name: &str, template: &str| Placement::Header { name: name.into(), template: template.into() };
        [
            ("openai", header("authorization", "Bearer {key}"), "api.openai.com"),
            ("anthropic", header("x-api-key", "{key}"), "api.anthropic.com"),
            ("google", header("x-goog-api-key", "{key}"), "generativelanguage.googleapis.com"),
            ("google", Placement::Query { name: "key".into() }, "generativelanguage.googleapis.com"),
            ("openai", Placement::Basic, "api.openai.com"),
        ]
        .map(|(provider, placement, host)| (Account::new(provider, KEY, placement.clone()), placement, host))
        .into()
    })
}

/// Checks one input.
pub fn check(input: &[u8]) {
    let [pick, seed, text @ ..] = input else { return };
    let (account, placement, host) = &accounts()[usize::from(*pick) % accounts().len()];
    let text = written(text, account.token());
    if *seed >= 128 {
        return check_answer(account, &text);
    }
    let body = usize::from(seed % 3) * 10;
    let passed = account.forward(&text, &[], body);
    let mut cuts: Vec<usize> =
        (0..4).map(|cut| usize::from(*seed) * (cut + 1) * 7 % (text.len() + 1)).collect();
    cuts.sort_unstable();
    let found = account.forward(&text, &cuts, body);
    // What is wrong may be seen sooner or later, but what is read is the same.
    let is_same = found == passed
        || !matches!((&found, &passed), (Passed::Forwarded(_), _) | (_, Passed::Forwarded(_)));
    assert!(is_same, "looked at after {cuts:?} bytes");
    if let Passed::Forwarded(head) = passed {
        check_forwarded(&text, &head, placement, host, account.token(), body);
    }
}

fn written(text: &[u8], token: &str) -> Vec<u8> {
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text)).into_bytes();
    let part = |byte: &u8| match byte {
        1 => token.as_bytes().to_vec(),
        2 => basic(format!("{token}:")),
        3 => basic(format!("x-access-token:{token}")),
        4 => KEY.as_bytes().to_vec(),
        byte => vec![*byte],
    };
    text.iter().flat_map(part).collect()
}

/// Lines up to the empty one, each as name in lower case and value without white space around it.
fn lines(head: &[u8]) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut rest = head;
    let mut all = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the head is complete");
        let (line, later) = (&rest[..end], &rest[end + 2..]);
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "a line ends inside of a line");
        rest = later;
        match (line, all.is_empty()) {
            // A client may begin with empty lines.
            (b"", true) => {}
            (b"", false) => break,
            _ => all.push(line),
        }
    }
    let first = all[0].to_vec();
    let field = |line: &&[u8]| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let value = line[colon + 1..].to_vec();
        let start = value.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(start, |last| last + 1);
        (String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), value[start..end].to_vec())
    };
    (first, all[1..].iter().map(field).collect())
}

/// Never forwarded as they came: of one hop, till's own, or written anew.
const NOT_FORWARDED: [&str; 15] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "range",
    "if-range",
    "host",
    "accept-encoding",
    "content-length",
];

/// What stays although `Connection` names it.
const STAYS: [&str; 2] = ["forwarded", "x-forwarded-for"];

/// Whether a field is the scoped key and nothing else.
fn is_credential(name: &str, value: &[u8], token: &str) -> bool {
    let text = String::from_utf8_lossy(value).into_owned();
    match name {
        "x-api-key" | "x-goog-api-key" | "api-key" => {
            ["till_sk_", "till_admin_", "till_master_"].iter().any(|prefix| text.starts_with(prefix))
        }
        "authorization" => {
            let (scheme, rest) = text.split_once([' ', '\t']).unwrap_or(("", &text));
            let rest = rest.trim();
            let decoded = STANDARD.decode(rest).unwrap_or_default();
            let is_basic = scheme.eq_ignore_ascii_case("basic");
            rest == token || is_basic && String::from_utf8_lossy(&decoded).contains(token)
        }
        _ => false,
    }
}

fn check_forwarded(client: &[u8], head: &[u8], placement: &Placement, host: &str, token: &str, body: usize) {
    let shown = || format!("{}\nbecame\n{}", client.escape_ascii(), head.escape_ascii());
    assert!(
        head.ends_with(b"\r\n\r\n") && head.windows(4).filter(|four| four == b"\r\n\r\n").count() == 1,
        "{}",
        shown()
    );
    let (line, fields) = lines(head);
    let (client_line, client_fields) = lines(client);
    let values = |name: &str| {
        fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    // The line.
    let line = String::from_utf8(line).expect("ASCII");
    let client_line = String::from_utf8(client_line).expect("ASCII");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{}", shown()) };
    assert_eq!(version, "HTTP/1.1");
    assert_eq!(Some(method), client_line.split(' ').next());
    assert!(
        target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
        "{}",
        shown()
    );
    let query = target.split_once('?').map_or("", |(_, query)| query);
    assert!(query.split('&').all(|part| !part.starts_with("key=till_")), "{}", shown());
    // What says where the request goes and where it ends.
    assert_eq!(values("host"), [host.as_bytes()], "{}", shown());
    assert!(values("transfer-encoding").is_empty() && values("content-length").len() <= 1, "{}", shown());
    if let [length] = values("content-length")[..] {
        assert_eq!(length, body.to_string().as_bytes(), "{}", shown());
    } else {
        assert_eq!(body, 0, "{}", shown());
    }
    assert_eq!(values("accept-encoding"), [b"identity"], "{}", shown());
    for value in values("connection") {
        assert!(value == b"Upgrade" || value == b"te", "{}", shown());
    }
    for (name, value) in &fields {
        assert!(!name.starts_with("x-till-"), "{}", shown());
        assert!(!is_credential(name, value, token), "the scoped key goes to the provider: {}", shown());
    }
    // The real key stands once, in its place.
    let mut placed = None;
    match placement {
        Placement::Header { name, template } => placed = Some((name.clone(), template.replace("{key}", KEY))),
        Placement::Basic => {
            placed =
                Some(("authorization".to_owned(), format!("Basic {}", STANDARD.encode(format!("{KEY}:")))));
        }
        Placement::Query { .. } => {
            let query = target.split_once('?').expect("it has a query").1;
            let keys: Vec<_> = query.split('&').filter(|part| part.starts_with("key=")).collect();
            assert_eq!(keys, [format!("key={KEY}")], "{}", shown());
        }
    }
    if let Some((name, value)) = &placed {
        assert_eq!(values(name), [value.as_bytes()], "{}", shown());
    }
    // Everything else is as it came, in the same order.
    let listed = |name: &str| {
        let mut connection = client_fields.iter().filter(|(other, _)| other == "connection");
        connection.any(|(_, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            value.split(',').any(|item| item.trim_matches([' ', '\t']) == name)
        })
    };
    let is_kept = |(name, value): &&(String, Vec<u8>)| {
        !NOT_FORWARDED.contains(&&**name)
            && !name.starts_with("x-till-")
            && !name.starts_with("sec-websocket-")
            && (STAYS.contains(&&**name) || !listed(name))
            && !is_credential(name, value, token)
            && placed.as_ref().is_none_or(|(placed, _)| placed != name)
    };
    let expected: Vec<_> = client_fields.iter().filter(is_kept).collect();
    let found: Vec<_> = fields.iter().filter(is_kept).collect();
    assert_eq!(found, expected, "{}", shown());
}

fn check_answer(account: &Account, text: &[u8]) {
    let Ok(Some((mut fields, _))) = Fields::parse(text, 100) else { return };
    let before: Vec<(Vec<u8>, Vec<u8>)> =
        fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    account.clean(&mut fields);
    let contains = |text: &[u8], part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    let mut rest = before.iter();
    for (name, value) in fields.iter() {
        let name_text = String::from_utf8_lossy(name);
        assert!(
            !name_text.starts_with("x-till-")
                && name_text != "connection"
                && name_text != "transfer-encoding"
        );
        assert!(
            !contains(value, KEY) && !contains(name, &KEY.to_ascii_lowercase()),
            "the key is in an answer"
        );
        // In order, of the same length, and as it was unless it was masked.
        let mut came = rest.by_ref().filter(|(other, came)| other == name && came.len() == value.len());
        let came = came.find(|(_, came)| came == value || value.contains(&b'*'));
        assert!(came.is_some(), "{name_text} is not as it came");
    }
}

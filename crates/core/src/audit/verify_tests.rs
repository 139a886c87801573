//! Every change of a whole log, in both forms of a file.

use std::sync::OnceLock;

use super::{
    ACTION_KEY, ACTION_TRIM, Actor, ActorKind, AuditEntry, AuditPublicKey, CSV_HEADING, ChainHead,
    Checkpoint, FileError, FileFormat, FileParser, Flaw, LogFault, LogRecord, Proof, Verifier,
};
use proptest::prelude::*;
use proptest::{collection, option};

use crate::hex::to_hex;
use crate::time::Timestamp;
use crate::token::{AuditKeys, IndexKey};

const INSTANCE: [u8; 16] = [5; 16];
const ENTRIES: u64 = 205;

/// Behind each such entry stands a checkpoint.
const EVERY: u64 = 50;

fn keys() -> AuditKeys {
    AuditKeys::derive(&IndexKey::from_bytes([9; 32]))
}

fn log_entry(head: &mut ChainHead, n: u64) -> AuditEntry {
    let public = keys().public_key();
    let odd = ["", "x", "a,b", "say \"no\"", "two\r\nlines", "ä…😀", "\"", ",\",", "\\u0041", "=1+1"];
    let odd = |n: u64| odd[usize::try_from(n % 10).expect("below 10")];
    let actor = Actor {
        kind: ActorKind::ALL[usize::try_from(n % 3).expect("below 3")],
        id: format!("actor {}", odd(n)),
        address: (!n.is_multiple_of(2)).then(|| odd(n / 2).to_owned()),
        request_id: n.is_multiple_of(3).then(|| odd(n / 3).to_owned()),
    };
    let (action, target, detail) = match n {
        1 => (ACTION_KEY, public.id().to_string(), format!("{{\"publicKey\":\"{public}\"}}")),
        n => ("key.create", format!("key {}", odd(n / 4)), format!("{{\"n\":{n},\"x\":\"{}\"}}", n * 7)),
    };
    head.append(Timestamp(1_700_000_000_000 + n * 997), &actor, action, &target, detail)
}

fn sealed(head: ChainHead) -> LogRecord {
    LogRecord::Checkpoint(keys().checkpoint(INSTANCE, head, Timestamp(1_800_000_000_000 + head.seq)))
}

/// What is exported of a log of so many entries.
fn log(entries: u64) -> Vec<LogRecord> {
    let mut head = ChainHead::EMPTY;
    let mut records = vec![LogRecord::Log { instance_id: INSTANCE }, LogRecord::Key(keys().public_key())];
    for n in 1..=entries {
        records.push(LogRecord::Entry(log_entry(&mut head, n)));
        if n.is_multiple_of(EVERY) || n == entries {
            records.push(sealed(head));
        }
    }
    records
}

/// By the way of a file, in pieces.
fn verify_file(text: &[u8], verifier: Verifier) -> Result<Proof, LogFault> {
    let (mut verifier, mut parser) = (verifier, FileParser::default());
    let mut read = || {
        for piece in text.chunks(701) {
            parser.push(piece, |record| verifier.take(&record))?;
        }
        parser.finish()
    };
    if let Err(error) = read() {
        verifier.unreadable(error.to_string());
    }
    verifier.finish()
}

fn text(format: FileFormat, records: &[LogRecord]) -> String {
    records.iter().fold(format.heading().to_owned(), |text, record| text + &format.write(record))
}

fn trusting() -> Verifier {
    Verifier::new(vec![keys().public_key()])
}

/// How far reading the sound log has come, after each record of it: the same work is done once for all changes behind it.
struct Prefix {
    records: Vec<LogRecord>,
    /// What each is in a file.
    lines: Vec<String>,
    /// After so many records: parser and verifiers: with the key, without, and with the head that is to be there.
    states: Vec<(FileParser, [Verifier; 3])>,
}

fn prefix(format: FileFormat) -> &'static Prefix {
    static PREFIXES: [OnceLock<Prefix>; 2] = [OnceLock::new(), OnceLock::new()];
    PREFIXES[format as usize].get_or_init(|| {
        let records = log(ENTRIES);
        let mut state = (
            FileParser::default(),
            [trusting(), Verifier::new(Vec::new()), trusting().expect_head(Some(head_of(&records)))],
        );
        let mut states = Vec::new();
        state.0.push(format.heading().as_bytes(), |_| panic!("a heading is no record")).expect("sound");
        let lines: Vec<String> = records.iter().map(|record| format.write(record)).collect();
        for line in &lines {
            states.push(state.clone());
            push(&mut state, line).expect("sound");
        }
        states.push(state);
        Prefix { records, lines, states }
    })
}

fn push((parser, verifiers): &mut (FileParser, [Verifier; 3]), text: &str) -> Result<(), FileError> {
    parser.push(text.as_bytes(), |record| verifiers.iter_mut().for_each(|verifier| verifier.take(&record)))
}

/// The same in both forms, with the key and without.
#[track_caller]
fn check(records: &[LogRecord], expected: Result<(), (u64, &str)>) {
    for format in FileFormat::ALL {
        let sound = prefix(format);
        let same = records.iter().zip(&sound.records).take_while(|(one, other)| one == other).count();
        let mut state = sound.states[same].clone();
        for (at, record) in records.iter().enumerate().skip(same) {
            if state.1.iter().take(2).all(Verifier::is_decided) {
                break;
            }
            // Most are one place further or before.
            let known = [at.checked_sub(1), Some(at), Some(at + 1)].into_iter().flatten();
            let known = known.filter_map(|at| Some((sound.records.get(at)?, &sound.lines[at])));
            let line = known.filter(|(other, _)| *other == record).map(|(_, line)| line).next();
            push(&mut state, &line.cloned().unwrap_or_else(|| format.write(record))).expect("it can be read");
        }
        for verifier in state.1.into_iter().take(2) {
            let found = verifier.finish();
            match (&found, expected) {
                (Ok(_), Ok(())) => {}
                (Err(fault), Err((seq, word))) if fault.seq == seq && fault.to_string().contains(word) => {}
                _ => panic!("{format:?}: {found:?} instead of {expected:?}"),
            }
        }
    }
}

fn head_of(records: &[LogRecord]) -> ChainHead {
    let last = records.iter().rev().find_map(|record| match record {
        LogRecord::Entry(entry) => Some(ChainHead { seq: entry.seq, hash: entry.hash }),
        _ => None,
    });
    last.expect("there are entries")
}

fn place_of(records: &[LogRecord], seq: u64) -> usize {
    let is_it = |record: &LogRecord| matches!(record, LogRecord::Entry(entry) if entry.seq == seq);
    records.iter().position(is_it).expect("it is there")
}

fn entry_at(records: &mut [LogRecord], at: usize) -> &mut AuditEntry {
    match &mut records[at] {
        LogRecord::Entry(entry) => entry,
        other => panic!("{other:?} is no entry"),
    }
}

#[test]
fn a_sound_log_is_sound_in_both_forms() {
    for entries in [1, 2, 50, 51, ENTRIES] {
        check(&log(entries), Ok(()));
    }
    let records = log(ENTRIES);
    for format in FileFormat::ALL {
        let text = text(format, &records);
        let (mut back, mut parser) = (Vec::new(), FileParser::default());
        for byte in text.as_bytes() {
            parser.push(&[*byte], |record| back.push(record)).expect("sound");
        }
        parser.finish().expect("complete");
        assert_eq!(back, records, "every byte of every field");
        let proof = verify_file(text.as_bytes(), trusting()).expect("sound");
        assert_eq!(
            (proof.entries, proof.head.seq, proof.checkpoints),
            (ENTRIES, ENTRIES, 5),
            "four and the end"
        );
        assert_eq!(
            (proof.anchor, proof.keys, proof.instance_id),
            (None, vec![keys().public_key()], INSTANCE)
        );
    }
}

type Change = fn(&mut AuditEntry);

/// What each does, for whoever reads a failure.
const CHANGES: [(&str, Change); 14] = [
    ("seq up", |e| e.seq += 1),
    ("seq down", |e| e.seq -= 1),
    ("seq far", |e| e.seq += 1_000),
    ("at", |e| e.at.0 += 1),
    ("kind", |e| {
        e.actor.kind = if e.actor.kind == ActorKind::Admin { ActorKind::System } else { ActorKind::Admin }
    }),
    ("id", |e| e.actor.id.push('x')),
    ("address", |e| e.actor.address = e.actor.address.take().xor(Some(String::new()))),
    ("request id", |e| e.actor.request_id = e.actor.request_id.take().xor(Some(String::new()))),
    ("action", |e| e.action.push('s')),
    ("target", |e| e.target.push(' ')),
    ("detail", |e| e.detail.push(' ')),
    ("a byte over a border", |e| {
        let letter = e.target.pop().expect("not empty");
        e.detail.insert(0, letter);
    }),
    ("previous hash", |e| e.prev_hash[31] ^= 1),
    ("hash", |e| e.hash[0] ^= 1),
];

#[test]
fn every_change_of_every_field_of_every_entry_is_found() {
    let records = log(ENTRIES);
    for seq in 1..=ENTRIES {
        let at = place_of(&records, seq);
        for (_, change) in CHANGES {
            let mut changed = records.clone();
            change(entry_at(&mut changed, at));
            check(&changed, Err((seq, "it was changed after it was written")));
        }
        // Hashed anew as well, by whoever has no signing key.
        let mut forged = records.clone();
        let entry = entry_at(&mut forged, at);
        entry.detail.push(' ');
        entry.hash = entry.computed_hash();
        let flaw =
            if seq == ENTRIES || seq.is_multiple_of(EVERY) { "signed checkpoint" } else { "hashed anew" };
        check(&forged, Err((seq, flaw)));
    }
}

#[test]
fn every_deletion_is_found() {
    let records = log(ENTRIES);
    for seq in 1..=ENTRIES {
        let mut deleted = records.clone();
        deleted.remove(place_of(&records, seq));
        check(&deleted, Err((seq, "removed")));
    }
    let mut many = records.clone();
    many.drain(place_of(&records, 7)..=place_of(&records, 60));
    check(&many, Err((7, "removed, with all up to entry 60")));
}

#[test]
fn every_swap_duplicate_and_move_is_found() {
    let records = log(ENTRIES);
    for seq in 1..ENTRIES {
        let mut swapped = records.clone();
        swapped.swap(place_of(&records, seq), place_of(&records, seq + 1));
        check(&swapped, Err((seq, "moved: it stands behind")));
    }
    for seq in 1..=ENTRIES {
        let at = place_of(&records, seq);
        let mut doubled = records.clone();
        doubled.insert(at, records[at].clone());
        check(&doubled, Err((seq, "added")));
        // Far in front or far behind.
        let to = if seq.is_multiple_of(2) { place_of(&records, 1) } else { records.len() - 1 };
        if seq % 8 < 2 && to.abs_diff(at) > 2 {
            let mut doubled = records.clone();
            doubled.insert(to, records[at].clone());
            check(&doubled, Err((seq, "added")));
            let mut moved = records.clone();
            let record = moved.remove(at);
            moved.insert(to.min(moved.len() - 1), record);
            check(&moved, Err((seq, "moved")));
        }
    }
}

#[test]
fn every_added_entry_is_found() {
    let records = log(ENTRIES);
    for seq in 1..=ENTRIES {
        let at = place_of(&records, seq);
        let mut added = records.clone();
        let entry = entry_at(&mut added, at).clone();
        let mut head = ChainHead { seq: seq - 1, hash: entry.prev_hash };
        let forged = head.append(entry.at, &Actor::system(), "key.create", "key_1", "{}".into());
        added.insert(at, LogRecord::Entry(forged));
        check(&added, Err((seq, "added")));
    }
    // Behind the end, linked as it should be.
    let mut longer = records.clone();
    let Some(LogRecord::Checkpoint(last)) = records.last() else { panic!("the last is a checkpoint") };
    let forged = last.head().append(Timestamp(9), &Actor::system(), "key.create", "key_1", "{}".into());
    longer.push(LogRecord::Entry(forged));
    check(&longer, Err((ENTRIES + 1, "cut off")));
}

#[test]
fn what_a_truncation_shows() {
    let records = log(ENTRIES);
    let whole = head_of(&records);
    for length in 0..records.len() {
        let cut = &records[..length];
        let entries = cut.iter().filter(|record| matches!(record, LogRecord::Entry(_))).count() as u64;
        let behind_checkpoint = matches!(cut.last(), Some(LogRecord::Checkpoint(_)));
        let expected =
            if length == 0 { Err((0, "no exported log")) } else { Err((entries, "cut off behind it")) };
        // The one thing that can't be found without knowing the end.
        check(cut, if behind_checkpoint { Ok(()) } else { expected });
        for format in FileFormat::ALL {
            let [_, _, knowing] = prefix(format).states[length].1.clone();
            assert_eq!(knowing.finish().expect_err("cut off").seq, entries);
        }
    }
    // In the middle of the last lines.
    for format in FileFormat::ALL {
        let text = text(format, &records);
        for cut in (text.len() - 900..text.len()).step_by(7) {
            assert!(verify_file(&text.as_bytes()[..cut], trusting()).is_err(), "{format:?} {cut}");
        }
    }
    for (expected, word) in [
        (ChainHead { seq: 7, hash: [0; 32] }, "another"),
        (ChainHead { seq: ENTRIES + 1, ..whole }, "expected"),
    ] {
        let fault =
            verify_file(text(FileFormat::Jsonl, &records).as_bytes(), trusting().expect_head(Some(expected)));
        assert!(fault.expect_err("not there").to_string().contains(word));
    }
}

#[test]
fn every_change_of_a_checkpoint_is_found() {
    type Change = fn(&mut Checkpoint);
    let changes: [Change; 6] = [
        |c| c.instance_id[0] ^= 1,
        |c| c.seq += 1,
        |c| c.hash[0] ^= 1,
        |c| c.at.0 += 1,
        |c| c.key_id.0[0] ^= 1,
        |c| c.signature[9] ^= 1,
    ];
    let records = log(ENTRIES);
    for at in 0..records.len() {
        let LogRecord::Checkpoint(checkpoint) = &records[at] else { continue };
        for (number, change) in changes.iter().enumerate() {
            let (mut records, mut changed) = (records.clone(), *checkpoint);
            change(&mut changed);
            records[at] = LogRecord::Checkpoint(changed);
            for verifier in [trusting(), Verifier::new(Vec::new())] {
                let text = text(FileFormat::Csv, &records);
                let fault = verify_file(text.as_bytes(), verifier).expect_err("changed");
                assert_eq!(fault.seq, changed.seq, "change {number}: {fault}");
            }
        }
        let mut moved = records.clone();
        let record = moved.remove(at);
        moved.insert(at - 1, record);
        check(&moved, Err((checkpoint.seq, "removed")));
    }
}

#[test]
fn a_log_that_was_made_anew_is_not_signed_by_the_right_key() {
    let other = AuditKeys::derive(&IndexKey::from_bytes([1; 32]));
    let mut head = ChainHead::EMPTY;
    let public: AuditPublicKey = other.public_key();
    let detail = format!("{{\"publicKey\":\"{public}\"}}");
    let entry = head.append(Timestamp(1), &Actor::system(), ACTION_KEY, "", detail);
    let checkpoint = other.checkpoint(INSTANCE, head, Timestamp(2));
    let records = [
        LogRecord::Log { instance_id: INSTANCE },
        LogRecord::Key(public),
        LogRecord::Entry(entry),
        LogRecord::Checkpoint(checkpoint),
    ];
    let text = text(FileFormat::Jsonl, &records);
    let verify = |verifier| verify_file(text.as_bytes(), verifier);
    assert!(verify(Verifier::new(Vec::new())).is_ok(), "alone it can't be told");
    assert_eq!(verify(trusting()).expect_err("forged").flaw, Flaw::Untrusted(public.id()));
}

/// As it is after everything up to entry 100 was deleted by age.
fn trimmed() -> Vec<LogRecord> {
    let mut records = log(ENTRIES);
    let at = place_of(&records, 100) + 1;
    let anchor = records[at].clone();
    let LogRecord::Checkpoint(checkpoint) = anchor else { panic!("a checkpoint") };
    let Some(LogRecord::Checkpoint(last)) = records.last().cloned() else { panic!("a checkpoint") };
    let mut head = last.head();
    let detail = format!("{{\"through\":100,\"hash\":\"{}\"}}", to_hex(&checkpoint.hash));
    let told = head.append(Timestamp(1_900_000_000_000), &Actor::system(), ACTION_TRIM, "", detail);
    records.drain(2..at);
    records.extend([LogRecord::Entry(told), sealed(head)]);
    records
}

#[test]
fn a_log_may_start_behind_a_checkpoint_if_an_entry_says_why() {
    let records = trimmed();
    check(&records, Ok(()));
    let proof = verify_file(text(FileFormat::Csv, &records).as_bytes(), trusting()).expect("sound");
    assert_eq!(proof.anchor.map(|anchor| anchor.seq), Some(100));
    for expected in [99, 100] {
        let verifier = trusting().expect_head(Some(ChainHead { seq: expected, hash: [0; 32] }));
        let text = text(FileFormat::Csv, &records);
        let fault = verify_file(text.as_bytes(), verifier).expect_err("gone");
        assert_eq!(fault.seq, expected);
    }

    // Cut off at the front by somebody else, at a checkpoint and elsewhere.
    let mut front = trimmed();
    front.drain(2..=place_of(&records, 150));
    check(&front, Err((150, "no entry says")));
    let whole = log(ENTRIES);
    let mut front = whole.clone();
    front.drain(2..=place_of(&whole, 100));
    check(&front, Err((100, "no entry says")));
    let mut without_anchor = trimmed();
    without_anchor.remove(2);
    check(&without_anchor, Err((1, "removed, with all up to entry 100")));
    let mut first = trimmed();
    first.remove(3);
    check(&first, Err((101, "removed")));
}

#[test]
fn other_spellings_and_fields_are_refused() {
    let records = log(3);
    let good = text(FileFormat::Jsonl, &records);
    let verify = |text: &str| verify_file(text.as_bytes(), trusting());
    assert!(verify(&good).is_ok());
    for (from, to) in [
        ("{\"type\":\"log\"", "{\"type\":\"log\",\"seq\":1"),
        ("\"version\":1", "\"version\":2"),
        ("{\"type\":\"entry\"", "{\"note\":\"x\",\"type\":\"entry\""),
        ("{\"type\":\"entry\"", "{\"signature\":\"\",\"type\":\"entry\""),
        ("{\"type\":\"entry\"", "{\"type\":\"entry\",\"type\":\"entry\""),
        ("{\"type\":\"entry\"", "{\"type\":\"remark\""),
        (".997Z", ".9970Z"),
        (".997Z", ".997+00:00"),
        ("\"detail\":", "\"details\":"),
        ("\n{\"type\":\"entry\"", "\n\n{\"type\":\"entry\""),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(verify(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
    let csv = text(FileFormat::Csv, &records);
    let verify = |text: &str| verify_file(text.as_bytes(), trusting());
    assert!(verify(&csv).is_ok());
    for (from, to) in [
        ("type,version", "kind,version"),
        ("\"log\",\"1\"", "\"log\",\"01\""),
        ("\"log\",\"1\"", "\"log\",\"1\"x"),
        ("\r\n\"entry\"", ",\r\n\"entry\""),
        ("\"entry\",", "\"entry\",\"1\""),
    ] {
        assert!(csv.contains(from), "{from}");
        assert!(verify(&csv.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
    // A tool that writes the file again leaves out what quotes are not needed.
    assert!(verify(&csv.replace("\"log\",\"1\"", "log,1").replace("\"entry\"", "entry")).is_ok());
}

fn any_record() -> impl Strategy<Value = LogRecord> {
    // Whatever Unicode has, and often what the forms of a file are made of.
    let text = || prop_oneof!["[\"',\r\n\\\\ =a\u{0}]{0,12}", any::<String>()];
    let entry = (
        (any::<u64>(), 0..=253_402_300_799_999_u64, 0..3_usize),
        (text(), option::of(text()), option::of(text())),
        (text(), text(), text()),
        (any::<[u8; 32]>(), any::<[u8; 32]>()),
    );
    let entry = entry.prop_map(
        |((seq, at, kind), (id, address, request_id), (action, target, detail), (prev_hash, hash))| {
            let actor = Actor { kind: ActorKind::ALL[kind], id, address, request_id };
            let at = Timestamp(at);
            LogRecord::Entry(AuditEntry { seq, at, actor, action, target, detail, prev_hash, hash })
        },
    );
    let checkpoint = (any::<u64>(), any::<[u8; 32]>(), any::<[u8; 16]>(), 0..=253_402_300_799_999_u64);
    let checkpoint = checkpoint.prop_map(|(seq, hash, instance_id, at)| {
        LogRecord::Checkpoint(keys().checkpoint(instance_id, ChainHead { seq, hash }, Timestamp(at)))
    });
    let key = any::<[u8; 32]>().prop_map(|key| LogRecord::Key(AuditPublicKey(key)));
    let log = any::<[u8; 16]>().prop_map(|instance_id| LogRecord::Log { instance_id });
    prop_oneof![6 => entry, 1 => checkpoint, 1 => key, 1 => log]
}

proptest! {
    #[test]
    fn every_record_comes_back_byte_for_byte(
        records in collection::vec(any_record(), 0..6),
        piece in 1_usize..40,
    ) {
        for format in FileFormat::ALL {
            let (mut back, mut parser) = (Vec::new(), FileParser::default());
            let text = text(format, &records);
            for piece in text.as_bytes().chunks(piece) {
                parser.push(piece, |record| back.push(record)).expect("as it was written");
            }
            parser.finish().expect("complete");
            prop_assert_eq!(&back, &records);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic(text in any::<Vec<u8>>(), csv in any::<bool>()) {
        let heading = if csv { CSV_HEADING } else { "{" };
        let (mut parser, mut verifier) = (FileParser::default(), Verifier::new(Vec::new()));
        let read = parser
            .push(&[heading.as_bytes(), &text].concat(), |record| verifier.take(&record))
            .and_then(|()| parser.finish());
        if let Err(error) = read {
            verifier.unreadable(error.to_string());
        }
        prop_assert!(verifier.finish().is_err());
    }
}

//! `till audit verify`: needs nothing but the file, unless there is none.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use till_core::audit::{AuditPublicKey, ChainHead, FileParser, Flaw, LogBreak, LogFault, Proof, Verifier};
use till_core::hex::{from_hex, to_hex};

use crate::args::Form;
use crate::args::audit::AuditVerify;
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::{Answered, Usage};
use crate::output;

/// How much is read at once.
const PIECE: usize = 64 * 1024;

pub(super) fn run(wanted: &AuditVerify, surroundings: &Surroundings) -> anyhow::Result<()> {
    let trusted = public_keys(&wanted.public_key)?;
    let expected = wanted.expect_head.as_deref().map(head).transpose()?;
    let is_trusted = !trusted.is_empty();
    let verifier = Verifier::new(trusted).expect_head(expected);
    let outcome = match wanted.file.as_deref() {
        Some(file) if file == Path::new("-") => verify(io::stdin().lock(), verifier),
        Some(file) => verify(File::open(file).with_context(|| cant_read(file))?, verifier),
        None => {
            let client = Client::new(&wanted.connection, surroundings)?;
            verify(client.download("/admin/audit/export")?.1, verifier)
        }
    };
    let outcome = outcome.context("can't read the log")?;
    let is_known = |found: &LogBreak| wanted.known_break.contains(&found.seq);
    let breaks = outcome.as_ref().map_or(&[][..], |proof| &proof.breaks);
    let verdict = match breaks.iter().find(|found| !is_known(found)) {
        Some(unknown) => Err(broken(unknown)),
        None => outcome.as_ref().map_err(Clone::clone),
    };
    let shown = match wanted.output.form {
        Form::Json => output::json(&as_json(&verdict, is_trusted)),
        Form::Table => show(&verdict, is_trusted),
    };
    // Whether anybody reads the answer does not change it.
    verdict.map_err(|_| Answered)?;
    Ok(shown?)
}

/// As a fault: the instance was given another log than the one that it wrote.
fn broken(found: &LogBreak) -> LogFault {
    LogFault { seq: found.seq, flaw: Flaw::Broken(found.reason.clone()) }
}

fn cant_read(file: &Path) -> String {
    format!("can't read {}", file.display())
}

fn verify(mut from: impl Read, mut verifier: Verifier) -> io::Result<Result<Proof, LogFault>> {
    let mut parser = FileParser::default();
    let mut piece = vec![0; PIECE];
    while !verifier.is_decided() {
        let length = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        let pushed = match length {
            0 => parser.finish(),
            length => parser.push(&piece[..length], |record| verifier.take(&record)),
        };
        if let Err(error) = pushed {
            verifier.unreadable(error.to_string());
            break;
        }
        if length == 0 {
            break;
        }
    }
    Ok(verifier.finish())
}

/// Keys in hexadecimal, or in files with one a line.
fn public_keys(given: &[String]) -> anyhow::Result<Vec<AuditPublicKey>> {
    let mut keys = Vec::new();
    for text in given {
        if let Some(key) = AuditPublicKey::parse(text) {
            keys.push(key);
            continue;
        }
        let file = Path::new(text);
        if !file.exists() {
            return Err(wrong_key(text).into());
        }
        let lines = std::fs::read_to_string(file).with_context(|| cant_read(file))?;
        let before = keys.len();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            keys.push(AuditPublicKey::parse(line).ok_or_else(|| wrong_key(text))?);
        }
        if keys.len() == before {
            return Err(wrong_key(text).into());
        }
    }
    Ok(keys)
}

fn wrong_key(text: &str) -> Usage {
    Usage(format!(
        "--public-key must be 64 hexadecimal digits, as `till audit public-key` prints them, or a file with them; {} is \
         neither",
        output::plain(text)
    ))
}

fn head(text: &str) -> Result<ChainHead, Usage> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| {
        Some(ChainHead { seq: seq.parse().ok()?, hash: from_hex(&hash.to_ascii_lowercase())? })
    });
    parsed.ok_or_else(|| {
        Usage(
            "--expect-head must be the number of an entry, a colon and its hash, 64 hexadecimal digits"
                .into(),
        )
    })
}

fn as_json(outcome: &Result<&Proof, LogFault>, is_trusted: bool) -> Value {
    match outcome {
        Err(fault) => json!({"ok": false, "entry": fault.seq, "fault": fault.flaw.to_string()}),
        Ok(proof) => json!({
            "ok": true,
            "instanceId": to_hex(&proof.instance_id),
            "entries": proof.entries,
            "anchor": proof.anchor.map(|anchor| anchor.seq),
            "checkpoints": proof.checkpoints,
            "head": {"seq": proof.head.seq, "hash": to_hex(&proof.head.hash)},
            "signedAt": proof.last.at.to_string(),
            "publicKeys": proof.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "publicKeyGiven": is_trusted,
            "knownBreaks": proof.breaks.iter().map(|found| found.seq).collect::<Vec<_>>(),
        }),
    }
}

fn show(outcome: &Result<&Proof, LogFault>, is_trusted: bool) -> io::Result<()> {
    let proof = match outcome {
        Err(fault) => {
            return output::line(&format!("The log is NOT sound. {}", output::plain(&capital(fault))));
        }
        Ok(proof) => proof,
    };
    output::line("The log is sound.")?;
    let start = match &proof.anchor {
        None => "starts at entry 1".to_owned(),
        Some(anchor) => format!(
            "starts at entry {}, anchored by a signed checkpoint of entry {}; what was before was deleted by age",
            anchor.seq.saturating_add(1),
            anchor.seq
        ),
    };
    let keys: Vec<String> = proof.keys.iter().map(ToString::to_string).collect();
    output::pairs(&[
        ("entries", format!("{}, {start}", proof.entries)),
        ("checkpoints", format!("{}, the last one of {}", proof.checkpoints, proof.last.at)),
        ("instance", to_hex(&proof.instance_id)),
        ("signed by", keys.join(", ")),
        ("head", format!("{}:{}", proof.head.seq, to_hex(&proof.head.hash))),
    ])?;
    for found in &proof.breaks {
        output::line(&format!("Known: {}", output::plain(&capital(&broken(found)))))?;
    }
    if !is_trusted {
        output::line(
            "That this key is the right one is not shown: compare it with the one that you wrote down, or give it with \
             --public-key.",
        )?;
    }
    Ok(())
}

fn capital(fault: &LogFault) -> String {
    let text = fault.to_string();
    text.strip_prefix("entry").map_or(text.clone(), |rest| format!("Entry{rest}"))
}

#[cfg(test)]
mod tests {
    use super::{head, public_keys};

    #[test]
    fn keys_come_in_hexadecimal_or_in_a_file() {
        let (one, other) = ("0a".repeat(32), "0b".repeat(32));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.pub");
        std::fs::write(&file, format!("{one}\n\n {other} \n")).unwrap();
        let found = public_keys(&[file.display().to_string(), one.clone()]).unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [&*one, &other, &one]);
        for wrong in ["", "\n", "0a0b\n", &"0A".repeat(32)] {
            std::fs::write(&file, wrong).unwrap();
            assert!(public_keys(&[file.display().to_string()]).is_err(), "{wrong:?}");
        }
        assert!(public_keys(&["0a0b".to_owned()]).is_err());
    }

    #[test]
    fn a_head_is_a_number_and_a_hash() {
        let hash = "0a".repeat(32);
        assert_eq!(head(&format!("7:{hash}")).unwrap().seq, 7);
        for wrong in [
            String::new(),
            hash.clone(),
            format!(":{hash}"),
            format!("7:{}", &hash[1..]),
            format!("x:{hash}"),
        ] {
            assert!(head(&wrong).is_err(), "{wrong}");
        }
    }
}

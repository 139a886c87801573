//! `till audit export`

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use till_core::audit::{FileParser, Verifier};

use crate::args::audit::{AuditExport, ExportFormat};
use crate::client::Client;
use crate::env::Surroundings;
use crate::local_file::sync_parent;
use crate::output;

/// How much is read at once.
const PIECE: usize = 64 * 1024;

pub(super) fn run(wanted: &AuditExport, surroundings: &Surroundings) -> anyhow::Result<()> {
    let is_csv = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "csv");
    let by_name =
        if wanted.file.as_ref().is_some_and(is_csv) { ExportFormat::Csv } else { ExportFormat::Jsonl };
    let format = match wanted.format.unwrap_or(by_name) {
        ExportFormat::Csv => "csv",
        ExportFormat::Jsonl => "jsonl",
    };
    let client = Client::new(&wanted.connection, surroundings)?;
    let (entries, mut body) = client.download(&format!("/admin/audit/export?format={format}"))?;
    match &wanted.file {
        None => {
            let mut stdout = io::stdout().lock();
            copy(&mut body, &mut stdout, |_| ())?;
            stdout.flush()?;
            Ok(())
        }
        Some(file) => to_file(file, body, Progress::new(entries, surroundings.stderr_is_terminal)),
    }
}

/// All of it or nothing, and only after it was verified as a whole: what broke off is no export.
fn to_file(file: &Path, mut body: impl Read, mut progress: Progress) -> anyhow::Result<()> {
    let place = || format!("can't write {}", file.display());
    if file.is_dir() {
        bail!("{} is a directory", file.display());
    }
    let mut name = file.file_name().with_context(place)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Part(file.with_file_name(name));
    let mut to =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0).with_context(place)?;
    let (mut parser, mut verifier) = (FileParser::default(), Verifier::new(Vec::new()));
    let mut damaged = None;
    copy(&mut body, &mut to, |piece| {
        if damaged.is_none() {
            damaged = parser.push(piece, |record| verifier.take(&record)).err();
        }
        progress.show(verifier.seq());
    })?;
    progress.end();
    to.sync_all().with_context(place)?;
    let damaged = damaged.or_else(|| parser.finish().err());
    let proof = match damaged {
        Some(error) => bail!("the server did not send a whole log, so nothing was written: {error}"),
        None => verifier.finish(),
    };
    put(part, file).with_context(place)?;
    match proof {
        Ok(proof) => {
            output::line(&format!("{} has everything up to entry {}.", file.display(), proof.head.seq))?;
            for found in &proof.breaks {
                output::line(&format!(
                    "Look at entry {}, `audit.break`, with `till audit show`.",
                    found.seq
                ))?;
            }
        }
        Err(fault) => bail!("{} was written, but the log is not sound: {fault}", file.display()),
    }
    Ok(())
}

fn put(part: Part, file: &Path) -> io::Result<()> {
    fs::rename(&part.0, file)?;
    // There is nothing to remove any more.
    std::mem::forget(part);
    sync_parent(file)
}

/// A file that goes unless it gets its real name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It may not be there; there is nobody left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write, mut see: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(anyhow::anyhow!("the answer of the server broke off: {error}")),
        };
        to.write_all(&piece[..length])?;
        see(&piece[..length]);
    }
}

/// How far it is, on a terminal.
struct Progress {
    entries: Option<u64>,
    first: Option<u64>,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    const WIDTH: u64 = 30;
    const EVERY: Duration = Duration::from_millis(100);

    fn new(entries: Option<u64>, is_shown: bool) -> Self {
        Self { entries, first: None, is_shown, next: Instant::now() }
    }

    fn show(&mut self, seq: u64) {
        let first = *self.first.get_or_insert(seq);
        if !self.is_shown || self.next > Instant::now() {
            return;
        }
        self.next = Instant::now() + Self::EVERY;
        // Nothing sensible can be done when stderr is closed.
        let _ = write!(io::stderr(), "\r{}", bar(seq.saturating_sub(first), self.entries));
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: u64, entries: Option<u64>) -> String {
    let Some(entries) = entries.filter(|entries| *entries > 0) else { return format!("{done} entries") };
    let full = u128::from(done.min(entries)) * u128::from(Progress::WIDTH) / u128::from(entries);
    let cells: String =
        (0..u128::from(Progress::WIDTH)).map(|cell| if cell < full { '#' } else { '-' }).collect();
    format!("[{cells}] {done} of {entries} entries")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Progress, bar, to_file};

    #[test]
    fn shows_how_far_it_is() {
        assert_eq!(bar(0, Some(10)), format!("[{}] 0 of 10 entries", "-".repeat(30)));
        assert_eq!(bar(5, Some(10)), format!("[{}{}] 5 of 10 entries", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(12, Some(10)), format!("[{}] 12 of 10 entries", "#".repeat(30)));
        assert_eq!(bar(u64::MAX, Some(u64::MAX)).matches('#').count(), 30, "no overflow");
        assert_eq!(bar(3, None), "3 entries");
    }

    #[test]
    fn what_is_no_log_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.jsonl");
        std::fs::write(&file, "old").unwrap();
        for broken in ["{\"type\":\"log\"", "nonsense\n"] {
            let error = to_file(&file, broken.as_bytes(), Progress::new(None, false)).unwrap_err();
            assert!(error.to_string().contains("nothing was written"), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left");
        }
        // One that is whole and wrong is evidence.
        let wrong = "{\"type\":\"log\",\"version\":1,\"instanceId\":\"00000000000000000000000000000000\"}\n";
        assert!(to_file(&file, wrong.as_bytes(), Progress::new(None, false)).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), wrong);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

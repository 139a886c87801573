//! Master keys as somebody gives them: texts of a file, of a variable or of a command.
//!
//! Invariant: nothing of a text that is no master key is repeated, because it may be one that is damaged.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use till_core::secret::Secret;
use till_core::token::MasterKey;

/// More master keys than anybody rotates through.
pub(crate) const KEYS_MAX: usize = 64;

/// How long the command may take: a person may have to touch a token.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);

/// What the command may print: room for all keys.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// How much of what it complains about is shown.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

/// The one that new scoped keys are made under, and those before.
pub(crate) struct MasterKeys {
    pub(crate) current: MasterKey,
    pub(crate) old: Vec<MasterKey>,
}

/// What settings and variables give.
#[derive(Default)]
pub(crate) struct Given {
    /// From a file or a variable.
    pub(crate) keys: Option<MasterKeys>,
    /// Further ones that only open what was made under them.
    pub(crate) older: Vec<MasterKey>,
}

/// Reads one master key per line, the current one first.
pub(crate) fn parse(text: &Secret) -> anyhow::Result<MasterKeys> {
    let mut keys = list(text, '\n')?.into_iter();
    let current = keys.next().context("there is no master key in it")?;
    Ok(MasterKeys { current, old: keys.collect() })
}

/// Reads master keys with commas in between.
pub(crate) fn parse_older(text: &Secret) -> anyhow::Result<Vec<MasterKey>> {
    list(text, ',')
}

fn list(text: &Secret, separator: char) -> anyhow::Result<Vec<MasterKey>> {
    let text = text.reveal_str().context("it is not text")?;
    let parts = text.split(separator).map(str::trim).filter(|part| !part.is_empty());
    let keys = parts.map(MasterKey::parse).collect::<Result<Vec<_>, _>>()?;
    ensure!(keys.len() <= KEYS_MAX, "there are more than {KEYS_MAX} master keys in it");
    Ok(keys)
}

/// What [`parse`] reads.
pub(crate) fn text<'a>(keys: impl IntoIterator<Item = &'a MasterKey>) -> Secret {
    let mut text = Vec::new();
    for key in keys {
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(key.to_text().reveal());
    }
    Secret::new(text)
}

/// Runs a command that prints master keys, without a shell. It gets no input; what it complains about is shown when it
/// fails.
///
/// # Errors
/// It can't be run, takes too long, fails, or prints something else.
pub(crate) fn from_command(command: &[String]) -> anyhow::Result<MasterKeys> {
    let (program, arguments) = command.split_first().context("master-key-command is empty")?;
    run(program, arguments, COMMAND_TIME_MAX)
        .and_then(|output| parse(&output).context("what it printed is no master key"))
        .with_context(|| format!("the master key can't be had from the command `{program}`"))
}

fn run(program: &str, arguments: &[String], time_max: Duration) -> anyhow::Result<Secret> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("it can't be started")?;
    let output = collect(child.stdout.take(), OUTPUT_BYTES_MAX);
    let complaint = collect(child.stderr.take(), COMPLAINT_BYTES_MAX);
    let deadline = Instant::now() + time_max;
    let status = wait(&mut child, deadline)?;
    // Whatever it started may have its output open for ever; then what came so far is not waited for.
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let output = output.recv_timeout(left()).context("its output does not end")?;
    if !status.success() {
        let complaint = complaint.recv_timeout(left()).unwrap_or_else(|_| Secret::new(Vec::new()));
        let complaint = String::from_utf8_lossy(complaint.reveal()).into_owned();
        bail!("it ended with {status}: {}", crate::output::plain(complaint.trim()));
    }
    ensure!(output.len() as u64 <= OUTPUT_BYTES_MAX, "it printed too much for a key");
    Ok(output)
}

/// Reads on a thread, so that neither stream makes the other wait. What is beyond the bound is read and dropped, all but a
/// byte that shows it.
fn collect(stream: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<Secret> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is what there is.
            let _ = stream.by_ref().take(bytes_max + 1).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        // Whoever waited may be gone.
        let _ = sender.send(Secret::new(bytes));
    });
    receiver
}

fn wait(child: &mut Child, deadline: Instant) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("it can't be waited for")? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // It may have ended by itself in between.
            let _ = child.kill();
            let _ = child.wait();
            bail!("it takes too long");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use till_core::secret::Secret;
    use till_core::token::MasterKey;

    use super::{from_command, parse, parse_older, run, text};

    fn master(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32])
    }

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(ToOwned::to_owned).to_vec()
    }

    #[test]
    fn the_first_line_is_the_current_one() {
        let whole = text([&master(1), &master(2), &master(3)]);
        let keys = parse(&whole).unwrap();
        assert_eq!(keys.current.id(), master(1).id());
        assert_eq!(keys.old.iter().map(MasterKey::id).collect::<Vec<_>>(), [master(2).id(), master(3).id()]);
        let commas = format!(" {}, {},", "01".repeat(32), "02".repeat(32));
        assert_eq!(parse_older(&Secret::new(commas)).unwrap().len(), 2);
        assert!(parse_older(&Secret::new("")).unwrap().is_empty());
        for bad in
            ["", "\n \n", "hunter2", &format!("{}\nhunter2", "01".repeat(32)), &"01".repeat(32).repeat(2)]
        {
            let error = format!("{:#}", parse(&Secret::new(bad)).err().expect(bad));
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(parse(&Secret::new(format!("{}\n", "01".repeat(32)).repeat(65))).is_err());
    }

    #[test]
    fn a_command_gives_the_key() {
        let hex = "0a".repeat(32);
        assert_eq!(from_command(&shell(&format!("echo {hex}"))).unwrap().current.id(), master(10).id());
        // It is no shell: the words go to the program as they are.
        let words = ["echo", "$HOME;", &hex].map(ToOwned::to_owned);
        assert!(from_command(&words).is_err());
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let check = |command: &[String], expected: &str| {
            let error = format!("{:#}", from_command(command).err().expect(expected));
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check(&shell("echo no such token >&2; echo hunter2; exit 3"), "exit status: 3: no such token");
        check(&shell("echo hunter2"), "what it printed is no master key");
        check(&shell("true"), "there is no master key in it");
        check(&shell("yes hunter2 | head -c 100000"), "it printed too much");
        check(&["/none/such".to_owned()], "it can't be started");
        check(&[], "is empty");
        let slow = run("sleep", &["60".to_owned()], Duration::from_millis(50));
        assert!(format!("{:#}", slow.err().unwrap()).contains("too long"));
        let open_for_ever = shell("sleep 3 & echo x");
        let error = run(&open_for_ever[0], &open_for_ever[1..], Duration::from_millis(50));
        assert!(format!("{:#}", error.err().unwrap()).contains("does not end"));
    }
}

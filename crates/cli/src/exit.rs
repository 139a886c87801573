//! How the program ends: 0 done, 1 failed, 2 asked wrongly (usage or settings).

use std::io::{self, Write};
use std::process::ExitCode;

use crate::output;
use crate::settings::Mistakes;

const FAILED: u8 = 1;
const ASKED_WRONGLY: u8 = 2;

/// The command line is well formed and still asks for something that can't be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The command has printed its answer, and the answer is no.
#[derive(Debug, thiserror::Error)]
#[error("no")]
pub(crate) struct Answered;

/// Prints what went wrong, with its causes, and turns it into an exit code.
pub(crate) fn report(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        // Whoever read the output, `head` for example, has seen enough.
        return ExitCode::SUCCESS;
    }
    if error.is::<Answered>() {
        return ExitCode::from(FAILED);
    }
    // Nothing sensible can be done when stderr is closed.
    let _ = writeln!(io::stderr(), "error: {}", output::plain_lines(&format!("{error:#}")));
    if error.is::<Usage>() || error.is::<Mistakes>() {
        ExitCode::from(ASKED_WRONGLY)
    } else {
        ExitCode::from(FAILED)
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

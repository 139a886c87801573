//! `till completions`

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;

pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    // Into memory first: the generator panics when the reader of a pipe goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "till", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}

//! `till man`

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::args::Cli;
use crate::output;

/// Writes a page for the program and for each of its commands, named as `man` looks for them.
pub(crate) fn run(directory: &Path) -> anyhow::Result<()> {
    let place = || format!("can't write into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(place)?;
    clap_mangen::generate_to(Cli::command(), directory).with_context(place)?;
    output::line(&format!(
        "The pages are in {}; `man -l {}/till.1` shows the first.",
        directory.display(),
        directory.display()
    ))?;
    Ok(())
}

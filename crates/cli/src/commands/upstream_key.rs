//! Where a command gets a real key from: a file, a variable, or a hidden prompt. Never from the
//! command line.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use till_core::secret::Secret;
use till_core::upstream::check_upstream_key;

use crate::args::credentials::UpstreamKeyFlags;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::local_file;

/// Refuses a real key on the command line, before anything else is done.
pub(super) fn refuse_on_command_line(wanted: &UpstreamKeyFlags) -> anyhow::Result<()> {
    if wanted.upstream_key.is_some() {
        bail!(Usage(
            "--upstream-key is refused: other users see the command line and the shell keeps it in its history, so a key \
             that was really given there should be replaced at the provider. Use --upstream-key-file FILE (`-` is standard \
             input), --upstream-key-env VARIABLE, or neither for a hidden prompt."
                .into()
        ));
    }
    Ok(())
}

/// Reads and checks the real key of an account at this provider.
pub(super) fn read(
    wanted: &UpstreamKeyFlags,
    provider: &str,
    surroundings: &Surroundings,
) -> anyhow::Result<Secret> {
    let (key, place) = if let Some(file) = &wanted.upstream_key_file {
        (local_file::read_secret(file)?, file.display().to_string())
    } else if let Some(variable) = &wanted.upstream_key_env {
        let value =
            surroundings.variable(variable).with_context(|| format!("the variable {variable} is not set"))?;
        (Secret::new(value.trim()), variable.clone())
    } else if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("Real key of {provider} (not shown): "));
        (Secret::new(typed.context("can't read from the terminal")?.trim()), "the prompt".to_owned())
    } else {
        bail!(Usage(
            "where is the real key? Use --upstream-key-file FILE (`-` is standard input) or --upstream-key-env VARIABLE; \
             there is no terminal here to ask on"
                .into()
        ));
    };
    check_upstream_key(&key).with_context(|| format!("what {place} has is not usable"))?;
    Ok(key)
}

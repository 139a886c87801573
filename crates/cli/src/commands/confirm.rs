//! Questions before something is done that can't be undone.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;

use crate::exit::Usage;
use crate::output;

/// Asks on a terminal; elsewhere nobody could answer, so `--yes` has to say it. `question` says what will happen.
///
/// # Errors
/// The answer is no. Then nothing was done.
pub(super) fn ask(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let question = output::plain(question);
    if !io::stdin().is_terminal() {
        bail!(Usage(format!(
            "{question}\nNobody can be asked here, so nothing was done; say --yes to do it"
        )));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    bail!("nothing was done")
}

/// `1 key`, `2 keys`
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn numbers_have_their_word() {
        assert_eq!((counted(0, "key"), counted(1, "key")), ("0 keys".into(), "1 key".into()));
    }
}

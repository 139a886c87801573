//! How far something is that takes a while, for people who look at a terminal.

use std::io::{self, IsTerminal, Write};

use till_store::Step;

use crate::args::Form;

/// Characters of the bar.
const WIDTH: u64 = 30;

/// A line on stderr that is written over and over. Nothing is shown elsewhere, or when a program reads the answer.
pub(super) struct Progress {
    shown: bool,
    /// What is on the line, so that nothing is written twice.
    line: String,
}

impl Progress {
    pub(super) fn new(form: Form) -> Self {
        Self { shown: form == Form::Table && io::stderr().is_terminal(), line: String::new() }
    }

    pub(super) fn show(&mut self, step: Step) {
        let line = text(step);
        if self.shown && line != self.line {
            // Whoever closed stderr does not want to see it.
            let _ = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
            self.line = line;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn text(step: Step) -> String {
    match step {
        Step::Copy { done, total } => {
            let parts =
                |whole: u64| done.saturating_mul(whole).checked_div(total).unwrap_or(whole).min(whole);
            let filled = usize::try_from(parts(WIDTH)).unwrap_or(0);
            let empty = usize::try_from(WIDTH).unwrap_or(0) - filled;
            format!("copying   [{}{}] {:>3} %", "#".repeat(filled), " ".repeat(empty), parts(100))
        }
        Step::Check => "checking …".to_owned(),
        Step::Fence | Step::Commit | Step::SetAside | Step::PutInPlace => "putting in place …".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use till_store::Step;

    use super::text;

    #[test]
    fn the_bar_fills() {
        let copy = |done, total| text(Step::Copy { done, total });
        assert_eq!(copy(0, 10), format!("copying   [{}]   0 %", " ".repeat(30)));
        assert_eq!(copy(5, 10), format!("copying   [{}{}]  50 %", "#".repeat(15), " ".repeat(15)));
        assert_eq!(copy(10, 10), format!("copying   [{}] 100 %", "#".repeat(30)));
        assert_eq!(copy(11, 10), copy(10, 10));
        assert_eq!(copy(0, 0), copy(10, 10));
    }
}

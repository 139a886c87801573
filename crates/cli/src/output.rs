//! What commands print: tables for people, JSON for programs.
//!
//! Invariant: texts that come from elsewhere, such as names in metadata, reach a terminal without their
//! control characters, so that they can't move the cursor or change its title.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Spaces between columns.
const GAP: usize = 2;

/// The narrowest that a column is cut to.
const COLUMN_WIDTH_MIN: usize = 8;

/// Writes JSON, indented, and a line break.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value)?;
    writeln!(stdout)
}

/// Writes a text and a line break.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes a text of somebody else and a line break, cut to the width of the terminal if there is one.
pub(crate) fn fitting_line(text: &str) -> io::Result<()> {
    let text = plain(text);
    line(&terminal_width().map_or(text.clone(), |width| cut(&text, width)))
}

/// Writes a row of comma-separated values, RFC 4180. A text that a spreadsheet would take for a formula gets an
/// apostrophe in front.
pub(crate) fn csv(cells: &[String]) -> io::Result<()> {
    let cell = |cell: &String| {
        let cell = plain(cell);
        let guarded =
            if cell.starts_with(['=', '+', '-', '@']) && cell.len() > 1 { format!("'{cell}") } else { cell };
        if guarded.contains([',', '"', ' ']) {
            format!("\"{}\"", guarded.replace('"', "\"\""))
        } else {
            guarded
        }
    };
    let cells: Vec<String> = cells.iter().map(cell).collect();
    write!(io::stdout().lock(), "{}\r\n", cells.join(","))
}

/// Rows under a heading. They fit the terminal: where they would be wider, the columns that may be cut are.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that may be cut when space is short. Ids, for example, may not: nobody could copy them.
    cuttable: &'static [usize],
}

impl Table {
    pub(crate) fn new(heading: &[&str], cuttable: &'static [usize]) -> Self {
        Self { rows: vec![heading.iter().map(|title| (*title).to_owned()).collect()], cuttable }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        io::stdout().lock().write_all(self.render(terminal_width()).as_bytes())
    }

    /// The text, at most `width` wide where that is possible.
    fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = cut(cell, *width);
                let padding = width - cell.chars().count() + GAP;
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', padding));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widest =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns).map(widest).collect();
        let Some(width) = width else { return widths };
        loop {
            let total = widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1);
            let longest = self.cuttable.iter().copied().max_by_key(|column| widths[*column]);
            match longest {
                Some(column) if total > width && widths[column] > COLUMN_WIDTH_MIN => widths[column] -= 1,
                _ => return widths,
            }
        }
    }
}

/// Names and values in two columns, without a heading.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> io::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + GAP;
    let mut stdout = io::stdout().lock();
    pairs.iter().try_for_each(|(name, value)| writeln!(stdout, "{name:<width$}{}", plain(value)))
}

/// A text of somebody else, fit for a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '�' } else { letter }).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// How wide the terminal is, if there is one.
pub(crate) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::{Table, plain};

    #[test]
    fn tables_fit() {
        let mut table = Table::new(&["ID", "NAME", "STATUS"], &[1]);
        table.row(["key_1".to_owned(), "a very long name indeed".to_owned(), "active".to_owned()]);
        table.row(["key_22".to_owned(), "x".to_owned(), "revoked".to_owned()]);
        let full = "ID      NAME                     STATUS\n\
                    key_1   a very long name indeed  active\n\
                    key_22  x                        revoked\n";
        assert_eq!(table.render(None), full);
        assert_eq!(table.render(Some(80)), full);
        let narrow = "ID      NAME         STATUS\n\
                      key_1   a very lon…  active\n\
                      key_22  x            revoked\n";
        assert_eq!(table.render(Some(28)), narrow);
        // Ids are never cut, whatever it takes.
        assert!(table.render(Some(5)).contains("key_22"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a�[2Jb�c");
    }
}

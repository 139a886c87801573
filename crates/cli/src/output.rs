//! What commands print: tables for people, JSON for programs.
//!
//! Invariant: texts that come from elsewhere, such as names in metadata, reach a terminal without characters that can't be
//! seen: control characters, so that they can't move the cursor or change its title, and those that only change how others
//! are shown, so that no name looks like another one.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Spaces between columns.
const GAP: usize = 2;

/// The narrowest that a column is cut to while there are others that can be left out.
const COLUMN_WIDTH_READABLE: usize = 16;

/// The same where what is too long goes on in the next line.
const COLUMN_WIDTH_WRAPPED: usize = 32;

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

/// Rows under a heading. They fit the terminal: where they would be wider, columns that may be cut are, columns that may be
/// missing are left out, and if that is not enough every row becomes a list of names and values.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that may be cut when space is short. Ids, for example, may not: nobody could copy them.
    cuttable: &'static [usize],
    /// Columns that may be left out, the first one first.
    optional: &'static [usize],
    /// Columns of `cuttable` that go on in the next line instead of being cut: their texts are names that are typed in
    /// elsewhere.
    wrapped: &'static [usize],
}

impl Table {
    pub(crate) fn new(heading: &[&str], cuttable: &'static [usize]) -> Self {
        let heading = heading.iter().map(|title| (*title).to_owned()).collect();
        Self { rows: vec![heading], cuttable, optional: &[], wrapped: &[] }
    }

    /// Columns of those that may be cut that go on in the next line instead.
    pub(crate) fn wrapped(self, wrapped: &'static [usize]) -> Self {
        Self { wrapped, ..self }
    }

    /// Columns that may be left out when space is short, the first one first.
    pub(crate) fn optional(self, optional: &'static [usize]) -> Self {
        Self { optional, ..self }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        io::stdout().lock().write_all(self.render(terminal_width()).as_bytes())
    }

    /// The text, at most `width` wide where that is possible.
    fn render(&self, width: Option<usize>) -> String {
        let widest = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let columns = self.rows.first().map_or(0, Vec::len);
        let mut widths: Vec<Option<usize>> = (0..columns).map(|column| Some(widest(column))).collect();
        let Some(width) = width else { return self.lines(&widths) };
        let mut left_out = self.optional.iter();
        let readable = if self.wrapped.is_empty() { COLUMN_WIDTH_READABLE } else { COLUMN_WIDTH_WRAPPED };
        loop {
            let mut cut = widths.clone();
            if self.shrink(&mut cut, width, readable) {
                return self.lines(&cut) + &self.note(&cut);
            }
            match left_out.next() {
                Some(column) => widths[*column] = None,
                None => break,
            }
        }
        if self.shrink(&mut widths, width, COLUMN_WIDTH_MIN) {
            return self.lines(&widths) + &self.note(&widths);
        }
        self.blocks()
    }

    /// Cuts the longest of the columns that may be, down to `least`, until all fit. Says whether they do.
    fn shrink(&self, widths: &mut [Option<usize>], width: usize, least: usize) -> bool {
        loop {
            let shown = widths.iter().flatten();
            let total = shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1);
            if total <= width {
                return true;
            }
            let longest = self.cuttable.iter().copied().max_by_key(|column| widths[*column]);
            match longest.and_then(|column| widths[column].as_mut()) {
                Some(longest) if *longest > least => *longest -= 1,
                _ => return false,
            }
        }
    }

    fn lines(&self, widths: &[Option<usize>]) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<(Vec<String>, usize)> = row
                .iter()
                .zip(widths)
                .enumerate()
                .filter_map(|(column, (cell, width))| Some((self.cell(column, cell, (*width)?), (*width)?)))
                .collect();
            for index in 0..cells.iter().map(|(lines, _)| lines.len()).max().unwrap_or(0) {
                let mut line = String::new();
                for (lines, width) in &cells {
                    let cell = lines.get(index).map_or("", String::as_str);
                    line.push_str(cell);
                    line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + GAP));
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// The lines of a cell.
    fn cell(&self, column: usize, text: &str, width: usize) -> Vec<String> {
        if self.wrapped.contains(&column) { wrap(text, width) } else { vec![cut(text, width)] }
    }

    /// What a wider terminal would show besides.
    fn note(&self, widths: &[Option<usize>]) -> String {
        let heading = self.rows.first().into_iter().flatten();
        let missing: Vec<&str> = heading
            .zip(widths)
            .filter(|(_, width)| width.is_none())
            .map(|(title, _)| title.as_str())
            .collect();
        if missing.is_empty() { String::new() } else { format!("(no room for {})\n", missing.join(", ")) }
    }

    /// Every row as a list of names and values, with an empty line in between.
    fn blocks(&self) -> String {
        let Some((heading, rows)) = self.rows.split_first() else { return String::new() };
        let width = heading.iter().map(|title| title.width()).max().unwrap_or(0) + GAP;
        let block = |row: &Vec<String>| -> String {
            heading.iter().zip(row).map(|(title, cell)| format!("{title:<width$}{cell}\n")).collect()
        };
        rows.iter().map(block).collect::<Vec<_>>().join("\n")
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
    text.chars().map(|letter| if letter.is_control() || is_format(letter) { '�' } else { letter }).collect()
}

/// The same for a text of more than one line.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// The general category Cf of Unicode 17, and the separators of lines and paragraphs.
fn is_format(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// A text that is too long without its middle: what tells names apart often stands at their end.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = prefix(text.chars(), room - room / 2);
    let end: Vec<char> = prefix(text.chars().rev(), room / 2);
    start.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// A name in pieces that fit, broken behind a sign where one is near; nothing is added or lost.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.width() > width {
        let fitting: usize = prefix(rest.chars(), width).iter().map(|letter| letter.len_utf8()).sum();
        // A letter that is wider than the column still has to go somewhere.
        let fitting = fitting.max(rest.chars().next().map_or(1, char::len_utf8));
        let sign = rest[..fitting].rfind(['-', '/', '.', ':', '_', ' ']).map(|sign| sign + 1);
        let (line, more) = rest.split_at(sign.filter(|end| *end > fitting / 2).unwrap_or(fitting));
        lines.push(line.to_owned());
        rest = more;
    }
    lines.push(rest.to_owned());
    lines
}

/// As many letters as have room.
fn prefix(letters: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut used = 0;
    let fits = |letter: &char| {
        used += letter.width().unwrap_or(0);
        used <= room
    };
    letters.take_while(fits).collect()
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
    use super::{Table, plain, plain_lines};

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
                      key_1   a ver…ndeed  active\n\
                      key_22  x            revoked\n";
        assert_eq!(table.render(Some(28)), narrow);
        // Ids are never cut, whatever it takes.
        let blocks = "ID      key_1\n\
                      NAME    a very long name indeed\n\
                      STATUS  active\n\
                      \n\
                      ID      key_22\n\
                      NAME    x\n\
                      STATUS  revoked\n";
        assert_eq!(table.render(Some(5)), blocks);
    }

    #[test]
    fn columns_are_left_out_before_names_become_unreadable() {
        let mut table = Table::new(&["ID", "NAME", "STATUS", "LAST USED"], &[1]).optional(&[3, 2]);
        table.row(["key_1", "a very long name indeed", "active", "2026-01-31 08:00Z"].map(str::to_owned));
        let narrow = "ID     NAME                     STATUS\n\
                      key_1  a very long name indeed  active\n\
                      (no room for LAST USED)\n";
        assert_eq!(table.render(Some(40)), narrow);
        let narrower = "ID     NAME\n\
                        key_1  a very l…e indeed\n\
                        (no room for STATUS, LAST USED)\n";
        assert_eq!(table.render(Some(24)), narrower);
    }

    #[test]
    fn names_that_are_typed_in_elsewhere_stay_whole() {
        let mut table = Table::new(&["MODEL", "PRICE", "SOURCE"], &[0]).optional(&[2]).wrapped(&[0]);
        let name = "accounts/fireworks/models/a-very-long-name-indeed";
        table.row([name, "0.10", "table"].map(str::to_owned));
        table.row(["short", "0.20", "table"].map(str::to_owned));
        let narrow = "MODEL                                PRICE\n\
                      accounts/fireworks/models/a-very-    0.10\n\
                      long-name-indeed\n\
                      short                                0.20\n\
                      (no room for SOURCE)\n";
        assert_eq!(table.render(Some(42)), narrow);
        for width in 1..30 {
            assert_eq!(super::wrap(name, width).concat(), name);
            assert!(super::wrap(name, width).iter().all(|line| line.len() <= width));
        }
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let mut table = Table::new(&["NAME", "STATUS"], &[0]);
        table.row(["検索チームの鍵".to_owned(), "active".to_owned()]);
        table.row(["x".to_owned(), "active".to_owned()]);
        assert_eq!(
            table.render(None),
            "NAME            STATUS\n検索チームの鍵  active\nx               active\n"
        );
        assert_eq!(table.render(Some(18)), "NAME        STATUS\n検索…の鍵   active\nx           active\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a�[2Jb�c");
        assert_eq!(plain("prod\u{202e}\u{200b}\u{feff}\u{e0041}"), "prod����");
        assert_eq!(plain("検索 é ½"), "検索 é ½");
        assert_eq!(plain_lines("one\ntwo\r\u{1b}]0;title\u{7}"), "one\ntwo��]0;title�");
    }
}

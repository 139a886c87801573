//! How an exported log stands in a file: lines of JSON, or comma-separated values after RFC 4180.
//!
//! Both keep every byte of every field. In CSV each value stands in quotes and what is absent is nothing at
//! all, so an absent field differs from an empty one.

use super::record::{Fields, LogRecord, RecordError};

/// The first line of a CSV file, with its line break.
pub const CSV_HEADING: &str = "type,version,seq,at,actorKind,actorId,actorAddress,actorRequestId,action,target,detail,\
                               prevHash,hash,instanceId,keyId,publicKey,signature\r\n";

/// Longest record that is read: far above what till writes.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

impl FileFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Jsonl, Self::Csv];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// The format of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// What stands in front of the first record.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Jsonl => "",
            Self::Csv => CSV_HEADING,
        }
    }

    /// A record with its line break.
    pub fn write(self, record: &LogRecord) -> String {
        let fields = record.to_fields();
        match self {
            Self::Jsonl => {
                let mut line = serde_json::to_string(&fields).expect("texts and numbers are JSON");
                line.push('\n');
                line
            }
            Self::Csv => {
                let quoted = |text: Option<String>| {
                    text.map(|text| format!("\"{}\"", text.replace('"', "\"\""))).unwrap_or_default()
                };
                let cells: Vec<String> = fields.texts().into_iter().map(quoted).collect();
                format!("{}\r\n", cells.join(","))
            }
        }
    }
}

/// Where a file stops being one, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct FileError {
    /// Number of the line, from 1.
    pub line: u64,
    /// Why it can't be read.
    pub error: RecordError,
}

/// Reads a file that comes in pieces. The format is told from its first byte.
#[derive(Clone, Debug, Default)]
pub struct FileParser {
    format: Option<FileFormat>,
    rest: Vec<u8>,
    /// How much of `rest` was looked at, and whether that ends inside of quotes.
    seen: usize,
    is_quoted: bool,
    /// Lines before `rest`.
    lines: u64,
    has_heading: bool,
}

impl FileParser {
    /// Takes the next piece, and gives what is complete.
    ///
    /// # Errors
    /// The first line that is no record. Nothing can be read after that.
    pub fn push(&mut self, piece: &[u8], mut to: impl FnMut(LogRecord)) -> Result<(), FileError> {
        self.rest.extend_from_slice(piece);
        let Some(first) = self.rest.first() else { return Ok(()) };
        let format =
            *self.format.get_or_insert(if *first == b'{' { FileFormat::Jsonl } else { FileFormat::Csv });
        let mut start = 0;
        while let Some(end) = self.end_of_line(format) {
            let line = &self.rest[start..end];
            let parsed = std::str::from_utf8(line)
                .map_err(|_| RecordError::Syntax("it is not UTF-8".into()))
                .and_then(|line| parse(format, line, &mut self.has_heading));
            let error = |error| FileError { line: self.lines + 1, error };
            if let Some(record) = parsed.map_err(error)? {
                to(record);
            }
            self.lines += line.iter().filter(|byte| **byte == b'\n').count() as u64;
            start = end;
        }
        self.rest.drain(..start);
        self.seen -= start;
        if self.rest.len() > RECORD_BYTES_MAX {
            return Err(self.syntax("it is too long"));
        }
        Ok(())
    }

    /// Says that there is no more.
    ///
    /// # Errors
    /// The file ends in the middle of a line.
    pub fn finish(&self) -> Result<(), FileError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.syntax("the file ends in the middle of it")) }
    }

    fn syntax(&self, why: &str) -> FileError {
        FileError { line: self.lines + 1, error: RecordError::Syntax(why.into()) }
    }

    /// Where the next line ends, behind its line break.
    fn end_of_line(&mut self, format: FileFormat) -> Option<usize> {
        while let Some(byte) = self.rest.get(self.seen) {
            self.seen += 1;
            match byte {
                b'"' if format == FileFormat::Csv => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => return Some(self.seen),
                _ => {}
            }
        }
        None
    }
}

fn parse(format: FileFormat, line: &str, has_heading: &mut bool) -> Result<Option<LogRecord>, RecordError> {
    let fields = match format {
        FileFormat::Jsonl => {
            serde_json::from_str(line).map_err(|error| RecordError::Syntax(error.to_string()))?
        }
        FileFormat::Csv if !std::mem::replace(has_heading, true) => {
            return if line.trim_end_matches(['\r', '\n']) == CSV_HEADING.trim_end() {
                Ok(None)
            } else {
                Err(RecordError::Syntax("this is not the heading of an exported log".into()))
            };
        }
        FileFormat::Csv => csv_fields(line)?,
    };
    LogRecord::from_fields(fields).map(Some)
}

fn csv_fields(line: &str) -> Result<Fields, RecordError> {
    let syntax = || RecordError::Syntax("the quotes and commas of it are damaged".into());
    let mut rest = line.strip_suffix('\n').ok_or_else(syntax)?;
    rest = rest.strip_suffix('\r').unwrap_or(rest);
    let mut fields = Fields::default();
    let mut names = Fields::NAMES.iter();
    loop {
        let name = names.next().ok_or_else(syntax)?;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = unquote(quoted).ok_or_else(syntax)?;
            fields.set(name, &text)?;
            rest = after;
        } else {
            // Tools that write a file again leave out quotes that are not needed.
            let end = rest.find([',', '"']).unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            if !text.is_empty() {
                fields.set(name, text)?;
            }
            rest = after;
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() && names.next().is_none() => return Ok(fields),
            None => return Err(syntax()),
        }
    }
}

/// The text up to the closing quote, and what comes behind it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                rest = after;
            }
            None => return Some((text, after)),
        }
    }
}

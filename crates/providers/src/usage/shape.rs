//! The shape of the documents of a stream: one is like the next but for a few values, of which nothing is kept.
//!
//! What a document of the same shape says is known without reading it. Nearly all chunks of a stream differ in nothing but
//! the text that they bring, and comparing is much less work than reading.

use super::scanner::{Found, Said};
use super::whole::Hole;
use crate::json::span::{IS_SCALAR, run, string};

/// The longest document that is remembered, in bytes.
pub(super) const LENGTH_MAX: usize = 2048;

/// After so many documents of other shapes, one after the other, none is learned any more.
const MISSES_MAX: u32 = 32;

/// The shape of a document that was read.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The document; empty when none is known.
    document: Vec<u8>,
    /// The values in it that may be others.
    pub holes: Vec<Hole>,
    /// What it said, and so do all others.
    pub found: Found,
    misses: u32,
}

impl Shape {
    /// Whether a document that is not of this shape is to be learned.
    pub(super) fn learns(&mut self) -> bool {
        self.misses += 1;
        self.document.clear();
        self.holes.clear();
        self.misses <= MISSES_MAX
    }

    /// Remembers a document, whose holes are known. Behind them stood so many other bytes.
    pub(super) fn learn(&mut self, document: &[u8], behind: usize, said: Said<'_>) {
        if document.len() <= LENGTH_MAX {
            self.document.extend_from_slice(document);
            self.holes.iter_mut().for_each(|hole| hole.before_end -= behind);
            self.found.clear();
            self.found.keep_all(said);
        }
    }

    /// Takes a document of this shape, and gives what stands behind it, and how many bytes of text are in it.
    pub(super) fn strip<'b>(&mut self, mut bytes: &'b [u8]) -> Option<(&'b [u8], u64)> {
        let (mut at, mut text_bytes) = (0, 0);
        if self.document.is_empty() {
            return None;
        }
        for hole in &self.holes {
            let start = self.document.len() - hole.before_end;
            bytes = bytes.strip_prefix(&self.document[at..start])?;
            let length = if *bytes.first()? == b'"' {
                let (length, escapes) = string(&bytes[1..])?;
                text_bytes += if hole.is_text { (length - escapes) as u64 } else { 0 };
                length + 2
            } else {
                Some(run(bytes, &IS_SCALAR)).filter(|length| *length > 0)?
            };
            bytes = &bytes[length..];
            at = start + hole.length;
        }
        let rest = bytes.strip_prefix(&self.document[at..])?;
        self.misses = 0;
        Some((rest, text_bytes))
    }
}

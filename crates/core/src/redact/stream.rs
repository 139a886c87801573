//! The search over a text that arrives in chunks split anywhere.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Findings, MASK, Redactor};

/// One answer on its way. What goes in comes out, masked, in the same order and length.
///
/// The bytes held back are at most one form of the key with every character escaped: twelve times
/// its length.
pub struct RedactStream {
    redactor: Arc<Redactor>,
    /// The end of what came so far, as it came, while it may be the beginning of a form.
    held: Bytes,
    /// So many of the first bytes held are inside an occurrence that began before them.
    held_masked: usize,
    replacements: u64,
}

impl fmt::Debug for RedactStream {
    /// Says nothing about the bytes held: they are the beginning of a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactStream")
            .field("held", &self.held.len())
            .field("replacements", &self.replacements)
            .finish_non_exhaustive()
    }
}

impl RedactStream {
    pub(super) fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, held: Bytes::new(), held_masked: 0, replacements: 0 }
    }

    /// Takes the next chunk and returns what may be passed on now, possibly nothing.
    ///
    /// Ordinarily that is the chunk itself, not copied.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let text = if self.held.is_empty() { chunk } else { self.append(&chunk) };
        let findings = self.redactor.search(&text, false);
        self.pass_on(text, findings)
    }

    /// Ends the text and returns what was held back, masked if it is the larger part of the key.
    pub fn finish(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.held);
        if text.is_empty() {
            return text;
        }
        let findings = self.redactor.search(&text, true);
        self.pass_on(text, findings)
    }

    /// How many bytes are held back.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// How many echoes of the key were masked so far; those that overlap count as one.
    pub fn replacements(&self) -> u64 {
        self.replacements
    }

    fn append(&self, chunk: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(self.held.len() + chunk.len());
        text.extend_from_slice(&self.held);
        text.extend_from_slice(chunk);
        text.into()
    }

    /// Splits off what must be held, and masks the rest.
    fn pass_on(&mut self, mut text: Bytes, findings: Findings) -> Bytes {
        let Findings { mut ranges, hold } = findings;
        // What starts in the held part is found again when more has come.
        ranges.retain(|range| range.start < hold);
        self.replacements += count_apart(&mut ranges, self.held_masked);
        if self.held_masked > 0 {
            ranges.push(0..self.held_masked);
        }
        self.held_masked = ranges.iter().map(|range| range.end).max().unwrap_or(0).saturating_sub(hold);
        self.held = if hold < text.len() { text.split_off(hold) } else { Bytes::new() };
        if ranges.is_empty() {
            return text;
        }
        let mut masked = text.to_vec();
        for range in ranges {
            masked[range.start..range.end.min(hold)].fill(MASK);
        }
        masked.into()
    }
}

/// Sorts the ranges and counts those that don't overlap an earlier one or the first `taken` bytes.
fn count_apart(ranges: &mut [Range<usize>], taken: usize) -> u64 {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut end = taken;
    let mut count = 0;
    for range in ranges {
        count += u64::from(range.start >= end);
        end = end.max(range.end);
    }
    count
}

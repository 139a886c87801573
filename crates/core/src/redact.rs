//! The search that keeps the upstream key out of answers, whole or streamed.
//!
//! An upstream that echoes its key, by mistake or on purpose, must not hand it to the agent. So
//! everything that comes back is searched for the key in these *forms*: plain, hexadecimal in any
//! mix of case, and base64 in its three byte alignments and both alphabets. In every form each
//! character may besides be escaped as JSON (`\/`, `\"`, `\\`, `\u002F`) or percent-encoded (`%2f`),
//! in any mixture. What is found is replaced by as many `*`, so no length changes. Where the upstream
//! key is `user:password` for HTTP Basic, the whole and both parts are searched for.
//!
//! Invariants:
//! - what a stream passes on does not depend on where its chunks were split;
//! - bytes are held back only while they are the beginning of something searched for;
//! - where nothing is found nothing is copied, unless bytes had been held back.
//!
//! Choices worth knowing:
//! - A beginning of the key is not the key and passes. Only where an answer *ends* with the larger
//!   part of it (at least half, and at least eight bytes of the key) is that masked as well, or else
//!   cutting the last character off would be a way around.
//! - Of base64 only the characters that the key alone determines are searched for and masked. The
//!   two at the edges that mix key and neighbour bits stay; they tell at most four bits each.
//! - Occurrences may overlap; the union is masked.
//! - Other transformations (double escaping, line breaks inside base64, compression, HTML entities)
//!   are outside what is promised.
//!
//! How it is fast: the `sieve` finds candidates, a `form` then judges each one.

mod form;
mod sieve;
mod stream;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::secret::Secret;
use crate::upstream::{Placement, UPSTREAM_KEY_MIN, Upstream};

use form::{Encoding, Form};
use sieve::Sieve;
pub use stream::RedactStream;

/// What a found byte is replaced by.
const MASK: u8 = b'*';

/// The search for one upstream key, prepared once and shared by all answers to its requests.
///
/// It takes under 2 KiB besides the key itself and is built in microseconds. It holds the key, so its
/// `Debug` shows nothing.
pub struct Redactor {
    /// What is searched for: the upstream key and, for Basic, its parts. At most three.
    needles: Vec<Secret>,
    /// The length of the shortest needle, in bytes. No form is shorter.
    shortest: usize,
    sieve: Sieve,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// What a search says about a text.
struct Findings {
    /// What must be masked, in no order and possibly overlapping.
    ranges: Vec<Range<usize>>,
    /// Where the earliest beginning of a form starts that the end of the text cuts off, or the
    /// length of the text. Always the length when the text is known to be complete.
    hold: usize,
}

impl Redactor {
    /// Prepares the search for the key of `upstream`. A key that is too short to be accepted as one is not
    /// searched for: [`crate::upstream::check_upstream_key`] is what keeps it out.
    pub fn new(upstream: &Upstream) -> Self {
        let needles = needles(upstream);
        let shortest = needles.iter().map(Secret::len).min().unwrap_or(usize::MAX);
        let sieve = Sieve::new(&forms(&needles).collect::<Vec<_>>());
        Self { needles, shortest, sieve }
    }

    /// The text with every occurrence masked, or `None` when there is nothing to mask: for header
    /// values, trailers and bodies that are in memory as a whole.
    pub fn redact_all(&self, text: &[u8]) -> Option<Vec<u8>> {
        // Neither an occurrence nor the larger part of one fits into fewer bytes: see `Form::is_larger_part`.
        if text.len() < self.shortest.div_ceil(2).max(UPSTREAM_KEY_MIN) {
            return None;
        }
        let findings = self.search(text, true);
        if findings.ranges.is_empty() {
            return None;
        }
        let mut masked = text.to_vec();
        for range in findings.ranges {
            masked[range].fill(MASK);
        }
        Some(masked)
    }

    /// Whether the key is in a header name. Letter case is ignored, because the names have been put
    /// in lower case on the way. Such a header can only be dropped.
    pub fn contains_in_header_name(&self, name: &[u8]) -> bool {
        // No form is shorter than the shortest needle, so none starts nearer to the end.
        let starts = (name.len() + 1).saturating_sub(self.shortest);
        name[..starts].iter().enumerate().any(|(start, byte)| {
            let numbers = self.sieve.starts_in_any_case(*byte);
            self.numbered_forms(numbers).any(|form| form.matches_in_any_case(&name[start..]))
        })
    }

    /// The search over a text that arrives in chunks.
    pub fn stream(self: &Arc<Self>) -> RedactStream {
        RedactStream::new(Arc::clone(self))
    }

    /// Everything that must be masked in `text`, and what must wait for more unless it is `complete`.
    fn search(&self, text: &[u8], complete: bool) -> Findings {
        let mut findings = Findings { ranges: Vec::new(), hold: text.len() };
        self.sieve.candidates(text, |start, numbers| {
            for form in self.numbered_forms(numbers) {
                judge(form, text, start, complete, &mut findings);
            }
        });
        findings
    }

    /// The forms whose numbers, in the order of [`forms`], are set in `numbers`.
    fn numbered_forms(&self, mut numbers: sieve::FormSet) -> impl Iterator<Item = Form<'_>> {
        std::iter::from_fn(move || {
            if numbers == 0 {
                return None;
            }
            let number = numbers.trailing_zeros() as usize;
            numbers &= numbers - 1;
            let key = self.needles[number / Encoding::ALL.len()].reveal();
            Some(Form::new(key, Encoding::ALL[number % Encoding::ALL.len()]))
        })
    }
}

/// Records what becomes of `form` at `start`.
fn judge(form: Form<'_>, text: &[u8], start: usize, complete: bool, findings: &mut Findings) {
    let attempt = form.attempt(&text[start..]);
    if let Some(length) = attempt.matched {
        findings.ranges.push(start..start + length);
    }
    if let Some(characters) = attempt.cut_off_after {
        if !complete {
            findings.hold = findings.hold.min(start);
        } else if form.is_larger_part(characters) {
            findings.ranges.push(start..text.len());
        }
    }
}

/// What is searched for: the key and, for Basic, its parts, as far as they are long enough not to hit
/// ordinary text.
fn needles(upstream: &Upstream) -> Vec<Secret> {
    let key = upstream.key.reveal();
    let mut needles = vec![key];
    if upstream.placement == Placement::Basic {
        let parts: Vec<_> = key.splitn(2, |byte| *byte == b':').collect();
        if let [user, password] = parts[..] {
            needles.extend([user, password]);
        }
    }
    needles.retain(|needle| needle.len() >= UPSTREAM_KEY_MIN);
    needles.into_iter().map(Secret::new).collect()
}

/// Every form of every needle. A form's place in this order is its number.
fn forms(needles: &[Secret]) -> impl Iterator<Item = Form<'_>> {
    needles.iter().flat_map(|needle| Encoding::ALL.map(|encoding| Form::new(needle.reveal(), encoding)))
}

#[cfg(test)]
mod tests;

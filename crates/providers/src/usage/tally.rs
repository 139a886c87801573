//! What is counted in an answer, value by value, without keeping the values.

/// What a value is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Why an output ended.
    Finish,
    /// The place of an output among several.
    Place,
    /// Why nothing was put out.
    Block,
    /// The kind of a step of an answer.
    Item,
    /// What a call of a tool did.
    Action,
    /// Tokens of one of several outputs.
    Tokens,
}

/// Counts of one document, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Outputs that ended.
    pub finishes: u64,
    /// The highest place of an output, counted from one.
    pub places: u64,
    /// The prompt was blocked: there is no output that could end.
    pub is_blocked: bool,
    /// Calls that search the web, but for those that only look at a page.
    web_calls: u64,
    page_calls: u64,
    /// Calls that search stored files.
    pub storage_searches: u64,
    /// Tokens of all outputs.
    pub tokens: u64,
}

impl Tally {
    /// Counts a value, which is raw JSON.
    pub(super) fn count(&mut self, mark: Mark, raw: &[u8]) {
        match mark {
            Mark::Finish => self.finishes += u64::from(is_reason(raw)),
            Mark::Block => self.is_blocked |= is_reason(raw),
            Mark::Place => {
                self.places = self.places.max(number(raw).map_or(0, |place| place.saturating_add(1)))
            }
            Mark::Tokens => self.tokens = self.tokens.saturating_add(number(raw).unwrap_or(u64::MAX)),
            Mark::Item => match raw {
                b"\"web_search_call\"" => self.web_calls += 1,
                b"\"file_search_call\"" => self.storage_searches += 1,
                _ => {}
            },
            Mark::Action => {
                self.page_calls += u64::from(matches!(raw, b"\"open_page\"" | b"\"find_in_page\""))
            }
        }
    }

    /// Adds the counts of another document of the same answer.
    pub(super) fn add(&mut self, other: &Self) {
        self.finishes = self.finishes.saturating_add(other.finishes);
        self.places = self.places.max(other.places);
        self.is_blocked |= other.is_blocked;
        self.web_calls = self.web_calls.saturating_add(other.web_calls);
        self.page_calls = self.page_calls.saturating_add(other.page_calls);
        self.storage_searches = self.storage_searches.saturating_add(other.storage_searches);
        self.tokens = self.tokens.saturating_add(other.tokens);
    }

    /// Whether every output that was seen has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.is_blocked || (self.finishes > 0 && self.finishes >= self.places)
    }

    /// Searches of the web. A call that opens a page or looks into it is none: "Search actions incur a tool call cost",
    /// <https://platform.openai.com/docs/guides/tools-web-search#output-and-citations>.
    pub(super) fn web_searches(&self) -> u64 {
        self.web_calls.saturating_sub(self.page_calls)
    }
}

/// Whether it is a reason, and not the lack of one: null, or Gemini's unspecified one.
fn is_reason(raw: &[u8]) -> bool {
    raw.len() > 2 && raw[0] == b'"' && !raw.ends_with(b"_UNSPECIFIED\"")
}

fn number(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

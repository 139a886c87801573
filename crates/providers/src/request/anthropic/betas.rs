//! Values of `anthropic-beta`, in the header or in a body.

use till_core::fields;

use super::super::object::Value;
use super::super::{Question, Refused, UNKNOWN, unbounded};

/// Values that start nothing which is billed beside the tokens of the request: they allow members, blocks and tools
/// that are looked at themselves, or change how an answer is shown
/// (<https://platform.claude.com/docs/en/api/beta-headers>, and the list in the official SDKs). Compared without their
/// date.
const KNOWN: [&str; 41] = [
    "advanced-tool-use",
    "advisor-tool",
    "cache-diagnosis",
    "claude-code",
    "compact",
    "computer-use",
    "context-1m",
    "context-management",
    "dev-full-thinking",
    "effort",
    "extended-cache-ttl",
    "fallback-credit",
    "fast-mode",
    "files-api",
    "fine-grained-tool-streaming",
    "inline-tools",
    "interleaved-thinking",
    "max-tokens-3-5-sonnet",
    "message-batches",
    "messages",
    "mid-conversation-output-config",
    "mid-conversation-system-clear-at",
    "mid-conversation-tool-changes",
    "model-context-window-exceeded",
    "oauth",
    "output-128k",
    "output-300k",
    "pdfs",
    "prompt-caching",
    "prompt-caching-scope",
    "redact-thinking",
    "structured-outputs",
    "task-budgets",
    "thinking-binding-controls",
    "thinking-display-updates",
    "thinking-token-count",
    "token-counting",
    "token-efficient-tools",
    "tool-examples",
    "tool-search-tool",
    "tools",
];

/// What the values of a request change about its bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Betas {
    /// Models with a shorter window take in a million tokens.
    pub(crate) has_long_input: bool,
}

impl Betas {
    /// Reads those of the header and of a body.
    ///
    /// # Errors
    /// One of them is in no table.
    pub(crate) fn of(question: &Question<'_>, member: Option<&Value<'_>>) -> Result<Self, Refused> {
        let mut betas = Self::default();
        for header in question.headers.get_all("anthropic-beta") {
            for value in fields::text(header).unwrap_or("?").split(',') {
                betas.add(question, value.trim())?;
            }
        }
        let Some(member) = member else { return Ok(betas) };
        let malformed = || Refused::Malformed("\"anthropic_beta\" must be an array of texts.".to_owned());
        let values = member.as_array().unwrap_or_else(|| vec![*member]);
        for value in values {
            betas.add(question, &value.as_str().ok_or_else(malformed)?)?;
        }
        Ok(betas)
    }

    fn add(&mut self, question: &Question<'_>, value: &str) -> Result<(), Refused> {
        let name = value.trim_end_matches(|character: char| character.is_ascii_digit() || character == '-');
        let is_known = [name, value].iter().any(|name| KNOWN.contains(name));
        if !value.is_empty() && !is_known && !question.provider.is_neutral_beta(value) {
            return Err(unbounded(&format!("anthropic-beta {value:?}"), UNKNOWN));
        }
        self.has_long_input |= name == "context-1m";
        Ok(())
    }
}

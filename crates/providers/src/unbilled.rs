//! Which refusals of a provider are documented as costing nothing.

use http::StatusCode;

use crate::provider::Provider;

/// A row: the provider, what it does not bill, and where it says so.
#[derive(Debug)]
pub struct Unbilled {
    /// Id of the provider in the tables.
    pub provider: &'static str,
    /// Which statuses.
    statuses: Statuses,
    /// Where the provider says so.
    pub source: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Statuses {
    /// All from 400 to 499.
    ClientErrors,
    /// Those, and 529 (overloaded).
    ClientErrorsAndOverloaded,
    /// All from 400 to 599.
    Errors,
}

/// The table. A provider that is not in it may bill what it refuses.
static ROWS: [Unbilled; 12] = [
    row("openai", Statuses::ClientErrors, "https://platform.openai.com/docs/guides/error-codes"),
    row(
        "azure-openai",
        Statuses::ClientErrors,
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/manage-costs",
    ),
    row("anthropic", Statuses::ClientErrorsAndOverloaded, "https://platform.claude.com/docs/en/api/errors"),
    // "If your request fails with a 400 or 500 error, you won't be charged for the tokens used."
    row("google", Statuses::Errors, "https://ai.google.dev/gemini-api/docs/billing"),
    row("mistral", Statuses::ClientErrors, "https://docs.mistral.ai/api/"),
    row("groq", Statuses::ClientErrors, "https://console.groq.com/docs/errors"),
    row("cohere", Statuses::ClientErrors, "https://docs.cohere.com/reference/errors"),
    row("deepseek", Statuses::ClientErrors, "https://api-docs.deepseek.com/quick_start/error_codes"),
    row("xai", Statuses::ClientErrors, "https://docs.x.ai/docs/key-information/debugging"),
    row("cerebras", Statuses::ClientErrors, "https://inference-docs.cerebras.ai/support/error"),
    row("together", Statuses::ClientErrors, "https://docs.together.ai/docs/error-codes"),
    row(
        "bedrock",
        Statuses::ClientErrors,
        "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html",
    ),
];

const fn row(provider: &'static str, statuses: Statuses, source: &'static str) -> Unbilled {
    Unbilled { provider, statuses, source }
}

impl Unbilled {
    /// The whole table, for documentation.
    pub fn all() -> &'static [Self] {
        &ROWS
    }

    /// The statuses as people write them.
    pub fn statuses(&self) -> &'static str {
        match self.statuses {
            Statuses::ClientErrors => "4xx",
            Statuses::ClientErrorsAndOverloaded => "4xx, 529",
            Statuses::Errors => "4xx, 5xx",
        }
    }
}

/// Whether a complete answer with this status costs nothing. 408 and 499 say that somebody stopped waiting, not that
/// nothing was done.
pub fn is_unbilled(provider: &Provider, status: StatusCode) -> bool {
    if provider.is_custom() || matches!(status.as_u16(), 408 | 499) {
        return false;
    }
    let row = ROWS.iter().find(|row| provider.table_id() == Some(row.provider));
    row.is_some_and(|row| match row.statuses {
        Statuses::ClientErrors => status.is_client_error(),
        Statuses::ClientErrorsAndOverloaded => status.is_client_error() || status.as_u16() == 529,
        Statuses::Errors => status.is_client_error() || status.is_server_error(),
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::is_unbilled;
    use crate::Registry;

    #[test]
    fn only_what_is_documented_costs_nothing() {
        let registry = Registry::builtin();
        for (provider, status, expected) in [
            ("openai", 429, true),
            ("openai", 400, true),
            ("openai", 408, false),
            ("openai", 500, false),
            ("openai", 200, false),
            ("anthropic", 529, true),
            ("anthropic", 503, false),
            ("google", 500, true),
            ("openrouter", 429, false),
            ("github", 404, false),
        ] {
            let provider = registry.get(provider).expect("built in");
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_unbilled(provider, status), expected, "{} {status}", provider.id());
        }
    }
}

//! Which refusals of a provider cost nothing.
//!
//! A row lists statuses of which the provider says that they are not charged, or of which its documentation says
//! what they mean, and they mean that no model ran: the key, the address, the form or the rate was refused. A status
//! that may also come after a model ran is in no row: timeouts, filters of answers, answers that were made and then
//! found to be no valid call of a tool.

use http::StatusCode;

use crate::provider::Provider;

/// A row: the provider, what it does not bill, and where it says so.
#[derive(Debug)]
pub struct Unbilled {
    /// Id of the provider in the tables.
    pub provider: &'static str,
    /// Which statuses.
    statuses: &'static [u16],
    /// Where the provider says so.
    pub source: &'static str,
}

/// The table. A provider or a status that is not in it may be billed.
static ROWS: [Unbilled; 12] = [
    // 400 "was malformed or missing some required parameters", 401, 403, 404, 429: refused before. Of 429: "You will
    // not be charged when this occurs" (<https://developers.openai.com/api/docs/guides/flex-processing>).
    row(
        "openai",
        &[400, 401, 403, 404, 405, 413, 415, 429],
        "https://platform.openai.com/docs/guides/error-codes",
    ),
    // "If the service performs processing, you may be charged even if the status code is not successful (not 200). For
    // example, a 400 error due to a content filter or input limit, or a 408 error due to a timeout. If the service
    // doesn't perform processing, you won't be charged. For example, a 401 error due to authentication or a 429 error
    // due to exceeding the Rate Limit."
    row(
        "azure-openai",
        &[401, 403, 404, 429],
        "https://learn.microsoft.com/azure/ai-services/openai/how-to/manage-costs",
    ),
    // 400 "an issue with the format or content of your request", 401, 402 and 403 about the key and the account, 404,
    // 413 "exceeds the maximum allowed number of bytes", 429, 529 "temporarily overloaded": refused before. 504 is a
    // timeout of work that ran.
    row(
        "anthropic",
        &[400, 401, 402, 403, 404, 413, 429, 529],
        "https://platform.claude.com/docs/en/api/errors",
    ),
    // "If your request fails with a 400 or 500 error, you won't be charged for the tokens used." The others refuse the
    // key, the name, the rate (<https://ai.google.dev/gemini-api/docs/troubleshooting>). 504 is a timeout.
    row("google", &[400, 401, 403, 404, 413, 429, 500, 503], "https://ai.google.dev/gemini-api/docs/billing"),
    // 422 says that the body is not valid.
    row("mistral", &[400, 401, 402, 403, 404, 422, 429], "https://docs.mistral.ai/api/"),
    // Not 400, which `tool_use_failed` and `json_validate_failed` have after the model ran, nor 424. 498 says that there
    // is no room for `flex`: "requests will fail quickly".
    row("groq", &[401, 403, 404, 413, 429, 498], "https://console.groq.com/docs/errors"),
    // Not 498, which says that what went in or came out was blocked.
    row("cohere", &[400, 401, 402, 403, 404, 405, 429], "https://docs.cohere.com/reference/errors"),
    // "Invalid request body format", "Authentication fails", "You have run out of balance", "Your request contains invalid
    // parameters", "You are sending requests too quickly".
    row("deepseek", &[400, 401, 402, 422, 429], "https://api-docs.deepseek.com/quick_start/error_codes"),
    // Not 400 and 403: "when your request is deemed to be in violation of our usage guideline by our system, we will
    // charge a $0.05 per request usage guidelines violation fee" (<https://docs.x.ai/developers/pricing>).
    row("xai", &[401, 404, 405, 415, 422, 429], "https://docs.x.ai/docs/key-information/debugging"),
    // Not 400 and 422, which may come after the model ran, as at Groq.
    row("cerebras", &[401, 402, 403, 404, 429], "https://inference-docs.cerebras.ai/support/error"),
    row("together", &[401, 402, 403, 404, 429], "https://docs.together.ai/docs/error-codes"),
    // `ValidationException`, `AccessDeniedException`, `ResourceNotFoundException`, `ThrottlingException`. Not 408 and 424,
    // `ModelTimeoutException` and `ModelErrorException`: the model ran.
    row(
        "bedrock",
        &[400, 403, 404, 429],
        "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html",
    ),
];

const fn row(provider: &'static str, statuses: &'static [u16], source: &'static str) -> Unbilled {
    Unbilled { provider, statuses, source }
}

impl Unbilled {
    /// The whole table, for documentation.
    pub fn all() -> &'static [Self] {
        &ROWS
    }

    /// The statuses as people write them.
    pub fn statuses(&self) -> String {
        let statuses: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
        statuses.join(", ")
    }
}

/// Whether a complete answer with this status costs nothing.
pub fn is_unbilled(provider: &Provider, status: StatusCode) -> bool {
    if provider.is_custom() {
        return false;
    }
    let row = ROWS.iter().find(|row| provider.table_id() == Some(row.provider));
    row.is_some_and(|row| row.statuses.contains(&status.as_u16()))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{Unbilled, is_unbilled};
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
            ("azure-openai", 429, true),
            ("azure-openai", 400, false),
            ("anthropic", 429, true),
            ("anthropic", 529, true),
            ("anthropic", 503, false),
            ("anthropic", 504, false),
            ("google", 429, true),
            ("google", 500, true),
            ("google", 504, false),
            ("groq", 400, false),
            ("xai", 403, false),
            ("bedrock", 429, true),
            ("bedrock", 424, false),
            ("cohere", 498, false),
            ("openrouter", 429, false),
            ("github", 404, false),
        ] {
            let provider = registry.get(provider).expect("built in");
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_unbilled(provider, status), expected, "{} {status}", provider.id());
        }
    }

    #[test]
    fn no_success_and_no_timeout_is_in_the_table() {
        for row in Unbilled::all() {
            assert!(row.statuses.iter().all(|status| *status >= 400), "{}", row.provider);
            assert!(
                ![408, 424, 499, 504].iter().any(|status| row.statuses.contains(status)),
                "{}",
                row.provider
            );
            assert!(Registry::builtin().get(row.provider).is_some(), "{}", row.provider);
        }
    }
}

//! A denial or failure as an HTTP answer, in the shape of the provider's own errors, so that the official
//! SDK shows our message and code. The only place of the data plane that knows statuses.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_providers::Dialect;

use crate::body::Answer;

/// Tells the generated SDKs of several providers not to send the request again.
const SHOULD_RETRY: &str = "x-should-retry";

/// The status of a code. 403 for a dead key is deliberate: of the usual candidates it is the only one that
/// practically no client retries (`docs/clients.md`).
pub(crate) fn status(code: DenialCode) -> StatusCode {
    match code {
        DenialCode::MissingKey => StatusCode::UNAUTHORIZED,
        DenialCode::InvalidKey
        | DenialCode::ActivationsExhausted
        | DenialCode::TokensExhausted
        | DenialCode::SpendExhausted
        | DenialCode::ProjectExhausted
        | DenialCode::KeyRevoked
        | DenialCode::KeyExpired
        | DenialCode::KeyPaused
        | DenialCode::KeyNotYetActive
        | DenialCode::InstanceStopped
        | DenialCode::KeyFenced
        | DenialCode::CredentialDenied
        | DenialCode::EndpointDenied
        | DenialCode::ModelDenied
        | DenialCode::ParameterDenied
        | DenialCode::NetworkDenied
        | DenialCode::UnpricedModel
        | DenialCode::UnboundedRequest => StatusCode::FORBIDDEN,
        DenialCode::RateLimited | DenialCode::ConcurrencyLimited | DenialCode::BudgetBusy => {
            StatusCode::TOO_MANY_REQUESTS
        }
        DenialCode::UnknownProvider => StatusCode::NOT_FOUND,
        DenialCode::MalformedRequest => StatusCode::BAD_REQUEST,
        DenialCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DenialCode::WebsocketUnmetered => StatusCode::UPGRADE_REQUIRED,
        DenialCode::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        DenialCode::LedgerUnavailable | DenialCode::Overloaded | DenialCode::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        DenialCode::UpstreamUnreachable | DenialCode::UpstreamProtocol => StatusCode::BAD_GATEWAY,
        DenialCode::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The whole answer to a request that was not served.
pub(crate) fn refusal(denial: &Denial, dialect: Dialect) -> Answer {
    let status = status(denial.code);
    let body = body(denial, dialect, status).to_string();
    let mut fields = Fields::default();
    fields.push("content-type", "application/json");
    if matches!(denial.code, DenialCode::RateLimited | DenialCode::ConcurrencyLimited) {
        match denial.wait.map(seconds_up).filter(|seconds| *seconds <= RETRY_AFTER_SECONDS_MAX) {
            Some(seconds) => fields.push("retry-after", seconds.to_string()),
            // Waiting does not help, or for longer than clients should sleep.
            None => fields.push(SHOULD_RETRY, "false"),
        }
    } else if denial.code.is_transient() {
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            fields.push("retry-after", "1");
        }
    } else {
        fields.push(SHOULD_RETRY, "false");
    }
    if dialect == Dialect::Bedrock {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "ThrottlingException",
            status if status.is_client_error() => "AccessDeniedException",
            _ => "ServiceUnavailableException",
        };
        fields.push("x-amzn-errortype", kind);
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 section 15.5.22: a 426 names what it wants. HTTP/1.1 without an upgrade is what works.
        fields.push("upgrade", "HTTP/1.1");
    }
    Answer::ready(status, fields, body)
}

/// Several SDKs sleep for as long as they are told to: beyond this they are not told.
const RETRY_AFTER_SECONDS_MAX: u64 = 60;

fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The error object that a provider would send.
pub(crate) fn body(denial: &Denial, dialect: Dialect, status: StatusCode) -> Value {
    let code = denial.code.as_str();
    let message = &denial.message;
    match dialect {
        Dialect::OpenAi => json!({
            "error": {"message": message, "type": kind(status), "param": null, "code": code}
        }),
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind(status), "message": message, "details": {"error_code": code}},
        }),
        Dialect::Google => json!({
            "error": {
                "code": status.as_u16(),
                "message": message,
                "status": google_status(status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": code,
                    "domain": "till",
                }],
            }
        }),
        Dialect::Github => json!({
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": status.as_str(),
            "code": code,
        }),
        Dialect::Stripe => json!({
            "error": {"type": "invalid_request_error", "code": code, "message": message}
        }),
        Dialect::Cohere | Dialect::Bedrock => json!({"message": message, "code": code}),
        // One body that every SDK tried reads the message from.
        Dialect::Universal => json!({
            "type": "error",
            "error": {
                "type": kind(status),
                "message": message,
                "code": status.as_u16(),
                "param": null,
                "status": google_status(status),
                "reason": code,
            }
        }),
    }
}

/// Error types shared by OpenAI's and Anthropic's APIs.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    }
}

/// Canonical codes of Google's APIs, <https://google.aip.dev/193>.
fn google_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
        status if status.is_client_error() => "INVALID_ARGUMENT",
        _ => "UNAVAILABLE",
    }
}

#[cfg(test)]
mod tests {
    use till_core::denial::{Denial, DenialCode};
    use till_providers::Dialect;

    use std::time::Duration;

    use super::{body, refusal, status};

    const DIALECTS: [Dialect; 8] = [
        Dialect::OpenAi,
        Dialect::Anthropic,
        Dialect::Google,
        Dialect::Github,
        Dialect::Stripe,
        Dialect::Cohere,
        Dialect::Bedrock,
        Dialect::Universal,
    ];

    #[test]
    fn a_final_denial_never_invites_a_retry() {
        for code in DenialCode::ALL {
            for dialect in DIALECTS {
                // One that can pass in a moment; those that can't are looked at below.
                let response = refusal(&Denial::new(code, "No.").after(Duration::from_secs(1)), dialect);
                let should_retry = response.fields.get("x-should-retry");
                assert_eq!(should_retry.is_none(), code.is_transient(), "{code}");
                if !code.is_transient() {
                    assert_ne!(response.status, 429, "{code}");
                    assert!(!response.fields.contains("retry-after"), "{code}");
                    assert!(response.status.is_client_error(), "{code}");
                }
            }
        }
    }

    #[test]
    fn who_comes_too_often_is_told_when_to_come_again() {
        for code in [DenialCode::RateLimited, DenialCode::ConcurrencyLimited] {
            for (wait, after) in [
                (Some(Duration::from_nanos(1)), Some("1")),
                (Some(Duration::from_millis(2_001)), Some("3")),
                (Some(Duration::from_secs(60)), Some("60")),
                (Some(Duration::from_millis(60_001)), None),
                (None, None),
            ] {
                for dialect in DIALECTS {
                    let denial = Denial { wait, ..Denial::new(code, "No.") };
                    let response = refusal(&denial, dialect);
                    assert_eq!(response.status, 429);
                    assert_eq!(response.fields.get_text("retry-after"), after, "{wait:?}");
                    assert_eq!(
                        response.fields.get_text("x-should-retry"),
                        if after.is_none() { Some("false") } else { None }
                    );
                }
            }
        }
    }

    #[test]
    fn every_body_has_the_message_and_the_code() {
        for code in DenialCode::ALL {
            for dialect in DIALECTS {
                let denial = Denial::new(code, "The whole \"story\".");
                let text = body(&denial, dialect, status(code)).to_string();
                assert!(text.contains("The whole \\\"story\\\"."), "{text}");
                assert!(text.contains(code.as_str()), "{text}");
            }
        }
    }

    #[test]
    fn a_dead_key_is_403() {
        assert_eq!(status(DenialCode::ActivationsExhausted), 403);
        assert_eq!(status(DenialCode::KeyRevoked), 403);
        assert_eq!(status(DenialCode::InvalidKey), 403);
    }
}

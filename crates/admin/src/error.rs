//! Everything that can go wrong in the control plane, and how it is said over HTTP.
//!
//! Invariants: this is the only file of the crate that knows statuses; every error is a JSON object
//! `{"error":{"code","message"}}`; no message repeats a value that the caller sent, because the value could
//! be a credential in the wrong place.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use till_store::StoreError;
use utoipa::ToSchema;

/// The closed list of reasons. Codes are stable: scripts match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    MalformedJson,
    MissingField,
    InvalidField,
    DuplicateField,
    UnknownField,
    UnsupportedField,
    UnknownProvider,
    InvalidQuery,
    InvalidId,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    MethodNotAllowed,
    BodyTooLarge,
    UnsupportedMediaType,
    InternalError,
    LedgerUnavailable,
    InstanceFenced,
    NotAllowed,
    Changed,
    IdempotencyMismatch,
    LoginFailed,
    TooManyAttempts,
    TooManyListeners,
    ShuttingDown,
}

impl ErrorCode {
    pub(crate) const ALL: [Self; 26] = [
        Self::MalformedJson,
        Self::MissingField,
        Self::InvalidField,
        Self::DuplicateField,
        Self::UnknownField,
        Self::UnsupportedField,
        Self::UnknownProvider,
        Self::InvalidQuery,
        Self::InvalidId,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InternalError,
        Self::LedgerUnavailable,
        Self::InstanceFenced,
        Self::NotAllowed,
        Self::Changed,
        Self::IdempotencyMismatch,
        Self::LoginFailed,
        Self::TooManyAttempts,
        Self::TooManyListeners,
        Self::ShuttingDown,
    ];

    /// The stable code.
    pub(crate) fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        self.row().1
    }

    /// What it means, for the documentation.
    pub(crate) fn meaning(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MalformedJson => (
                "malformed_json",
                StatusCode::BAD_REQUEST,
                "The body is not one JSON object. The message gives line and column.",
            ),
            Self::MissingField => (
                "missing_field",
                StatusCode::BAD_REQUEST,
                "A required field is absent or null. The message names it.",
            ),
            Self::InvalidField => (
                "invalid_field",
                StatusCode::BAD_REQUEST,
                "A field breaks its rule. The message names the field and the rule, never the value.",
            ),
            Self::DuplicateField => (
                "duplicate_field",
                StatusCode::BAD_REQUEST,
                "A field stands twice, or in both spellings (`max_activations` and `maxActivations`).",
            ),
            Self::UnknownField => (
                "unknown_field",
                StatusCode::BAD_REQUEST,
                "A field that this version does not know. Nothing was done.",
            ),
            Self::UnsupportedField => (
                "unsupported_field",
                StatusCode::BAD_REQUEST,
                "A field that is known but not enforced by this version. It is refused rather than stored and ignored.",
            ),
            Self::UnknownProvider => (
                "unknown_provider",
                StatusCode::BAD_REQUEST,
                "The provider is not known to this instance, or has no base URL. The message lists those that work.",
            ),
            Self::InvalidQuery => (
                "invalid_query",
                StatusCode::BAD_REQUEST,
                "A query parameter is unknown, stands twice or breaks its rule.",
            ),
            Self::InvalidId => ("invalid_id", StatusCode::BAD_REQUEST, "The path does not hold a key id."),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "No admin token, or one that is not valid here. Send `Authorization: Bearer till_admin_…`.",
            ),
            Self::Forbidden => {
                ("forbidden", StatusCode::FORBIDDEN, "The role of this admin token may not do this.")
            }
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "There is no such key or page."),
            Self::Conflict => (
                "conflict",
                StatusCode::CONFLICT,
                "It can't be done as things stand in the instance. The message says why.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path exists, the method does not. The header `Allow` lists what does.",
            ),
            Self::BodyTooLarge => {
                ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is longer than 1 MiB.")
            }
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not declared as `content-type: application/json`.",
            ),
            Self::InternalError => (
                "internal_error",
                StatusCode::INTERNAL_SERVER_ERROR,
                "A defect in till. The log has more under the same request id.",
            ),
            Self::NotAllowed => (
                "not_allowed",
                StatusCode::FORBIDDEN,
                "A rule of the project, of the upstream credential or of whoever asks says no. The message names the rule.",
            ),
            Self::Changed => (
                "changed",
                StatusCode::PRECONDITION_FAILED,
                "It was changed since the version that `If-Match` names. Nothing was done: read it again.",
            ),
            Self::LoginFailed => (
                "login_failed",
                StatusCode::UNAUTHORIZED,
                "The login or the password is wrong, or nobody may sign in by it.",
            ),
            Self::TooManyAttempts => (
                "too_many_attempts",
                StatusCode::TOO_MANY_REQUESTS,
                "A password was wrong too often, for this login or from this address. `retry-after` says how many seconds to wait.",
            ),
            Self::IdempotencyMismatch => (
                "idempotency_mismatch",
                StatusCode::CONFLICT,
                "This `Idempotency-Key` was used with another request.",
            ),
            Self::LedgerUnavailable => (
                "ledger_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The store could not read or write just now. The log says why.",
            ),
            Self::InstanceFenced => (
                "instance_fenced",
                StatusCode::SERVICE_UNAVAILABLE,
                "The store may be an older copy. All keys are refused, and only the owner's admin token is let in, until it accepts \
                 that (`till admin accept-rollback`).",
            ),
            Self::TooManyListeners => (
                "too_many_listeners",
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many follow changes at the same time.",
            ),
            Self::ShuttingDown => (
                "shutting_down",
                StatusCode::SERVICE_UNAVAILABLE,
                "The process stops: calls under way may end, nothing new begins.",
            ),
        }
    }
}

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_seconds: None }
    }

    /// Something was tried too often; after so many seconds it may be tried again.
    pub(crate) fn too_many_attempts(retry_after_seconds: u64) -> Self {
        Self { retry_after_seconds: Some(retry_after_seconds), ..Self::plain(ErrorCode::TooManyAttempts) }
    }

    /// The code alone, with its documented meaning as the message.
    pub(crate) fn plain(code: ErrorCode) -> Self {
        Self::new(code, code.meaning())
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        self.code.as_str()
    }

    #[cfg(test)]
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for ApiError {
    /// The operator reads the cause in the log; the caller only learns that it did not work.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Changed => Self::plain(ErrorCode::Changed),
            StoreError::Missing => Self::plain(ErrorCode::NotFound),
            StoreError::Conflict { .. } => Self::new(
                ErrorCode::Conflict,
                "the id or the name is taken; ids of what was ended are not used again",
            ),
            StoreError::NotAllowed { reason } => Self::new(ErrorCode::NotAllowed, reason),
            StoreError::Damaged { reason } => {
                tracing::error!(%reason, "the store refused an admin request");
                Self::new(ErrorCode::LedgerUnavailable, reason)
            }
            error => {
                tracing::error!(error = %error, "the store refused an admin request");
                Self::plain(ErrorCode::LedgerUnavailable)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let code = self.code.as_str();
        let body = ErrorBody {
            error: ErrorJson { code: code.to_owned(), message: self.message.clone() },
            r#type: format!("urn:till:error:{code}"),
            title: self.code.meaning().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.message,
        };
        let mut response = (self.code.status(), axum::Json(body)).into_response();
        if self.code == ErrorCode::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An instance that can't serve, with every reason. There is at least one.
#[derive(Debug)]
pub(crate) struct NotReady(pub(crate) Vec<ApiError>);

impl IntoResponse for NotReady {
    fn into_response(self) -> Response<Body> {
        let reasons: Vec<ErrorJson> = self.0.into_iter().map(ErrorJson::from).collect();
        let error = reasons.first().cloned().expect("there is a reason");
        let body = NotReadyBody { status: "unavailable".to_owned(), error, reasons };
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
    }
}

/// Why an instance can't serve.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotReady)]
pub(crate) struct NotReadyBody {
    /// Always `unavailable`.
    #[schema(example = "unavailable")]
    status: String,
    /// The first of the reasons, where all errors have theirs.
    error: ErrorJson,
    /// All of them.
    reasons: Vec<ErrorJson>,
}

/// What every answer with a status of 400 and above looks like.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// The error.
    error: ErrorJson,
    /// The code as a URI: this and what follows is what RFC 9457 has.
    #[schema(example = "urn:till:error:unsupported_field")]
    r#type: String,
    /// What the code means.
    #[schema(example = "A field that is known but not enforced by this version.")]
    title: String,
    /// The status of the answer.
    #[schema(example = 400)]
    status: u16,
    /// The same as `error.message`.
    #[schema(example = "`scope` is not enforced by this version of till, so it is refused")]
    detail: String,
}

/// A stable code and a sentence for people.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ErrorDetail)]
struct ErrorJson {
    /// One of the codes listed in this documentation.
    #[schema(example = "unsupported_field")]
    code: String,
    /// What is wrong and what to do. It never repeats a value that was sent.
    #[schema(example = "`scope` is not enforced by this version of till, so it is refused")]
    message: String,
}

impl From<ApiError> for ErrorJson {
    fn from(error: ApiError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_distinct_and_all_are_errors() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(ErrorCode::ALL[..index].iter().all(|other| other.as_str() != code.as_str()), "{code:?}");
        }
    }
}

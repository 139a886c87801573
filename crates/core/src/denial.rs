//! Why a request was not sent. A denial is a normal answer, not an error.

use std::fmt;
use std::time::Duration;

/// The closed list of reasons. Codes are stable: agents and scripts match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenialCode {
    /// The request carries no scoped key.
    MissingKey,
    /// It carries something that starts like a scoped key but doesn't open, or whose row is gone.
    InvalidKey,
    /// All activations are used or held.
    ActivationsExhausted,
    /// All tokens are used or held.
    TokensExhausted,
    /// All money is used or held.
    SpendExhausted,
    /// An ancestor or the project has nothing left.
    ProjectExhausted,
    /// An admin ended the key.
    KeyRevoked,
    /// The time of the key is over, or it was not used for too long.
    KeyExpired,
    /// An admin stopped the key for now.
    KeyPaused,
    /// The time of the key has not come.
    KeyNotYetActive,
    /// The operator stopped all keys at once.
    InstanceStopped,
    /// The store was put back from an older copy and nobody accepted that yet.
    KeyFenced,
    /// The key was sealed for another destination than the one configured now.
    CredentialDenied,
    /// The endpoint is outside what this key may call.
    EndpointDenied,
    /// The model is outside what this key may ask.
    ModelDenied,
    /// The request asks for something that this key may not ask for.
    ParameterDenied,
    /// The request comes from elsewhere than this key may be used from.
    NetworkDenied,
    /// The key has a limit in money and the model has no price here.
    UnpricedModel,
    /// The key has a limit in tokens or money and something in the request has no bound.
    UnboundedRequest,
    /// The key may not be used that often.
    RateLimited,
    /// As many requests of the key are in flight as may be.
    ConcurrencyLimited,
    /// What the request needs is only held by others, and they took too long.
    BudgetBusy,
    /// The provider is not known to this instance.
    UnknownProvider,
    /// The request can't be understood safely.
    MalformedRequest,
    /// The body is longer than what is read for this kind of request.
    BodyTooLarge,
    /// A WebSocket whose protocol can't be counted.
    WebsocketUnmetered,
    /// The request head is too long.
    HeadersTooLarge,
    /// The hold could not be made durable, so nothing was sent.
    LedgerUnavailable,
    /// Too much in flight.
    Overloaded,
    /// The process is stopping.
    ShuttingDown,
    /// No connection to the provider could be made; nothing was sent.
    UpstreamUnreachable,
    /// The provider's answer is not HTTP, or in a coding that can't be scanned.
    UpstreamProtocol,
    /// The provider did not answer in time.
    UpstreamTimeout,
}

impl DenialCode {
    /// All codes, for documentation and metrics.
    pub const ALL: [Self; 33] = [
        Self::MissingKey,
        Self::InvalidKey,
        Self::ActivationsExhausted,
        Self::TokensExhausted,
        Self::SpendExhausted,
        Self::ProjectExhausted,
        Self::KeyRevoked,
        Self::KeyExpired,
        Self::KeyPaused,
        Self::KeyNotYetActive,
        Self::InstanceStopped,
        Self::KeyFenced,
        Self::CredentialDenied,
        Self::EndpointDenied,
        Self::ModelDenied,
        Self::ParameterDenied,
        Self::NetworkDenied,
        Self::UnpricedModel,
        Self::UnboundedRequest,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::BudgetBusy,
        Self::UnknownProvider,
        Self::MalformedRequest,
        Self::BodyTooLarge,
        Self::WebsocketUnmetered,
        Self::HeadersTooLarge,
        Self::LedgerUnavailable,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::UpstreamUnreachable,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
    ];

    /// The stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::ActivationsExhausted => "activations_exhausted",
            Self::TokensExhausted => "tokens_exhausted",
            Self::SpendExhausted => "spend_exhausted",
            Self::ProjectExhausted => "project_exhausted",
            Self::KeyRevoked => "key_revoked",
            Self::KeyExpired => "key_expired",
            Self::KeyPaused => "key_paused",
            Self::KeyNotYetActive => "key_not_yet_active",
            Self::InstanceStopped => "instance_stopped",
            Self::KeyFenced => "key_fenced",
            Self::CredentialDenied => "credential_denied",
            Self::EndpointDenied => "endpoint_denied",
            Self::ModelDenied => "model_denied",
            Self::ParameterDenied => "parameter_denied",
            Self::NetworkDenied => "network_denied",
            Self::UnpricedModel => "unpriced_model",
            Self::UnboundedRequest => "unbounded_request",
            Self::RateLimited => "rate_limited",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::BudgetBusy => "budget_busy",
            Self::UnknownProvider => "unknown_provider",
            Self::MalformedRequest => "malformed_request",
            Self::BodyTooLarge => "body_too_large",
            Self::WebsocketUnmetered => "websocket_unmetered",
            Self::HeadersTooLarge => "headers_too_large",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// Whether sending the same request again could succeed without anybody changing something.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::LedgerUnavailable
                | Self::RateLimited
                | Self::ConcurrencyLimited
                | Self::BudgetBusy
                | Self::Overloaded
                | Self::ShuttingDown
                | Self::UpstreamUnreachable
                | Self::UpstreamProtocol
                | Self::UpstreamTimeout
        )
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code and the whole story for the person who reads it: which limit, how much, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The stable reason.
    pub code: DenialCode,
    /// One or two sentences for the developer whose agent was refused. It never says "rate limit" for a
    /// final denial: some clients retry on those words.
    pub message: String,
    /// How long to wait before the request can pass, where that is known.
    pub wait: Option<Duration>,
}

impl Denial {
    /// A denial with its message.
    pub fn new(code: DenialCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), wait: None }
    }

    /// The same, for a request that can pass after this time.
    pub fn after(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

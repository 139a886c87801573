//! Providers from configuration: what an operator wrote, checked as a whole.

use till_core::upstream::Placement;

use crate::base_url::{BaseUrl, BaseUrlError};
use crate::provider::Provider;

/// What an operator wrote about a provider of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomProvider {
    /// The id, as in `[providers.NAME]`.
    pub id: String,
    /// The base URL.
    pub base_url: String,
    /// How it takes its key.
    pub auth: CustomAuth,
    /// Whether `%2F` is data in its paths. Off unless the API needs it.
    pub allow_encoded_slash: bool,
}

/// How a custom provider takes its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomAuth {
    /// In a header.
    Header {
        /// Header name in any case.
        name: String,
        /// Header value with exactly one `{key}`.
        template: String,
    },
    /// As a query parameter.
    Query {
        /// Parameter name.
        name: String,
    },
    /// HTTP Basic.
    Basic,
}

/// A mistake in the configuration of a custom provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomProviderError {
    /// Not an id.
    #[error("provider {id:?}: an id is a lower-case letter and up to 31 lower-case letters, digits or '-'")]
    Id {
        /// What was given.
        id: String,
    },
    /// The id or alias of another one.
    #[error(
        "provider {id:?}: the name is taken by provider {taken_by:?}; --provider-url points that one elsewhere"
    )]
    Taken {
        /// What was given.
        id: String,
        /// Whose it is.
        taken_by: String,
    },
    /// Not a base URL.
    #[error("provider {id:?}: base_url: {error}")]
    BaseUrl {
        /// The provider.
        id: String,
        /// What is wrong.
        error: BaseUrlError,
    },
    /// A base path at the host of a built-in provider would hide which endpoint is called.
    #[error(
        "provider {id:?}: base_url is at the host of the built-in provider {builtin:?} and must not have the path {path:?}"
    )]
    PathAtBuiltinHost {
        /// The provider.
        id: String,
        /// Whose host it is.
        builtin: &'static str,
        /// The path.
        path: String,
    },
    /// Not a header name.
    #[error("provider {id:?}: auth.header {header:?} is not a header name")]
    HeaderName {
        /// The provider.
        id: String,
        /// What was given.
        header: String,
    },
    /// A header that HTTP itself or till needs.
    #[error(
        "provider {id:?}: auth.header {header:?} is a header that HTTP itself uses; a key can't go there"
    )]
    ReservedHeader {
        /// The provider.
        id: String,
        /// What was given.
        header: String,
    },
    /// Not exactly one `{key}`.
    #[error("provider {id:?}: auth.template must have {{key}} exactly once")]
    TemplateKey {
        /// The provider.
        id: String,
    },
    /// A character that no header value may have.
    #[error(
        "provider {id:?}: auth.template must have only visible ASCII characters and spaces, and no space at its ends"
    )]
    TemplateText {
        /// The provider.
        id: String,
    },
    /// Not a usable parameter name.
    #[error("provider {id:?}: auth.query must be a parameter name of letters, digits, '-', '_' and '.'")]
    QueryName {
        /// The provider.
        id: String,
    },
}

/// Headers that mean something to HTTP on this connection (RFC 9110, section 7.6.1; RFC 9112), or that
/// till sets itself. Putting a key there would change the meaning of the message.
const RESERVED_HEADERS: [&str; 24] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

const KEY: &str = "{key}";
const ID_LENGTH_MAX: usize = 32;
const NAME_LENGTH_MAX: usize = 64;

impl CustomProvider {
    /// All checks that need nothing but this and whose the id already is.
    pub(crate) fn check(self, taken_by: Option<&str>) -> Result<Provider, Vec<CustomProviderError>> {
        let mut errors = Vec::new();
        let id = self.id;
        if !is_id(&id) {
            errors.push(CustomProviderError::Id { id: id.clone() });
        } else if let Some(taken_by) = taken_by {
            errors.push(CustomProviderError::Taken { id: id.clone(), taken_by: taken_by.to_owned() });
        }
        let base_url = self.base_url.parse::<BaseUrl>();
        if let Err(error) = &base_url {
            errors.push(CustomProviderError::BaseUrl { id: id.clone(), error: error.clone() });
        }
        let placement = placement(&id, self.auth, &mut errors);
        match base_url {
            Ok(base_url) if errors.is_empty() => Ok(Provider {
                name: id.clone(),
                id: id.into(),
                base_url: Some(base_url),
                placement,
                accepts_sealed: false,
                default_version: None,
                row: None,
                custom_encoded_slash: self.allow_encoded_slash,
                is_custom: true,
                bills_alike: false,
                neutral: Vec::new(),
            }),
            _ => Err(errors),
        }
    }
}

/// `[a-z][a-z0-9-]{0,31}`
fn is_id(id: &str) -> bool {
    id.len() <= ID_LENGTH_MAX
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn placement(id: &str, auth: CustomAuth, errors: &mut Vec<CustomProviderError>) -> Placement {
    match auth {
        CustomAuth::Basic => Placement::Basic,
        CustomAuth::Query { name } => {
            if !is_query_name(&name) {
                errors.push(CustomProviderError::QueryName { id: id.to_owned() });
            }
            Placement::Query { name }
        }
        CustomAuth::Header { name, template } => {
            check_header_name(id, &name, errors);
            check_template(id, &template, errors);
            Placement::Header { name: name.to_ascii_lowercase(), template }
        }
    }
}

fn is_query_name(name: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn check_header_name(id: &str, name: &str, errors: &mut Vec<CustomProviderError>) {
    let (id, header) = (id.to_owned(), name.to_owned());
    let lower = name.to_ascii_lowercase();
    if name.len() > NAME_LENGTH_MAX || http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        errors.push(CustomProviderError::HeaderName { id, header });
    } else if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-till-") {
        errors.push(CustomProviderError::ReservedHeader { id, header });
    }
}

fn check_template(id: &str, template: &str, errors: &mut Vec<CustomProviderError>) {
    if template.matches(KEY).count() != 1 {
        errors.push(CustomProviderError::TemplateKey { id: id.to_owned() });
    }
    let text = template.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !text || template.trim() != template {
        errors.push(CustomProviderError::TemplateText { id: id.to_owned() });
    }
}

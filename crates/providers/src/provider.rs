//! A provider as this instance knows it: a row of the built-in table, or a custom one from configuration.

use std::sync::Arc;
use std::time::Duration;

use till_core::upstream::Placement;

use crate::base_url::BaseUrl;
use crate::denied::DeniedEndpoint;
use crate::neutral::Neutral;
use crate::paths::{EncodedSlash, PathTable};

/// The shape of a provider's errors, so that its official SDK shows till's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `{"error":{"message","type","param","code"}}`, also of the many compatible providers.
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
    /// `{"error":{"code":403,"message","status"}}`
    Google,
    /// `{"message"}`
    Cohere,
    /// `{"message"}` with the header `x-amzn-errortype`.
    Bedrock,
    /// `{"message","documentation_url"}`
    Github,
    /// `{"error":{"message","type","code"}}`
    Stripe,
    /// One body that all of them read: for custom providers.
    Universal,
}

/// How requests of a provider become WebSockets that till can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Websockets {
    /// None of them.
    None,
    /// As at `api.openai.com`.
    OpenAi,
    /// As at a resource of Azure OpenAI.
    Azure,
}

/// Where a built-in provider takes its key. The owned form is [`Placement`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum BuiltinPlacement {
    /// `authorization: Bearer {key}`
    Bearer,
    /// The key alone in the header of this name.
    Header(&'static str),
}

/// What is built in about a provider.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) base_url: Option<&'static str>,
    /// Ends of host names that are this provider's, besides the host of `base_url`: other regions, other names.
    pub(crate) host_ends: &'static [&'static str],
    pub(crate) placement: BuiltinPlacement,
    pub(crate) dialect: Dialect,
    pub(crate) paths: PathTable,
    pub(crate) encoded_slash: EncodedSlash,
    pub(crate) denied: &'static [DeniedEndpoint],
    pub(crate) websockets: Websockets,
    pub(crate) key_env: &'static str,
    pub(crate) sdk_base_path: &'static str,
    pub(crate) idle_timeout: Duration,
}

/// An API that till speaks for.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) base_url: Option<BaseUrl>,
    pub(crate) placement: Placement,
    pub(crate) accepts_sealed: bool,
    /// What answers at another address than the provider's own bills as the provider does.
    pub(crate) bills_alike: bool,
    /// The version that the configured base URL ends with, for paths that have none.
    pub(crate) default_version: Option<&'static str>,
    /// `None` for a custom provider at a host that no row knows.
    pub(crate) row: Option<&'static Row>,
    /// Only looked at without a row.
    pub(crate) custom_encoded_slash: bool,
    pub(crate) is_custom: bool,
    /// What configuration adds to the tables of endpoints.
    pub(crate) neutral: Vec<Neutral>,
}

/// No table: paths of unknown APIs pass as they are.
static NO_PATHS: PathTable = PathTable { prefixes: &[], resources: &[], bare: &[] };

/// How long a connection to a provider that we know nothing about may be idle before it is not used
/// again: below 60 s, the shortest default of the usual load balancers (AWS ALB 60 s, nginx 75 s).
pub(crate) const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(55);

impl Provider {
    /// The id in tokens, settings and paths: `openai`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same, to be kept.
    pub fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// The name for people: `OpenAI`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Other ids under which it is found.
    pub fn aliases(&self) -> &'static [&'static str] {
        match self.row {
            Some(row) if !self.is_custom => row.aliases,
            _ => &[],
        }
    }

    /// Where the API is. `None` for one that has no common address (Azure OpenAI) until it is configured.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    /// Where the upstream key goes.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The id under which the tables of endpoints and prices know this API: its own, or that of the built-in provider
    /// at whose address it is. `None` for an API that no table knows.
    pub fn table_id(&self) -> Option<&'static str> {
        self.row.map(|row| row.id)
    }

    /// The id under which the price table knows it: a custom provider may have rows of its own.
    pub fn price_id(&self) -> &str {
        match self.row {
            Some(row) => row.id,
            None => &self.id,
        }
    }

    /// The shape of errors.
    pub fn dialect(&self) -> Dialect {
        self.row.map_or(Dialect::Universal, |row| row.dialect)
    }

    /// The endpoints that are refused for every scoped key that doesn't name them.
    pub fn denied_endpoints(&self) -> &'static [DeniedEndpoint] {
        self.row.map_or(&[], |row| row.denied)
    }

    /// The environment variable that SDKs read the key from, `OPENAI_API_KEY` for example. `None` for custom providers.
    pub fn key_env(&self) -> Option<&'static str> {
        self.builtin_row().map(|row| row.key_env)
    }

    /// What stands behind till's own URL in the base URL of the official SDK: `/v1` for OpenAI, nothing for Anthropic.
    pub fn sdk_base_path(&self) -> &'static str {
        self.builtin_row().map_or("", |row| row.sdk_base_path)
    }

    /// How long a pooled connection may be idle and still be used: less than what the provider's edge allows.
    /// At another address than the provider's own nothing is known about the edge.
    pub fn idle_timeout(&self) -> Duration {
        match (self.row, &self.base_url) {
            (Some(row), Some(url)) if row.owns(url.host()) => row.idle_timeout,
            _ => IDLE_TIMEOUT_DEFAULT,
        }
    }

    /// Whether keys that were sealed for another destination may be sent to this one, because the operator
    /// who pointed the provider here said so.
    pub fn accepts_sealed(&self) -> bool {
        self.accepts_sealed
    }

    /// Whether what the provider says about its bills holds for what answers here: it is at its own address, or the
    /// operator who pointed it elsewhere said so.
    pub(crate) fn bills_as_documented(&self) -> bool {
        let own = self.row.zip(self.base_url.as_ref()).is_some_and(|(row, url)| row.owns(url.host()));
        !self.is_custom && (own || self.bills_alike)
    }

    /// Whether it comes from configuration.
    pub fn is_custom(&self) -> bool {
        self.is_custom
    }

    fn builtin_row(&self) -> Option<&'static Row> {
        if self.is_custom { None } else { self.row }
    }

    pub(crate) fn paths(&self) -> &'static PathTable {
        self.row.map_or(&NO_PATHS, |row| &row.paths)
    }

    pub(crate) fn encoded_slash(&self) -> EncodedSlash {
        match self.row {
            Some(row) => row.encoded_slash,
            None if self.custom_encoded_slash => EncodedSlash::Always,
            None => EncodedSlash::Never,
        }
    }

    /// Encoded letters and digits are only harmless where no table has to recognise the path. A scope
    /// that compares paths has to refuse them for custom providers too.
    pub(crate) fn allows_encoded_unreserved(&self) -> bool {
        self.row.is_none()
    }

    pub(crate) fn websockets(&self) -> Websockets {
        self.row.map_or(Websockets::None, |row| row.websockets)
    }

    pub(crate) fn from_row(row: &'static Row) -> Self {
        let base_url = row.base_url.map(|url| url.parse().expect("built-in base URLs are valid"));
        Self {
            id: row.id.into(),
            name: row.name.to_owned(),
            base_url,
            placement: row.placement.to_placement(),
            accepts_sealed: false,
            bills_alike: false,
            default_version: None,
            row: Some(row),
            custom_encoded_slash: false,
            is_custom: false,
            neutral: Vec::new(),
        }
    }
}

impl Row {
    /// Whether a host name, in lower case, is this provider's own.
    pub(crate) fn owns(&self, host: &str) -> bool {
        // Bedrock has a host per region and per plane, below a domain that has everything else of AWS too.
        let bedrock = self.id == "bedrock" && host.starts_with("bedrock") && host.contains(".amazonaws.com");
        let builtin = self.base_url.and_then(|url| url.strip_prefix("https://"));
        bedrock || builtin == Some(host) || self.host_ends.iter().any(|end| host.ends_with(end))
    }
}

impl BuiltinPlacement {
    fn to_placement(self) -> Placement {
        let (name, template) = match self {
            Self::Bearer => ("authorization", "Bearer {key}"),
            Self::Header(name) => (name, "{key}"),
        };
        Placement::Header { name: name.to_owned(), template: template.to_owned() }
    }
}

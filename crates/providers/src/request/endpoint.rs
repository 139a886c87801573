//! The table of endpoints whose cost is known, per provider, each with its source.

use http::Method;
use till_core::path::FinalPath;
use till_core::scope::EndpointRule;

use super::{Question, Refused, RequestFacts, anthropic, bedrock, cohere, google, openai};
use crate::pattern::{Comparable, Pattern};
use crate::price::PriceTable;
use crate::provider::Provider;
use crate::usage::AnswerFormat;

/// Reads the body of a request to an endpoint.
pub(super) type Read = fn(&'static Endpoint, &Question<'_>, &PriceTable) -> Result<RequestFacts, Refused>;

/// A row of the table.
#[derive(Debug)]
pub struct Endpoint {
    /// Name in records.
    pub name: &'static str,
    /// How its answer tells what was used.
    pub answer: AnswerFormat,
    /// Whether the provider documents that it costs nothing.
    pub is_free: bool,
    /// Documentation of the provider.
    pub source: &'static str,
    /// What bodies it takes.
    pub(super) content: Content,
    /// `None` for an endpoint that costs nothing.
    pub(super) read: Option<Read>,
    methods: &'static [Method],
    pattern: Pattern,
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    /// `multipart/form-data`
    Form,
    /// Either of them.
    JsonOrForm,
}

/// Methods that only look.
pub(super) const LOOK: &[Method] = &[Method::GET, Method::HEAD];

/// Any method that an API may use.
pub(super) const ANY: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::DELETE];

/// The method of nearly everything that costs.
pub(super) const POST: &[Method] = &[Method::POST];

impl Endpoint {
    /// A row for something that costs nothing.
    pub(super) const fn free(
        methods: &'static [Method],
        pattern: &'static str,
        name: &'static str,
        source: &'static str,
    ) -> Self {
        let pattern = Pattern::new(pattern);
        let (answer, content) = (AnswerFormat::Silent, Content::Json);
        Self { name, answer, is_free: true, source, content, read: None, methods, pattern }
    }

    /// A row for something that costs.
    pub(super) const fn metered(
        pattern: &'static str,
        name: &'static str,
        answer: AnswerFormat,
        read: Read,
        source: &'static str,
    ) -> Self {
        let pattern = Pattern::new(pattern);
        let content = Content::Json;
        Self { name, answer, is_free: false, source, content, read: Some(read), methods: POST, pattern }
    }

    /// The same with other bodies.
    pub(super) const fn taking(self, content: Content) -> Self {
        Self { content, ..self }
    }

    /// The same as rules of a scope, one for each method.
    pub fn rules(&self) -> Vec<EndpointRule> {
        let rule = |method: &Method| EndpointRule::parse(&format!("{method} {}", self.pattern.as_str()));
        self.methods.iter().map(|method| rule(method).expect("the tables have good patterns")).collect()
    }

    /// Methods and path as people write them. Where GET is meant, HEAD is too.
    pub fn pattern(&self) -> String {
        let methods: Vec<&str> =
            self.methods.iter().filter(|method| **method != Method::HEAD).map(Method::as_str).collect();
        format!("{} {}", methods.join(", "), self.pattern.as_str())
    }
}

/// Stands for every endpoint that configuration says costs nothing.
pub(super) static CONFIGURED: Endpoint = Endpoint::free(ANY, "/", "configured", "configuration");

/// The rows of a provider, for documentation.
pub fn endpoints(provider: &Provider) -> &'static [Endpoint] {
    match provider.table_id() {
        Some("anthropic") => &anthropic::ENDPOINTS,
        Some("google") => &google::ENDPOINTS,
        Some("cohere") => &cohere::ENDPOINTS,
        Some("bedrock") => &bedrock::ENDPOINTS,
        Some(id) => openai::endpoints(id),
        None => &[],
    }
}

/// The row for a request, if there is one.
pub fn endpoint(provider: &Provider, method: &Method, path: &FinalPath) -> Option<&'static Endpoint> {
    let rows = endpoints(provider);
    if rows.is_empty() {
        return None;
    }
    let path = Comparable::new(path);
    rows.iter().find(|row| row.pattern.matches_exactly(&path) && row.methods.contains(method))
}

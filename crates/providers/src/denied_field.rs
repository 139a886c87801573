//! Fields of request bodies that would let one allowed request do what its endpoint's place in
//! [`denied`](crate::denied) forbids elsewhere: start work that goes on by itself.
//!
//! Only these few endpoints have their bodies read under an activation limit; everything else streams through.

use http::Method;
use till_core::denial::{Denial, DenialCode};
use till_core::path::FinalPath;

use crate::json::{self, Node};
use crate::pattern::{Comparable, Pattern};
use crate::provider::Provider;

/// A row of the table.
#[derive(Debug)]
pub struct DeniedField {
    /// The endpoint, for every method that has a body.
    pattern: Pattern,
    /// Name of the field at the top of the JSON body. Present and neither `false` nor `null` is refused.
    pub name: &'static str,
    /// What it does.
    pub reason: &'static str,
    /// The documentation that says so.
    pub source: &'static str,
}

/// A body that can't be read, so that nobody knows what it asks for.
#[derive(Debug, thiserror::Error)]
#[error("its body must be JSON that can be read in one way only: {0}")]
pub struct UnreadableBody(serde_json::Error);

const BACKGROUND: &str = "the run goes on at the provider after this request, where till can't end it";

/// The rows. Azure's and OpenAI's APIs are the same here; Gemini's Interactions API has the field too.
static ROWS: [DeniedField; 4] = [
    row("/v1/responses", "https://platform.openai.com/docs/guides/background"),
    row("/openai/v1/responses", "https://learn.microsoft.com/azure/ai-services/openai/how-to/responses"),
    row("/openai/responses", "https://learn.microsoft.com/azure/ai-services/openai/how-to/responses"),
    row("/*/interactions", "https://ai.google.dev/gemini-api/docs/interactions"),
];

const fn row(pattern: &'static str, source: &'static str) -> DeniedField {
    DeniedField { pattern: Pattern::new(pattern), name: "background", reason: BACKGROUND, source }
}

impl DeniedField {
    /// The whole table, for documentation.
    pub fn all() -> &'static [Self] {
        &ROWS
    }

    /// Whether the body leaves the field alone.
    ///
    /// # Errors
    /// `endpoint_denied` for the field, `malformed_request` when the body can't be read.
    pub fn check(&self, body: &[u8]) -> Result<(), Denial> {
        match self.is_set(body) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Denial::new(
                DenialCode::EndpointDenied,
                format!(
                    "{:?} is not open to scoped keys: {}. Leave it out, or ask whoever minted this key to do it for you.",
                    self.name, self.reason
                ),
            )),
            Err(error) => {
                Err(Denial::new(DenialCode::MalformedRequest, format!("This request is refused: {error}.")))
            }
        }
    }

    /// Whether the body sets the field.
    ///
    /// # Errors
    /// The body is not JSON, or has a name twice in one object.
    pub fn is_set(&self, body: &[u8]) -> Result<bool, UnreadableBody> {
        let body = json::parse(body).map_err(UnreadableBody)?;
        Ok(!matches!(body.field(self.name), None | Some(Node::Null | Node::Bool(false))))
    }
}

impl Provider {
    /// The row for this endpoint, if its body has to be read.
    pub fn denied_field(&self, method: &Method, path: &FinalPath) -> Option<&'static DeniedField> {
        if self.denied_endpoints().is_empty() || method == Method::GET || method == Method::HEAD {
            return None;
        }
        let path = Comparable::new(path);
        ROWS.iter().find(|row| row.pattern.matches(&path))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use till_core::path::RawPath;

    use crate::Registry;

    /// The field that is looked at for a request, if any.
    fn looked_at(provider: &str, method: Method, path: &str) -> Option<&'static str> {
        let registry = Registry::builtin();
        let provider = registry.get(provider).expect("built in");
        let path = RawPath::parse(path.as_bytes()).expect("a good path");
        let path = provider.final_path(&path).expect("a good path");
        provider.denied_field(&method, &path).map(|row| row.name)
    }

    #[test]
    fn only_endpoints_with_such_a_field_are_read() {
        for (provider, path) in [
            ("openai", "/v1/responses"),
            ("openai", "/responses"),
            ("openai", "/v1/Responses/"),
            ("azure-openai", "/openai/v1/responses"),
            ("azure-openai", "/openai/responses"),
            ("google", "/v1beta/interactions"),
            ("google", "/v1/interactions"),
        ] {
            assert_eq!(looked_at(provider, Method::POST, path), Some("background"), "{provider} {path}");
            assert_eq!(looked_at(provider, Method::GET, path), None, "{provider} {path}");
        }
        for (provider, path) in [
            ("openai", "/v1/chat/completions"),
            ("openai", "/v1/responses/resp_1/cancel"),
            ("anthropic", "/v1/messages"),
            ("google", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ] {
            assert_eq!(looked_at(provider, Method::POST, path), None, "{provider} {path}");
        }
    }

    #[test]
    fn the_field_is_found_however_it_is_written() {
        let row = &super::ROWS[0];
        for (body, expected) in [
            (r#"{"model":"m"}"#, Some(false)),
            (r#"{"background":false}"#, Some(false)),
            (r#"{"background":null}"#, Some(false)),
            (r#"{"metadata":{"background":true}}"#, Some(false)),
            (r#"[{"background":true}]"#, Some(false)),
            (r#"{"background":true}"#, Some(true)),
            (r#"{"backgr\u006fund": true}"#, Some(true)),
            (r#"{"background":"true"}"#, Some(true)),
            (r#"{"background":1}"#, Some(true)),
            (r#"{"background":false,"background":true}"#, None),
            ("\u{feff}{}", None),
            ("{\"background\":true", None),
            ("", None),
        ] {
            assert_eq!(row.is_set(body.as_bytes()).ok(), expected, "{body}");
        }
    }
}

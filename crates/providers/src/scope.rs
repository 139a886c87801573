//! Whether a request is within the scope of its key: the decisions that the proxy acts on and that `explain` shows.
//!
//! Invariants: what is compared is what is sent, and what can't be told is a no.

mod asked;
mod explain;

use std::net::IpAddr;

use http::Method;
use percent_encoding::percent_decode_str;
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_core::path::FinalPath;
use till_core::scope::{EndpointRule, Scope};

pub use self::asked::{Within, check_request};
pub use self::explain::{KeyRules, Step, Supposed, Verdict, explain};
use crate::denied::DeniedEndpoint;
use crate::provider::Provider;

/// How many endpoints or models a refusal names.
const NAMED_MAX: usize = 16;

/// Whether the key may be used from this address; `None` is one that can't be told.
///
/// # Errors
/// `network_denied`.
pub fn check_network(scope: &Scope, client: Option<IpAddr>) -> Result<(), Denial> {
    if scope.networks.is_none() {
        return Ok(());
    }
    let message = match client {
        Some(client) if scope.check_network(client).is_ok() => return Ok(()),
        Some(client) => format!("This scoped key may not be used from {client}."),
        None => {
            "This scoped key may only be used from certain networks, and it can't be told where this request \
                 comes from."
                .to_owned()
        }
    };
    Err(Denial::new(DenialCode::NetworkDenied, format!("{message} Ask whoever minted it.")))
}

/// Whether the key may use this method on this path: it is in its scope, and not on the list of what is refused to every
/// key that does not name it.
///
/// # Errors
/// `endpoint_denied`, or `malformed_request` for a path that could be compared in two ways.
pub fn check_endpoint(
    provider: &Provider,
    scope: Option<&Scope>,
    method: &Method,
    path: &FinalPath,
) -> Result<(), Denial> {
    check_known(provider, scope, method, path, provider.denied_endpoint(method, path))
}

/// The same where it is known whether the path is on that list.
pub(crate) fn check_known(
    provider: &Provider,
    scope: Option<&Scope>,
    method: &Method,
    path: &FinalPath,
    denied: Option<&'static DeniedEndpoint>,
) -> Result<(), Denial> {
    if let Some(scope) = scope
        && let Some(rules) = &scope.endpoints
    {
        if path.has_encoded_unreserved() {
            let message = "This path is refused: it has a percent-encoded letter, digit, '-', '.', '_' or '~'; send that \
                           character itself.";
            return Err(Denial::new(DenialCode::MalformedRequest, message));
        }
        // Amazon's clients write the name of a model with its slashes encoded, and its servers read it so.
        let slash_is_data = provider.table_id() == Some("bedrock");
        if scope.check_endpoint(method.as_str(), path, slash_is_data).is_err() {
            return Err(outside(rules, method, path));
        }
    }
    let Some(denied) = denied else { return Ok(()) };
    if scope.is_some_and(|scope| scope.names_exactly(method.as_str(), path)) {
        return Ok(());
    }
    Err(Denial::new(
        DenialCode::EndpointDenied,
        format!(
            "{method} {} is not open to scoped keys: {}. Ask whoever minted this key to do it for you.",
            path.as_str(),
            denied.reason.as_str()
        ),
    ))
}

/// Headers by which some servers let a request have another method than its own.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The same as a query parameter of Google's APIs.
const METHOD_PARAMETER: &str = "$httpMethod";

/// Whether the request has the method at the provider that it has here: what is decided on it must hold there too.
///
/// # Errors
/// `malformed_request`.
pub fn check_override(headers: &Fields, query: Option<&str>) -> Result<(), Denial> {
    let in_headers = headers.iter().any(|(name, _)| {
        // Nearly all differ in their first byte.
        name.first() == Some(&b'x') && METHOD_OVERRIDES.iter().any(|other| other.as_bytes() == name)
    });
    let in_query = query.is_some_and(|query| {
        query.split('&').filter_map(|parameter| parameter.split('=').next()).any(|name| {
            let name: Vec<u8> = percent_decode_str(name).collect();
            name.eq_ignore_ascii_case(METHOD_PARAMETER.as_bytes())
        })
    });
    if in_headers || in_query {
        return Err(Denial::new(
            DenialCode::MalformedRequest,
            "This request asks the provider to treat it as another method. Send it with that method.",
        ));
    }
    Ok(())
}

fn outside(rules: &[EndpointRule], method: &Method, path: &FinalPath) -> Denial {
    let mut named: Vec<String> = rules.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if rules.len() > NAMED_MAX {
        named.push(format!("{} more", rules.len() - NAMED_MAX));
    }
    let may = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
    Denial::new(
        DenialCode::EndpointDenied,
        format!(
            "{method} {} is outside of what this scoped key may call, which is: {may}. Ask whoever minted it for one that \
             may.",
            path.as_str()
        ),
    )
}

#[cfg(test)]
mod tests {
    use http::Method;
    use till_core::path::RawPath;
    use till_core::scope::Scope;

    use super::check_endpoint;
    use crate::Registry;
    use crate::custom::{CustomAuth, CustomProvider};

    #[test]
    fn an_api_that_no_table_knows_has_endpoints_too() {
        let mut registry = Registry::builtin();
        let auth = CustomAuth::Header { name: "x-key".to_owned(), template: "{key}".to_owned() };
        let base_url = "https://api.example.com".to_owned();
        let custom = CustomProvider { id: "mine".to_owned(), base_url, auth, allow_encoded_slash: true };
        registry.add_custom(custom).expect("a good provider");
        let provider = registry.get("mine").expect("just added");
        let scope: Scope =
            serde_json::from_str(r#"{"endpoints":["GET /things/*","POST /things"]}"#).expect("a scope");
        for (method, path, expected) in [
            (Method::GET, "/things/1", Ok(())),
            (Method::POST, "/things", Ok(())),
            (Method::GET, "/things/a%20b", Ok(())),
            (Method::PUT, "/things/1", Err("endpoint_denied")),
            (Method::GET, "/things/1/parts", Err("endpoint_denied")),
            (Method::GET, "/things/1%2Fparts", Err("endpoint_denied")),
            (Method::GET, "/things%2F1", Err("endpoint_denied")),
            (Method::GET, "/th%69ngs/1", Err("malformed_request")),
            (Method::GET, "/things/%31", Err("malformed_request")),
        ] {
            let raw = RawPath::parse(path.as_bytes()).expect("a path");
            let final_path = provider.final_path(&raw).expect("a good path");
            let outcome = check_endpoint(provider, Some(&scope), &method, &final_path);
            assert_eq!(outcome.map_err(|denial| denial.code.as_str()), expected, "{method} {path}");
            assert!(check_endpoint(provider, None, &method, &final_path).is_ok(), "{method} {path}");
        }
    }
}

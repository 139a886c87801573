//! Stage 2: what the request really is. Everything later stages decide on is computed here, from the request
//! itself, and does not change afterwards.

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{HeaderName, Method, Version};
use percent_encoding::percent_decode_str;
use till_core::denial::{Denial, DenialCode};
use till_core::path::{FinalPath, RawPath};
use till_core::scope::Scope;
use till_providers::scope::check_endpoint;
use till_providers::websocket::WebsocketProtocol;

use crate::authenticate::Authenticated;

/// What is known of a request that may be admitted.
pub(crate) struct Facts {
    /// The path that scope, metering and forwarding all use.
    pub(crate) path: FinalPath,
    /// Byte for byte as it came, without a scoped key.
    pub(crate) query: Option<String>,
    /// Present when the client wants a WebSocket whose work can be counted.
    pub(crate) websocket: Option<WebsocketProtocol>,
}

/// Computes the facts.
///
/// # Errors
/// `endpoint_denied` for another provider's path, an endpoint that would be a way around the key's limits, or one
/// outside of its scope,
/// `malformed_request` for an ambiguous path, `websocket_unmetered`.
pub(crate) fn facts(
    key: &Authenticated,
    request: &http::request::Parts,
    provider: Option<&str>,
    path: &RawPath,
    query: Option<String>,
    scope: Option<&Scope>,
) -> Result<Facts, Denial> {
    let own = &key.key().provider;
    if let Some(named) = provider
        && own.id() != named
        && !own.aliases().contains(&named)
    {
        return Err(Denial::new(
            DenialCode::EndpointDenied,
            format!("This scoped key is for {}; the path asks for {named:?}.", own.id()),
        ));
    }
    refuse_override(&request.headers, query.as_deref())?;
    let path = own.final_path(path).map_err(|error| {
        Denial::new(DenialCode::MalformedRequest, format!("This path is refused: {error}."))
    })?;
    check_endpoint(own, scope, &request.method, &path)?;
    let websocket =
        if wants_websocket(request) { Some(countable(own, &path, query.as_deref())?) } else { None };
    Ok(Facts { path, query, websocket })
}

/// Headers by which some servers let a request have another method than its own.
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// The same as a query parameter of Google's APIs.
const METHOD_PARAMETER: &str = "$httpMethod";

/// What is decided on the method must hold at the provider too.
fn refuse_override(headers: &HeaderMap, query: Option<&str>) -> Result<(), Denial> {
    let in_headers = METHOD_OVERRIDES.iter().any(|name| headers.contains_key(name));
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

fn countable(
    provider: &till_providers::Provider,
    path: &FinalPath,
    query: Option<&str>,
) -> Result<WebsocketProtocol, Denial> {
    provider.websocket(path, query).ok_or_else(|| {
        Denial::new(
            DenialCode::WebsocketUnmetered,
            "till can't count what is done over this WebSocket, so it is not opened. Use plain HTTP requests.",
        )
    })
}

fn wants_websocket(request: &http::request::Parts) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && has_token(&request.headers, &UPGRADE, "websocket")
        && has_token(&request.headers, &CONNECTION, "upgrade")
}

/// Whether a comma-separated header has this token, in any letter case.
pub(crate) fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

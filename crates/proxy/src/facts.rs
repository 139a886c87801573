//! Stage 2: what the request really is. Everything later stages decide on is computed here, from the request
//! itself, and does not change afterwards.

use std::sync::Arc;

use http::{Method, Version};
use till_core::denial::{Denial, DenialCode};
use till_core::path::{FinalPath, RawPath};
use till_core::scope::Scope;
use till_providers::Place;
use till_providers::scope::check_override;
use till_providers::websocket::WebsocketProtocol;

use crate::authenticate::Authenticated;
use crate::head::Head;

/// What is known of a request that may be admitted.
pub(crate) struct Facts {
    /// The method and path that scope, metering and forwarding all use.
    pub(crate) place: Arc<Place>,
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
    request: &Head,
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
    check_override(&request.fields, query.as_deref())?;
    let place = key.key().place(&request.method, path).map_err(|error| {
        Denial::new(DenialCode::MalformedRequest, format!("This path is refused: {error}."))
    })?;
    place.check(own, scope)?;
    let websocket =
        if wants_websocket(request) { Some(countable(own, place.path(), query.as_deref())?) } else { None };
    Ok(Facts { place, query, websocket })
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

fn wants_websocket(request: &Head) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && request.has_token("upgrade", "websocket")
        && request.has_token("connection", "upgrade")
}

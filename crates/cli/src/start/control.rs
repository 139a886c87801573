//! The control plane as the function that the data plane calls for till's own paths.

use std::sync::Arc;

use http_body_util::BodyExt;
use till_admin::{AdminState, ClientAddr, PeerAddr, RequestId};
use till_proxy::{OwnPaths, OwnRequest};
use tower::ServiceExt;

/// Wraps the router. Must be called inside the runtime.
pub(super) fn own_paths(state: AdminState) -> OwnPaths {
    let router = till_admin::router(state);
    Arc::new(move |mut request, own: OwnRequest| {
        let router = router.clone();
        request.extensions_mut().insert(PeerAddr(own.peer));
        if let Some(client) = own.client {
            request.extensions_mut().insert(ClientAddr(client));
        }
        request.extensions_mut().insert(RequestId(own.request_id));
        Box::pin(async move {
            let Ok(response) = router.oneshot(request).await;
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    })
}

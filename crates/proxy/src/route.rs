//! Which part of till a request is for, from its raw path alone.

use till_core::denial::{Denial, DenialCode};
use till_core::path::RawPath;

/// First segments that belong to till itself. Everything else is a path of the key's provider.
const OWN: [&str; 7] = ["admin", "claim", "dashboard", "docs", "healthz", "metrics", "readyz"];

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The control plane.
    Own,
    /// `GET /key`: what a scoped key may tell about itself.
    SelfCheck,
    /// A provider: the one named in the path, or the key's.
    Data {
        /// From `/proxy/{provider}/…`.
        provider: Option<String>,
        /// The path in the provider's own space, as it came.
        path: RawPath,
    },
}

/// Reads the path. The control plane is behind first segments as they are spelled here and behind nothing else, so that no
/// encoding leads to it from the data plane. What follows such a segment is for the control plane to judge, which answers
/// in its own way; everything else is validated before anything is compared.
///
/// # Errors
/// [`DenialCode::MalformedRequest`] for a path of the data plane that could be read in two ways.
pub(crate) fn route(path: &str) -> Result<Route, Denial> {
    if path
        .strip_prefix('/')
        .and_then(|path| path.split('/').next())
        .is_some_and(|first| OWN.contains(&first))
    {
        return Ok(Route::Own);
    }
    let raw = RawPath::parse(path.as_bytes()).map_err(|error| {
        Denial::new(DenialCode::MalformedRequest, format!("This path is refused: {error}."))
    })?;
    match raw.first_segment() {
        "key" if raw.as_str() == "/key" => Ok(Route::SelfCheck),
        "key" => Err(Denial::new(
            DenialCode::MalformedRequest,
            "There is only `GET /key` here, which tells what a scoped key has left.",
        )),
        "proxy" => {
            let rest = raw.after_first();
            let provider = Some(rest.first_segment().to_owned());
            Ok(Route::Data { provider, path: rest.after_first() })
        }
        _ => Ok(Route::Data { provider: None, path: raw }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Route, route};

    #[test]
    fn paths_find_their_plane() {
        let rows: [(&str, Option<&str>, &str); 6] = [
            ("/v1/chat/completions", None, "/v1/chat/completions"),
            ("/proxy/openai/v1/models", Some("openai"), "/v1/models"),
            ("/proxy/openai", Some("openai"), "/"),
            ("/proxy/openai/", Some("openai"), "/"),
            ("/administration", None, "/administration"),
            ("/keys/1", None, "/keys/1"),
        ];
        for (path, expected_provider, expected_path) in rows {
            match route(path) {
                Ok(Route::Data { provider, path: found }) => {
                    assert_eq!(provider.as_deref(), expected_provider, "{path}");
                    assert_eq!(found.as_str(), expected_path, "{path}");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
        for path in [
            "/admin",
            "/admin/keys",
            "/docs",
            "/healthz",
            "/metrics/x",
            "/dashboard/",
            "/admin/keys/%00",
            "/admin/../v1/models",
        ] {
            assert_eq!(route(path), Ok(Route::Own), "{path}");
        }
        assert_eq!(route("/key"), Ok(Route::SelfCheck));
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "/proxy/openai/../admin/keys",
            "/proxy/openai/%2e%2e/admin/keys",
            "/proxy/openai/%2E./admin/keys",
            "//admin/keys",
            "/%61dmin/../keys",
            "/v1/../admin/keys",
            "/proxy//openai",
            "/v1/x%00",
            "/v1/a;b",
            "/v1\\x",
            "/v1/%252e%252e/x",
            "/v1/%zz",
            "/key/",
            "/key/1",
        ] {
            assert!(route(path).is_err(), "{path}");
        }
    }
}

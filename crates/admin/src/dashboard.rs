//! `/dashboard/`: the dashboard, built from `web/` and embedded.
//!
//! The page is the same for everybody and holds no data: whatever it shows it asks the API for, as whoever signs in. Its
//! content security policy lets it load and call nothing but this server, and run no script that is not one of its files.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::error::{ApiError, ErrorCode};

/// Name and content of each file, as `web/vite.config.ts` lists them.
const FILES: &[(&str, &[u8])] = &include!("dashboard_built/files.rs");

/// Files whose name has a hash of their content in it.
const HASHED: &str = "assets/";

/// What the page may load and call.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Where the dashboard is.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/dashboard", get(|| async { Redirect::permanent("/dashboard/") }))
        .route("/dashboard/", get(page))
        .route("/dashboard/{*path}", get(file))
}

/// Every page of the dashboard is this one; its script reads the path.
async fn page() -> Response {
    serve("index.html")
}

async fn file(Path(path): Path<String>) -> Response {
    if FILES.iter().any(|(name, _)| *name == path) {
        return serve(&path);
    }
    if path.starts_with(HASHED) {
        // Of another version: a page would not help whoever asks for a script.
        return ApiError::new(ErrorCode::NotFound, "there is no such file; load the page again")
            .into_response();
    }
    page().await
}

fn serve(name: &str) -> Response {
    let Some((_, content)) = FILES.iter().find(|(file, _)| *file == name) else {
        return ApiError::plain(ErrorCode::NotFound).into_response();
    };
    let cached = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind(name))),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cached)),
    ];
    (headers, *content).into_response()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, HASHED, kind};

    #[test]
    fn the_page_has_everything_that_it_names_and_nothing_inline() {
        let (_, page) = FILES.iter().find(|(name, _)| *name == "index.html").unwrap();
        let page = std::str::from_utf8(page).unwrap();
        let named = page.split(['"', '\'']).filter_map(|text| text.strip_prefix("/dashboard/"));
        let named: Vec<&str> = named.collect();
        assert!(
            named.iter().any(|name| name.ends_with(".js")) && named.iter().any(|name| name.ends_with(".css"))
        );
        for name in named {
            assert!(FILES.iter().any(|(file, _)| *file == name), "{name}");
        }
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains(" on"));
        assert!(page.split("<script").skip(1).all(|script| script.trim_start().contains("src=")));
    }

    #[test]
    fn files_are_known_kinds_and_name_no_other_server() {
        for (name, content) in FILES {
            assert_ne!(kind(name), "application/octet-stream", "{name}");
            assert!(name.starts_with(HASHED) || ["index.html", "icon.svg"].contains(name), "{name}");
            if name.ends_with(".css") || name.ends_with(".html") {
                assert!(!String::from_utf8_lossy(content).contains("http"), "{name}");
            }
        }
    }

    #[test]
    fn all_of_it_is_small() {
        let size: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        assert!(size < 450_000, "{size} bytes before compression; 150 kB after it is the most");
    }
}

//! `/docs`: the OpenAPI document as a page for people.
//!
//! Rendered once, when it is asked for first, from the same document that programs read, so the two can't differ. No
//! script, nothing from another server: the page works offline and its content security policy allows only its own
//! style sheet.

mod schema;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use crate::error::ErrorCode;
use crate::router::{AdminSettings, Shared};
use schema::Schemas;
use text::{escape, prose};

const STYLE: &str = include_str!("docs_page/style.css");

/// What the page may load: its style sheet and the empty icon in it.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Documentation
///
/// This page. Needs an admin token unless till listens on a loopback address only.
#[utoipa::path(get, path = "/docs",
    responses((status = 200, description = "A page of HTML", body = String, content_type = "text/html")))]
pub(crate) async fn docs(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, shared.docs_html())
}

/// Style sheet of the documentation
#[utoipa::path(get, path = "/docs/style.css",
    responses((status = 200, description = "The style sheet", body = String, content_type = "text/css")))]
pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

/// The page for a document.
pub(crate) fn render(document: &OpenApi, settings: &AdminSettings) -> String {
    let document = serde_json::to_value(document).expect("the document is made of strings, numbers and maps");
    let page = Page { schemas: Schemas::of(&document), base_url: settings.public_url.trim_end_matches('/') };
    let mut html = String::with_capacity(64 * 1024);
    page.head(&mut html, &document, settings.version);
    for tag in list(&document["tags"]) {
        page.tag(&mut html, &document, tag);
    }
    page.schemas.render_all(&mut html);
    error_codes(&mut html);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// An operation with its place.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    fn anchor(&self) -> String {
        format!("op-{}", string(&self.value["operationId"]))
    }
}

/// The operations of a tag, by path and then in the order in which people use them.
fn operations<'a>(document: &'a Value, tag: &str) -> Vec<Operation<'a>> {
    let mut found = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for method in ["get", "post", "put", "patch", "delete"] {
            let value = &item[method];
            if list(&value["tags"]).iter().any(|one| one == tag) {
                found.push(Operation { method, path, value });
            }
        }
    }
    found
}

struct Page<'a> {
    schemas: Schemas<'a>,
    base_url: &'a str,
}

impl Page<'_> {
    fn head(&self, html: &mut String, document: &Value, version: &str) {
        let title = escape(string(&document["info"]["title"]));
        html.push_str(&format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} – administration</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/docs/style.css\">\n</head>\n<body>\n\
             <nav aria-label=\"Contents\">\n<p class=\"brand\"><a href=\"#top\">{title}</a> <small>{}</small></p>\n",
            escape(version),
        ));
        for tag in list(&document["tags"]) {
            let name = string(&tag["name"]);
            html.push_str(&format!("<p>{}</p>\n<ul>\n", escape(name)));
            for operation in operations(document, name) {
                html.push_str(&format!(
                    "<li><a href=\"#{}\">{}</a></li>\n",
                    escape(&operation.anchor()),
                    escape(string(&operation.value["summary"])),
                ));
            }
            html.push_str("</ul>\n");
        }
        html.push_str(
            "<p><a href=\"#objects\">Objects</a></p>\n<p><a href=\"#errors\">Error codes</a></p>\n</nav>\n",
        );
        html.push_str(&format!(
            "<main id=\"top\">\n<h1>{title}: administration</h1>\n{}\
             <p>This instance: <code>{}</code>. The same for programs: <a href=\"/admin/openapi.json\">openapi.json</a>.</p>\n\
             <p>Send an admin token with every request: <code>Authorization: Bearer till_admin_…</code>. Bodies are JSON; \
             field names are taken in snake_case and camelCase and answered in camelCase. Times are RFC 3339 in UTC.</p>\n",
            prose(string(&document["info"]["description"])),
            escape(self.base_url),
        ));
    }

    fn tag(&self, html: &mut String, document: &Value, tag: &Value) {
        let name = string(&tag["name"]);
        html.push_str(&format!("<h2>{}</h2>\n{}", escape(name), prose(string(&tag["description"]))));
        for operation in operations(document, name) {
            self.operation(html, &operation);
        }
    }

    fn operation(&self, html: &mut String, operation: &Operation<'_>) {
        let value = operation.value;
        html.push_str(&format!(
            "<section id=\"{}\">\n<h3>{}</h3>\n<p class=\"call\"><b class=\"{method}\">{method}</b> <code>{}</code></p>\n{}",
            escape(&operation.anchor()),
            escape(string(&value["summary"])),
            escape(operation.path),
            prose(string(&value["description"])),
            method = operation.method,
        ));
        if !list(&value["parameters"]).is_empty() {
            self.parameters(html, &value["parameters"]);
        }
        let body = &value["requestBody"]["content"]["application/json"];
        if !body.is_null() {
            html.push_str(&format!("<h4>Body: {}</h4>\n", self.schemas.type_of(&body["schema"])));
            self.schemas.fields(html, &body["schema"]);
        }
        self.example_call(html, operation, body);
        self.responses(html, &value["responses"]);
        html.push_str("</section>\n");
    }

    fn parameters(&self, html: &mut String, parameters: &Value) {
        html.push_str(
            "<h4>Parameters</h4>\n<table>\n<tr><th>Name</th><th>In</th><th>Type</th><th>Meaning</th></tr>\n",
        );
        for parameter in list(parameters) {
            html.push_str(&format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(string(&parameter["name"])),
                escape(string(&parameter["in"])),
                self.schemas.type_of(&parameter["schema"]),
                prose(string(&parameter["description"])),
            ));
        }
        html.push_str("</table>\n");
    }

    fn example_call(&self, html: &mut String, operation: &Operation<'_>, body: &Value) {
        let mut call = String::from("curl");
        if operation.method != "get" {
            call.push_str(&format!(" -X {}", operation.method.to_ascii_uppercase()));
        }
        let path =
            list(&operation.value["parameters"]).iter().fold(operation.path.to_owned(), |path, parameter| {
                path.replace(&format!("{{{}}}", string(&parameter["name"])), string(&parameter["example"]))
            });
        call.push_str(&format!(" {}{path}", self.base_url));
        if operation.value["security"].is_array() {
            call.push_str(" \\\n  -H \"Authorization: Bearer $TILL_ADMIN_KEY\"");
        }
        if !body.is_null() {
            let example = format!("{:#}", body["example"]);
            // A single quote can't stand inside single quotes in a shell.
            call.push_str(&format!(
                " \\\n  -H 'content-type: application/json' \\\n  -d '{}'",
                example.replace('\'', "'\\''")
            ));
        }
        html.push_str(&format!("<h4>Example</h4>\n<pre>{}</pre>\n", escape(&call)));
    }

    fn responses(&self, html: &mut String, responses: &Value) {
        html.push_str("<h4>Answers</h4>\n<table>\n<tr><th>Status</th><th>Meaning</th><th>Body</th></tr>\n");
        let mut shown = None;
        for (status, response) in entries(responses) {
            let (kind, content) = content(response);
            let body = if kind == "application/json" {
                self.schemas.type_of(&content["schema"])
            } else {
                escape(kind)
            };
            html.push_str(&format!(
                "<tr><td>{}</td><td>{}</td><td>{body}</td></tr>\n",
                escape(status),
                prose(string(&response["description"])),
            ));
            if status.starts_with('2') && !content["example"].is_null() {
                shown = Some(&content["example"]);
            }
        }
        html.push_str("</table>\n");
        if let Some(example) = shown {
            html.push_str(&format!("<pre>{}</pre>\n", escape(&format!("{example:#}"))));
        }
    }
}

fn error_codes(html: &mut String) {
    html.push_str(
        "<h2 id=\"errors\">Error codes</h2>\n<p>Every answer with a status of 400 and above is an \
         <a href=\"#schema-Error\">Error</a>. Match on its <code>code</code>; the message is for people and may change.</p>\n\
         <table>\n<tr><th>Code</th><th>Status</th><th>Meaning</th></tr>\n",
    );
    for code in ErrorCode::ALL {
        html.push_str(&format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>\n",
            code.as_str(),
            code.status().as_u16(),
            prose(code.meaning()),
        ));
    }
    html.push_str("</table>\n");
}

/// Media type of a response with a body, and what is said about that.
fn content(response: &Value) -> (&str, &Value) {
    entries(&response["content"]).next().unwrap_or(("", &Value::Null))
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

//! Schemas of the document: as types in a sentence and as tables of fields.

use serde_json::Value;

use super::text::{escape, prose};
use super::{entries, list, string};
use crate::example::REFERENCE;

/// The named schemas of a document.
pub(super) struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    pub(super) fn of(document: &'a Value) -> Self {
        Self(&document["components"]["schemas"])
    }

    fn resolve<'b>(&'b self, schema: &'b Value) -> &'b Value {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(REFERENCE)) {
            Some(name) => &self.0[name],
            None => schema,
        }
    }

    /// A type as a few words of HTML, with links to named ones.
    pub(super) fn type_of(&self, schema: &Value) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(REFERENCE)) {
            let name = escape(name);
            return format!("<a href=\"#schema-{name}\">{name}</a>");
        }
        let alternatives = list(&schema["oneOf"]);
        if !alternatives.is_empty() {
            return alternatives.iter().map(|one| self.type_of(one)).collect::<Vec<_>>().join(" or ");
        }
        match &schema["type"] {
            Value::Array(names) => names
                .iter()
                .map(|name| self.plain_type(string(name), schema))
                .collect::<Vec<_>>()
                .join(" or "),
            name => self.plain_type(string(name), schema),
        }
    }

    fn plain_type(&self, name: &str, schema: &Value) -> String {
        match (name, string(&schema["format"])) {
            ("array", _) => format!("list of {}", self.type_of(&schema["items"])),
            ("string", "date-time") => "time".to_owned(),
            ("integer", _) => "whole number".to_owned(),
            ("", _) => "anything".to_owned(),
            (name, _) => escape(name),
        }
    }

    /// A table of an object's fields, required ones first.
    pub(super) fn fields(&self, html: &mut String, schema: &Value) {
        let schema = self.resolve(schema);
        html.push_str("<table>\n<tr><th>Field</th><th>Type</th><th>Meaning</th></tr>\n");
        for part in list(&schema["allOf"]) {
            if part["$ref"].is_string() {
                html.push_str(&format!(
                    "<tr><td></td><td>{}</td><td><p>All its fields.</p></td></tr>\n",
                    self.type_of(part)
                ));
            } else {
                self.rows(html, part);
            }
        }
        self.rows(html, schema);
        html.push_str("</table>\n");
    }

    fn rows(&self, html: &mut String, schema: &Value) {
        let is_required = |name: &str| list(&schema["required"]).iter().any(|one| one == name);
        let (required, optional): (Vec<_>, Vec<_>) =
            entries(&schema["properties"]).partition(|(name, _)| is_required(name));
        for (name, property) in required.into_iter().chain(optional) {
            html.push_str(&format!(
                "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(name),
                if is_required(name) { "" } else { " <small>optional</small>" },
                self.type_of(property),
                prose(string(&property["description"])),
            ));
        }
    }

    /// Every named schema, as targets of the links.
    pub(super) fn render_all(&self, html: &mut String) {
        html.push_str("<h2 id=\"objects\">Objects</h2>\n");
        for (name, schema) in entries(self.0) {
            html.push_str(&format!(
                "<section id=\"schema-{name}\">\n<h3>{name}</h3>\n{}",
                prose(string(&schema["description"])),
                name = escape(name),
            ));
            self.fields(html, schema);
            html.push_str("</section>\n");
        }
    }
}

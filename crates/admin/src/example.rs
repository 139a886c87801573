//! Examples of bodies and answers, put together from those of their fields.

use serde_json::{Map, Value};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Content, OpenApi, RefOr};

/// How references start.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// References followed inside each other before an example stops; none of ours is recursive.
const DEPTH_MAX: usize = 8;

/// Gives every body in JSON, and every successful answer in JSON, an example.
pub(crate) fn add_examples(document: &mut OpenApi) {
    let schemas =
        serde_json::to_value(&document.components).expect("components are strings, numbers and maps");
    let schemas = &schemas["schemas"];
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            if let Some(body) = &mut operation.request_body {
                body.content.values_mut().for_each(|content| add(content, schemas));
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                if status.starts_with('2')
                    && let Some(content) = response.content.get_mut("application/json")
                {
                    add(content, schemas);
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

fn add(content: &mut Content, schemas: &Value) {
    // What refers to no schema of its own is this document, or no JSON.
    if let Some(schema @ RefOr::Ref(_)) = &content.schema {
        let schema = serde_json::to_value(schema).expect("a reference is a string");
        content.example = Some(example(schemas, &schema, 0));
    }
}

/// An example of a schema: its own, or one of its parts.
fn example(schemas: &Value, schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let schema = match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(REFERENCE)) {
        Some(name) => &schemas[name],
        None => schema,
    };
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    let parts = schema["allOf"].as_array().map_or(&[][..], Vec::as_slice);
    if !parts.is_empty() || schema["properties"].is_object() {
        let mut object = Map::new();
        for part in parts {
            if let Value::Object(fields) = example(schemas, part, depth + 1) {
                object.extend(fields);
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            object.insert(name.clone(), example(schemas, property, depth + 1));
        }
        return Value::Object(object);
    }
    if let Some(first) = schema["oneOf"].as_array().and_then(|one_of| one_of.first()) {
        return example(schemas, first, depth + 1);
    }
    let kinds = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    if kinds.iter().any(|kind| kind == "null") {
        return Value::Null;
    }
    match kinds[0].as_str() {
        Some("array") => Value::Array(vec![example(schemas, &schema["items"], depth + 1)]),
        Some("string") => Value::String("…".to_owned()),
        Some("integer") => Value::from(0),
        Some("boolean") => Value::Bool(false),
        Some("object") => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

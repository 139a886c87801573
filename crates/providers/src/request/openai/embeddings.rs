//! Embeddings.

use super::super::endpoint::Endpoint;
use super::super::object::Object;
use super::super::text::InputBound;
use super::super::{Question, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use super::chat::texts;
use super::dialect::dialect;
use crate::price::PriceTable;

const MEMBERS: [&str; 8] = [
    "dimensions",
    "encoding_format",
    "input",
    "metadata",
    "model",
    "output_dimension",
    "output_dtype",
    "user",
];

/// Reads a request for embeddings.
pub(super) fn embeddings(
    row: &'static Endpoint,
    question: &Question<'_>,
    _: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let dialect = dialect(question.provider.table_id().unwrap_or_default())?;
    let body = Object::parse(question.body)?;
    let is_known = |name: &str| {
        MEMBERS.contains(&name)
            || (dialect.id == "openrouter" && name == "provider")
            || question.provider.is_neutral_field(name)
    };
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !is_known(name)) {
        return Err(unbounded(name, UNKNOWN));
    }
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(dialect.factor);
    if let Some(value) = body.given("input") {
        texts(&value, "input", &mut input)?;
    }
    input.finish(None, &mut facts)?;
    facts.model = Some(cap::name_of_model(&body)?);
    Ok(facts)
}

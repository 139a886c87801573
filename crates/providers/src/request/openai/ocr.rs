//! Reading documents, at Mistral: billed by the page (<https://docs.mistral.ai/api/endpoint/ocr>).

use super::super::endpoint::Endpoint;
use super::super::object::Object;
use super::super::{Question, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::PriceTable;
use crate::usage::Unit;

const MEMBERS: [&str; 14] = [
    "bbox_annotation_format",
    "confidence_scores_granularity",
    "document",
    "document_annotation_format",
    "document_annotation_prompt",
    "extract_footer",
    "extract_header",
    "id",
    "image_limit",
    "image_min_size",
    "include_image_base64",
    "model",
    "pages",
    "table_format",
];

/// Reads a request to read a document. Which pages are read is what bounds it: an image is one, of a document only the
/// request can say.
pub(super) fn ocr(
    row: &'static Endpoint,
    question: &Question<'_>,
    _: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let is_known = |name: &str| MEMBERS.contains(&name) || question.provider.is_neutral_field(name);
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !is_known(name)) {
        return Err(unbounded(name, UNKNOWN));
    }
    let mut facts = RequestFacts::metered(row);
    facts.model = Some(cap::name_of_model(&body)?);
    facts.input.set(Unit::InputTokens, 0);
    let kind = body.given("document").and_then(|document| document.as_object()?.given("type"));
    let is_image = kind.is_some_and(|kind| kind.as_str().is_some_and(|kind| kind == "image_url"));
    let listed = body.given("pages").and_then(|pages| {
        let pages = pages.as_array()?;
        pages.iter().all(|page| page.as_u64().is_some()).then_some(pages.len() as u64)
    });
    let Some(pages) = listed.or(is_image.then_some(1)) else {
        let rule = "must list the numbers of the pages to read, as in [0,1,2]: each is billed, and only the document knows how \
                    many it has.";
        facts.unbounded_spend = Some(unbounded("pages", rule));
        return Ok(facts);
    };
    // An empty list may stand for all of them.
    if pages == 0 {
        return Err(Refused::Malformed("\"pages\" must not be empty.".to_owned()));
    }
    facts.input.set(Unit::InputDocumentPages, pages);
    if body.iter().any(|(name, value)| name.ends_with("_annotation_format") && !value.is_null()) {
        facts.input.set(Unit::InputAnnotatedDocumentPages, pages);
    }
    Ok(facts)
}

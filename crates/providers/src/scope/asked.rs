//! What a request asks for, for a key whose scope names models or parameters.
//!
//! The tables that bound what a request costs know what everything in it means, so they are asked here too: what they do
//! not understand may name another model, or bring a tool in a way that nobody has heard of. One thing is different: a
//! tool that the provider runs is understood although nothing bounds what it costs.

use http::Method;
use percent_encoding::percent_decode_str;
use till_core::denial::{Denial, DenialCode};
use till_core::fields;
use till_core::scope::{Glob, Outside, Parameters, Scope};

use super::NAMED_MAX;
use crate::price::PriceTable;
use crate::request::{Object, Question, Refused, RequestFacts, endpoint, form_texts, scan};
use crate::usage::Unit;

/// A request within a scope.
#[derive(Debug)]
pub struct Within {
    /// What it asks for.
    pub facts: RequestFacts,
    /// The highest output cap that it may have, for each of its outputs; `None` if the scope has no rule or the request no
    /// cap.
    pub cap: Option<u64>,
}

/// Endpoints that are free and take a model all the same: they count its tokens, or judge with it.
const FREE_WITH_MODEL: [&str; 7] = [
    "count-tokens",
    "countTokens",
    "detokenize",
    "messages.count_tokens",
    "moderations",
    "responses.input_tokens",
    "tokenize",
];

/// Endpoints that are free and keep what is sent.
const KEEPING: [&str; 4] = ["chat.completions.update", "conversations", "files", "uploads"];

/// Members that bring tools, at the top of a body or, in some APIs, in the middle of a conversation.
const TOOLS: [&str; 12] = [
    "connectors",
    "container",
    "definition",
    "functionDeclarations",
    "function_declarations",
    "functions",
    "mcp_servers",
    "plugins",
    "search_parameters",
    "toolSpec",
    "tools",
    "web_search_options",
];

/// Members that are images, wherever they stand.
const IMAGES: [&str; 6] = ["fileData", "file_data", "image_url", "images", "inlineData", "inline_data"];

/// Query parameters that name a model at some provider, or something that stands for one.
const NAMING: [&str; 6] = ["deployment", "engine", "model", "models", "prompt", "route"];

/// Checks models and parameters. `clamp` says whether an output cap may be lowered.
///
/// # Errors
/// `model_denied`, `parameter_denied`, `endpoint_denied` for an endpoint that no table knows, `malformed_request`.
pub fn check_request(
    scope: &Scope,
    clamp: bool,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<Within, Denial> {
    let facts = scan(question, prices).map_err(|refusal| not_understood(scope, question, &refusal))?;
    if facts.is_free && !matches!(*question.method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(Within { facts, cap: None });
    }
    refuse_ambiguous(question)?;
    let body = Body::read(question, &facts)?;
    let mut facts = facts;
    if facts.is_free {
        facts.model = body.model(question)?;
    }
    check_model(scope, question, &facts, &body)?;
    let asked = body.parameters(scope, question, &facts)?;
    scope.check_parameters(&asked).map_err(outside)?;
    let cap = cap(scope, clamp, &facts)?;
    Ok(Within { facts, cap })
}

/// A body, as far as it is read.
enum Body<'a> {
    Json(Object<'a>),
    /// Names and texts of the fields; no text for a file.
    Form(Vec<(String, Option<String>)>),
    /// Nothing, or something that is not looked at because its endpoint asks no model.
    Unread,
}

impl<'a> Body<'a> {
    fn read(question: &Question<'a>, facts: &RequestFacts) -> Result<Self, Denial> {
        let kind = question.headers.get_text("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = kind.is_empty() || kind == "application/json";
        let needs_model = !facts.is_free || FREE_WITH_MODEL.contains(&facts.endpoint);
        if kind == "multipart/form-data" && !facts.is_free {
            return form_texts(question).map(Self::Form).map_err(malformed_body);
        }
        if needs_model && !is_json {
            return Err(malformed(format!("The body of this request must be JSON, not {kind:?}")));
        }
        if needs_model || (is_json && !question.body.is_empty()) {
            return Object::parse(question.body).map(Self::Json).map_err(malformed_body);
        }
        Ok(Self::Unread)
    }

    /// The model that a free request names, in its path or its body.
    fn model(&self, question: &Question<'_>) -> Result<Option<String>, Denial> {
        let in_path = model_in_path(question);
        let in_body = match self {
            Self::Json(body) => match body.given("model") {
                None => None,
                Some(model) => {
                    let name =
                        model.as_str().ok_or_else(|| malformed("\"model\" must be a text".to_owned()))?;
                    Some(name.into_owned())
                }
            },
            Self::Form(_) | Self::Unread => None,
        };
        Ok(in_path.or(in_body))
    }

    fn parameters(
        &self,
        scope: &Scope,
        question: &Question<'_>,
        facts: &RequestFacts,
    ) -> Result<Parameters, Denial> {
        let mut asked = Parameters {
            has_hosted_tools: facts.unbounded.is_some(),
            has_images: facts.input.count(Unit::InputImageTokens) > 0 || facts.endpoint == "ocr",
            stores: KEEPING.contains(&facts.endpoint),
            ..Parameters::default()
        };
        match self {
            Self::Json(body) => {
                let is_empty = |raw: &str| matches!(raw, "[]" | "{}" | "null");
                asked.has_tools = body.iter().any(|(name, value)| {
                    (TOOLS.contains(&name) && name != "definition" && !is_empty(value.raw()))
                        || TOOLS.iter().any(|tool| value.mentions(tool))
                });
                asked.has_images |= body.iter().any(|(name, value)| {
                    let is_image = |kind: Option<std::borrow::Cow<'_, str>>| {
                        kind.is_some_and(|kind| {
                            matches!(kind.as_ref(), "image" | "image_url" | "input_image")
                        })
                    };
                    IMAGES.contains(&name)
                        || IMAGES.iter().any(|image| value.mentions(image))
                        || value.any_member("type", is_image)
                });
                let is_kept = |otherwise: bool| match body.given("store") {
                    Some(store) => store.as_bool() != Some(false),
                    None => otherwise,
                };
                // "store … defaults to true" (<https://platform.openai.com/docs/api-reference/responses/create>), and what
                // belongs to a conversation is kept with it.
                let is_response = matches!(facts.endpoint, "responses" | "responses.compact");
                asked.stores |= is_kept(is_response) || body.given("conversation").is_some();
                // Its models search unless they are told not to: <https://docs.perplexity.ai/api-reference>.
                let searches = || body.given("disable_search").and_then(|off| off.as_bool()) != Some(true);
                if question.provider.table_id() == Some("perplexity")
                    && facts.endpoint == "chat.completions"
                    && searches()
                {
                    asked.has_hosted_tools = true;
                }
                for ruled in scope.parameters.values.keys() {
                    // Google takes its members in two spellings.
                    let is_it = |name: &str| match question.provider.table_id() {
                        Some("google") => plain(name) == plain(ruled),
                        _ => name == ruled,
                    };
                    let given = body.iter().find(|(name, value)| is_it(name) && !value.is_null());
                    if let Some((_, value)) = given {
                        let value = serde_json::from_str(value.raw())
                            .map_err(|_| malformed(format!("{ruled:?} can't be read")))?;
                        asked.values.insert(ruled.clone(), value);
                    }
                }
            }
            Self::Form(fields) => {
                asked.has_images |=
                    fields.iter().any(|(name, _)| name.starts_with("image") || name == "mask");
                for ruled in scope.parameters.values.keys() {
                    if let Some((_, text)) = fields.iter().find(|(name, _)| name == ruled) {
                        asked.values.insert(ruled.clone(), text.clone().unwrap_or_default().into());
                    }
                }
            }
            Self::Unread => {}
        }
        Ok(asked)
    }
}

/// A name in one spelling.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|character| *character != '_')
        .map(|character| character.to_ascii_lowercase())
        .collect()
}

/// The model where the path has it.
fn model_in_path(question: &Question<'_>) -> Option<String> {
    let segment = |index: usize| question.path.decoded_segments().nth(index);
    match question.provider.table_id() {
        Some("google") => Some(question.path.decoded_segments().last()?.rsplit_once(':')?.0.to_owned()),
        Some("bedrock") => Some(segment(1)?.rsplit('/').next()?.to_owned()),
        _ => None,
    }
}

fn check_model(
    scope: &Scope,
    question: &Question<'_>,
    facts: &RequestFacts,
    body: &Body<'_>,
) -> Result<(), Denial> {
    let Some(allowed) = &scope.models else { return Ok(()) };
    let model = facts.model.as_deref().filter(|model| !model.is_empty());
    if model.is_none() && facts.is_free && !FREE_WITH_MODEL.contains(&facts.endpoint) {
        return Ok(());
    }
    if let (Some(in_path), Body::Json(body)) = (model_in_path(question), body) {
        for inner in ["generateContentRequest", "generate_content_request"] {
            let request = body.given(inner).and_then(|request| request.as_object());
            same_model(&in_path, request.as_ref())?;
        }
        same_model(&in_path, Some(body))?;
    }
    if let Some(model) = model
        && !is_plain(model)
    {
        return Err(malformed(format!("The model {model:?} is written in an unusual way")));
    }
    scope.check_model(model).map_err(|no| match no {
        Outside::Model { model } => denial(
            DenialCode::ModelDenied,
            format!(
                "Model {model:?} is not among those that this scoped key may ask, which \
                                                     are: {}",
                list(allowed)
            ),
        ),
        _ => denial(
            DenialCode::ModelDenied,
            format!("This request names no model, and this scoped key may only ask these: {}", list(allowed)),
        ),
    })
}

/// A body beside a path that names the model must name the same one.
fn same_model(in_path: &str, body: Option<&Object<'_>>) -> Result<(), Denial> {
    let Some(model) = body.and_then(|body| body.given("model")) else { return Ok(()) };
    let name = model.as_str().unwrap_or_default();
    if name.strip_prefix("models/").unwrap_or(&name) == in_path {
        return Ok(());
    }
    Err(malformed("The path and the body of this request name different models".to_owned()))
}

/// Whether nobody reads more than one name, or a path, in it.
fn is_plain(model: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/@+~".contains(&byte);
    model.bytes().all(is_usual) && !model.contains("..") && !model.contains("//") && !model.starts_with('/')
}

fn list(allowed: &[Glob]) -> String {
    let mut named: Vec<&str> = allowed.iter().take(NAMED_MAX).map(Glob::as_str).collect();
    if allowed.len() > NAMED_MAX {
        named.push("…");
    }
    named.join(", ")
}

/// The highest cap for each output, so that all together stay below the one of the scope.
fn cap(scope: &Scope, clamp: bool, facts: &RequestFacts) -> Result<Option<u64>, Denial> {
    let Some(most) = scope.parameters.max_output_tokens else { return Ok(None) };
    let too_many = |asked: String| {
        denial(
            DenialCode::ParameterDenied,
            format!(
                "This scoped key may get at most {most} tokens of output from one call, and this request {asked}"
            ),
        )
    };
    let Some(output) = &facts.output else {
        // What no parameter caps.
        let units =
            [Unit::OutputTokens, Unit::OutputImageTokens, Unit::OutputAudioTokens, Unit::OutputVideoTokens];
        if units.iter().any(|unit| facts.input.count(*unit) > most) {
            return Err(too_many("has output that can't be capped".to_owned()));
        }
        return Ok(None);
    };
    let each = most / output.outputs.max(1);
    if each < output.min {
        return Err(too_many(format!("needs a {} of at least {}", output.parameter, output.min)));
    }
    if !clamp && output.requested.is_none_or(|requested| requested > each) {
        let asked = match output.requested {
            Some(requested) => format!("asks for {requested} in {}", output.parameter),
            None => format!("has no {}", output.parameter),
        };
        return Err(too_many(asked));
    }
    Ok(Some(each))
}

/// What could be read differently at the provider.
fn refuse_ambiguous(question: &Question<'_>) -> Result<(), Denial> {
    let mut kinds = question.headers.get_all("content-type");
    let kind = kinds.next().map(|kind| fields::text(kind).unwrap_or("charset=?").to_ascii_lowercase());
    if kinds.next().is_some() {
        return Err(malformed("This request has more than one Content-Type".to_owned()));
    }
    let parameters = kind.as_deref().and_then(|kind| kind.split_once(';')).map_or("", |(_, rest)| rest);
    for parameter in parameters.split(';') {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim() == "charset" && !matches!(value.trim().trim_matches('"'), "utf-8" | "utf8") {
            return Err(malformed("The body of this request must be in UTF-8".to_owned()));
        }
    }
    let names = question.query.into_iter().flat_map(|query| query.split('&'));
    for name in names.filter_map(|parameter| parameter.split('=').next()) {
        let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
        if NAMING.contains(&name.as_str()) {
            return Err(malformed(format!(
                "The query of this request has {name:?}, which belongs into its body"
            )));
        }
    }
    Ok(())
}

fn not_understood(scope: &Scope, question: &Question<'_>, refusal: &Refused) -> Denial {
    let Refused::Unbounded { what, .. } = refusal else { return malformed_body(refusal.clone()) };
    let ruled = match (&scope.models, scope.parameters.is_empty()) {
        (Some(_), true) => "may only ask certain models",
        (Some(_), false) => "may only ask certain models, for certain things",
        (None, _) => "may only ask for certain things",
    };
    let code = match endpoint(question.provider, question.method, question.path) {
        None => DenialCode::EndpointDenied,
        Some(_) if scope.models.is_some() && what.starts_with("model") => DenialCode::ModelDenied,
        Some(_) => DenialCode::ParameterDenied,
    };
    denial(
        code,
        format!(
            "This scoped key {ruled}, and till can't tell what this request comes to with {what}. Leave it out"
        ),
    )
}

fn outside(no: Outside) -> Denial {
    denial(
        DenialCode::ParameterDenied,
        format!("This request is outside of what this scoped key may ask for: {no}"),
    )
}

fn denial(code: DenialCode, what: String) -> Denial {
    Denial::new(code, format!("{what}. Ask whoever minted this key for one that may."))
}

fn malformed(what: String) -> Denial {
    Denial::new(DenialCode::MalformedRequest, format!("{what}."))
}

fn malformed_body(refusal: Refused) -> Denial {
    Denial::new(DenialCode::MalformedRequest, refusal.to_string())
}

//! In what the compatible providers differ.

use std::ops::Range;

use super::super::object::{Object, Value};
use super::super::{Edit, OutputCap, Question, RUNS_THERE, Refused, RequestFacts, cap, unbounded};
use crate::price::ModelPrice;

/// What holds for one provider.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) id: &'static str,
    /// Names of the output cap of chat completions; the first is the one that is put in.
    pub(super) caps: &'static [&'static str],
    /// Whether only the first of them is documented to cap everything that is billed: the other one is renamed.
    pub(super) renames_cap: bool,
    /// See [`text`](super::super::text).
    pub(super) factor: u64,
    /// The most tokens of an image.
    pub(super) image: u64,
    /// Whether files are read by something else than the model, at a price per page.
    pub(super) parses_files: bool,
    /// Members of a chat request besides those of all providers that change nothing about its cost.
    pub(super) also: &'static [&'static str],
    /// Whether the provider has to be asked for usage in a stream.
    pub(super) asks_for_usage: bool,
    /// Parts of names of models that run tools, searches or other models on their own.
    pub(super) agents: &'static [&'static str],
}

const NEW_FIRST: &[&str] = &["max_completion_tokens", "max_tokens"];
const OLD_FIRST: &[&str] = &["max_tokens", "max_completion_tokens"];

/// Documented maxima (<https://platform.openai.com/docs/guides/images-vision#calculating-costs>): 2.46 × 1,536 patches
/// for small models, 85 + 170 × 8 for large ones, 10,000 patches in the original size for gpt-5.4 and later; with
/// room for the factor by which small models multiply patches. gpt-4o-mini is an exception, see
/// [`Dialect::image_tokens`].
const OPENAI_IMAGE: u64 = 24_600;

/// The same for models that came before images in their original size, and for other levels of detail: 2.46 × 2,500
/// patches, rounded up.
const OLDER_IMAGE: u64 = 8_192;

/// Beginnings of the names of those models.
const OLDER: [&str; 8] = ["gpt-4", "chatgpt-4o", "o1", "o3", "o4", "gpt-5-", "gpt-5.1", "gpt-5.2"];

/// gpt-4o-mini: 2,833 + 5,667 × 8 tiles.
const GPT_4O_MINI_IMAGE: u64 = 48_169;

/// Where nothing is documented: more than twice what any provider documents.
const ANY_IMAGE: u64 = 16_384;

/// Models of OpenAI that search: <https://platform.openai.com/docs/guides/tools-web-search>.
const SEARCHING: &[&str] = &["search-preview", "search-api", "deep-research"];

static DIALECTS: [Dialect; 13] = [
    Dialect {
        id: "openai",
        caps: NEW_FIRST,
        renames_cap: false,
        factor: 1,
        image: OPENAI_IMAGE,
        parses_files: false,
        also: &[],
        asks_for_usage: true,
        agents: SEARCHING,
    },
    Dialect {
        id: "azure-openai",
        caps: NEW_FIRST,
        renames_cap: false,
        factor: 1,
        image: OPENAI_IMAGE,
        parses_files: false,
        also: &["user_security_context"],
        asks_for_usage: true,
        agents: &["search-preview", "search-api", "deep-research", "model-router"],
    },
    Dialect {
        id: "mistral",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &["min_tokens", "random_seed"],
        asks_for_usage: false,
        agents: &[],
    },
    Dialect {
        id: "groq",
        caps: NEW_FIRST,
        renames_cap: false,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &["reasoning_format", "include_reasoning", "disable_tool_validation"],
        asks_for_usage: true,
        agents: &["compound"],
    },
    Dialect {
        id: "together",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &[
            "repetition_penalty",
            "echo",
            "safety_model",
            "context_length_exceeded_behavior",
            "reasoning",
            "chat_template_kwargs",
            "compliance",
        ],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "fireworks",
        caps: OLD_FIRST,
        renames_cap: false,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &[
            "repetition_penalty",
            "context_length_exceeded_behavior",
            "mirostat_lr",
            "mirostat_target",
            "ignore_eos",
            "prompt_truncate_len",
            "reasoning_history",
            "thinking",
            "typical_p",
            "perf_metrics_in_response",
            "prompt_cache_isolation_key",
            "return_token_ids",
            "raw_output",
        ],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "deepseek",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &["thinking", "user_id"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "xai",
        caps: NEW_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &[],
        asks_for_usage: true,
        agents: &["multi-agent"],
    },
    Dialect {
        id: "openrouter",
        caps: OLD_FIRST,
        renames_cap: false,
        factor: 2,
        image: ANY_IMAGE,
        // <https://openrouter.ai/docs/features/multimodal/pdfs>: by default through OCR at a price per page, if the
        // model takes no files.
        parses_files: true,
        also: &[
            "provider",
            "usage",
            "transforms",
            "reasoning",
            "include_reasoning",
            "repetition_penalty",
            "min_p",
            "top_a",
            "session_id",
            "trace",
            "cache_control",
        ],
        asks_for_usage: true,
        // Routers, presets, and models that search.
        agents: &[
            "openrouter/",
            "@preset",
            ":online",
            "sonar",
            "search-preview",
            "search-api",
            "deep-research",
            "multi-agent",
        ],
    },
    Dialect {
        id: "cerebras",
        caps: NEW_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &["disable_reasoning", "reasoning_format", "clear_thinking", "min_tokens"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "zai",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &["thinking", "do_sample", "request_id", "user_id", "tool_stream"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "huggingface",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &[],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "perplexity",
        caps: OLD_FIRST,
        renames_cap: true,
        factor: 2,
        image: ANY_IMAGE,
        parses_files: false,
        also: &[
            "disable_search",
            "enable_search_classifier",
            "image_domain_filter",
            "image_format_filter",
            "language_preference",
            "last_updated_after_filter",
            "last_updated_before_filter",
            "return_images",
            "search_after_date_filter",
            "search_before_date_filter",
            "search_domain_filter",
            "search_language_filter",
            "search_mode",
            "search_recency_filter",
        ],
        asks_for_usage: false,
        // sonar and sonar-pro search once, for a fee per request of which the price table has the dearest; what they
        // find is not billed: <https://docs.perplexity.ai/getting-started/pricing>. The others bill searches,
        // citations or reasoning that no parameter caps.
        agents: &["deep-research", "reasoning", "sonar-pro-search", "-online", "r1-1776"],
    },
];

/// What holds for a provider.
pub(super) fn dialect(id: &str) -> Result<&'static Dialect, Refused> {
    let known = DIALECTS.iter().find(|dialect| dialect.id == id);
    known.ok_or_else(|| Refused::Malformed("This provider is not known.".to_owned()))
}

/// A request as it stands in its body.
pub(super) struct Asked<'a> {
    pub(super) dialect: &'static Dialect,
    pub(super) body: Object<'a>,
    pub(super) model: String,
}

impl<'a> Asked<'a> {
    /// Reads the body, and refuses a model of which the dialect says no.
    pub(super) fn of(
        question: &Question<'a>,
        is_refused: impl FnOnce(&Dialect, &str) -> bool,
    ) -> Result<Self, Refused> {
        let dialect = dialect(question.provider.table_id().unwrap_or_default())?;
        let body = Object::parse(question.body)?;
        let model = cap::name_of_model(&body)?;
        if is_refused(dialect, &model) {
            return Err(unbounded(&format!("model {model:?}"), RUNS_THERE));
        }
        Ok(Self { dialect, body, model })
    }
}

impl Dialect {
    /// The most tokens of an image for a model, at a level of detail if one is named.
    pub(super) fn image_tokens(&self, model: &str, detail: Option<&str>) -> u64 {
        if model.contains("4o-mini") {
            return GPT_4O_MINI_IMAGE;
        }
        // A deployment has any name.
        if self.id == "azure-openai"
            && !["gpt-", "o1", "o3", "o4"].iter().any(|start| model.starts_with(start))
        {
            return GPT_4O_MINI_IMAGE;
        }
        let is_older = model == "gpt-5" || OLDER.iter().any(|start| model.starts_with(start));
        let is_scaled = matches!(detail, Some("low" | "high"));
        if self.image == OPENAI_IMAGE && (is_older || is_scaled) { OLDER_IMAGE } else { self.image }
    }

    /// Whether the name stands for other models, or for something that chooses one.
    pub(super) fn hides_model(&self, model: &str) -> bool {
        const HIDING: [&str; 5] = ["openrouter/", "@preset", "model-router", "compound", "sonar-pro-search"];
        self.agents.iter().any(|part| HIDING.contains(part) && has_part(model, part))
    }

    /// Whether the model runs tools or searches on its own.
    pub(super) fn is_agent(&self, model: &str) -> bool {
        self.agents.iter().any(|part| has_part(model, part))
    }

    /// Whether a member of a request changes nothing about its cost here.
    pub(super) fn is_neutral(&self, name: &str, value: &Value<'_>) -> bool {
        match (self.id, name) {
            // Checking what goes in and comes out is free: <https://platform.openai.com/docs/guides/moderation>.
            ("openai", "moderation") => true,
            // <https://docs.x.ai/docs/guides/live-search>: with any other mode it searches.
            ("xai", "search_parameters") => text(value, "mode").as_deref() == Some("off"),
            // <https://docs.perplexity.ai/docs/sonar/pro-search/quickstart>: any other type runs several steps.
            ("perplexity", "web_search_options") => value.as_object().is_some_and(|options| {
                options.iter().all(|(name, value)| match name {
                    "search_context_size" | "user_location" | "image_results_enhanced_relevance" => true,
                    "search_type" => value.as_str().is_some_and(|kind| kind == "fast"),
                    _ => false,
                })
            }),
            ("perplexity", "return_related_questions") => value.as_bool() == Some(false),
            // Repairs JSON, for nothing: <https://openrouter.ai/docs/features/plugins>.
            ("openrouter", "plugins") => value.as_array().is_some_and(|plugins| {
                plugins.iter().all(|plugin| text(plugin, "id").as_deref() == Some("response-healing"))
            }),
            _ => self.also.contains(&name),
        }
    }

    /// The output cap of a chat request. Of two names, some providers document one, and may pass over the other; xAI
    /// and Cerebras document of `max_completion_tokens` alone that it counts reasoning
    /// (<https://docs.x.ai/docs/api-reference#chat-completions>,
    /// <https://inference-docs.cerebras.ai/api-reference/chat-completions>).
    pub(super) fn cap(
        &self,
        bytes: &[u8],
        body: &Object<'_>,
        price: Option<&ModelPrice>,
        facts: &mut RequestFacts,
    ) -> Result<OutputCap, Refused> {
        let mut output = cap::find(body, self.caps, price.and_then(ModelPrice::max_output))?;
        if self.renames_cap && output.parameter != self.caps[0] {
            let value = body.get(output.parameter);
            if let Some(range) = value.and_then(|value| name_before(bytes, value.range().start)) {
                facts.edits.push(Edit { range, text: format!("\"{}\"", self.caps[0]) });
                output.parameter = self.caps[0];
            }
        }
        Ok(output)
    }
}

/// Whether a name has a part in it, in any letter case. The part is in lower case.
fn has_part(name: &str, part: &str) -> bool {
    let (name, part) = (name.as_bytes(), part.as_bytes());
    name.windows(part.len())
        .any(|window| window[0].to_ascii_lowercase() == part[0] && window.eq_ignore_ascii_case(part))
}

/// A text in an object.
fn text(value: &Value<'_>, name: &str) -> Option<String> {
    Some(value.as_object()?.given(name)?.as_str()?.into_owned())
}

/// Where the name of the member stands, quotes included, whose value starts here. The name has no quotes in it.
fn name_before(bytes: &[u8], value: usize) -> Option<Range<usize>> {
    let colon = bytes[..value].iter().rposition(|byte| *byte == b':')?;
    let end = bytes[..colon].iter().rposition(|byte| *byte == b'"')?;
    let start = bytes[..end].iter().rposition(|byte| *byte == b'"')?;
    Some(start..end + 1)
}

//! In what the compatible providers differ.

use super::super::Refused;

/// What holds for one provider.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) id: &'static str,
    /// Names of the output cap of chat completions; the first is the one that is put in.
    pub(super) caps: &'static [&'static str],
    /// See [`text`](super::super::text).
    pub(super) factor: u64,
    /// The most tokens of an image.
    pub(super) image: u64,
    /// Members of a chat request besides those of all providers that change nothing about its cost.
    pub(super) also: &'static [&'static str],
    /// Whether the provider has to be asked for usage in a stream.
    pub(super) asks_for_usage: bool,
    /// Beginnings of names of models that run tools or searches on their own.
    pub(super) agents: &'static [&'static str],
}

const NEW_FIRST: &[&str] = &["max_completion_tokens", "max_tokens"];
const OLD_FIRST: &[&str] = &["max_tokens", "max_completion_tokens"];

/// Documented maxima, for high detail: 16 × 2.46 × 1,536 patches at most for small models, 85 + 170 × 8 for large
/// ones (<https://platform.openai.com/docs/guides/images-vision#calculating-costs>), doubled for what comes next.
/// gpt-4o-mini is an exception, see [`image_tokens`].
const OPENAI_IMAGE: u64 = 8_192;

/// gpt-4o-mini: 2,833 + 5,667 × 8 tiles.
const GPT_4O_MINI_IMAGE: u64 = 48_169;

/// Where nothing is documented: more than twice what any provider documents.
const ANY_IMAGE: u64 = 16_384;

static DIALECTS: [Dialect; 13] = [
    Dialect {
        id: "openai",
        caps: NEW_FIRST,
        factor: 1,
        image: OPENAI_IMAGE,
        also: &[],
        asks_for_usage: true,
        agents: &[
            "gpt-4o-search",
            "gpt-4o-mini-search",
            "gpt-5-search",
            "o3-deep",
            "o4-mini-deep",
            "computer-use",
        ],
    },
    Dialect {
        id: "azure-openai",
        caps: NEW_FIRST,
        factor: 1,
        image: OPENAI_IMAGE,
        also: &["user_security_context"],
        asks_for_usage: true,
        agents: &["gpt-4o-search", "gpt-4o-mini-search", "o3-deep", "computer-use", "model-router"],
    },
    Dialect {
        id: "mistral",
        caps: &["max_tokens"],
        factor: 2,
        image: ANY_IMAGE,
        also: &["random_seed", "safe_prompt", "prompt_mode"],
        asks_for_usage: false,
        agents: &[],
    },
    Dialect {
        id: "groq",
        caps: NEW_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &["reasoning_format", "include_reasoning", "disable_tool_validation"],
        asks_for_usage: true,
        agents: &["groq/compound", "compound-"],
    },
    Dialect {
        id: "together",
        caps: OLD_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &[
            "repetition_penalty",
            "echo",
            "safety_model",
            "context_length_exceeded_behavior",
            "reasoning",
        ],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "fireworks",
        caps: OLD_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &[
            "repetition_penalty",
            "context_length_exceeded_behavior",
            "mirostat_lr",
            "mirostat_target",
            "ignore_eos",
            "prompt_truncate_len",
            "reasoning_history",
        ],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "deepseek",
        caps: &["max_tokens"],
        factor: 2,
        image: ANY_IMAGE,
        also: &["thinking"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "xai",
        caps: NEW_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &[],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "openrouter",
        caps: OLD_FIRST,
        factor: 2,
        image: ANY_IMAGE,
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
            "cache_control",
        ],
        asks_for_usage: true,
        agents: &["openrouter/"],
    },
    Dialect {
        id: "cerebras",
        caps: NEW_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &["disable_reasoning", "reasoning_format", "clear_thinking"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "zai",
        caps: &["max_tokens"],
        factor: 2,
        image: ANY_IMAGE,
        also: &["thinking", "do_sample", "request_id", "user_id", "tool_stream"],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "huggingface",
        caps: OLD_FIRST,
        factor: 2,
        image: ANY_IMAGE,
        also: &[],
        asks_for_usage: true,
        agents: &[],
    },
    Dialect {
        id: "perplexity",
        caps: &["max_tokens"],
        factor: 2,
        image: ANY_IMAGE,
        also: &[],
        asks_for_usage: false,
        // Every model searches, at a price per request and context that depends on what is found.
        agents: &["sonar", "r1"],
    },
];

/// What holds for a provider.
pub(super) fn dialect(id: &str) -> Result<&'static Dialect, Refused> {
    let known = DIALECTS.iter().find(|dialect| dialect.id == id);
    known.ok_or_else(|| Refused::Malformed("This provider is not known.".to_owned()))
}

impl Dialect {
    /// The most tokens of an image for a model.
    pub(super) fn image_tokens(&self, model: &str) -> u64 {
        if model.contains("4o-mini") { GPT_4O_MINI_IMAGE } else { self.image }
    }

    /// Whether the model runs tools or searches on its own.
    pub(super) fn is_agent(&self, model: &str) -> bool {
        self.agents.iter().any(|start| model.starts_with(start))
            || (self.id == "openrouter" && (model.contains(":online") || model.contains("sonar")))
    }
}

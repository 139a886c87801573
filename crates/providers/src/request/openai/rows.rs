//! Which endpoints of OpenAI and the compatible providers are known.

use http::Method;

use super::super::endpoint::{ANY, Content, Endpoint, LOOK, POST};
use super::audio::{speech, transcriptions};
use super::chat::{chat, completions};
use super::embeddings::embeddings;
use super::images::{edits, images};
use super::ocr::ocr;
use super::responses::{responses, uncapped};
use crate::usage::AnswerFormat::{OpenAiChat, OpenAiResponses, Silent};

/// The method that takes away.
const DELETE: &[Method] = &[Method::DELETE];

const OPENAI_PRICING: &str = "https://platform.openai.com/docs/pricing";

/// Rows of one provider whose paths all begin alike.
macro_rules! rows {
    ($($row:expr),* $(,)?) => { &[$($row),*] };
}

macro_rules! chat {
    ($prefix:literal, $source:expr) => {
        Endpoint::metered(
            concat!($prefix, "/chat/completions"),
            "chat.completions",
            OpenAiChat,
            chat,
            $source,
        )
    };
}

macro_rules! completions {
    ($prefix:literal, $source:expr) => {
        Endpoint::metered(concat!($prefix, "/completions"), "completions", OpenAiChat, completions, $source)
    };
}

macro_rules! embeddings {
    ($prefix:literal, $source:expr) => {
        Endpoint::metered(concat!($prefix, "/embeddings"), "embeddings", OpenAiChat, embeddings, $source)
    };
}

macro_rules! responses {
    ($prefix:literal, $source:expr) => {
        Endpoint::metered(concat!($prefix, "/responses"), "responses", OpenAiResponses, responses, $source)
    };
}

macro_rules! speech {
    ($prefix:literal, $source:expr) => {
        Endpoint::metered(concat!($prefix, "/audio/speech"), "audio.speech", Silent, speech, $source)
    };
}

/// What is heard, written down or translated.
macro_rules! heard {
    ($prefix:literal, $what:literal, $answer:expr, $source:expr) => {
        Endpoint::metered(
            concat!($prefix, "/audio/", $what),
            concat!("audio.", $what),
            $answer,
            transcriptions,
            $source,
        )
        .taking(Content::Form)
    };
}

macro_rules! models {
    ($prefix:literal, $source:expr) => {
        Endpoint::free(LOOK, concat!($prefix, "/models"), "models.list", $source)
    };
}

macro_rules! model {
    ($prefix:literal, $source:expr) => {
        Endpoint::free(LOOK, concat!($prefix, "/models/**"), "models.retrieve", $source)
    };
}

static OPENAI: &[Endpoint] = rows![
    chat!("/v1", OPENAI_PRICING),
    responses!("/v1", OPENAI_PRICING),
    Endpoint::metered(
        "/v1/responses/compact",
        "responses.compact",
        OpenAiResponses,
        uncapped,
        "https://platform.openai.com/docs/api-reference/responses/compact"
    ),
    completions!("/v1", OPENAI_PRICING),
    embeddings!("/v1", OPENAI_PRICING),
    Endpoint::metered(
        "/v1/images/generations",
        "images.generations",
        OpenAiResponses,
        images,
        OPENAI_PRICING
    ),
    Endpoint::metered("/v1/images/edits", "images.edits", OpenAiResponses, edits, OPENAI_PRICING)
        .taking(Content::JsonOrForm),
    speech!("/v1", OPENAI_PRICING),
    heard!("/v1", "transcriptions", OpenAiResponses, OPENAI_PRICING),
    heard!("/v1", "translations", OpenAiResponses, OPENAI_PRICING),
    // "The moderation endpoint is free to use".
    Endpoint::free(
        POST,
        "/v1/moderations",
        "moderations",
        "https://platform.openai.com/docs/guides/moderation"
    ),
    Endpoint::free(
        POST,
        "/v1/responses/input_tokens",
        "responses.input_tokens",
        "https://platform.openai.com/docs/api-reference/responses/input-tokens"
    ),
    Endpoint::free(
        LOOK,
        "/v1/models",
        "models.list",
        "https://platform.openai.com/docs/api-reference/models"
    ),
    Endpoint::free(
        LOOK,
        "/v1/models/*",
        "models.retrieve",
        "https://platform.openai.com/docs/api-reference/models"
    ),
    Endpoint::free(
        LOOK,
        "/v1/responses/*",
        "responses.retrieve",
        "https://platform.openai.com/docs/api-reference/responses"
    ),
    Endpoint::free(
        LOOK,
        "/v1/responses/*/input_items",
        "responses.input_items",
        "https://platform.openai.com/docs/api-reference/responses"
    ),
    Endpoint::free(
        POST,
        "/v1/responses/*/cancel",
        "responses.cancel",
        "https://platform.openai.com/docs/api-reference/responses/cancel"
    ),
    Endpoint::free(
        DELETE,
        "/v1/responses/*",
        "responses.delete",
        "https://platform.openai.com/docs/api-reference/responses/delete"
    ),
    Endpoint::free(
        LOOK,
        "/v1/chat/completions/**",
        "chat.completions.retrieve",
        "https://platform.openai.com/docs/api-reference/chat"
    ),
    // With POST only the metadata changes.
    Endpoint::free(
        ANY,
        "/v1/chat/completions/*",
        "chat.completions.update",
        "https://platform.openai.com/docs/api-reference/chat/update"
    ),
    // They keep items for later requests, which are billed for them.
    Endpoint::free(
        ANY,
        "/v1/conversations",
        "conversations",
        "https://platform.openai.com/docs/api-reference/conversations"
    ),
    Endpoint::free(
        ANY,
        "/v1/conversations/**",
        "conversations",
        "https://platform.openai.com/docs/api-reference/conversations"
    ),
    // A file in parts.
    Endpoint::free(ANY, "/v1/uploads", "uploads", "https://platform.openai.com/docs/api-reference/uploads"),
    Endpoint::free(
        ANY,
        "/v1/uploads/**",
        "uploads",
        "https://platform.openai.com/docs/api-reference/uploads"
    ),
    // Looking at what costs to make.
    Endpoint::free(LOOK, "/v1/batches", "batches", "https://platform.openai.com/docs/api-reference/batch"),
    Endpoint::free(LOOK, "/v1/batches/*", "batches", "https://platform.openai.com/docs/api-reference/batch"),
    Endpoint::free(
        LOOK,
        "/v1/vector_stores",
        "vector_stores",
        "https://platform.openai.com/docs/api-reference/vector-stores"
    ),
    Endpoint::free(
        LOOK,
        "/v1/vector_stores/**",
        "vector_stores",
        "https://platform.openai.com/docs/api-reference/vector-stores"
    ),
    Endpoint::free(LOOK, "/v1/videos", "videos", "https://platform.openai.com/docs/api-reference/videos"),
    Endpoint::free(LOOK, "/v1/videos/**", "videos", "https://platform.openai.com/docs/api-reference/videos"),
    Endpoint::free(
        LOOK,
        "/v1/containers/**",
        "containers",
        "https://platform.openai.com/docs/api-reference/containers"
    ),
    Endpoint::free(
        LOOK,
        "/v1/chat/completions",
        "chat.completions.list",
        "https://platform.openai.com/docs/api-reference/chat"
    ),
    // Storing files for use by other endpoints has no price; what uses them has.
    Endpoint::free(ANY, "/v1/files", "files", "https://platform.openai.com/docs/api-reference/files"),
    Endpoint::free(ANY, "/v1/files/**", "files", "https://platform.openai.com/docs/api-reference/files"),
];

const AZURE_PRICING: &str = "https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/";

/// Deployments in the path hide the model, so only the newer paths, where the body names it, are known.
static AZURE: &[Endpoint] = rows![
    chat!("/openai/v1", AZURE_PRICING),
    responses!("/openai/v1", AZURE_PRICING),
    embeddings!("/openai/v1", AZURE_PRICING),
    speech!("/openai/v1", AZURE_PRICING),
    heard!("/openai/v1", "transcriptions", OpenAiResponses, AZURE_PRICING),
    heard!("/openai/v1", "translations", OpenAiResponses, AZURE_PRICING),
    Endpoint::metered(
        "/openai/v1/images/generations",
        "images.generations",
        OpenAiResponses,
        images,
        AZURE_PRICING
    ),
    Endpoint::metered("/openai/v1/images/edits", "images.edits", OpenAiResponses, edits, AZURE_PRICING)
        .taking(Content::JsonOrForm),
    Endpoint::free(
        LOOK,
        "/openai/v1/responses/**",
        "responses.retrieve",
        "https://learn.microsoft.com/azure/ai-services/openai/how-to/responses"
    ),
    Endpoint::free(
        ANY,
        "/openai/v1/files",
        "files",
        "https://learn.microsoft.com/azure/ai-foundry/openai/latest"
    ),
    Endpoint::free(
        ANY,
        "/openai/v1/files/**",
        "files",
        "https://learn.microsoft.com/azure/ai-foundry/openai/latest"
    ),
    models!("/openai/v1", AZURE_PRICING),
    model!("/openai/v1", AZURE_PRICING),
];

const MISTRAL_PRICING: &str = "https://mistral.ai/pricing";

static MISTRAL: &[Endpoint] = rows![
    chat!("/v1", MISTRAL_PRICING),
    Endpoint::metered(
        "/v1/fim/completions",
        "fim.completions",
        OpenAiChat,
        completions,
        "https://docs.mistral.ai/api/endpoint/fim"
    ),
    embeddings!("/v1", MISTRAL_PRICING),
    Endpoint::metered("/v1/ocr", "ocr", Silent, ocr, MISTRAL_PRICING),
    speech!("/v1", "https://docs.mistral.ai/api/endpoint/audio/speech"),
    heard!("/v1", "transcriptions", Silent, "https://docs.mistral.ai/capabilities/audio_transcription"),
    Endpoint::free(ANY, "/v1/files", "files", "https://docs.mistral.ai/api/endpoint/files"),
    Endpoint::free(ANY, "/v1/files/**", "files", "https://docs.mistral.ai/api/endpoint/files"),
    models!("/v1", "https://docs.mistral.ai/api/#tag/models"),
    model!("/v1", "https://docs.mistral.ai/api/#tag/models"),
];

const GROQ_PRICING: &str = "https://groq.com/pricing";

static GROQ: &[Endpoint] = rows![
    chat!("/openai/v1", GROQ_PRICING),
    responses!("/openai/v1", "https://console.groq.com/docs/responses-api"),
    speech!("/openai/v1", "https://console.groq.com/docs/text-to-speech"),
    heard!("/openai/v1", "transcriptions", Silent, "https://console.groq.com/docs/speech-to-text"),
    heard!("/openai/v1", "translations", Silent, "https://console.groq.com/docs/speech-to-text"),
    Endpoint::free(ANY, "/openai/v1/files", "files", "https://console.groq.com/docs/api-reference#files"),
    Endpoint::free(ANY, "/openai/v1/files/**", "files", "https://console.groq.com/docs/api-reference#files"),
    models!("/openai/v1", "https://console.groq.com/docs/api-reference#models"),
    model!("/openai/v1", "https://console.groq.com/docs/api-reference#models"),
];

const TOGETHER_PRICING: &str = "https://www.together.ai/pricing";

static TOGETHER: &[Endpoint] = rows![
    chat!("/v1", TOGETHER_PRICING),
    completions!("/v1", TOGETHER_PRICING),
    embeddings!("/v1", TOGETHER_PRICING),
    heard!("/v1", "transcriptions", Silent, "https://docs.together.ai/docs/speech-to-text"),
    heard!("/v1", "translations", Silent, "https://docs.together.ai/docs/speech-to-text"),
    models!("/v1", "https://docs.together.ai/reference/models-1"),
];

const FIREWORKS_PRICING: &str = "https://fireworks.ai/pricing";

static FIREWORKS: &[Endpoint] = rows![
    chat!("/inference/v1", FIREWORKS_PRICING),
    responses!("/inference/v1", "https://docs.fireworks.ai/guides/response-api"),
    completions!("/inference/v1", FIREWORKS_PRICING),
    embeddings!("/inference/v1", FIREWORKS_PRICING),
    models!("/inference/v1", "https://docs.fireworks.ai/api-reference/introduction"),
];

const DEEPSEEK_PRICING: &str = "https://api-docs.deepseek.com/quick_start/pricing";

static DEEPSEEK: &[Endpoint] = rows![
    chat!("", DEEPSEEK_PRICING),
    chat!("/v1", DEEPSEEK_PRICING),
    chat!("/beta", DEEPSEEK_PRICING),
    responses!("/v1", DEEPSEEK_PRICING),
    Endpoint::metered(
        "/beta/completions",
        "fim.completions",
        OpenAiChat,
        completions,
        "https://api-docs.deepseek.com/api/create-completion"
    ),
    models!("", "https://api-docs.deepseek.com/api/list-models"),
    models!("/v1", "https://api-docs.deepseek.com/api/list-models"),
    Endpoint::free(LOOK, "/user/balance", "balance", "https://api-docs.deepseek.com/api/get-user-balance"),
];

const XAI_PRICING: &str = "https://docs.x.ai/docs/models";

static XAI: &[Endpoint] = rows![
    chat!("/v1", XAI_PRICING),
    responses!("/v1", XAI_PRICING),
    models!("/v1", "https://docs.x.ai/docs/api-reference#list-models"),
    model!("/v1", "https://docs.x.ai/docs/api-reference#list-models"),
];

const OPENROUTER_PRICING: &str = "https://openrouter.ai/docs/faq#pricing-and-fees";

static OPENROUTER: &[Endpoint] = rows![
    chat!("/api/v1", OPENROUTER_PRICING),
    responses!("/api/v1", "https://openrouter.ai/docs/api-reference/responses-api/overview"),
    embeddings!("/api/v1", "https://openrouter.ai/docs/api-reference/embeddings"),
    Endpoint::free(
        LOOK,
        "/api/v1/credits",
        "credits",
        "https://openrouter.ai/docs/api-reference/get-credits"
    ),
    Endpoint::free(
        LOOK,
        "/api/v1/key",
        "key",
        "https://openrouter.ai/docs/api-reference/get-current-api-key"
    ),
    Endpoint::free(
        LOOK,
        "/api/v1/generation",
        "generation",
        "https://openrouter.ai/docs/api-reference/get-a-generation"
    ),
    models!("/api/v1", "https://openrouter.ai/docs/api-reference/list-available-models"),
    model!("/api/v1", "https://openrouter.ai/docs/api-reference/list-available-models"),
];

const CEREBRAS_PRICING: &str = "https://www.cerebras.ai/pricing";

static CEREBRAS: &[Endpoint] = rows![
    chat!("/v1", CEREBRAS_PRICING),
    completions!("/v1", "https://inference-docs.cerebras.ai/api-reference/completions"),
    models!("/v1", "https://inference-docs.cerebras.ai/api-reference/models"),
    model!("/v1", "https://inference-docs.cerebras.ai/api-reference/models"),
];

const ZAI_PRICING: &str = "https://docs.z.ai/guides/overview/pricing";

static ZAI: &[Endpoint] = rows![chat!("/api/paas/v4", ZAI_PRICING), models!("/api/paas/v4", ZAI_PRICING),];

const HUGGINGFACE_PRICING: &str = "https://huggingface.co/docs/inference-providers/pricing";

static HUGGINGFACE: &[Endpoint] = rows![
    chat!("/v1", HUGGINGFACE_PRICING),
    // Through one of the providers behind it.
    chat!("/*/v1", HUGGINGFACE_PRICING),
    chat!("/*/v3/openai", HUGGINGFACE_PRICING),
    models!("/v1", HUGGINGFACE_PRICING),
];

const PERPLEXITY_PRICING: &str = "https://docs.perplexity.ai/getting-started/pricing";

static PERPLEXITY: &[Endpoint] = rows![
    chat!("", PERPLEXITY_PRICING),
    chat!("/v1", PERPLEXITY_PRICING),
    embeddings!("/v1", "https://docs.perplexity.ai/api-reference/embeddings-post"),
];

/// The rows of a provider.
pub(in super::super) fn endpoints(provider: &str) -> &'static [Endpoint] {
    match provider {
        "openai" => OPENAI,
        "azure-openai" => AZURE,
        "mistral" => MISTRAL,
        "groq" => GROQ,
        "together" => TOGETHER,
        "fireworks" => FIREWORKS,
        "deepseek" => DEEPSEEK,
        "xai" => XAI,
        "openrouter" => OPENROUTER,
        "cerebras" => CEREBRAS,
        "zai" => ZAI,
        "huggingface" => HUGGINGFACE,
        "perplexity" => PERPLEXITY,
        _ => &[],
    }
}

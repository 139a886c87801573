//! The counts in a usage object, per format.

use super::money::{Rounding, decimal};
use super::value::{Object, Value};
use crate::usage::{Charge, Unit, Usage};

/// A count that is no whole number from 0 to 2⁶⁴−1, or a usage without the counts that every one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A count at a path; absent and null are none.
fn at(usage: &Object<'_>, path: &[&str]) -> Result<Option<u64>, Unreadable> {
    let (first, rest) = path.split_first().expect("a path has a step");
    let mut value = usage.get(first);
    for step in rest {
        value = value.and_then(|value| value.get(step));
    }
    value.filter(|value| !value.is_null()).map(count).transpose()
}

fn count(value: &Value<'_>) -> Result<u64, Unreadable> {
    // Some write whole numbers as 12.0.
    let number = value.as_number().ok_or(Unreadable)?;
    if let Some(count) = number.as_u64() {
        return Ok(count);
    }
    let text = number.to_string();
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    whole.parse().map_err(|_| Unreadable)
}

/// Takes over the counts that are there.
fn take(usage: &Object<'_>, to: &mut Usage, rows: &[(Unit, &[&str])]) -> Result<(), Unreadable> {
    for (unit, path) in rows {
        if let Some(count) = at(usage, path)? {
            to.set(*unit, count);
        }
    }
    Ok(())
}

/// Chat and completions of OpenAI and those that copy it; embeddings, which have no output.
pub(super) fn chat(usage: &Object<'_>) -> Result<Usage, Unreadable> {
    let input = at(usage, &["prompt_tokens"])?.ok_or(Unreadable)?;
    let mut output = at(usage, &["completion_tokens"])?.unwrap_or(0);
    let mut counts = Usage::default();
    take(
        usage,
        &mut counts,
        &[
            (Unit::CacheReadTokens, &["cached_tokens"]),
            // DeepSeek, <https://api-docs.deepseek.com/guides/kv_cache>.
            (Unit::CacheReadTokens, &["prompt_cache_hit_tokens"]),
            (Unit::CacheReadTokens, &["prompt_tokens_details", "cached_tokens"]),
            (Unit::CacheWriteTokens, &["prompt_tokens_details", "cache_write_tokens"]),
            (Unit::InputAudioTokens, &["prompt_tokens_details", "audio_tokens"]),
            (Unit::OutputAudioTokens, &["completion_tokens_details", "audio_tokens"]),
            (Unit::OutputReasoningTokens, &["completion_tokens_details", "reasoning_tokens"]),
            // Perplexity, <https://docs.perplexity.ai/getting-started/pricing>.
            (Unit::WebSearches, &["num_search_queries"]),
        ],
    )?;
    // Mistral charges audio by its length, <https://docs.mistral.ai/api/#tag/chat>. Without any it may be an empty object.
    if let Some(seconds) = usage.get("prompt_audio_seconds").filter(|seconds| seconds.as_number().is_some()) {
        let millis = decimal(seconds, 3, Rounding::Up).and_then(|millis| u64::try_from(millis).ok());
        counts.set(Unit::InputAudioMillis, millis.ok_or(Unreadable)?);
    }
    if ["search_context_size", "num_search_queries", "citation_tokens"]
        .iter()
        .any(|name| usage.contains(name))
    {
        // Perplexity bills both beside the completion, and its total has neither.
        for (unit, name) in [
            (Unit::OutputCitationTokens, "citation_tokens"),
            (Unit::OutputReasoningTokens, "reasoning_tokens"),
        ] {
            if let Some(count) = at(usage, &[name])? {
                counts.set(unit, count);
                output = output.saturating_add(count);
            }
        }
    } else if let Some(total) = at(usage, &["total_tokens"])? {
        // xAI counts reasoning beside the completion, not in it, <https://docs.x.ai/docs/guides/reasoning>; the total
        // has both.
        output = output.max(total.saturating_sub(input));
    }
    counts.set(Unit::InputTokens, input);
    counts.set(Unit::OutputTokens, output);
    Ok(counts)
}

/// OpenAI's Responses, <https://platform.openai.com/docs/api-reference/responses/object>; images, whose details are by
/// modality, <https://platform.openai.com/docs/api-reference/images/object>; transcriptions, which write
/// `input_token_details`, <https://platform.openai.com/docs/api-reference/audio/json-object>.
pub(super) fn responses(usage: &Object<'_>) -> Result<Usage, Unreadable> {
    let mut counts = Usage::default();
    if usage.get("type").and_then(Value::as_str) == Some("duration") {
        // Milliseconds.
        let millis = usage.get("seconds").and_then(|seconds| decimal(seconds, 3, Rounding::Up));
        let millis = millis.and_then(|millis| u64::try_from(millis).ok()).ok_or(Unreadable)?;
        counts.set(Unit::AudioMillis, millis);
        return Ok(counts);
    }
    counts.set(Unit::InputTokens, at(usage, &["input_tokens"])?.ok_or(Unreadable)?);
    counts.set(Unit::OutputTokens, at(usage, &["output_tokens"])?.ok_or(Unreadable)?);
    take(
        usage,
        &mut counts,
        &[
            (Unit::CacheReadTokens, &["input_tokens_details", "cached_tokens"]),
            (Unit::CacheWriteTokens, &["input_tokens_details", "cache_write_tokens"]),
            (Unit::InputTextTokens, &["input_tokens_details", "text_tokens"]),
            (Unit::InputTextTokens, &["input_token_details", "text_tokens"]),
            (Unit::InputImageTokens, &["input_tokens_details", "image_tokens"]),
            (Unit::InputAudioTokens, &["input_tokens_details", "audio_tokens"]),
            (Unit::InputAudioTokens, &["input_token_details", "audio_tokens"]),
            (Unit::OutputTextTokens, &["output_tokens_details", "text_tokens"]),
            (Unit::OutputImageTokens, &["output_tokens_details", "image_tokens"]),
            (Unit::OutputReasoningTokens, &["output_tokens_details", "reasoning_tokens"]),
        ],
    )?;
    Ok(counts)
}

/// Anthropic, where cached input stands beside the input and not in it:
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance>.
pub(super) fn anthropic(usage: &Object<'_>) -> Result<Usage, Unreadable> {
    let input = at(usage, &["input_tokens"])?.ok_or(Unreadable)?;
    let output = at(usage, &["output_tokens"])?.ok_or(Unreadable)?;
    let written = at(usage, &["cache_creation_input_tokens"])?;
    let read = at(usage, &["cache_read_input_tokens"])?;
    let whole = input.saturating_add(written.unwrap_or(0)).saturating_add(read.unwrap_or(0));
    let mut counts = Usage::from_iter([(Unit::InputTokens, whole), (Unit::OutputTokens, output)]);
    take(
        usage,
        &mut counts,
        &[
            (Unit::CacheWriteTokens, &["cache_creation_input_tokens"]),
            (Unit::CacheReadTokens, &["cache_read_input_tokens"]),
            (Unit::CacheWrite5mTokens, &["cache_creation", "ephemeral_5m_input_tokens"]),
            (Unit::CacheWrite1hTokens, &["cache_creation", "ephemeral_1h_input_tokens"]),
            (Unit::WebSearches, &["server_tool_use", "web_search_requests"]),
            (Unit::OutputReasoningTokens, &["output_tokens_details", "thinking_tokens"]),
        ],
    )?;
    Ok(counts)
}

/// What else was done for an answer of Anthropic's. The figures at the top are the sum of the messages of the model that
/// answered; what other models did is billed beside them, and so is a compaction, by whichever model:
/// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool>,
/// <https://platform.claude.com/docs/en/build-with-claude/compaction>.
pub(super) fn anthropic_others(
    usage: &Object<'_>,
    answered: Option<&str>,
) -> Result<Vec<Charge>, Unreadable> {
    let mut charges = Vec::new();
    for iteration in usage.get("iterations").map_or(&[][..], Value::items) {
        let iteration = iteration.as_object().ok_or(Unreadable)?;
        let model = iteration.get("model").and_then(Value::as_str).or(answered);
        let kind = iteration.get("type").and_then(Value::as_str);
        if matches!(kind, Some("message" | "fallback_message")) && model == answered {
            continue;
        }
        charges.push(Charge {
            model: model.map(str::to_owned),
            usage: anthropic(iteration)?,
            context: crate::price::PriceContext::default(),
        });
    }
    Ok(charges)
}

/// Gemini, where thoughts stand beside the candidates and tools' input beside the prompt:
/// <https://ai.google.dev/api/generate-content#UsageMetadata>.
///
/// `None` where there are no counts in it: Vertex names the kind of traffic in every chunk, and the counts in the last.
pub(super) fn gemini(usage: &Object<'_>) -> Result<Option<Usage>, Unreadable> {
    let mut counts = Usage::default();
    let thoughts = at(usage, &["thoughtsTokenCount"])?;
    let tools = at(usage, &["toolUsePromptTokenCount"])?;
    let candidates = at(usage, &["candidatesTokenCount"])?;
    let prompt = at(usage, &["promptTokenCount"])?;
    if [prompt, tools, candidates, thoughts].iter().all(Option::is_none) {
        return Ok(None);
    }
    counts.set(Unit::InputTokens, prompt.unwrap_or(0).saturating_add(tools.unwrap_or(0)));
    if candidates.is_some() || thoughts.is_some() {
        counts.set(Unit::OutputTokens, candidates.unwrap_or(0).saturating_add(thoughts.unwrap_or(0)));
    }
    for (unit, count) in [
        (Unit::OutputReasoningTokens, thoughts),
        (Unit::InputToolTokens, tools),
        (Unit::CacheReadTokens, at(usage, &["cachedContentTokenCount"])?),
    ] {
        if let Some(count) = count {
            counts.set(unit, count);
        }
    }
    for (name, units) in [
        ("promptTokensDetails", INPUT_BY_MODALITY),
        // Of embeddings.
        ("promptTokenDetails", INPUT_BY_MODALITY),
        ("candidatesTokensDetails", OUTPUT_BY_MODALITY),
        ("cacheTokensDetails", CACHED_BY_MODALITY),
        ("toolUsePromptTokensDetails", TOOLS_BY_MODALITY),
    ] {
        by_modality(usage, name, units, &mut counts)?;
        if name == "toolUsePromptTokensDetails" {
            by_modality(usage, name, INPUT_BY_MODALITY, &mut counts)?;
        }
    }
    Ok(Some(counts))
}

type ByModality = [Unit; 4];

/// Text, audio, images and documents, video.
const INPUT_BY_MODALITY: ByModality =
    [Unit::InputTextTokens, Unit::InputAudioTokens, Unit::InputImageTokens, Unit::InputVideoTokens];
const OUTPUT_BY_MODALITY: ByModality =
    [Unit::OutputTextTokens, Unit::OutputAudioTokens, Unit::OutputImageTokens, Unit::OutputVideoTokens];
const CACHED_BY_MODALITY: ByModality = [
    Unit::CacheTextReadTokens,
    Unit::CacheAudioReadTokens,
    Unit::CacheImageReadTokens,
    Unit::CacheVideoReadTokens,
];
const TOOLS_BY_MODALITY: ByModality = [
    Unit::InputTextToolTokens,
    Unit::InputAudioToolTokens,
    Unit::InputImageToolTokens,
    Unit::InputVideoToolTokens,
];

fn by_modality(usage: &Object<'_>, name: &str, units: ByModality, to: &mut Usage) -> Result<(), Unreadable> {
    for detail in usage.get(name).map_or(&[][..], Value::items) {
        let modality = detail.get("modality").and_then(Value::as_str).unwrap_or_default();
        let unit = match modality {
            "TEXT" => units[0],
            "AUDIO" => units[1],
            "IMAGE" | "DOCUMENT" => units[2],
            "VIDEO" => units[3],
            _ => continue,
        };
        let tokens = detail.get("tokenCount").filter(|value| !value.is_null()).map(count).transpose()?;
        to.add(unit, tokens.unwrap_or(0));
    }
    Ok(())
}

/// Cohere: `billed_units` in `usage` (v2) or `meta` (v1). `None` where there is nothing billed in it.
pub(super) fn billed(meta: &Object<'_>) -> Option<Result<Usage, Unreadable>> {
    let units = meta.get("billed_units")?.as_object()?;
    let mut counts = Usage::default();
    let taken = take(
        units,
        &mut counts,
        &[
            (Unit::InputTokens, &["input_tokens"]),
            (Unit::OutputTokens, &["output_tokens"]),
            (Unit::InputImageTokens, &["image_tokens"]),
            (Unit::RerankSearches, &["search_units"]),
        ],
    );
    // Images are billed beside the text.
    let images = counts.count(Unit::InputImageTokens);
    if images > 0 {
        counts.add(Unit::InputTokens, images);
    }
    (!units.is_empty()).then(|| taken.map(|()| counts))
}

/// Bedrock's Converse, where cached input stands beside the input:
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>.
pub(super) fn bedrock(usage: &Object<'_>) -> Result<Usage, Unreadable> {
    let input = at(usage, &["inputTokens"])?.ok_or(Unreadable)?;
    let read = at(usage, &["cacheReadInputTokens"])?;
    let written = at(usage, &["cacheWriteInputTokens"])?;
    let whole = input.saturating_add(read.unwrap_or(0)).saturating_add(written.unwrap_or(0));
    let mut counts = Usage::default();
    counts.set(Unit::InputTokens, whole);
    counts.set(Unit::OutputTokens, at(usage, &["outputTokens"])?.unwrap_or(0));
    take(
        usage,
        &mut counts,
        &[
            (Unit::CacheReadTokens, &["cacheReadInputTokens"]),
            (Unit::CacheWriteTokens, &["cacheWriteInputTokens"]),
        ],
    )?;
    for detail in usage.get("cacheDetails").map_or(&[][..], Value::items) {
        let tokens = detail.get("inputTokens").map(count).transpose()?.unwrap_or(0);
        match detail.get("ttl").and_then(Value::as_str) {
            Some("5m") => counts.add(Unit::CacheWrite5mTokens, tokens),
            Some("1h") => counts.add(Unit::CacheWrite1hTokens, tokens),
            _ => {}
        }
    }
    Ok(counts)
}

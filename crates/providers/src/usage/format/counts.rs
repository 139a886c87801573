//! The counts in a usage object, per format.

use std::borrow::Cow;

use super::money::{COST_NAMES, Rounding, decimal, stated_cost};
use super::value::{Object, Value};
use crate::usage::{Charge, Unit, Usage};

/// A count that is no whole number from 0 to 2⁶⁴−1, or a usage without the counts that every one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The members of a usage of Anthropic's that are looked at; any number of others must not pile up.
pub(super) const ANTHROPIC_NAMES: [&str; 11] = [
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "server_tool_use",
    "output_tokens_details",
    "iterations",
    "service_tier",
    "inference_geo",
    "speed",
];

/// A count; absent and null are none.
#[inline]
fn counted(value: Option<Value<'_>>) -> Result<Option<u64>, Unreadable> {
    match value {
        None => Ok(None),
        Some(value) => match value.as_digits() {
            None if value.is_null() => Ok(None),
            None => count(value).map(Some),
            digits => Ok(digits),
        },
    }
}

fn count(value: Value<'_>) -> Result<u64, Unreadable> {
    if let Some(count) = value.as_digits() {
        return Ok(count);
    }
    // Some write whole numbers as 12.0.
    let text = value.as_number().ok_or(Unreadable)?.to_string();
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    whole.parse().map_err(|_| Unreadable)
}

/// Takes over the counts that are there.
fn take<const N: usize>(
    to: &mut Usage,
    units: [Unit; N],
    values: [Option<Value<'_>>; N],
) -> Result<(), Unreadable> {
    for (unit, value) in units.into_iter().zip(values) {
        if let Some(count) = counted(value)? {
            to.set(unit, count);
        }
    }
    Ok(())
}

/// The values of these names, in an object that need not be there.
#[inline]
fn pick<'a, const N: usize>(object: Option<Value<'a>>, names: [&str; N]) -> [Option<Value<'a>>; N] {
    object.and_then(Value::as_object).map_or([None; N], |object| object.pick(names))
}

/// Chat and completions of OpenAI and those that copy it; embeddings, which have no output. The counts, and the cost that
/// they state.
pub(super) fn chat(usage: Object<'_>, needs_output: bool) -> (Result<Usage, Unreadable>, Option<u128>) {
    let [ticks, cost, is_byok, cost_details] = COST_NAMES;
    let [
        prompt,
        completion,
        total,
        prompt_details,
        completion_details,
        cached,
        cache_hits,
        searches,
        audio_seconds,
        context_size,
        citations,
        reasoning,
        stated @ ..,
    ] = usage.pick([
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        // DeepSeek, <https://api-docs.deepseek.com/guides/kv_cache>.
        "prompt_cache_hit_tokens",
        // Perplexity, <https://docs.perplexity.ai/getting-started/pricing>.
        "num_search_queries",
        // Mistral charges audio by its length, <https://docs.mistral.ai/api/#tag/chat>.
        "prompt_audio_seconds",
        "search_context_size",
        "citation_tokens",
        "reasoning_tokens",
        ticks,
        cost,
        is_byok,
        cost_details,
    ]);
    let counts = || {
        let input = counted(prompt)?.ok_or(Unreadable)?;
        let mut output = match counted(completion)? {
            None if needs_output => return Err(Unreadable),
            output => output.unwrap_or(0),
        };
        let mut counts = Usage::default();
        let [cache_read, cache_write, audio] =
            pick(prompt_details, ["cached_tokens", "cache_write_tokens", "audio_tokens"]);
        let reads = [cached, cache_hits, cache_read];
        take(&mut counts, [Unit::CacheReadTokens; 3], reads)?;
        take(&mut counts, [Unit::CacheWriteTokens, Unit::InputAudioTokens], [cache_write, audio])?;
        let details = pick(completion_details, ["audio_tokens", "reasoning_tokens"]);
        take(&mut counts, [Unit::OutputAudioTokens, Unit::OutputReasoningTokens], details)?;
        take(&mut counts, [Unit::WebSearches], [searches])?;
        // Without any audio it may be an empty object.
        if let Some(seconds) = audio_seconds.filter(|seconds| seconds.as_number().is_some()) {
            counts.set(Unit::InputAudioMillis, millis(seconds)?);
        }
        if context_size.or(searches).or(citations).is_some() {
            // Perplexity bills both beside the completion, and its total has neither.
            for (unit, value) in
                [(Unit::OutputCitationTokens, citations), (Unit::OutputReasoningTokens, reasoning)]
            {
                if let Some(count) = counted(value)? {
                    counts.set(unit, count);
                    output = output.saturating_add(count);
                }
            }
        } else if let Some(total) = counted(total)? {
            // xAI counts reasoning beside the completion, not in it, <https://docs.x.ai/docs/guides/reasoning>; the total
            // has both.
            output = output.max(total.saturating_sub(input));
        }
        counts.set(Unit::InputTokens, input);
        counts.set(Unit::OutputTokens, output);
        Ok(counts)
    };
    (counts(), stated_cost(stated))
}

/// Milliseconds, of seconds.
fn millis(seconds: Value<'_>) -> Result<u64, Unreadable> {
    let millis = decimal(seconds, 3, Rounding::Up).and_then(|millis| u64::try_from(millis).ok());
    millis.ok_or(Unreadable)
}

/// OpenAI's Responses, <https://platform.openai.com/docs/api-reference/responses/object>; images, whose details are by
/// modality, <https://platform.openai.com/docs/api-reference/images/object>; transcriptions, which write
/// `input_token_details`, <https://platform.openai.com/docs/api-reference/audio/json-object>.
pub(super) fn responses(usage: Object<'_>) -> Result<Usage, Unreadable> {
    let [kind, seconds, input, output, inputs, outputs, transcribed] = usage.pick([
        "type",
        "seconds",
        "input_tokens",
        "output_tokens",
        "input_tokens_details",
        "output_tokens_details",
        "input_token_details",
    ]);
    let mut counts = Usage::default();
    if kind.and_then(Value::as_str).as_deref() == Some("duration") {
        counts.set(Unit::AudioMillis, millis(seconds.ok_or(Unreadable)?)?);
        return Ok(counts);
    }
    counts.set(Unit::InputTokens, counted(input)?.ok_or(Unreadable)?);
    counts.set(Unit::OutputTokens, counted(output)?.ok_or(Unreadable)?);
    take(
        &mut counts,
        [
            Unit::CacheReadTokens,
            Unit::CacheWriteTokens,
            Unit::InputTextTokens,
            Unit::InputImageTokens,
            Unit::InputAudioTokens,
        ],
        pick(inputs, ["cached_tokens", "cache_write_tokens", "text_tokens", "image_tokens", "audio_tokens"]),
    )?;
    take(
        &mut counts,
        [Unit::InputTextTokens, Unit::InputAudioTokens],
        pick(transcribed, ["text_tokens", "audio_tokens"]),
    )?;
    take(
        &mut counts,
        [Unit::OutputTextTokens, Unit::OutputImageTokens, Unit::OutputReasoningTokens],
        pick(outputs, ["text_tokens", "image_tokens", "reasoning_tokens"]),
    )?;
    Ok(counts)
}

/// Anthropic, where cached input stands beside the input and not in it:
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance>.
pub(super) fn anthropic(usage: Object<'_>) -> Result<Usage, Unreadable> {
    let [input, output, written, read, written_for, tools, outputs, ..] = usage.pick(ANTHROPIC_NAMES);
    let input = counted(input)?.ok_or(Unreadable)?;
    let output = counted(output)?.ok_or(Unreadable)?;
    let beside = [counted(written)?, counted(read)?].map(Option::unwrap_or_default);
    let whole = beside.into_iter().fold(input, u64::saturating_add);
    let mut counts = Usage::from_iter([(Unit::InputTokens, whole), (Unit::OutputTokens, output)]);
    take(&mut counts, [Unit::CacheWriteTokens, Unit::CacheReadTokens], [written, read])?;
    take(
        &mut counts,
        [Unit::CacheWrite5mTokens, Unit::CacheWrite1hTokens],
        pick(written_for, ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]),
    )?;
    take(&mut counts, [Unit::WebSearches], pick(tools, ["web_search_requests"]))?;
    take(&mut counts, [Unit::OutputReasoningTokens], pick(outputs, ["thinking_tokens"]))?;
    Ok(counts)
}

/// What else was done for an answer of Anthropic's. The figures at the top are the sum of the messages of the model that
/// answered; what other models did is billed beside them, and so is a compaction, by whichever model:
/// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool>,
/// <https://platform.claude.com/docs/en/build-with-claude/compaction>.
pub(super) fn anthropic_others(
    iterations: Option<Value<'_>>,
    answered: Option<&str>,
) -> Result<Vec<Charge>, Unreadable> {
    let mut charges = Vec::new();
    for iteration in iterations.into_iter().flat_map(Value::items) {
        let iteration = iteration.as_object().ok_or(Unreadable)?;
        let [model, kind] = iteration.pick(["model", "type"]).map(|value| value.and_then(Value::as_str));
        let model = model.or(answered.map(Cow::Borrowed));
        if matches!(kind.as_deref(), Some("message" | "fallback_message")) && model.as_deref() == answered {
            continue;
        }
        charges.push(Charge {
            model: model.map(Cow::into_owned),
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
pub(super) fn gemini(usage: Object<'_>) -> Result<Option<Usage>, Unreadable> {
    let [
        prompt,
        tools,
        candidates,
        thoughts,
        cached,
        prompt_details,
        embedded_details,
        candidates_details,
        cached_details,
        tools_details,
    ] = usage.pick([
        "promptTokenCount",
        "toolUsePromptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
        "promptTokensDetails",
        // Of embeddings.
        "promptTokenDetails",
        "candidatesTokensDetails",
        "cacheTokensDetails",
        "toolUsePromptTokensDetails",
    ]);
    let mut counts = Usage::default();
    let (prompt, candidates) = (counted(prompt)?, counted(candidates)?);
    let (added, thought) = (counted(tools)?, counted(thoughts)?);
    if [prompt, added, candidates, thought].iter().all(Option::is_none) {
        return Ok(None);
    }
    counts.set(Unit::InputTokens, prompt.unwrap_or(0).saturating_add(added.unwrap_or(0)));
    if candidates.is_some() || thought.is_some() {
        counts.set(Unit::OutputTokens, candidates.unwrap_or(0).saturating_add(thought.unwrap_or(0)));
    }
    take(
        &mut counts,
        [Unit::OutputReasoningTokens, Unit::InputToolTokens, Unit::CacheReadTokens],
        [thoughts, tools, cached],
    )?;
    for (details, units) in [
        (prompt_details, INPUT_BY_MODALITY),
        (embedded_details, INPUT_BY_MODALITY),
        (candidates_details, OUTPUT_BY_MODALITY),
        (cached_details, CACHED_BY_MODALITY),
        (tools_details, TOOLS_BY_MODALITY),
        // They are a part of the input.
        (tools_details, INPUT_BY_MODALITY),
    ] {
        by_modality(details, units, &mut counts)?;
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

fn by_modality(details: Option<Value<'_>>, units: ByModality, to: &mut Usage) -> Result<(), Unreadable> {
    for detail in details.into_iter().flat_map(Value::items) {
        let [modality, tokens] = pick(Some(detail), ["modality", "tokenCount"]);
        let unit = match modality.and_then(Value::as_str).as_deref() {
            Some("TEXT") => units[0],
            Some("AUDIO") => units[1],
            Some("IMAGE" | "DOCUMENT") => units[2],
            Some("VIDEO") => units[3],
            _ => continue,
        };
        to.add(unit, counted(tokens)?.unwrap_or(0));
    }
    Ok(())
}

/// Cohere: `billed_units` in `usage` (v2) or `meta` (v1). `None` where there is nothing billed in it.
pub(super) fn billed(meta: Object<'_>) -> Option<Result<Usage, Unreadable>> {
    let units = meta.get("billed_units")?.as_object()?;
    let mut counts = Usage::default();
    let taken = take(
        &mut counts,
        [Unit::InputTokens, Unit::OutputTokens, Unit::InputImageTokens, Unit::RerankSearches],
        units.pick(["input_tokens", "output_tokens", "image_tokens", "search_units"]),
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
pub(super) fn bedrock(usage: Object<'_>) -> Result<Usage, Unreadable> {
    let [input, output, read, written, details] = usage.pick([
        "inputTokens",
        "outputTokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
        "cacheDetails",
    ]);
    let input = counted(input)?.ok_or(Unreadable)?;
    let beside = [counted(read)?, counted(written)?].map(Option::unwrap_or_default);
    let mut counts = Usage::default();
    counts.set(Unit::InputTokens, beside.into_iter().fold(input, u64::saturating_add));
    counts.set(Unit::OutputTokens, counted(output)?.unwrap_or(0));
    take(&mut counts, [Unit::CacheReadTokens, Unit::CacheWriteTokens], [read, written])?;
    for detail in details.into_iter().flat_map(Value::items) {
        let [ttl, tokens] = pick(Some(detail), ["ttl", "inputTokens"]);
        let tokens = tokens.map(count).transpose()?.unwrap_or(0);
        match ttl.and_then(Value::as_str).as_deref() {
            Some("5m") => counts.add(Unit::CacheWrite5mTokens, tokens),
            Some("1h") => counts.add(Unit::CacheWrite1hTokens, tokens),
            _ => {}
        }
    }
    Ok(counts)
}

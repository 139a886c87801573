//! The units that providers bill in.

use std::sync::LazyLock;

/// A unit. The names of those that `genai-prices` has too are its names; its seconds are milliseconds here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Tokens of the input, cached ones included.
    InputTokens,
    /// Tokens of the output, reasoning included.
    OutputTokens,
    /// Input read from a cache.
    CacheReadTokens,
    /// Input written to a cache, for however long.
    CacheWriteTokens,
    /// Input written to a cache for five minutes.
    CacheWrite5mTokens,
    /// Input written to a cache for an hour.
    CacheWrite1hTokens,
    /// Text in the input.
    InputTextTokens,
    /// Audio in the input.
    InputAudioTokens,
    /// Images in the input.
    InputImageTokens,
    /// Video in the input.
    InputVideoTokens,
    /// Text read from a cache.
    CacheTextReadTokens,
    /// Audio read from a cache.
    CacheAudioReadTokens,
    /// Images read from a cache.
    CacheImageReadTokens,
    /// Video read from a cache.
    CacheVideoReadTokens,
    /// Audio written to a cache.
    CacheAudioWriteTokens,
    /// Images written to a cache.
    CacheImageWriteTokens,
    /// Input that tools of the provider added.
    InputToolTokens,
    /// Text that tools of the provider added to the input.
    InputTextToolTokens,
    /// Audio that tools of the provider added to the input.
    InputAudioToolTokens,
    /// Images that tools of the provider added to the input.
    InputImageToolTokens,
    /// Video that tools of the provider added to the input.
    InputVideoToolTokens,
    /// Text in the output.
    OutputTextTokens,
    /// Audio in the output.
    OutputAudioTokens,
    /// Images in the output.
    OutputImageTokens,
    /// Video in the output.
    OutputVideoTokens,
    /// Reasoning, shown or not.
    OutputReasoningTokens,
    /// Citations.
    OutputCitationTokens,
    /// Characters of text to be spoken.
    InputCharacters,
    /// Messages.
    InputTextMessages,
    /// Milliseconds of audio.
    AudioMillis,
    /// Milliseconds of audio heard.
    InputAudioMillis,
    /// Milliseconds of audio spoken.
    OutputAudioMillis,
    /// Pixels of images.
    InputPixels,
    /// Pages of documents.
    InputDocumentPages,
    /// Pages of documents that come back annotated.
    InputAnnotatedDocumentPages,
    /// Images made, where they are billed by the piece.
    OutputImages,
    /// Queries over documents to be ranked.
    RerankSearches,
    /// Searches of the web by the provider.
    WebSearches,
    /// Searches of a social network by the provider.
    SocialSearches,
    /// Searches of stored files by the provider.
    StorageSearches,
    /// Runs of code at the provider.
    CodeExecutions,
    /// The request itself: every one is one.
    Requests,
}

/// What a unit counts; empty is anything.
struct Kind {
    unit: Unit,
    name: &'static str,
    family: &'static str,
    direction: &'static str,
    modality: &'static str,
    class: &'static str,
}

/// One row per unit, in the order of the enum.
static KINDS: [Kind; Unit::COUNT] = [
    kind(Unit::InputTokens, "input_tokens", ["tokens", "input", "", ""]),
    kind(Unit::OutputTokens, "output_tokens", ["tokens", "output", "", ""]),
    kind(Unit::CacheReadTokens, "cache_read_tokens", ["tokens", "input", "", "cache_read"]),
    kind(Unit::CacheWriteTokens, "cache_write_tokens", ["tokens", "input", "", "cache_write"]),
    kind(Unit::CacheWrite5mTokens, "cache_write_5m_tokens", ["tokens", "input", "", "cache_write_5m"]),
    kind(Unit::CacheWrite1hTokens, "cache_write_1h_tokens", ["tokens", "input", "", "cache_write_1h"]),
    kind(Unit::InputTextTokens, "input_text_tokens", ["tokens", "input", "text", ""]),
    kind(Unit::InputAudioTokens, "input_audio_tokens", ["tokens", "input", "audio", ""]),
    kind(Unit::InputImageTokens, "input_image_tokens", ["tokens", "input", "image", ""]),
    kind(Unit::InputVideoTokens, "input_video_tokens", ["tokens", "input", "video", ""]),
    kind(Unit::CacheTextReadTokens, "cache_text_read_tokens", ["tokens", "input", "text", "cache_read"]),
    kind(Unit::CacheAudioReadTokens, "cache_audio_read_tokens", ["tokens", "input", "audio", "cache_read"]),
    kind(Unit::CacheImageReadTokens, "cache_image_read_tokens", ["tokens", "input", "image", "cache_read"]),
    kind(Unit::CacheVideoReadTokens, "cache_video_read_tokens", ["tokens", "input", "video", "cache_read"]),
    kind(
        Unit::CacheAudioWriteTokens,
        "cache_audio_write_tokens",
        ["tokens", "input", "audio", "cache_write"],
    ),
    kind(
        Unit::CacheImageWriteTokens,
        "cache_image_write_tokens",
        ["tokens", "input", "image", "cache_write"],
    ),
    kind(Unit::InputToolTokens, "input_tool_tokens", ["tokens", "input", "", "tool"]),
    kind(Unit::InputTextToolTokens, "input_text_tool_tokens", ["tokens", "input", "text", "tool"]),
    kind(Unit::InputAudioToolTokens, "input_audio_tool_tokens", ["tokens", "input", "audio", "tool"]),
    kind(Unit::InputImageToolTokens, "input_image_tool_tokens", ["tokens", "input", "image", "tool"]),
    kind(Unit::InputVideoToolTokens, "input_video_tool_tokens", ["tokens", "input", "video", "tool"]),
    kind(Unit::OutputTextTokens, "output_text_tokens", ["tokens", "output", "text", ""]),
    kind(Unit::OutputAudioTokens, "output_audio_tokens", ["tokens", "output", "audio", ""]),
    kind(Unit::OutputImageTokens, "output_image_tokens", ["tokens", "output", "image", ""]),
    kind(Unit::OutputVideoTokens, "output_video_tokens", ["tokens", "output", "video", ""]),
    kind(Unit::OutputReasoningTokens, "output_reasoning_tokens", ["tokens", "output", "", "reasoning"]),
    kind(Unit::OutputCitationTokens, "output_citation_tokens", ["tokens", "output", "", "citation"]),
    kind(Unit::InputCharacters, "input_characters", ["characters", "input", "", ""]),
    kind(Unit::InputTextMessages, "input_text_messages", ["messages", "input", "text", ""]),
    kind(Unit::AudioMillis, "audio_millis", ["durations", "", "audio", ""]),
    kind(Unit::InputAudioMillis, "input_audio_millis", ["durations", "input", "audio", ""]),
    kind(Unit::OutputAudioMillis, "output_audio_millis", ["durations", "output", "audio", ""]),
    kind(Unit::InputPixels, "input_pixels", ["pixels", "input", "", ""]),
    kind(Unit::InputDocumentPages, "input_document_pages", ["pages", "input", "", ""]),
    kind(
        Unit::InputAnnotatedDocumentPages,
        "input_annotated_document_pages",
        ["pages", "input", "", "annotated"],
    ),
    kind(Unit::OutputImages, "output_images", ["images", "output", "", ""]),
    kind(Unit::RerankSearches, "rerank_searches", ["rerank", "", "", ""]),
    kind(Unit::WebSearches, "web_searches", ["tool_calls", "", "", "web_search"]),
    kind(Unit::SocialSearches, "social_searches", ["tool_calls", "", "", "social_search"]),
    kind(Unit::StorageSearches, "storage_searches", ["tool_calls", "", "", "storage_search"]),
    kind(Unit::CodeExecutions, "code_executions", ["tool_calls", "", "", "code_execution"]),
    kind(Unit::Requests, "requests", ["requests", "", "", ""]),
];

const fn kind(
    unit: Unit,
    name: &'static str,
    [family, direction, modality, class]: [&'static str; 4],
) -> Kind {
    Kind { unit, name, family, direction, modality, class }
}

/// The parts of each unit.
static PARTS: LazyLock<[Units; Unit::COUNT]> = LazyLock::new(|| {
    let parts = |whole: Unit| Unit::ALL.into_iter().filter(move |part| whole.covers(*part));
    Unit::ALL.map(|whole| parts(whole).collect())
});

/// Some units: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units(u64);

impl Units {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, unit: Unit) -> bool {
        self.0 & (1 << unit as u64) != 0
    }

    pub(crate) fn add(&mut self, unit: Unit) {
        self.0 |= 1 << unit as u64;
    }

    /// Those that are among others too.
    pub(crate) fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// In the order of the enum.
    pub(crate) fn iter(mut self) -> impl Iterator<Item = Unit> {
        std::iter::from_fn(move || {
            let unit = Unit::ALL.get(self.0.trailing_zeros() as usize)?;
            self.0 &= self.0 - 1;
            Some(*unit)
        })
    }
}

impl FromIterator<Unit> for Units {
    fn from_iter<T: IntoIterator<Item = Unit>>(units: T) -> Self {
        let mut all = Self::default();
        units.into_iter().for_each(|unit| all.add(unit));
        all
    }
}

impl Unit {
    /// How many there are.
    pub const COUNT: usize = 42;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::InputTokens,
        Self::OutputTokens,
        Self::CacheReadTokens,
        Self::CacheWriteTokens,
        Self::CacheWrite5mTokens,
        Self::CacheWrite1hTokens,
        Self::InputTextTokens,
        Self::InputAudioTokens,
        Self::InputImageTokens,
        Self::InputVideoTokens,
        Self::CacheTextReadTokens,
        Self::CacheAudioReadTokens,
        Self::CacheImageReadTokens,
        Self::CacheVideoReadTokens,
        Self::CacheAudioWriteTokens,
        Self::CacheImageWriteTokens,
        Self::InputToolTokens,
        Self::InputTextToolTokens,
        Self::InputAudioToolTokens,
        Self::InputImageToolTokens,
        Self::InputVideoToolTokens,
        Self::OutputTextTokens,
        Self::OutputAudioTokens,
        Self::OutputImageTokens,
        Self::OutputVideoTokens,
        Self::OutputReasoningTokens,
        Self::OutputCitationTokens,
        Self::InputCharacters,
        Self::InputTextMessages,
        Self::AudioMillis,
        Self::InputAudioMillis,
        Self::OutputAudioMillis,
        Self::InputPixels,
        Self::InputDocumentPages,
        Self::InputAnnotatedDocumentPages,
        Self::OutputImages,
        Self::RerankSearches,
        Self::WebSearches,
        Self::SocialSearches,
        Self::StorageSearches,
        Self::CodeExecutions,
        Self::Requests,
    ];

    /// The name in records, price files and documentation.
    pub fn as_str(self) -> &'static str {
        self.kind().name
    }

    /// The unit of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|kind| kind.name == name).map(|kind| kind.unit)
    }

    /// Whether it counts tokens of the input.
    pub fn is_input_token(self) -> bool {
        self == Self::InputTokens || Self::InputTokens.contains(self)
    }

    /// Whether it counts tokens of the output.
    pub fn is_output_token(self) -> bool {
        self == Self::OutputTokens || Self::OutputTokens.contains(self)
    }

    /// How special it is: a part is more so than what contains it.
    pub(crate) fn depth(self) -> usize {
        let Kind { direction, modality, class, .. } = self.kind();
        // `cache_write_1h` is more special than `cache_write`.
        usize::from(!direction.is_empty()) * 64 + usize::from(!modality.is_empty()) * 32 + class.len()
    }

    /// Whether `part` is counted in this unit too, as cached input is in the input. A unit is no part of itself.
    pub fn contains(self, part: Self) -> bool {
        self.parts().has(part)
    }

    /// The units that are counted in this one too.
    pub(crate) fn parts(self) -> Units {
        PARTS[self as usize]
    }

    /// The same by what the units count.
    fn covers(self, part: Self) -> bool {
        let (whole, part) = (self.kind(), part.kind());
        let covers = |whole: &str, part: &str| whole.is_empty() || whole == part;
        whole.unit != part.unit
            && whole.family == part.family
            && covers(whole.direction, part.direction)
            && covers(whole.modality, part.modality)
            // A class may be narrowed: `cache_write` contains `cache_write_1h`.
            && (whole.class.is_empty() || part.class.starts_with(whole.class))
    }

    fn kind(self) -> &'static Kind {
        &KINDS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{KINDS, Unit};

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (unit, kind) in Unit::ALL.into_iter().zip(&KINDS) {
            assert_eq!(unit, kind.unit);
            assert_eq!(Unit::from_name(unit.as_str()), Some(unit));
        }
    }

    #[test]
    fn units_nest() {
        for (whole, part, expected) in [
            (Unit::InputTokens, Unit::CacheReadTokens, true),
            (Unit::InputTokens, Unit::CacheAudioReadTokens, true),
            (Unit::InputAudioTokens, Unit::CacheAudioReadTokens, true),
            (Unit::CacheReadTokens, Unit::CacheAudioReadTokens, true),
            (Unit::CacheWriteTokens, Unit::CacheWrite1hTokens, true),
            (Unit::CacheWrite5mTokens, Unit::CacheWrite1hTokens, false),
            (Unit::CacheReadTokens, Unit::CacheWriteTokens, false),
            (Unit::InputTokens, Unit::OutputReasoningTokens, false),
            (Unit::OutputTokens, Unit::OutputTokens, false),
            (Unit::AudioMillis, Unit::InputAudioMillis, true),
            (Unit::WebSearches, Unit::CodeExecutions, false),
        ] {
            assert_eq!(whole.contains(part), expected, "{whole:?} {part:?}");
        }
        for (whole, part) in Unit::ALL.into_iter().flat_map(|whole| Unit::ALL.map(|part| (whole, part))) {
            assert_eq!(whole.contains(part), whole.covers(part), "{whole:?} {part:?}");
        }
    }
}

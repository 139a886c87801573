//! Short words for groups of endpoints.
//!
//! A word is replaced by methods and paths when a key is minted, so that a later version that knows more endpoints does
//! not widen a key which exists.

use till_core::scope::EndpointRule;

use crate::provider::Provider;
use crate::request::{Endpoint, endpoints};

/// What a word stands for at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The word: `chat`.
    pub name: &'static str,
    /// For people: what it allows.
    pub meaning: &'static str,
    /// Methods and paths.
    pub endpoints: Vec<EndpointRule>,
}

/// Words, what they mean, and the names of the rows of the endpoint table that they stand for.
const WORDS: [(&str, &str, &[&str]); 6] = [
    (
        "chat",
        "asking a model",
        &[
            "chat.completions",
            "chat",
            "chat.v1",
            "converse",
            "converse-stream",
            "generateContent",
            "invoke",
            "invoke-with-response-stream",
            "messages",
            "responses",
            "streamGenerateContent",
        ],
    ),
    ("embeddings", "embedding texts", &["batchEmbedContents", "embed", "embedContent", "embeddings"]),
    ("images", "making images", &["images.edits", "images.generations"]),
    ("audio", "speech, in both directions", &["audio.speech", "audio.transcriptions", "audio.translations"]),
    (
        "tokens",
        "counting tokens",
        &["countTokens", "count-tokens", "messages.count_tokens", "responses.input_tokens", "tokenize"],
    ),
    (
        "models",
        "looking at what models there are",
        &["models", "models.get", "models.list", "models.retrieve"],
    ),
];

/// The word for everything that only looks.
const READ_ONLY: &str = "read-only";

/// The words that mean something at a provider.
pub fn presets(provider: &Provider) -> Vec<Preset> {
    let rows = endpoints(provider);
    let mut presets: Vec<Preset> = WORDS
        .iter()
        .map(|(name, meaning, names)| {
            let meant = rows.iter().filter(|row| names.contains(&row.name));
            Preset { name, meaning, endpoints: meant.flat_map(Endpoint::rules).collect() }
        })
        .filter(|preset| !preset.endpoints.is_empty())
        .collect();
    presets.push(Preset {
        name: READ_ONLY,
        meaning: "looking at anything, changing nothing",
        endpoints: ["GET /**", "HEAD /**"]
            .map(|rule| EndpointRule::parse(rule).expect("a method and a path"))
            .to_vec(),
    });
    presets
}

/// The endpoints that a word stands for at a provider.
pub fn preset(provider: &Provider, name: &str) -> Option<Vec<EndpointRule>> {
    presets(provider).into_iter().find(|preset| preset.name == name).map(|preset| preset.endpoints)
}

#[cfg(test)]
mod tests {
    use super::{preset, presets};
    use crate::Registry;

    #[test]
    fn words_stand_for_the_endpoints_of_the_provider() {
        let registry = Registry::builtin();
        let meant = |id: &str, name: &str| {
            let rules = preset(registry.get(id).expect("built in"), name);
            rules.map(|rules| rules.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let openai = meant("openai", "chat").expect("there");
        assert_eq!(openai, ["POST /v1/chat/completions", "POST /v1/responses"]);
        assert_eq!(meant("anthropic", "chat").expect("there"), ["POST /v1/messages"]);
        assert!(
            meant("google", "chat").expect("there").contains(&"POST /*/models/*:generateContent".to_owned())
        );
        let models = meant("openai", "models").expect("there");
        assert_eq!(models.len(), 4);
        assert!(models.contains(&"HEAD /v1/models/*".to_owned()));
        assert_eq!(meant("github", "read-only").expect("there"), ["GET /**", "HEAD /**"]);
        assert_eq!(meant("github", "chat"), None);
        assert_eq!(meant("openai", "everything"), None);
    }

    #[test]
    fn every_model_api_has_a_word_for_asking_it() {
        for provider in Registry::builtin().iter().filter(|provider| !super::endpoints(provider).is_empty()) {
            let names: Vec<_> = presets(provider).iter().map(|preset| preset.name).collect();
            assert!(names.contains(&"chat"), "{}: {names:?}", provider.id());
        }
    }
}

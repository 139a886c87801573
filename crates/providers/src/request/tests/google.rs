//! Requests to Gemini.

use super::*;

/// The API takes a single value for a list, as it does for `contents`.
#[test]
fn a_single_modality_is_a_modality() {
    match ask("google", GEMINI, r#"{"generationConfig":{"responseModalities":"AUDIO"}}"#) {
        Ok(facts) => assert_eq!(facts.output.expect("an output").also, [Unit::OutputAudioTokens]),
        Err(Refused::Unbounded { .. } | Refused::Malformed(_)) => {}
    }
}

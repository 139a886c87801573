//! Google Gemini. The version is `*`: the same methods exist in all of them.

use super::DeniedReason::{Administration, Credential, ManyCalls, SignedUrl};
use super::{DeniedEndpoint, any, writing};

const TOKENS: &str = "https://ai.google.dev/gemini-api/docs/ephemeral-tokens";
const BATCH: &str = "https://ai.google.dev/api/batch-api";
const FILES: &str = "https://ai.google.dev/api/files";
const TUNING: &str = "https://ai.google.dev/api/tuning";
const PERMISSIONS: &str = "https://ai.google.dev/api/tuning/permissions";
const COMPATIBILITY: &str = "https://ai.google.dev/gemini-api/docs/openai";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/*/auth_tokens/**", Credential, TOKENS),
    any("/*/*:batchGenerateContent", ManyCalls, BATCH),
    any("/*/*/*:batchGenerateContent", ManyCalls, BATCH),
    any("/*/*:asyncBatchEmbedContent", ManyCalls, BATCH),
    any("/*/*/*:asyncBatchEmbedContent", ManyCalls, BATCH),
    writing("/*/openai/batches", ManyCalls, COMPATIBILITY),
    writing("/*/tunedModels", ManyCalls, TUNING),
    writing("/*/tunedModels/*/permissions/**", Administration, PERMISSIONS),
    any("/*/tunedModels/*:transferOwnership", Administration, PERMISSIONS),
    writing("/*/corpora/*/permissions/**", Administration, PERMISSIONS),
    // The answer is an upload URL at Google that works without the key.
    writing("/upload/**", SignedUrl, FILES),
];

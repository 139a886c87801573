//! Azure OpenAI: what OpenAI has, with and without `/v1`, and its own session endpoint.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session};
use super::{DeniedEndpoint, any, writing};

const REFERENCE: &str = "https://learn.microsoft.com/azure/ai-foundry/openai/reference-preview-latest";
const REALTIME: &str = "https://learn.microsoft.com/azure/foundry/openai/how-to/realtime-audio-webrtc";
const BATCH: &str = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch";
const FINE_TUNING: &str = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning";
const ASSISTANTS: &str = "https://learn.microsoft.com/azure/ai-foundry/openai/assistants-reference-runs";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/openai/realtimeapi/sessions", Credential, REALTIME),
    any("/openai/v1/realtime/client_secrets", Credential, REALTIME),
    any("/openai/v1/realtime/sessions", Credential, REALTIME),
    any("/openai/v1/realtime/transcription_sessions", Credential, REALTIME),
    any("/openai/v1/realtime/calls/**", Session, REALTIME),
    any("/openai/realtime/client_secrets", Credential, REALTIME),
    any("/openai/realtime/sessions", Credential, REALTIME),
    any("/openai/realtime/calls/**", Session, REALTIME),
    writing("/openai/batches", ManyCalls, BATCH),
    writing("/openai/v1/batches", ManyCalls, BATCH),
    writing("/openai/deployments/*/batches", ManyCalls, BATCH),
    writing("/openai/fine_tuning/jobs", ManyCalls, FINE_TUNING),
    writing("/openai/v1/fine_tuning/jobs", ManyCalls, FINE_TUNING),
    writing("/openai/fine_tuning/jobs/*/resume", ManyCalls, FINE_TUNING),
    writing("/openai/v1/fine_tuning/jobs/*/resume", ManyCalls, FINE_TUNING),
    writing("/openai/evals/*/runs", ManyCalls, REFERENCE),
    writing("/openai/v1/evals/*/runs", ManyCalls, REFERENCE),
    writing("/openai/threads/runs", ManyCalls, ASSISTANTS),
    writing("/openai/v1/threads/runs", ManyCalls, ASSISTANTS),
    writing("/openai/threads/*/runs/**", ManyCalls, ASSISTANTS),
    writing("/openai/v1/threads/*/runs/**", ManyCalls, ASSISTANTS),
    // Deploys a model in the API versions of 2022.
    writing("/openai/deployments", Administration, REFERENCE),
    writing("/openai/deployments/*", Administration, REFERENCE),
];

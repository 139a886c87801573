//! OpenAI. Endpoints as in the API reference and in the official SDK `openai` 3.54.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session};
use super::{DeniedEndpoint, any, writing};

const REFERENCE: &str = "https://platform.openai.com/docs/api-reference";
const REALTIME: &str = "https://platform.openai.com/docs/api-reference/realtime-sessions";
const CALLS: &str = "https://platform.openai.com/docs/api-reference/realtime-calls";
const BATCH: &str = "https://platform.openai.com/docs/api-reference/batch/create";
const FINE_TUNING: &str = "https://platform.openai.com/docs/api-reference/fine-tuning";
const EVALS: &str = "https://platform.openai.com/docs/api-reference/evals";
const RUNS: &str = "https://platform.openai.com/docs/api-reference/runs";
const ADMIN: &str = "https://platform.openai.com/docs/api-reference/administration";
const CHATKIT: &str = "https://platform.openai.com/docs/api-reference/chatkit";
const SDK: &str = "https://pypi.org/project/openai/3.54.0/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/v1/realtime/client_secrets", Credential, REALTIME),
    any("/v1/realtime/translations/client_secrets", Credential, SDK),
    any("/v1/realtime/sessions", Credential, REALTIME),
    any("/v1/realtime/transcription_sessions", Credential, REALTIME),
    // The media of a call (WebRTC, SIP) goes past till, and so does what the model is asked in it.
    any("/v1/realtime/calls/**", Session, CALLS),
    writing("/v1/live/**", Session, SDK),
    any("/v1/chatkit/sessions/**", Credential, CHATKIT),
    any("/v1/organization/**", Administration, ADMIN),
    any("/v1/projects/**", Administration, ADMIN),
    // Undocumented: where the web console reads billing and makes keys.
    any("/v1/dashboard/**", Administration, REFERENCE),
    any("/v1/vaults/**", Credential, SDK),
    // Creating and rotating show the signing secret.
    any("/v1/webhook_endpoints/**", Administration, SDK),
    writing("/v1/fine_tuning/checkpoints/*/permissions/**", Administration, FINE_TUNING),
    writing("/v1/batches", ManyCalls, BATCH),
    writing("/v1/fine_tuning/jobs", ManyCalls, FINE_TUNING),
    writing("/v1/fine_tuning/jobs/*/resume", ManyCalls, FINE_TUNING),
    // The endpoint before `fine_tuning/jobs`.
    writing("/v1/fine-tunes", ManyCalls, FINE_TUNING),
    writing("/v1/evals/*/runs", ManyCalls, EVALS),
    writing("/v1/threads/runs", ManyCalls, RUNS),
    writing("/v1/threads/*/runs/**", ManyCalls, RUNS),
    writing("/v1/agents/**", ManyCalls, SDK),
];

//! Mistral. Endpoints as in the API reference and in the official SDK `mistralai` 3.7.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session, SignedUrl};
use super::{DeniedEndpoint, any, writing};

const BATCH: &str = "https://docs.mistral.ai/capabilities/batch";
const FINE_TUNING: &str = "https://docs.mistral.ai/api/endpoint/deprecated/fine-tuning";
const AGENTS: &str = "https://docs.mistral.ai/agents/introduction";
const SDK: &str = "https://pypi.org/project/mistralai/3.7.0/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/v1/batch/jobs", ManyCalls, BATCH),
    writing("/v1/fine_tuning/jobs", ManyCalls, FINE_TUNING),
    writing("/v1/fine_tuning/jobs/*/start", ManyCalls, FINE_TUNING),
    writing("/v1/conversations/**", ManyCalls, AGENTS),
    writing("/v1/agents/completions", ManyCalls, AGENTS),
    writing("/v1/workflows/**", ManyCalls, SDK),
    writing("/v1/triggers/**", ManyCalls, SDK),
    any("/v1/client/sessions", Credential, SDK),
    writing("/v1/audio/sessions/**", Session, SDK),
    any("/v1/service-accounts/**", Administration, SDK),
    any("/v1/webhooks/**", Administration, SDK),
    any("/v1/connectors/*/auth_url", Credential, SDK),
    any("/v1/connectors/*/*/credentials/**", Credential, SDK),
    writing("/v1/connectors/**", Administration, SDK),
    any("/v1/files/*/url", SignedUrl, SDK),
    any("/v1/libraries/*/documents/*/signed-url", SignedUrl, SDK),
    any("/v1/libraries/*/documents/*/extracted-text-signed-url", SignedUrl, SDK),
];

//! OpenRouter. Endpoints as in the API reference and in the official SDK `openrouter` 1.3.84.

use super::DeniedReason::{Administration, Credential, ManyCalls};
use super::{DeniedEndpoint, any, writing};

const KEYS: &str = "https://openrouter.ai/docs/features/provisioning-api-keys";
const OAUTH: &str = "https://openrouter.ai/docs/use-cases/oauth-pkce";
const CREDITS: &str = "https://openrouter.ai/docs/api-reference/credits/create-coinbase-charge";
const SDK: &str = "https://pypi.org/project/openrouter/1.3.84/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/api/v1/keys/**", Credential, KEYS),
    any("/api/v1/auth/**", Credential, OAUTH),
    any("/api/v1/oauth/**", Credential, SDK),
    any("/api/v1/byok/**", Credential, SDK),
    any("/api/v1/vault/**", Credential, SDK),
    writing("/api/v1/credits/**", Administration, CREDITS),
    writing("/api/v1/workspaces/**", Administration, SDK),
    writing("/api/v1/organization/**", Administration, SDK),
    any("/api/v1/scim/**", Administration, SDK),
    writing("/api/v1/guardrails/**", Administration, SDK),
    writing("/api/v1/external-users/**", Administration, SDK),
    writing("/api/v1/observability/**", Administration, SDK),
    writing("/api/v1/private-endpoints/**", Administration, SDK),
    writing("/api/v1/batches", ManyCalls, SDK),
];

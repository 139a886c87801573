//! xAI.

use super::DeniedReason::{Administration, Credential, ManyCalls};
use super::{DeniedEndpoint, any, writing};

const TOKENS: &str = "https://docs.x.ai/developers/model-capabilities/audio/ephemeral-tokens";
const BATCH: &str = "https://docs.x.ai/developers/advanced-api-usage/batch-api";
const MANAGEMENT: &str = "https://docs.x.ai/developers/management-api-guide";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/v1/realtime/client_secrets", Credential, TOKENS),
    // Requests are added to a batch under its id.
    writing("/v1/batches/**", ManyCalls, BATCH),
    // Keys and access lists, on a host of its own; in case a base URL leads there.
    any("/v1/auth/**", Administration, MANAGEMENT),
    any("/v1/billing/**", Administration, MANAGEMENT),
];

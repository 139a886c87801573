//! Together AI. Endpoints as in the API reference and in the official SDK `together` 3.1.

use super::DeniedReason::{Administration, Credential, ManyCalls};
use super::{DeniedEndpoint, any, writing};

const BATCH: &str = "https://docs.together.ai/docs/inference/batch/tutorial";
const FINE_TUNING: &str = "https://docs.together.ai/docs/fine-tuning-quickstart";
const ENDPOINTS: &str = "https://docs.together.ai/docs/dedicated-inference";
const SDK: &str = "https://pypi.org/project/together/3.1.1/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/v1/batches", ManyCalls, BATCH),
    writing("/v1/fine-tunes", ManyCalls, FINE_TUNING),
    writing("/v1/evaluation", ManyCalls, SDK),
    writing("/v1/queue/submit", ManyCalls, SDK),
    writing("/v1/rl/**", ManyCalls, SDK),
    writing("/v1/shaping/**", ManyCalls, SDK),
    writing("/v1/endpoints/**", Administration, ENDPOINTS),
    any("/v1/deployments/secrets/**", Credential, SDK),
    writing("/v1/deployments/**", Administration, SDK),
    any("/v1/compute/**", Administration, SDK),
    any("/v1/billing/**", Administration, SDK),
    writing("/v2/projects/**", Administration, SDK),
    writing("/v2/organizations/**", Administration, SDK),
];

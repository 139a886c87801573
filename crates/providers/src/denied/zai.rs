//! Z.AI. Endpoints as in the API reference and in the official SDK `zai-sdk` 0.2.3.

use super::DeniedReason::ManyCalls;
use super::{DeniedEndpoint, writing};

const AGENTS: &str = "https://docs.z.ai/api-reference/agents/agent";
const SDK: &str = "https://pypi.org/project/zai-sdk/0.2.3/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/api/v1/agents/**", ManyCalls, AGENTS),
    writing("/api/paas/v4/agents/**", ManyCalls, AGENTS),
    writing("/api/paas/v4/assistant", ManyCalls, SDK),
    writing("/api/paas/v4/async/**", ManyCalls, SDK),
    writing("/api/paas/v4/batches", ManyCalls, SDK),
];

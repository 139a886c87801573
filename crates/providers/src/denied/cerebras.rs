//! Cerebras.

use super::DeniedReason::ManyCalls;
use super::{DeniedEndpoint, writing};

const BATCH: &str = "https://inference-docs.cerebras.ai/capabilities/batch";

pub(crate) const DENIED: &[DeniedEndpoint] = &[writing("/v1/batches", ManyCalls, BATCH)];

//! Groq.

use super::DeniedReason::ManyCalls;
use super::{DeniedEndpoint, writing};

const BATCH: &str = "https://console.groq.com/docs/batch";
const REFERENCE: &str = "https://console.groq.com/docs/api-reference";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/openai/v1/batches", ManyCalls, BATCH),
    writing("/openai/v1/fine_tunings", ManyCalls, REFERENCE),
    writing("/v1/fine_tunings", ManyCalls, REFERENCE),
];

//! Cohere. Endpoints as in the API reference and in the official SDK `cohere` 7.3.

use super::DeniedReason::{Administration, Credential, ManyCalls};
use super::{DeniedEndpoint, any, writing};

const JOBS: &str = "https://docs.cohere.com/reference/create-embed-job";
const FINE_TUNING: &str = "https://docs.cohere.com/reference/createfinetunedmodel";
const CONNECTORS: &str = "https://docs.cohere.com/reference/create-connector";
const SDK: &str = "https://pypi.org/project/cohere/7.3.1/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/v2/batches", ManyCalls, SDK),
    writing("/v1/embed-jobs", ManyCalls, JOBS),
    writing("/v1/finetuning/finetuned-models", ManyCalls, FINE_TUNING),
    any("/v1/connectors/*/oauth/authorize", Credential, CONNECTORS),
    writing("/v1/connectors/**", Administration, CONNECTORS),
];

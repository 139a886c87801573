//! Fireworks AI. Everything under `/v1/accounts` is the account: keys, users, secrets, deployments, batch and
//! tuning jobs.

use super::DeniedReason::{Administration, ManyCalls};
use super::{DeniedEndpoint, any};

const ACCOUNTS: &str = "https://docs.fireworks.ai/api-reference/introduction";
const SDK: &str = "https://pypi.org/project/fireworks-ai/1.2.30/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/v1/accounts/**", Administration, ACCOUNTS),
    // The same, written in a way that the path table does not recognise.
    any("/inference/v1/accounts/**", Administration, ACCOUNTS),
    any("/training/**", ManyCalls, SDK),
];

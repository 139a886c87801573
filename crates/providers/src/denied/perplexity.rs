//! Perplexity.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session};
use super::{DeniedEndpoint, any, writing};

const TOKENS: &str = "https://docs.perplexity.ai/docs/admin/api-key-management";
const ASYNC: &str = "https://docs.perplexity.ai/api-reference/async-chat-completions-post";
const SDK: &str = "https://pypi.org/project/perplexityai/0.46.1/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/generate_auth_token", Credential, TOKENS),
    any("/v1/generate_auth_token", Credential, TOKENS),
    any("/revoke_auth_token", Administration, TOKENS),
    any("/v1/revoke_auth_token", Administration, TOKENS),
    writing("/async/**", ManyCalls, ASYNC),
    writing("/v1/async/**", ManyCalls, ASYNC),
    writing("/v1/batches", ManyCalls, SDK),
    writing("/v1/browser/sessions/**", Session, SDK),
];

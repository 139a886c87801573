//! Hugging Face. The router itself has no such endpoint; these are the hub's, which takes the same token, in case
//! a base URL leads there.

use super::DeniedReason::{Administration, Credential, ManyCalls};
use super::{DeniedEndpoint, any, writing};

const OAUTH: &str = "https://huggingface.co/docs/hub/oauth";
const JOBS: &str = "https://huggingface.co/docs/huggingface_hub/guides/jobs";
const WEBHOOKS: &str = "https://huggingface.co/docs/hub/webhooks";
const XET: &str = "https://huggingface.co/docs/xet/auth";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/oauth/**", Credential, OAUTH),
    writing("/api/settings/**", Administration, WEBHOOKS),
    writing("/api/jobs/**", ManyCalls, JOBS),
    writing("/api/scheduled-jobs/**", ManyCalls, JOBS),
    any("/api/*/*/xet-write-token/**", Credential, XET),
    any("/api/*/*/*/xet-write-token/**", Credential, XET),
    any("/api/*/*/xet-read-token/**", Credential, XET),
    any("/api/*/*/*/xet-read-token/**", Credential, XET),
];

//! Anthropic. Endpoints as in the API reference and in the official SDK `anthropic` 2.12.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session, SignedUrl};
use super::{DeniedEndpoint, any, writing};

const BATCHES: &str = "https://platform.claude.com/docs/en/api/creating-message-batches";
const ADMIN: &str = "https://platform.claude.com/docs/en/build-with-claude/administration-api";
const AGENTS: &str = "https://platform.claude.com/docs/en/managed-agents/overview";
const SDK: &str = "https://pypi.org/project/anthropic/2.12.0/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    writing("/v1/messages/batches", ManyCalls, BATCHES),
    any("/v1/organizations/**", Administration, ADMIN),
    any("/v1/oauth/**", Credential, SDK),
    // Where Claude Code makes itself a key.
    any("/api/oauth/**", Credential, SDK),
    writing("/v1/sessions/**", ManyCalls, AGENTS),
    // Agents that run on a schedule.
    writing("/v1/deployments/**", ManyCalls, SDK),
    writing("/v1/dreams/**", ManyCalls, SDK),
    // The work queue of self-hosted agent environments: its items carry session credentials.
    any("/v1/environments/*/work/**", Session, SDK),
    any("/v1/vaults/**", Credential, SDK),
    any("/v1/tunnels/**", Credential, SDK),
    writing("/v1/user_profiles/*/enrollment_url", SignedUrl, SDK),
    writing("/v1/user_profiles/*/action_urls", SignedUrl, SDK),
];

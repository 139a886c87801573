//! GitHub. Redirects to one archive, log or artifact are not listed: what is behind them is the answer to that
//! same counted request.

use super::DeniedReason::{Administration, Credential, ManyCalls, Session, SignedUrl};
use super::{DeniedEndpoint, any, writing};

const APPS: &str = "https://docs.github.com/rest/apps/apps";
const OAUTH: &str = "https://docs.github.com/rest/apps/oauth-applications";
const REVOCATION: &str = "https://docs.github.com/rest/credentials/revoke";
const INSTALLATIONS: &str = "https://docs.github.com/rest/apps/installations";
const DEPLOY_KEYS: &str = "https://docs.github.com/rest/deploy-keys/deploy-keys";
const USER_KEYS: &str = "https://docs.github.com/rest/users/keys";
const GPG_KEYS: &str = "https://docs.github.com/rest/users/gpg-keys";
const SIGNING_KEYS: &str = "https://docs.github.com/rest/users/ssh-signing-keys";
const EMAILS: &str = "https://docs.github.com/rest/users/emails";
const USERS: &str = "https://docs.github.com/rest/users/users";
const RUNNERS: &str = "https://docs.github.com/rest/actions/self-hosted-runners";
const RUNNER_GROUPS: &str = "https://docs.github.com/rest/actions/self-hosted-runner-groups";
const HOSTED: &str = "https://docs.github.com/rest/actions/hosted-runners";
const SECRETS: &str = "https://docs.github.com/rest/actions/secrets";
const DEPENDABOT: &str = "https://docs.github.com/rest/dependabot/secrets";
const PERMISSIONS: &str = "https://docs.github.com/rest/actions/permissions";
const CODESPACES: &str = "https://docs.github.com/rest/codespaces/codespaces";
const TOKENS: &str = "https://docs.github.com/rest/orgs/personal-access-tokens";
const REGISTRIES: &str = "https://docs.github.com/rest/private-registries/organization-configurations";
const REPO_HOOKS: &str = "https://docs.github.com/rest/repos/webhooks";
const ORG_HOOKS: &str = "https://docs.github.com/rest/orgs/webhooks";
const COLLABORATORS: &str = "https://docs.github.com/rest/collaborators/collaborators";
const MEMBERS: &str = "https://docs.github.com/rest/orgs/members";
const OUTSIDE: &str = "https://docs.github.com/rest/orgs/outside-collaborators";
const ROLES: &str = "https://docs.github.com/rest/orgs/organization-roles";
const TEAMS: &str = "https://docs.github.com/rest/teams/members";
const ORGS: &str = "https://docs.github.com/rest/orgs/orgs";
const BILLING: &str = "https://docs.github.com/rest/billing";
const COPILOT: &str = "https://docs.github.com/rest/copilot/copilot-user-management";
const REPOS: &str = "https://docs.github.com/rest/repos/repos";
const ENTERPRISE: &str = "https://docs.github.com/enterprise-cloud@latest/rest/enterprise-admin";
const MIGRATIONS: &str = "https://docs.github.com/rest/migrations/orgs";
const WORKFLOWS: &str = "https://docs.github.com/rest/actions/workflows";
const RUNS: &str = "https://docs.github.com/rest/actions/workflow-runs";
const GRAPHQL: &str = "https://docs.github.com/graphql/reference/mutations";
const REDIRECTS: &str =
    "https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/app/installations/*/access_tokens", Credential, APPS),
    any("/app-manifests/*/conversions", Credential, APPS),
    writing("/app/**", Administration, APPS),
    any("/applications/**", Credential, OAUTH),
    any("/credentials/revoke", Administration, REVOCATION),
    writing("/installation/token", Administration, INSTALLATIONS),
    writing("/user/installations/**", Administration, INSTALLATIONS),
    writing("/repos/*/*/keys/**", Credential, DEPLOY_KEYS),
    writing("/user/keys/**", Credential, USER_KEYS),
    writing("/user/gpg_keys/**", Credential, GPG_KEYS),
    writing("/user/ssh_signing_keys/**", Credential, SIGNING_KEYS),
    writing("/user/emails/**", Administration, EMAILS),
    writing("/user/email/**", Administration, EMAILS),
    writing("/user", Administration, USERS),
    // Registration tokens, removal tokens and just-in-time configurations.
    writing("/repos/*/*/actions/runners/**", Credential, RUNNERS),
    writing("/orgs/*/actions/runners/**", Credential, RUNNERS),
    writing("/orgs/*/actions/runner-groups/**", Administration, RUNNER_GROUPS),
    writing("/orgs/*/actions/hosted-runners/**", Administration, HOSTED),
    writing("/repos/*/*/actions/secrets/**", Administration, SECRETS),
    writing("/repos/*/*/environments/*/secrets/**", Administration, SECRETS),
    writing("/orgs/*/actions/secrets/**", Administration, SECRETS),
    writing("/repos/*/*/dependabot/secrets/**", Administration, DEPENDABOT),
    writing("/orgs/*/dependabot/secrets/**", Administration, DEPENDABOT),
    writing("/repos/*/*/actions/permissions/**", Administration, PERMISSIONS),
    writing("/orgs/*/actions/permissions/**", Administration, PERMISSIONS),
    // A codespace is a machine with a token of its own.
    writing("/repos/*/*/codespaces/**", Session, CODESPACES),
    writing("/repos/*/*/pulls/*/codespaces", Session, CODESPACES),
    writing("/user/codespaces/**", Session, CODESPACES),
    writing("/orgs/*/codespaces/**", Session, CODESPACES),
    any("/orgs/*/personal-access-tokens/**", Administration, TOKENS),
    any("/orgs/*/personal-access-token-requests/**", Administration, TOKENS),
    writing("/orgs/*/private-registries/**", Administration, REGISTRIES),
    writing("/repos/*/*/hooks/**", Administration, REPO_HOOKS),
    writing("/orgs/*/hooks/**", Administration, ORG_HOOKS),
    writing("/repos/*/*/collaborators/**", Administration, COLLABORATORS),
    writing("/orgs/*/memberships/**", Administration, MEMBERS),
    writing("/orgs/*/members/**", Administration, MEMBERS),
    writing("/orgs/*/invitations/**", Administration, MEMBERS),
    writing("/orgs/*/outside_collaborators/**", Administration, OUTSIDE),
    writing("/orgs/*/organization-roles/**", Administration, ROLES),
    writing("/orgs/*/teams/*/memberships/**", Administration, TEAMS),
    writing("/teams/**", Administration, TEAMS),
    writing("/orgs/*", Administration, ORGS),
    any("/orgs/*/settings/**", Administration, BILLING),
    any("/organizations/*/settings/**", Administration, BILLING),
    writing("/orgs/*/copilot/**", Administration, COPILOT),
    writing("/repos/*/*/transfer", Administration, REPOS),
    any("/enterprises/**", Administration, ENTERPRISE),
    any("/scim/**", Administration, ENTERPRISE),
    writing("/orgs/*/migrations/**", ManyCalls, MIGRATIONS),
    writing("/user/migrations/**", ManyCalls, MIGRATIONS),
    any("/orgs/*/migrations/*/archive", SignedUrl, MIGRATIONS),
    any("/user/migrations/*/archive", SignedUrl, MIGRATIONS),
    writing("/repos/*/*/dispatches", ManyCalls, REPOS),
    writing("/repos/*/*/actions/workflows/*/dispatches", ManyCalls, WORKFLOWS),
    writing("/repos/*/*/actions/runs/*/rerun", ManyCalls, RUNS),
    writing("/repos/*/*/actions/runs/*/rerun-failed-jobs", ManyCalls, RUNS),
    writing("/repos/*/*/actions/jobs/*/rerun", ManyCalls, RUNS),
    // One path for everything, administration included: what a query does is not in its path.
    any("/graphql", Administration, GRAPHQL),
    // Repositories by number: other names for everything that is refused above.
    writing("/repositories/**", Administration, REDIRECTS),
    writing("/organizations/**", Administration, REDIRECTS),
];

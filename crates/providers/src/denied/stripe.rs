//! Stripe. What pays in (checkout sessions, payment links, payment intents) is its normal use and not listed.

use super::DeniedReason::{Administration, Credential, Session, SignedUrl};
use super::{DeniedEndpoint, any, writing};

const EPHEMERAL: &str = "https://docs.stripe.com/issuing/elements";
const ACCOUNT_SESSIONS: &str = "https://docs.stripe.com/api/account_sessions";
const CUSTOMER_SESSIONS: &str = "https://docs.stripe.com/api/customer_sessions";
const TERMINAL: &str = "https://docs.stripe.com/api/terminal/connection_tokens";
const METER: &str = "https://docs.stripe.com/api/v2/billing-meter-stream";
const SECRETS: &str = "https://docs.stripe.com/api/apps/secret_store";
const CARDS: &str = "https://docs.stripe.com/api/issuing/cards";
const PORTAL: &str = "https://docs.stripe.com/api/customer_portal/sessions";
const ACCOUNT_LINKS: &str = "https://docs.stripe.com/api/account_links";
const ACCOUNT_LINKS_V2: &str = "https://docs.stripe.com/api/v2/core/account-links";
const LOGIN_LINKS: &str = "https://docs.stripe.com/api/accounts/login_link/create";
const FILE_LINKS: &str = "https://docs.stripe.com/api/file_links";
const ACCOUNTS: &str = "https://docs.stripe.com/api/accounts";
const WEBHOOKS: &str = "https://docs.stripe.com/api/webhook_endpoints";
const DESTINATIONS: &str = "https://docs.stripe.com/api/v2/core/event_destinations";
const SDK: &str = "https://pypi.org/project/stripe/16.1.0/";

pub(crate) const DENIED: &[DeniedEndpoint] = &[
    any("/v1/ephemeral_keys/**", Credential, EPHEMERAL),
    any("/v1/account_sessions", Credential, ACCOUNT_SESSIONS),
    any("/v1/customer_sessions", Credential, CUSTOMER_SESSIONS),
    any("/v1/terminal/connection_tokens", Credential, TERMINAL),
    any("/v2/billing/meter_event_session", Credential, METER),
    any("/v1/apps/secrets/**", Credential, SECRETS),
    // A card number, on request in the answer, pays from the account.
    any("/v1/issuing/cards/**", Credential, CARDS),
    any("/v1/billing_portal/sessions", Session, PORTAL),
    any("/v1/account_links", SignedUrl, ACCOUNT_LINKS),
    any("/v2/core/account_links", SignedUrl, ACCOUNT_LINKS_V2),
    any("/v1/accounts/*/login_links", SignedUrl, LOGIN_LINKS),
    any("/v1/terminal/onboarding_links", SignedUrl, SDK),
    writing("/v1/file_links/**", SignedUrl, FILE_LINKS),
    writing("/v1/accounts/**", Administration, ACCOUNTS),
    writing("/v2/core/accounts/**", Administration, ACCOUNTS),
    writing("/v1/account", Administration, ACCOUNTS),
    any("/v1/webhook_endpoints/**", Administration, WEBHOOKS),
    any("/v2/core/event_destinations/**", Administration, DESTINATIONS),
    writing("/v1/apps/installs/**", Administration, SDK),
];

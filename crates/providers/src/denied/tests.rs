use http::Method;
use till_core::path::RawPath;

use super::{DeniedReason, Methods};
use crate::provider::Provider;
use crate::registry::Registry;

use DeniedReason::{Administration, Credential, ManyCalls, Session, SignedUrl};

fn denied(provider: &Provider, method: &Method, path: &str) -> Option<DeniedReason> {
    let raw = RawPath::parse(path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
    let path = provider.final_path(&raw).unwrap_or_else(|error| panic!("{path}: {error}"));
    provider.denied_endpoint(method, &path).map(|row| row.reason)
}

fn check(rows: &[(&str, &str, &str, Option<DeniedReason>)]) {
    let registry = Registry::builtin();
    for (provider, method, path, expected) in rows {
        let method: Method = method.parse().unwrap();
        let provider = registry.get(provider).unwrap();
        assert_eq!(denied(provider, &method, path), *expected, "{} {method} {path}", provider.id());
    }
}

/// A path that the pattern is about.
fn example(pattern: &str, rest: &str) -> String {
    let segments = pattern.split('/').skip(1).enumerate().map(|(index, segment)| match segment {
        "**" => rest.to_owned(),
        // Only Google's rows begin so: any version.
        "*" if index == 0 => "v1beta".to_owned(),
        "*" => "some".to_owned(),
        segment => segment.replace('*', "some"),
    });
    segments.filter(|segment| !segment.is_empty()).map(|segment| format!("/{segment}")).collect()
}

/// The path with its last segment in capitals. Not the first one, which the version table may have to recognise.
fn shout_last_segment(path: &str) -> String {
    match path.rfind('/') {
        Some(last) if last > 0 => format!("{}{}", &path[..last], path[last..].to_ascii_uppercase()),
        _ => path.to_owned(),
    }
}

/// Every row refuses its endpoint, in every spelling that reaches it.
#[test]
fn every_row_refuses() {
    for provider in Registry::builtin().iter() {
        for row in provider.denied_endpoints() {
            for rest in ["", "a", "a/b"] {
                let path = example(row.pattern.as_str(), rest);
                let shouted = shout_last_segment(&path);
                for path in [path.clone(), format!("{path}/"), shouted] {
                    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                        assert!(
                            denied(provider, &method, &path).is_some(),
                            "{} {method} {path}",
                            provider.id()
                        );
                    }
                    if row.methods == Methods::Any {
                        assert!(
                            denied(provider, &Method::GET, &path).is_some(),
                            "{} GET {path}",
                            provider.id()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_row_has_a_source() {
    for provider in Registry::builtin().iter() {
        for row in provider.denied_endpoints() {
            assert!(row.source.starts_with("https://"), "{} {}", provider.id(), row.pattern.as_str());
            assert!(row.pattern.as_str().starts_with('/') && !row.pattern.as_str().ends_with('/'));
            assert!(!row.pattern.as_str().trim_end_matches("/**").contains("**"), "`**` is only last");
        }
    }
}

#[test]
fn ways_around() {
    check(&[
        ("openai", "POST", "/v1/realtime/client_secrets", Some(Credential)),
        ("openai", "POST", "/realtime/client_secrets", Some(Credential)),
        ("openai", "POST", "/v1/v1/realtime/client_secrets", Some(Credential)),
        ("openai", "POST", "/v1/Realtime/Client_Secrets/", Some(Credential)),
        ("openai", "POST", "/v1/realtime/calls", Some(Session)),
        ("openai", "POST", "/v1/chatkit/sessions", Some(Credential)),
        ("openai", "GET", "/v1/organization/admin_api_keys", Some(Administration)),
        ("openai", "POST", "/v1/batches", Some(ManyCalls)),
        ("openai", "PUT", "/v1/batches", Some(ManyCalls)),
        ("openai", "BREW", "/v1/batches", Some(ManyCalls)),
        ("openai", "POST", "/v1/threads/t/runs", Some(ManyCalls)),
        ("openai", "POST", "/v1/threads/runs", Some(ManyCalls)),
        ("anthropic", "POST", "/messages/batches", Some(ManyCalls)),
        ("anthropic", "GET", "/v1/organizations/api_keys", Some(Administration)),
        ("anthropic", "POST", "/v1/sessions/s/events", Some(ManyCalls)),
        ("anthropic", "POST", "/v1/tunnels/t/reveal_token", Some(Credential)),
        ("google", "POST", "/v1alpha/auth_tokens", Some(Credential)),
        ("google", "POST", "/models/gemini:batchGenerateContent", Some(ManyCalls)),
        ("google", "POST", "/v1/models/gemini%3AbatchGenerateContent", Some(ManyCalls)),
        ("google", "GET", "/v1/models/gemini:BATCHGENERATECONTENT", Some(ManyCalls)),
        ("google", "POST", "/v1beta/models/e:asyncBatchEmbedContent", Some(ManyCalls)),
        ("google", "POST", "/upload/v1beta/files", Some(SignedUrl)),
        ("google", "POST", "/v1beta/openai/batches", Some(ManyCalls)),
        ("openrouter", "POST", "/v1/auth/keys", Some(Credential)),
        ("openrouter", "GET", "/keys", Some(Credential)),
        ("fireworks", "GET", "/accounts/a/users/u/apiKeys", Some(Administration)),
        ("fireworks", "POST", "/inference/v1/accounts/a/batchInferenceJobs", Some(Administration)),
        ("mistral", "GET", "/v1/files/f/url", Some(SignedUrl)),
        ("perplexity", "POST", "/generate_auth_token", Some(Credential)),
        ("bedrock", "POST", "/async-invoke", Some(ManyCalls)),
        ("bedrock", "POST", "/model/a%2Fb/invoke-with-bidirectional-stream", Some(Session)),
        ("azure-openai", "POST", "/openai/realtimeapi/sessions", Some(Credential)),
        ("azure-openai", "POST", "/v1/batches", Some(ManyCalls)),
        ("stripe", "POST", "/ephemeral_keys", Some(Credential)),
        ("stripe", "POST", "/v1/accounts/acct_1/login_links", Some(SignedUrl)),
        ("github", "POST", "/app/installations/1/access_tokens", Some(Credential)),
        ("github", "POST", "/api/v3/app/installations/1/access_tokens", Some(Credential)),
        ("github", "POST", "/repos/o/r%2Fkeys", Some(Credential)),
        ("github", "POST", "/repos/o%2Fr/keys", Some(Credential)),
        ("github", "POST", "/repositories/1/keys", Some(Administration)),
        ("github", "POST", "/orgs/o/actions/runners/generate-jitconfig", Some(Credential)),
        ("github", "POST", "/api/graphql", Some(Administration)),
        ("github", "POST", "/GraphQL", Some(Administration)),
    ]);
}

/// The lists refuse what is a way around and nothing beside it: reading a batch starts none.
#[test]
fn near_misses_pass() {
    check(&[
        ("openai", "POST", "/v1/chat/completions", None),
        ("openai", "POST", "/v1/responses", None),
        ("openai", "GET", "/v1/realtime", None),
        ("openai", "GET", "/v1/batches", None),
        ("openai", "GET", "/v1/batches/b", None),
        ("openai", "POST", "/v1/batches/b/cancel", None),
        ("openai", "GET", "/v1/threads/t/runs/r", None),
        ("openai", "POST", "/v1/threads/t/messages", None),
        ("openai", "POST", "/v1/evals", None),
        ("openai", "GET", "/v1/fine_tuning/jobs", None),
        ("openai", "POST", "/v1/files", None),
        ("openai", "GET", "/v1/organizations", None),
        ("anthropic", "POST", "/v1/messages", None),
        ("anthropic", "POST", "/v1/messages/count_tokens", None),
        ("anthropic", "GET", "/v1/messages/batches/b", None),
        ("anthropic", "GET", "/v1/sessions/s", None),
        ("google", "POST", "/v1beta/models/m:generateContent", None),
        ("google", "POST", "/v1beta/models/m:batchEmbedContents", None),
        ("google", "POST", "/v1beta/cachedContents", None),
        ("google", "GET", "/v1beta/batches/b", None),
        ("google", "GET", "/v1beta/tunedModels", None),
        ("openrouter", "GET", "/api/v1/key", None),
        ("openrouter", "GET", "/api/v1/credits", None),
        ("openrouter", "POST", "/api/v1/chat/completions", None),
        ("groq", "GET", "/openai/v1/batches/b", None),
        ("mistral", "POST", "/v1/chat/completions", None),
        ("mistral", "GET", "/v1/files/f", None),
        ("together", "POST", "/v1/models", None),
        ("fireworks", "GET", "/v1/models/accounts%2Ffireworks%2Fmodels%2Fx", None),
        ("perplexity", "GET", "/async/chat/completions/r", None),
        ("cohere", "POST", "/v2/embed", None),
        ("zai", "POST", "/api/paas/v4/chat/completions", None),
        ("bedrock", "POST", "/model/async-invoke/converse", None),
        ("bedrock", "GET", "/async-invoke/a", None),
        ("azure-openai", "POST", "/openai/deployments/d/chat/completions", None),
        ("azure-openai", "GET", "/openai/batches/b", None),
        ("deepseek", "GET", "/user/balance", None),
        ("stripe", "POST", "/v1/payment_intents", None),
        ("stripe", "POST", "/v1/checkout/sessions", None),
        ("stripe", "GET", "/v1/accounts/acct_1", None),
        ("github", "GET", "/user/keys", None),
        ("github", "GET", "/repos/o/keys", None),
        ("github", "POST", "/repos/o/r/issues", None),
        ("github", "PUT", "/repos/o/r/contents/keys%2Fa.txt", None),
        ("github", "GET", "/repositories/1/issues", None),
        ("github", "GET", "/repos/o/r/zipball/main", None),
    ]);
}

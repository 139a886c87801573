use proptest::prelude::*;
use till_core::path::{PathError, RawPath};

use crate::custom::{CustomAuth, CustomProvider};
use crate::registry::Registry;

fn final_path(registry: &Registry, provider: &str, path: &str) -> Result<String, PathError> {
    let provider = registry.get(provider).expect("a known provider");
    let raw = RawPath::parse(path.as_bytes())?;
    provider.final_path(&raw).map(|path| path.as_str().to_owned())
}

fn check(provider: &str, rows: &[(&str, &str)]) {
    for (path, expected) in rows {
        let made = final_path(&Registry::builtin(), provider, path);
        assert_eq!(made.as_deref(), Ok(*expected), "{provider} {path}");
    }
}

#[test]
fn openai() {
    check(
        "openai",
        &[
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/v1/x", "/v1/x"),
            ("/v1/v1/v1/x", "/v1/x"),
            ("/v1/models/", "/v1/models/"),
            ("/models/", "/v1/models/"),
            ("/v1", "/v1"),
            ("/v1/", "/v1/"),
            ("/", "/"),
            ("/v1x/y", "/v1/v1x/y"),
            ("/organization/admin_api_keys", "/v1/organization/admin_api_keys"),
            ("/v1/models/ft%3Agpt-4o", "/v1/models/ft%3Agpt-4o"),
        ],
    );
}

#[test]
fn anthropic() {
    check(
        "anthropic",
        &[
            ("/v1/messages", "/v1/messages"),
            ("/messages", "/v1/messages"),
            ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
            ("/api/hello", "/api/hello"),
            ("/", "/"),
        ],
    );
}

#[test]
fn google() {
    check(
        "google",
        &[
            ("/models/X:generateContent", "/v1beta/models/X:generateContent"),
            ("/v1/models/X:generateContent", "/v1/models/X:generateContent"),
            ("/v1beta/models/X:generateContent", "/v1beta/models/X:generateContent"),
            ("/v1alpha/auth_tokens", "/v1alpha/auth_tokens"),
            ("/v1beta/v1/models", "/v1/models"),
            ("/v1/v1beta/models", "/v1beta/models"),
            ("/upload/v1beta/files", "/upload/v1beta/files"),
            ("/v1beta/upload/v1beta/files", "/upload/v1beta/files"),
            ("/upload/files", "/upload/v1beta/files"),
            ("/v1beta/openai/chat/completions", "/v1beta/openai/chat/completions"),
            ("/openai/chat/completions", "/v1beta/openai/chat/completions"),
            ("/interactions", "/v1beta/interactions"),
            // Google's endpoint for many requests in one is not where this leads.
            ("/batch", "/v1beta/batch"),
            ("/batch/v1beta", "/v1beta/batch/v1beta"),
        ],
    );
}

#[test]
fn openai_compatible_below_a_prefix() {
    check(
        "groq",
        &[
            ("/openai/v1/chat/completions", "/openai/v1/chat/completions"),
            ("/v1/x", "/openai/v1/x"),
            ("/x", "/openai/v1/x"),
            ("/openai/x", "/openai/v1/x"),
            ("/openai/v1/openai/v1/x", "/openai/v1/x"),
            ("/v1/openai/v1/x", "/openai/v1/x"),
            ("/openai/v1/v1/x", "/openai/v1/x"),
            ("/openai/v1/models/openai%2Fgpt-oss-120b", "/openai/v1/models/openai%2Fgpt-oss-120b"),
            ("/v1/fine_tunings", "/v1/fine_tunings"),
        ],
    );
    check(
        "openrouter",
        &[
            ("/api/v1/chat/completions", "/api/v1/chat/completions"),
            ("/v1/chat/completions", "/api/v1/chat/completions"),
            ("/chat/completions", "/api/v1/chat/completions"),
            ("/api/v1/v1/messages", "/api/v1/messages"),
            ("/api/v1/api/v1/models", "/api/v1/models"),
            ("/keys", "/api/v1/keys"),
            ("/api/alpha/decisions", "/api/alpha/decisions"),
        ],
    );
    check(
        "fireworks",
        &[
            ("/inference/v1/chat/completions", "/inference/v1/chat/completions"),
            ("/v1/chat/completions", "/inference/v1/chat/completions"),
            ("/chat/completions", "/inference/v1/chat/completions"),
            ("/inference/v1/v1/messages", "/inference/v1/messages"),
            ("/v1/accounts/a/users/u/apiKeys", "/v1/accounts/a/users/u/apiKeys"),
            ("/accounts/a", "/v1/accounts/a"),
            ("/inference/v1/accounts/a", "/v1/accounts/a"),
            ("/inference/v1/v1/accounts/a", "/v1/accounts/a"),
            ("/v1/v1/accounts/a", "/v1/accounts/a"),
            ("/inference/accounts/a", "/v1/accounts/a"),
            ("/v1/accounts/v1/models", "/v1/accounts/v1/models"),
            ("/accounts/inference/v1/x", "/v1/accounts/inference/v1/x"),
        ],
    );
    check(
        "zai",
        &[
            ("/api/paas/v4/chat/completions", "/api/paas/v4/chat/completions"),
            ("/chat/completions", "/api/paas/v4/chat/completions"),
            ("/v1/chat/completions", "/api/paas/v4/chat/completions"),
            ("/v4/chat/completions", "/api/paas/v4/chat/completions"),
            ("/api/coding/paas/v4/chat/completions", "/api/coding/paas/v4/chat/completions"),
            ("/api/anthropic/v1/messages", "/api/anthropic/v1/messages"),
            ("/api/anthropic/messages", "/api/anthropic/v1/messages"),
            ("/api/v1/agents", "/api/v1/agents"),
        ],
    );
}

#[test]
fn plain_v1() {
    for provider in ["mistral", "together", "xai", "cerebras", "stripe"] {
        check(provider, &[("/v1/x/y", "/v1/x/y"), ("/x/y", "/v1/x/y"), ("/v1/v1/x", "/v1/x")]);
    }
    check("stripe", &[("/v2/core/accounts", "/v2/core/accounts"), ("/v1/v2/core", "/v2/core")]);
    check("mistral", &[("/v2/prompts", "/v2/prompts")]);
    check("together", &[("/v2/videos", "/v2/videos"), ("/v1/models/a%2Fb", "/v1/models/a%2Fb")]);
}

#[test]
fn several_interfaces_at_one_host() {
    check(
        "perplexity",
        &[
            ("/chat/completions", "/chat/completions"),
            ("/v1/chat/completions", "/chat/completions"),
            ("/v1/v1/chat/completions", "/chat/completions"),
            ("/search", "/search"),
            ("/async/chat/completions", "/async/chat/completions"),
            ("/responses", "/v1/responses"),
            ("/v1/responses", "/v1/responses"),
            ("/generate_auth_token", "/generate_auth_token"),
        ],
    );
    check(
        "deepseek",
        &[
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/beta/completions", "/beta/completions"),
            ("/beta/v1/completions", "/beta/completions"),
            ("/anthropic/v1/messages", "/anthropic/v1/messages"),
            ("/anthropic/messages", "/anthropic/v1/messages"),
            ("/user/balance", "/user/balance"),
        ],
    );
    check(
        "cohere",
        &[
            ("/v2/chat", "/v2/chat"),
            ("/v1/chat", "/v1/chat"),
            ("/chat", "/v2/chat"),
            ("/v1/v2/chat", "/v2/chat"),
            ("/compatibility/v1/chat/completions", "/compatibility/v1/chat/completions"),
            ("/v1/chat/completions", "/compatibility/v1/chat/completions"),
            ("/chat/completions", "/compatibility/v1/chat/completions"),
            ("/tokenize", "/v1/tokenize"),
        ],
    );
    check(
        "huggingface",
        &[
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/hf-inference/models/a/b", "/hf-inference/models/a/b"),
            ("/together/v1/chat/completions", "/together/v1/chat/completions"),
        ],
    );
    check(
        "azure-openai",
        &[
            ("/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
            ("/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
            ("/openai/openai/deployments/d", "/openai/deployments/d"),
            ("/openai/v1/responses", "/openai/v1/responses"),
            ("/v1/responses", "/openai/v1/responses"),
            ("/responses", "/openai/v1/responses"),
            ("/openai/v1/openai/v1/models", "/openai/v1/models"),
            ("/batches", "/openai/batches"),
        ],
    );
    check(
        "bedrock",
        &[
            ("/model/anthropic.claude-v2:1/converse", "/model/anthropic.claude-v2:1/converse"),
            ("/model/anthropic.claude-v2%3A1/converse", "/model/anthropic.claude-v2%3A1/converse"),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
            ),
            ("/v1/chat/completions", "/openai/v1/chat/completions"),
            ("/chat/completions", "/openai/v1/chat/completions"),
        ],
    );
    check(
        "github",
        &[
            ("/repos/o/r/contents/docs%2FREADME.md", "/repos/o/r/contents/docs%2FREADME.md"),
            ("/api/v3/user", "/user"),
            ("/api/v3/api/v3/user", "/user"),
            ("/api/v3", "/"),
            ("/api/graphql", "/graphql"),
            ("/api/v3/graphql", "/graphql"),
            ("/v1/x", "/v1/x"),
        ],
    );
}

#[test]
fn refuses_what_the_provider_has_no_use_for() {
    for (provider, path, error) in [
        ("openai", "/v1/models/a%2Fb", PathError::EncodedSlash),
        ("openai", "/v1%2Forganization", PathError::EncodedSlash),
        ("groq", "/openai/v1/chat%2Fcompletions", PathError::EncodedSlash),
        ("fireworks", "/v1/accounts/a%2Fb", PathError::EncodedSlash),
        ("openai", "/%76%31/models", PathError::EncodedUnreserved),
        ("openai", "/v1/%6Frganization", PathError::EncodedUnreserved),
        ("github", "/user/k%65ys", PathError::EncodedUnreserved),
        ("bedrock", "/model/a%2F..%2Fb/converse", PathError::DotSegment),
        ("github", "/api%2Fv3/user/keys", PathError::EncodedSlash),
        ("github", "/user%2Fkeys", PathError::EncodedSlash),
        ("bedrock", "/openai%2Fv1/batches", PathError::EncodedSlash),
        ("google", "/v1beta/models/x%252F", PathError::DoubleEncoding),
    ] {
        assert_eq!(final_path(&Registry::builtin(), provider, path), Err(error), "{provider} {path}");
    }
}

#[test]
fn custom_paths_pass_as_they_are() {
    let mut registry = Registry::builtin();
    for (id, allow_encoded_slash) in [("plain", false), ("slashes", true)] {
        let custom = CustomProvider {
            id: id.to_owned(),
            base_url: "https://api.example.com/base".to_owned(),
            auth: CustomAuth::Basic,
            allow_encoded_slash,
        };
        registry.add_custom(custom).unwrap();
    }
    for (provider, path, expected) in [
        ("plain", "/v1/v1/x", Ok("/v1/v1/x")),
        ("plain", "/%7Euser", Ok("/%7Euser")),
        ("plain", "/a%2Fb", Err(PathError::EncodedSlash)),
        ("slashes", "/a%2Fb", Ok("/a%2Fb")),
        ("slashes", "/a%2F..", Err(PathError::DotSegment)),
    ] {
        let made = final_path(&registry, provider, path);
        assert_eq!(made.as_deref().map_err(|error| *error), expected, "{provider} {path}");
    }
}

#[test]
fn a_version_in_the_base_url_is_the_default() {
    for (provider, url, base, path, expected) in [
        ("openai", "http://h/v1", "http://h", "/chat/completions", "/v1/chat/completions"),
        ("openai", "http://h/v1", "http://h", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "http://h/gw/openai/v1/", "http://h/gw/openai", "/models", "/v1/models"),
        ("google", "http://h/v1", "http://h", "/models", "/v1/models"),
        ("google", "http://h/v1", "http://h", "/v1beta/models", "/v1beta/models"),
        ("groq", "http://h/openai/v1", "http://h", "/models", "/openai/v1/models"),
        ("groq", "http://h/v1", "http://h/v1", "/models", "/openai/v1/models"),
        (
            "zai",
            "http://h/api/coding/paas/v4",
            "http://h",
            "/chat/completions",
            "/api/coding/paas/v4/chat/completions",
        ),
        ("fireworks", "http://h/inference/v1", "http://h", "/accounts/a", "/v1/accounts/a"),
        ("perplexity", "http://h/v1", "http://h", "/chat/completions", "/chat/completions"),
        ("perplexity", "http://h/v1", "http://h", "/foo", "/v1/foo"),
        ("github", "http://h/api/v3", "http://h/api/v3", "/api/v3/user", "/user"),
        ("openai", "http://h/v1", "http://h", "/", "/"),
    ] {
        let mut registry = Registry::builtin();
        registry.repoint(provider, url, false).unwrap();
        let repointed = registry.get(provider).unwrap().base_url().unwrap();
        assert_eq!(repointed.as_str(), base, "{provider} {url}");
        let made = final_path(&registry, provider, path);
        assert_eq!(made.as_deref(), Ok(expected), "{provider} {url} {path}");
    }
}

/// Segments that mean something in some table, so that random paths meet the tables' corners.
const SEGMENTS: &str = "v1|v2|v4|v1beta|v1alpha|v3|openai|api|paas|coding|anthropic|inference|accounts|upload|download|\
    beta|compatibility|chat|completions|embeddings|graphql|training|responses|deployments|user|search|alpha|fine_tunings|x";

proptest! {
    /// A final path is final: the table doesn't change it again, whatever the base URL ends with.
    #[test]
    fn idempotent(segments in prop::collection::vec(SEGMENTS, 0..7), slash: bool) {
        let path = format!("/{}{}", segments.join("/"), if slash && !segments.is_empty() { "/" } else { "" });
        let builtin = Registry::builtin();
        for provider in builtin.iter() {
            let bases = provider.versions().map(|version| format!("http://h{version}"));
            for base in std::iter::once("http://h".to_owned()).chain(bases) {
                let mut registry = builtin.clone();
                registry.repoint(provider.id(), &base, false).unwrap();
                let provider = registry.get(provider.id()).unwrap();
                let once = provider.final_path(&RawPath::parse(path.as_bytes()).unwrap()).unwrap();
                let twice = provider.final_path(&once.to_raw()).unwrap();
                prop_assert_eq!(&once, &twice, "{} at {} from {}", provider.id(), base, path);
                prop_assert_eq!(once.as_str().ends_with('/'), path.ends_with('/') || once.as_str() == "/");
            }
        }
    }
}

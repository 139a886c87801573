use std::time::Duration;

use till_core::upstream::Placement;

use super::{Registry, RepointError};
use crate::base_url::BaseUrlError;
use crate::custom::{CustomAuth, CustomProvider, CustomProviderError};
use crate::provider::Dialect;

fn custom(id: &str, base_url: &str, auth: CustomAuth) -> CustomProvider {
    CustomProvider { id: id.to_owned(), base_url: base_url.to_owned(), auth, allow_encoded_slash: false }
}

fn header(name: &str, template: &str) -> CustomAuth {
    CustomAuth::Header { name: name.to_owned(), template: template.to_owned() }
}

fn query(name: &str) -> CustomAuth {
    CustomAuth::Query { name: name.to_owned() }
}

#[test]
fn can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Registry>();
}

#[test]
fn builtin_rows_are_sound() {
    let registry = Registry::builtin();
    let mut names: Vec<&str> = Vec::new();
    for provider in registry.iter() {
        names.push(provider.id());
        names.extend(provider.aliases());
        assert!(provider.key_env().is_some());
        assert!(provider.idle_timeout() >= Duration::from_secs(10));
        assert!(!provider.accepts_sealed());
        let Some(url) = provider.base_url() else {
            assert_eq!(provider.id(), "azure-openai");
            continue;
        };
        assert_eq!((url.path_prefix(), url.port()), ("", 443), "{}", provider.id());
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two providers share a name");
}

#[test]
fn finds_by_id_and_alias() {
    let registry = Registry::builtin();
    for (name, id) in [
        ("openai", Some("openai")),
        ("gemini", Some("google")),
        ("azure", Some("azure-openai")),
        ("OpenAI", None),
        ("", None),
        ("nope", None),
    ] {
        assert_eq!(registry.get(name).map(|provider| provider.id()), id, "{name}");
    }
}

#[test]
fn keys_go_where_the_provider_wants_them() {
    let registry = Registry::builtin();
    for (provider, name, template) in [
        ("openai", "authorization", "Bearer {key}"),
        ("anthropic", "x-api-key", "{key}"),
        ("google", "x-goog-api-key", "{key}"),
        ("azure-openai", "api-key", "{key}"),
        ("bedrock", "authorization", "Bearer {key}"),
        ("github", "authorization", "Bearer {key}"),
    ] {
        let expected = Placement::Header { name: name.to_owned(), template: template.to_owned() };
        assert_eq!(registry.get(provider).unwrap().placement(), &expected, "{provider}");
    }
}

#[test]
fn repoints() {
    let mut registry = Registry::builtin();
    registry.repoint("gemini", "http://127.0.0.1:9000/", true).unwrap();
    let google = registry.get("google").unwrap();
    assert_eq!(google.base_url().unwrap().as_str(), "http://127.0.0.1:9000");
    assert!(google.accepts_sealed());
    assert_eq!(google.idle_timeout(), Duration::from_secs(55), "nothing is known about another edge");
    assert!(!google.denied_endpoints().is_empty(), "the list stays with the provider");

    let url = |url: &str, error| {
        let error = RepointError::Url { id: "openai".to_owned(), url: url.to_owned(), error };
        Err(error)
    };
    assert_eq!(registry.repoint("openai", "localhost:1", false), url("localhost:1", BaseUrlError::Scheme));
    let secret = registry.repoint("openai", "http://user:hunter2@h", false).unwrap_err().to_string();
    assert!(!secret.contains("hunter2") && secret.contains("user name or password"), "{secret}");
    let unknown = registry.repoint("opnai", "http://h", false).unwrap_err().to_string();
    assert!(unknown.contains("\"opnai\"") && unknown.contains("openai, anthropic"), "{unknown}");
    assert_eq!(registry.get("openai").unwrap().base_url().unwrap().as_str(), "https://api.openai.com");
}

#[test]
fn adds_custom_providers() {
    let mut registry = Registry::builtin();
    registry
        .add_custom(custom("intern-1", "https://llm.corp.example/api/", header("X-Key", "Token {key}")))
        .unwrap();
    registry.add_custom(custom("maps", "https://maps.example", query("api_key"))).unwrap();
    registry.add_custom(custom("old", "http://10.0.0.1:8080", CustomAuth::Basic)).unwrap();
    let placement = |id: &str| registry.get(id).unwrap().placement().clone();
    let expected = Placement::Header { name: "x-key".to_owned(), template: "Token {key}".to_owned() };
    assert_eq!(placement("intern-1"), expected);
    assert_eq!(placement("maps"), Placement::Query { name: "api_key".to_owned() });
    assert_eq!(placement("old"), Placement::Basic);
    let intern = registry.get("intern-1").unwrap();
    assert_eq!(intern.base_url().unwrap().as_str(), "https://llm.corp.example/api");
    assert_eq!(intern.dialect(), Dialect::Universal);
    assert!(intern.is_custom() && intern.key_env().is_none() && intern.denied_endpoints().is_empty());
    let last = registry.iter().last().unwrap();
    assert_eq!(last.id(), "old");
    registry.repoint("old", "http://10.0.0.2:8080", false).unwrap();
}

#[test]
fn a_custom_provider_at_a_builtin_host_keeps_its_rules() {
    let bearer = || header("authorization", "Bearer {key}");
    for (url, dialect) in [
        ("https://api.openai.com/v1", Dialect::OpenAi),
        ("https://eu.api.openai.com", Dialect::OpenAi),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", Dialect::Bedrock),
        ("https://me.openai.azure.com/openai", Dialect::OpenAi),
    ] {
        let mut registry = Registry::builtin();
        registry.add_custom(custom("mine", url, bearer())).unwrap();
        let mine = registry.get("mine").unwrap();
        assert_eq!(mine.dialect(), dialect, "{url}");
        assert!(!mine.denied_endpoints().is_empty(), "{url}");
        assert!(mine.aliases().is_empty() && mine.key_env().is_none(), "{url}");
    }
    let errors =
        Registry::builtin().add_custom(custom("mine", "https://api.openai.com/v1/organization", bearer()));
    let [CustomProviderError::PathAtBuiltinHost { builtin: "openai", path, .. }] = &errors.unwrap_err()[..]
    else {
        panic!("another error");
    };
    assert_eq!(path, "/v1/organization");
}

#[test]
fn reports_every_mistake() {
    fn check(custom: CustomProvider, expected: &[&str]) {
        let errors = Registry::builtin().add_custom(custom.clone()).expect_err("a mistake");
        assert_eq!(errors.len(), expected.len(), "{custom:?}: {errors:?}");
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.to_string().contains(part), "{custom:?}: {error}");
        }
    }
    let fine = || header("x-key", "{key}");
    let url = "https://api.example.com";
    for id in ["", "A", "1a", "-a", "a_b", "a b", "é", "a/b", &"a".repeat(33)] {
        check(custom(id, url, fine()), &["an id is"]);
    }
    for id in ["openai", "gemini", "azure"] {
        check(custom(id, url, fine()), &["taken"]);
    }
    for name in ["", "a b", "x:y", "é", &"x".repeat(65)] {
        check(custom("a", url, header(name, "{key}")), &["not a header name"]);
    }
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "te", "x-till-request-id"] {
        check(custom("a", url, header(name, "{key}")), &["HTTP itself"]);
    }
    for template in ["", "Bearer", "{key}{key}", "{KEY}"] {
        check(custom("a", url, header("x-key", template)), &["exactly once"]);
    }
    for template in ["{key}\r\nx: y", "{key} ", "\t{key}", "{key}é"] {
        check(custom("a", url, header("x-key", template)), &["visible ASCII"]);
    }
    for name in ["", "a b", "a=b", "a&b", "a%20b", &"x".repeat(65)] {
        check(custom("a", url, query(name)), &["parameter name"]);
    }
    check(custom("a", "ftp://h", fine()), &["http:// or https://"]);
    check(
        custom("Bad Id", "nowhere", header("host", "none \n")),
        &["an id is", "base_url", "HTTP itself", "exactly once", "visible ASCII"],
    );
}

//! Requests that try to get past the scope of their key, through the whole proxy. Each is refused, nothing of it reaches
//! the provider, and a request of the same key that is allowed does, right afterwards.

use serde_json::Value;
use till_core::fields::Fields;
use till_core::scope::Scope;
use till_providers::price::PriceTable;
use till_providers::scope::{KeyRules, Supposed, Verdict, explain};
use till_testkit::client::Client;
use till_testkit::upstream::{Upstream, json as answer_json};

use super::rig::{Options, Rig, noon};

/// A request: method and path, lines of its head, body.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    line: String,
    lines: String,
    body: Vec<u8>,
}

/// A request with a body in JSON.
pub(super) fn ask(line: &str, body: impl AsRef<[u8]>) -> Ask {
    ask_with(line, "content-type: application/json\r\n", body)
}

/// The same with other lines in its head.
pub(super) fn ask_with(line: &str, lines: &str, body: impl AsRef<[u8]>) -> Ask {
    Ask { line: line.to_owned(), lines: lines.to_owned(), body: body.as_ref().to_vec() }
}

/// Every provider that is asked here, at the scripted upstream.
const PROVIDERS: [&str; 11] = [
    "openai",
    "anthropic",
    "google",
    "openrouter",
    "bedrock",
    "azure-openai",
    "cohere",
    "groq",
    "xai",
    "mistral",
    "perplexity",
];

pub(super) struct Bench {
    upstream: Upstream,
    rig: Rig,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let upstream = Upstream::start(|_, _| answer_json("{}")).await;
        let url = upstream.url();
        let repointed: Vec<(&str, &str)> = PROVIDERS.iter().map(|id| (*id, url.as_str())).collect();
        let rig = Rig::start(&repointed, Options::default()).await;
        Self { upstream, rig }
    }

    /// Sends each hostile request and its twin. Says how many hostile ones there were.
    pub(super) async fn check(
        &self,
        provider: &str,
        scope: Value,
        twin: &Ask,
        hostile: &[(Ask, &str)],
    ) -> usize {
        let (token, id) = self.rig.mint_scoped(provider, scope.clone()).await;
        for (index, (ask, code)) in hostile.iter().enumerate() {
            let sent = self.upstream.received().len();
            let (status, text) = self.send(&token, ask).await;
            let shown =
                format!("{scope} {} {:?} {}", ask.line, ask.lines, String::from_utf8_lossy(&ask.body));
            assert!((400..500).contains(&status), "{shown}: {status} {text}");
            assert!(text.contains(code), "{shown}: {status} {text}");
            self.explains(provider, &scope, ask, Some(code));
            self.rig.becomes_idle().await;
            assert_eq!(self.upstream.received().len(), sent, "{shown} was sent");
            let (status, text) = self.send(&token, twin).await;
            assert_eq!(status, 200, "{} {}: {text}", twin.line, String::from_utf8_lossy(&twin.body));
            self.rig.becomes_idle().await;
            assert_eq!(self.upstream.received().len(), sent + 1);
            assert_eq!(self.rig.used(id).await, index as u64 + 1);
        }
        self.explains(provider, &scope, twin, None);
        hostile.len()
    }

    /// Checks that what is explained without sending anything is what the proxy has decided.
    fn explains(&self, provider: &str, scope: &Value, ask: &Ask, refused: Option<&str>) {
        // What the front door, the reader of bodies and the upgrade refuse is not part of it.
        if ask.line.contains("http://")
            || ask.lines.contains("content-encoding")
            || ask.lines.contains("upgrade")
        {
            return;
        }
        let headers: Fields =
            ask.lines.lines().map(|line| line.split_once(": ").expect("a header")).collect();
        let (method, target) = ask.line.split_once(' ').expect("two parts");
        let scope: Scope = serde_json::from_value(scope.clone()).expect("a scope");
        let rules = KeyRules {
            provider: self.rig.registry().get(provider).expect("known"),
            scope: &scope,
            clamp: true,
            allow_unbounded: false,
            has_token_limit: false,
            has_spend_limit: false,
        };
        let method = method.parse().expect("a method");
        let supposed = Supposed { method: &method, target, headers: &headers, body: &ask.body, client: None };
        let steps = explain(&rules, &supposed, &PriceTable::builtin(), noon());
        let found = steps.iter().find_map(|step| match &step.verdict {
            Verdict::Refused(denial) => Some(denial.code.as_str()),
            _ => None,
        });
        assert_eq!(found.is_some(), refused.is_some(), "{ask:?}: {steps:?}");
        let code = refused.unwrap_or_default();
        assert!(found.unwrap_or_default().contains(code), "{ask:?}: {steps:?}");
    }

    /// Checks that each of these arrives.
    pub(super) async fn passes(&self, provider: &str, scope: Value, asks: &[Ask]) {
        let (token, _) = self.rig.mint_scoped(provider, scope.clone()).await;
        for ask in asks {
            let sent = self.upstream.received().len();
            let (status, text) = self.send(&token, ask).await;
            assert_eq!(status, 200, "{scope} {} {}: {text}", ask.line, String::from_utf8_lossy(&ask.body));
            assert_eq!(self.upstream.received().len(), sent + 1);
        }
    }

    /// Sends one and gives back what arrived and what the client was told about a lowered cap.
    pub(super) async fn arrives(&self, provider: &str, scope: Value, ask: &Ask) -> (Value, Option<String>) {
        let (token, _) = self.rig.mint_scoped(provider, scope).await;
        let answer = Client::connect(self.rig.address).await.request(raw(&token, ask)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let received = self.upstream.received();
        let body = serde_json::from_slice(&received.last().expect("it arrived").body).expect("JSON");
        (body, answer.header("x-till-clamped").map(str::to_owned))
    }

    async fn send(&self, token: &str, ask: &Ask) -> (u16, String) {
        let answer = Client::connect(self.rig.address).await.request(raw(token, ask)).await;
        (answer.status, answer.text())
    }
}

fn raw(token: &str, ask: &Ask) -> Vec<u8> {
    let head = format!(
        "{} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\n{}content-length: {}\r\n\r\n",
        ask.line,
        ask.lines,
        ask.body.len()
    );
    [head.as_bytes(), &ask.body].concat()
}

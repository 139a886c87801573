//! What the proxy would say about a request, step by step, without sending anything: the decisions are the same functions.

use std::net::IpAddr;

use http::Method;
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_core::scope::Scope;
use till_core::time::Timestamp;

use super::{check_endpoint, check_network, check_override, check_request};
use crate::bound::{BoundError, demand};
use crate::price::PriceTable;
use crate::provider::Provider;
use crate::request::{Question, Refused, facts};

/// What decides about the requests of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyRules<'a> {
    /// Whose API it is for.
    pub provider: &'a Provider,
    /// Its scope.
    pub scope: &'a Scope,
    /// Whether output caps may be lowered.
    pub clamp: bool,
    /// Whether requests pass that nothing bounds.
    pub allow_unbounded: bool,
    /// Whether it has a limit in tokens.
    pub has_token_limit: bool,
    /// Whether it has a limit in money.
    pub has_spend_limit: bool,
}

/// A request that nobody has sent.
#[derive(Clone, Copy, Debug)]
pub struct Supposed<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Path and query, as a client would send them.
    pub target: &'a str,
    /// Its headers.
    pub headers: &'a Fields,
    /// Its body.
    pub body: &'a [u8],
    /// Where it comes from, if somebody says so.
    pub client: Option<IpAddr>,
}

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is looked at: `network`, `path`, `endpoint`, `request`, `bounds`.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes; the text says why.
    Passes(String),
    /// It would be refused.
    Refused(Denial),
    /// Nobody said what it depends on.
    Unknown(String),
}

/// The steps up to the first that refuses.
pub fn explain(
    rules: &KeyRules<'_>,
    supposed: &Supposed<'_>,
    prices: &PriceTable,
    at: Timestamp,
) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    // Whoever refuses ends the list.
    let _ = walk(rules, supposed, prices, at, &mut steps);
    steps.0
}

struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, name: &'static str, outcome: Result<String, Denial>) -> Option<()> {
        let (verdict, passes) = match outcome {
            Ok(why) => (Verdict::Passes(why), Some(())),
            Err(denial) => (Verdict::Refused(denial), None),
        };
        self.0.push(Step { name, verdict });
        passes
    }
}

fn walk(
    rules: &KeyRules<'_>,
    supposed: &Supposed<'_>,
    prices: &PriceTable,
    at: Timestamp,
    steps: &mut Steps,
) -> Option<()> {
    let scope = rules.scope;
    match (&scope.networks, supposed.client) {
        (None, _) => steps.add("network", Ok("It may be used from everywhere.".to_owned()))?,
        (Some(_), None) => {
            let verdict = Verdict::Unknown("It depends on where the request comes from.".to_owned());
            steps.0.push(Step { name: "network", verdict });
        }
        (Some(_), Some(client)) => {
            let outcome =
                check_network(scope, Some(client)).map(|()| format!("It may be used from {client}."));
            steps.add("network", outcome)?;
        }
    }
    let (path, query) = match supposed.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (supposed.target, None),
    };
    let outcome = check_override(supposed.headers, query).and_then(|()| final_path(rules.provider, path));
    let path = match outcome {
        Ok(path) => path,
        Err(denial) => return steps.add("path", Err(denial)),
    };
    steps.add("path", Ok(format!("{} is what goes to {}.", path.as_str(), rules.provider.name())))?;
    let outcome = check_endpoint(rules.provider, Some(scope), supposed.method, &path)
        .map(|()| format!("{} {} may be called.", supposed.method, path.as_str()));
    steps.add("endpoint", outcome)?;
    if let Some(field) = rules.provider.denied_field(supposed.method, &path) {
        let outcome = field.check(supposed.body).map(|()| format!("{:?} is not set.", field.name));
        steps.add("endpoint", outcome)?;
    }
    let question = Question {
        provider: rules.provider,
        method: supposed.method,
        path: &path,
        query,
        headers: supposed.headers,
        body: supposed.body,
    };
    if scope.needs_body() {
        let outcome = check_request(scope, rules.clamp, &question, prices).map(|within| {
            let model = within
                .facts
                .model
                .map_or("No model is asked".to_owned(), |model| format!("Model {model:?} may be asked"));
            match within.cap {
                Some(cap) => format!("{model}, for at most {cap} tokens of output for each answer."),
                None => format!("{model}, for what the request asks for."),
            }
        });
        steps.add("request", outcome)?;
    }
    if rules.has_token_limit || rules.has_spend_limit {
        steps.add("bounds", bounds(rules, &question, prices, at))?;
    }
    Some(())
}

/// The path in the provider's own space, final.
fn final_path(provider: &Provider, path: &str) -> Result<FinalPath, Denial> {
    let malformed =
        |error| Denial::new(DenialCode::MalformedRequest, format!("This path is refused: {error}."));
    let mut raw = RawPath::parse(path.as_bytes()).map_err(malformed)?;
    if raw.first_segment() == "proxy" {
        raw = raw.after_first();
        let named = raw.first_segment().to_owned();
        if provider.id() != named && !provider.aliases().contains(&named.as_str()) {
            let message = format!("This scoped key is for {}; the path asks for {named:?}.", provider.id());
            return Err(Denial::new(DenialCode::EndpointDenied, message));
        }
        raw = raw.after_first();
    }
    provider.final_path(&raw).map_err(malformed)
}

/// Whether what the request may come to is bounded; how much is left is not looked at.
fn bounds(
    rules: &KeyRules<'_>,
    question: &Question<'_>,
    prices: &PriceTable,
    at: Timestamp,
) -> Result<String, Denial> {
    let refused = |refusal: Refused| {
        let code = match refusal {
            Refused::Unbounded { .. } => DenialCode::UnboundedRequest,
            Refused::Malformed(_) => DenialCode::MalformedRequest,
        };
        Denial::new(code, refusal.to_string())
    };
    let bounded = facts(question, prices).map_err(refused).and_then(|asked| {
        if asked.is_free {
            return Ok("It costs nothing but an activation.".to_owned());
        }
        let model = asked.model.as_deref();
        let price = model.and_then(|model| prices.find(question.provider.price_id(), model));
        demand(&asked, price, rules.has_spend_limit, at, rules.clamp)
            .map(|demand| {
                format!(
                    "Its input is at most {} tokens; what is left is not looked at here.",
                    demand.tokens_fixed
                )
            })
            .map_err(|error| match error {
                BoundError::Refused(refusal) => refused(refusal),
                unpriced => Denial::new(DenialCode::UnpricedModel, unpriced.to_string()),
            })
    });
    match bounded {
        Err(denial) if rules.allow_unbounded && denial.code != DenialCode::MalformedRequest => {
            Ok("Nothing bounds what it costs, which this key allows.".to_owned())
        }
        outcome => outcome,
    }
}

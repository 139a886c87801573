//! What a request may come to: nothing but an activation for most keys, a bound in tokens and money for keys that
//! have a limit on them.

use std::sync::Arc;

use bytes::Bytes;
use till_core::demand::Demand;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Dimension;
use till_core::time::Timestamp;
use till_providers::bound::{BoundError, demand};
use till_providers::price::{PriceContext, PriceTable};
use till_providers::request::{self, OutputCap, Question, Refused, RequestFacts};
use till_providers::scope::{Within, check_request};
use till_providers::usage::AnswerFormat;
use till_store::KeyTerms;

use crate::Inner;
use crate::authenticate::Authenticated;
use crate::facts::Facts;
use crate::head::Head;

/// What a request asks of the ledger, and how its answer will be read.
pub(crate) struct Plan {
    pub(crate) demand: Demand,
    pub(crate) measure: Measure,
    /// Present when the request was bounded: what has to change in its body. In a box: it is large, and most have none.
    bounded: Option<Box<RequestFacts>>,
    /// The output cap that the client asks for, or that holds without one.
    wanted: u64,
    /// The output cap of a request whose key has no limit that depends on it.
    fixed_cap: Option<u64>,
}

/// What is known of a request for reading what its answer says was used.
pub(crate) struct Measure {
    /// Name of the endpoint in the tables; `None` for one that is in none.
    pub(crate) endpoint: Option<&'static str>,
    pub(crate) format: AnswerFormat,
    /// The provider documents that this costs nothing.
    pub(crate) is_free: bool,
    /// The model as the request names it, where that was read.
    pub(crate) model: Option<String>,
    pub(crate) context: PriceContext,
    /// Whether the key has a limit that the answer counts against.
    pub(crate) is_metered: bool,
    /// Whether one of them is in money.
    pub(crate) needs_price: bool,
    /// How many answers the output cap applies to; `None` without a cap.
    pub(crate) outputs: Option<u64>,
    /// The stream has one chunk more than the client asked for.
    pub(crate) strips_usage_chunk: bool,
    pub(crate) prices: Arc<PriceTable>,
    /// The moment whose prices hold.
    pub(crate) at: Timestamp,
    /// Tells the moment at which the answer has ended.
    pub(crate) clock: fn() -> Timestamp,
}

/// An output cap that was lowered, for the client.
pub(crate) struct Clamped {
    pub(crate) parameter: &'static str,
    pub(crate) cap: u64,
}

impl Plan {
    /// For a key without token and spend limits: its body is not needed.
    pub(crate) fn counted(facts: &Facts, till: &Inner, at: Timestamp) -> Self {
        let row = facts.place.endpoint();
        let measure = Measure {
            endpoint: row.map(|row| row.name),
            format: row.map_or(AnswerFormat::Silent, |row| row.answer),
            is_free: row.is_some_and(|row| row.is_free),
            model: None,
            context: PriceContext::default(),
            is_metered: false,
            needs_price: false,
            outputs: None,
            strips_usage_chunk: false,
            prices: Arc::clone(&till.prices),
            at,
            clock: till.clock,
        };
        Self { demand: Demand::ONE_ACTIVATION, measure, bounded: None, wanted: 0, fixed_cap: None }
    }

    /// For a key whose scope or limits depend on what the request says. The scope comes first, and nothing takes its place.
    ///
    /// # Errors
    /// `model_denied`, `parameter_denied`, `unbounded_request`, `unpriced_model` or `malformed_request`, naming what is at
    /// fault.
    pub(crate) fn read(
        key: &Authenticated,
        request: &Head,
        facts: &Facts,
        body: &[u8],
        terms: &KeyTerms,
        till: &Inner,
        counted: Option<u64>,
    ) -> Result<Self, Denial> {
        let question = question(key, request, facts, body);
        let within = match terms.scope().filter(|scope| scope.needs_body()) {
            Some(scope) => Some(check_request(scope, terms.options().clamp, &question, &till.prices)?),
            None => None,
        };
        let needs_price = terms.limits().of(Dimension::Spend).is_some();
        if terms.is_metered() {
            let most = within.as_ref().and_then(|within| within.cap);
            match Self::bound(&question, terms, till, needs_price, counted, most) {
                Err(denial) if terms.allows_unbounded() && is_unbounded(denial.code) => {}
                outcome => return outcome,
            }
        }
        let mut plan = Self::counted(facts, till, (till.clock)());
        if let Some(within) = within {
            plan = plan.within(within);
        }
        plan.measure.is_metered = terms.is_metered();
        plan.measure.needs_price = needs_price;
        Ok(plan)
    }

    /// For a request that only a scope bounds: the model is known, and the cap may change.
    fn within(mut self, within: Within) -> Self {
        let Within { facts, cap } = within;
        self.measure.model.clone_from(&facts.model);
        let (Some(most), Some(output)) = (cap, &facts.output) else { return self };
        self.wanted = output.requested.or(output.default).unwrap_or(u64::MAX);
        self.fixed_cap = Some(output.requested.map_or(most, |requested| requested.min(most)));
        self.measure.strips_usage_chunk = facts.strips_usage_chunk;
        self.bounded = Some(Box::new(RequestFacts { spend_edits: Vec::new(), ..facts }));
        self
    }

    /// For a key with a token or spend limit.
    ///
    /// # Errors
    /// `unbounded_request`, `unpriced_model` or `malformed_request`, naming what is at fault.
    fn bound(
        question: &Question<'_>,
        terms: &KeyTerms,
        till: &Inner,
        needs_price: bool,
        counted: Option<u64>,
        most: Option<u64>,
    ) -> Result<Self, Denial> {
        let prices = &till.prices;
        let provider = question.provider;
        let mut asked = request::facts(question, prices).map_err(refused)?;
        if !needs_price {
            // They bound what is paid, not what is used.
            asked.spend_edits.clear();
        }
        if let Some(counted) = counted {
            asked.tighten(counted);
        }
        let at = (till.clock)();
        let mut demand = if asked.is_free {
            Demand::ONE_ACTIVATION
        } else {
            let price = asked.model.as_deref().and_then(|model| prices.find(provider.price_id(), model));
            demand(&asked, price, needs_price, at, terms.options().clamp).map_err(|error| match error {
                BoundError::Refused(refusal) => refused(refusal),
                unpriced => Denial::new(DenialCode::UnpricedModel, unpriced.to_string()),
            })?
        };
        let wanted = demand.steps_wanted;
        if let Some(most) = most {
            demand.steps_wanted = wanted.min(most);
            demand.steps_min = demand.steps_min.min(demand.steps_wanted);
        }
        let measure = Measure {
            endpoint: Some(asked.endpoint),
            format: asked.answer,
            is_free: asked.is_free,
            model: asked.model.clone(),
            context: asked.context.clone(),
            is_metered: true,
            needs_price,
            outputs: asked.output.as_ref().map(|output| output.outputs),
            strips_usage_chunk: asked.strips_usage_chunk,
            prices: Arc::clone(prices),
            at,
            clock: till.clock,
        };
        Ok(Self { demand, measure, bounded: Some(Box::new(asked)), wanted, fixed_cap: None })
    }

    /// The model, and whether its input is nothing but text, where a token of it costs something: then counting may
    /// help.
    pub(crate) fn countable(&self) -> Option<(&str, bool)> {
        let asked = self.bounded.as_ref().filter(|asked| !asked.is_free)?;
        Some((asked.model.as_deref()?, asked.is_plain_text))
    }

    /// The bound of the input in tokens.
    pub(crate) fn input_tokens(&self) -> u64 {
        self.demand.tokens_fixed
    }

    /// The body that the provider gets, if it is another one than the client's, and the cap that was lowered.
    pub(crate) fn rewrite(&self, body: &[u8], steps: u64) -> (Option<Bytes>, Option<Clamped>) {
        let Some(asked) = self.bounded.as_ref().filter(|asked| !asked.is_free) else {
            return (None, None);
        };
        let steps = self.fixed_cap.unwrap_or(steps);
        let cap = asked.output.as_ref().map(|_| steps);
        // Against what the client asked for: more than the model can put out is lowered too.
        let wanted = |output: &OutputCap| output.requested.unwrap_or(0).max(self.wanted);
        let clamped = asked.output.as_ref().filter(|output| steps < wanted(output));
        let clamped = clamped.map(|output| Clamped { parameter: output.parameter, cap: steps });
        let is_unchanged = asked.edits.is_empty()
            && asked.output.as_ref().is_none_or(|output| output.requested == Some(steps));
        let rewritten = (!is_unchanged).then(|| Bytes::from(asked.rewrite(body, cap)));
        (rewritten, clamped)
    }
}

/// The request as the tables read it.
pub(crate) fn question<'a>(
    key: &'a Authenticated,
    request: &'a Head,
    facts: &'a Facts,
    body: &'a [u8],
) -> Question<'a> {
    Question {
        provider: &key.key().provider,
        method: &request.method,
        path: facts.place.path(),
        query: facts.query.as_deref(),
        headers: &request.fields,
        body,
    }
}

/// Whether the refusal is one that `allow_unbounded` lifts.
fn is_unbounded(code: DenialCode) -> bool {
    matches!(code, DenialCode::UnboundedRequest | DenialCode::UnpricedModel)
}

fn refused(refusal: Refused) -> Denial {
    let code = match refusal {
        Refused::Unbounded { .. } => DenialCode::UnboundedRequest,
        Refused::Malformed(_) => DenialCode::MalformedRequest,
    };
    Denial::new(code, refusal.to_string())
}

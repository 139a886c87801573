//! Stage 3: set units aside, durably, before anything is sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use till_core::demand::Demand;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Limits;
use till_providers::scope::check_network;
use till_store::{Hold, HoldRefusal, KeyTerms, StoreError, UsageRecord};
use tokio::sync::OwnedSemaphorePermit;

use crate::Inner;
use crate::authenticate::Authenticated;
use crate::body::RequestBody;
use crate::bounds::{Clamped, Measure, Plan};
use crate::connect::OutboundBody;
use crate::facts::Facts;
use crate::head::Head;
use crate::inspect::Body;
use crate::record::{Record, millis};
use crate::tighten::count_input;
use crate::trace::Trace;

/// Proof that one request may be sent: its hold is on disk.
///
/// Dropping it gives the units back as long as it is certain that nothing was sent, and spends them otherwise.
pub(crate) struct Admission {
    held: Option<Box<Held>>,
    maybe_sent: bool,
}

/// What is set aside for a request, and how its answer tells what it used. In a box where it goes through many hands.
pub(crate) struct Held {
    pub(crate) hold: Hold,
    pub(crate) measure: Measure,
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Admission {
    fn new(hold: Hold, measure: Measure, trace: Option<Arc<Trace>>) -> Self {
        Self { held: Some(Box::new(Held { hold, measure, trace })), maybe_sent: false }
    }

    /// What is left of each limit after this request.
    pub(crate) fn remaining(&self) -> Limits {
        self.held.as_ref().map_or_else(Limits::default, |held| held.hold.remaining())
    }

    /// Whether the answer counts against a limit.
    pub(crate) fn is_metered(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.measure.is_metered)
    }

    /// What is to be told of the request, if it is traced.
    pub(crate) fn trace(&self) -> Option<&Arc<Trace>> {
        self.held.as_ref().and_then(|held| held.trace.as_ref())
    }

    /// Called right before the request is handed to a connection: bytes may go out at any moment from here on.
    pub(crate) fn sending(&mut self) {
        self.maybe_sent = true;
    }

    /// Called with the proof in hand that not one byte was written.
    pub(crate) fn nothing_was_sent(&mut self) {
        self.maybe_sent = false;
    }

    /// Notes in the usage record why there is no answer of the provider.
    pub(crate) fn failed(&mut self, denial: &Denial, started: Instant) {
        if let Some(record) = self.held.as_mut().and_then(|held| held.hold.record_mut()) {
            record.denial = Some(denial.code);
            record.latency_ms = millis(started);
        }
    }

    /// The hold of a request that was sent. Dropping the hold spends it.
    pub(crate) fn into_held(mut self) -> Box<Held> {
        self.held.take().expect("an admission has its hold until it is used")
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        match self.held.take() {
            Some(held) if !self.maybe_sent => held.hold.void(),
            // A hold that is dropped is spent.
            _ => {}
        }
    }
}

/// A request that may be sent.
pub(crate) struct Admitted {
    pub(crate) admission: Admission,
    /// With the output cap that was granted.
    pub(crate) body: OutboundBody,
    /// The length of the body, where it is not the client's any more.
    pub(crate) length: Option<usize>,
    pub(crate) clamped: Option<Clamped>,
    /// Room in memory, taken until this is dropped.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// What of the key decides how its requests are treated, once it is known that it may be used from where this one comes
/// from: nothing else is said about a key elsewhere.
///
/// # Errors
/// `network_denied`, which is counted, or the terms can't be had.
pub(crate) async fn terms(
    till: &Inner,
    key: &Authenticated,
    client: Option<IpAddr>,
) -> Result<Arc<KeyTerms>, Denial> {
    let terms = till.store.key_terms(key.key().id).await.map_err(denial)?;
    within_network(till, key, terms, client)
}

/// The same for a key whose terms are in memory, as they nearly always are; `None` for any other.
pub(crate) fn terms_at_once(
    till: &Inner,
    key: &Authenticated,
    client: Option<IpAddr>,
) -> Option<Result<Arc<KeyTerms>, Denial>> {
    let terms = till.store.key_terms_at_once(key.key().id)?;
    Some(within_network(till, key, terms, client))
}

fn within_network(
    till: &Inner,
    key: &Authenticated,
    terms: Arc<KeyTerms>,
    client: Option<IpAddr>,
) -> Result<Arc<KeyTerms>, Denial> {
    if let Some(scope) = terms.scope() {
        let count = |denial: &Denial| till.store.denial_record(key.key().id, denial.code);
        check_network(scope, client).inspect_err(count)?;
    }
    Ok(terms)
}

/// A request that was not admitted yet, with what is known for it.
pub(crate) struct Early {
    body: Body,
    /// Those of its key, once they are known.
    pub(crate) terms: Option<Arc<KeyTerms>>,
    /// What it may come to under these terms, and the bytes of the body, if that was read for it.
    plan: Option<Box<(Plan, Bytes)>>,
}

impl Early {
    pub(crate) fn new(body: RequestBody) -> Self {
        Self { body: Body::Stream(body), terms: None, plan: None }
    }
}

/// Admits a request that has to wait for nothing: what must be known of its body has come, and its units lie ready on disk. Anything
/// else is no refusal; [`admit`] goes on with it.
pub(crate) fn admit_at_once(
    till: &Inner,
    key: &Authenticated,
    request: &Head,
    facts: &Facts,
    early: Early,
    record: &mut Record,
) -> Result<Admitted, Early> {
    let Early { mut body, terms: Some(terms), .. } = early else { return Err(early) };
    let planned = plan_at_once(till, key, request, facts, &mut body, &terms, record);
    let Some((plan, bytes)) = planned else { return Err(Early { body, terms: Some(terms), plan: None }) };
    match till.store.hold_at_once(&terms, &plan.demand) {
        Some(hold) => {
            if let Some(trace) = &record.trace {
                trace.held(Instant::now());
            }
            record.asked_for(&plan.measure);
            Ok(admitted(till, key, hold, plan, &bytes, body, record))
        }
        None => Err(Early { body, terms: Some(terms), plan: Some(Box::new((plan, bytes))) }),
    }
}

/// What a request may come to, if that can be told now; why it may not be asked is for [`admit`] to say.
fn plan_at_once(
    till: &Inner,
    key: &Authenticated,
    request: &Head,
    facts: &Facts,
    body: &mut Body,
    terms: &KeyTerms,
    record: &Record,
) -> Option<(Plan, Bytes)> {
    if facts.place.denied_field().is_some() {
        return None;
    }
    if !needs_body(terms) {
        return Some((Plan::counted(facts, till, record.at), Bytes::new()));
    }
    if facts.websocket.is_some() {
        return None;
    }
    let bytes = body.read_at_once(till, &request.fields)?;
    let plan = Plan::read(key, request, facts, &bytes, terms, till, None).ok()?;
    Some((plan, bytes))
}

/// A request whose hold was granted, as it goes out.
fn admitted(
    till: &Inner,
    key: &Authenticated,
    mut hold: Hold,
    plan: Plan,
    bytes: &Bytes,
    body: Body,
    record: &Record,
) -> Admitted {
    // Until the answer says more, what is held is the cost.
    let price_version = (hold.units().spend_nanos > 0).then(|| Arc::clone(till.prices.version()));
    hold.record_made(|id| UsageRecord { price_version, ..record.usage(key.key().id, id) });
    let (rewritten, clamped) = plan.rewrite(bytes, hold.steps());
    let length = rewritten.as_ref().map(Bytes::len);
    let (body, room) = body.into_outbound(rewritten);
    let admission = Admission::new(hold, plan.measure, record.trace.clone());
    Admitted { admission, body, length, clamped, room }
}

/// Finds out what the request may come to and asks the ledger for it.
///
/// # Errors
/// A denial, which is counted, or `ledger_unavailable` when the hold could not be made durable.
pub(crate) async fn admit(
    till: &Inner,
    key: &Authenticated,
    request: &Head,
    facts: &Facts,
    early: Early,
    record: &mut Record,
) -> Result<Admitted, Denial> {
    let count = |denial: &Denial| till.store.denial_record(key.key().id, denial.code);
    let Early { mut body, terms: mut known, plan: mut planned } = early;
    if let Some(field) = facts.place.denied_field() {
        let (read, bytes) = body.read(till, &request.fields).await.inspect_err(count)?;
        field.check(&bytes).inspect_err(count)?;
        body = read;
    }
    // What the input was counted at, once its cheap bound did not fit.
    let mut counted = None;
    loop {
        let terms = match known.take() {
            Some(terms) => terms,
            // The scope that was checked before may be another one now.
            None => {
                let terms = terms(till, key, record.client).await?;
                let scope = terms.scope().map(|scope| &**scope);
                facts.place.check(&key.key().provider, scope).inspect_err(count)?;
                terms
            }
        };
        let (plan, bytes) = if let Some(planned) = planned.take() {
            *planned
        } else if needs_body(&terms) {
            if facts.websocket.is_some() {
                return Err(websocket_unmetered()).inspect_err(count);
            }
            let (read, bytes) = body.read(till, &request.fields).await.inspect_err(count)?;
            body = read;
            let plan = Plan::read(key, request, facts, &bytes, &terms, till, counted);
            let plan = plan.inspect_err(|denial| {
                record.asked_at(facts);
                count(denial);
            });
            (plan?, bytes)
        } else {
            (Plan::counted(facts, till, record.at), Bytes::new())
        };
        record.asked_for(&plan.measure);
        let asked = record.trace.as_ref().map(|_| Instant::now());
        let answer = till.store.hold_uncounted(&terms, plan.demand, till.timeouts.budget).await;
        if let (Some(trace), Some(asked)) = (&record.trace, asked) {
            trace.held(asked);
        }
        let hold = match answer {
            Ok(hold) => hold,
            // Somebody changed the key's limits just now: ask under the new ones.
            Err(HoldRefusal::TermsChanged) => continue,
            Err(HoldRefusal::Denied(no)) => {
                if counted.is_none() && does_not_fit(no.code) {
                    counted = Box::pin(count_input(till, key, request, facts, &bytes, &plan, &terms)).await;
                    if counted.is_some() {
                        continue;
                    }
                }
                if no.code != DenialCode::InvalidKey && no.code != DenialCode::ShuttingDown {
                    count(&no);
                }
                return Err(no);
            }
            Err(refusal) => return Err(denial(refusal)),
        };
        return Ok(admitted(till, key, hold, plan, &bytes, body, record));
    }
}

/// Whether what the request says decides about it.
fn needs_body(terms: &KeyTerms) -> bool {
    terms.is_metered() || terms.scope().is_some_and(|scope| scope.needs_body())
}

/// Whether a lower bound of the input could help.
fn does_not_fit(code: DenialCode) -> bool {
    matches!(code, DenialCode::TokensExhausted | DenialCode::SpendExhausted | DenialCode::ProjectExhausted)
}

/// What is done over a WebSocket is counted in messages only.
fn websocket_unmetered() -> Denial {
    Denial::new(
        DenialCode::WebsocketUnmetered,
        "This scoped key has a limit in tokens or money, or may only ask certain models or for certain things, which till \
         can't tell over a WebSocket. Use plain HTTP requests.",
    )
}

/// A hold of one activation, for a message on a WebSocket.
///
/// # Errors
/// As [`admit`]; `websocket_unmetered` if the key has got a limit since that can't be counted here.
pub(crate) async fn take_hold(
    till: &Inner,
    key: &Authenticated,
    client: Option<IpAddr>,
) -> Result<Hold, Denial> {
    loop {
        let terms = terms(till, key, client).await?;
        if needs_body(&terms) {
            let denial = websocket_unmetered();
            till.store.denial_record(key.key().id, denial.code);
            return Err(denial);
        }
        match till.store.hold(&terms, Demand::ONE_ACTIVATION, till.timeouts.budget).await {
            Err(HoldRefusal::TermsChanged) => {}
            outcome => return outcome.map_err(denial),
        }
    }
}

fn denial(refusal: HoldRefusal) -> Denial {
    match refusal {
        HoldRefusal::Denied(denial) => denial,
        HoldRefusal::Unavailable(error) => unavailable(&error),
        HoldRefusal::TermsChanged => Denial::new(
            DenialCode::LedgerUnavailable,
            "The limits of this key were changed while this request was looked at. Send it again.",
        ),
    }
}

fn unavailable(error: &StoreError) -> Denial {
    // The client gets no file names; the store has logged the reason once for the whole batch.
    tracing::debug!(error = %error, "hold not durable");
    Denial::new(
        DenialCode::LedgerUnavailable,
        "till could not record this request durably, so nothing was sent. Try again; if it stays, the operator finds the \
         reason in till's log.",
    )
}

//! Counts the tokens of an input whose cheap bound does not fit what is left of a limit: with a public tokenizer, or
//! by asking the provider at an endpoint that costs nothing.
//!
//! Asking the provider takes an activation hold first, so that a dead key asks nothing, and gives it back: such a
//! question is no request of the agent. After a question that did not help, a key asks no more for a while.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Version};
use http_body_util::{Either, Full};
use till_core::demand::Demand;
use till_core::key::KeyId;
use till_core::path::RawPath;
use till_providers::count::{CountRequest, counted, is_tokenisable, tokenise, with_margin};
use till_store::KeyTerms;
use tokio::sync::Semaphore;

use crate::Inner;
use crate::authenticate::{Authenticated, VerifiedKey};
use crate::bounds::{Plan, question};
use crate::facts::Facts;
use crate::forward::outbound;
use crate::head::{Head, Target};
use crate::pool::Pool;

/// How long a provider may take to count.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a key asks no provider after a count that did not help.
const PAUSE: Duration = Duration::from_secs(5);

/// How many inputs are counted at once.
const AT_ONCE: usize = 8;

/// How many keys are remembered that pause.
const PAUSING_MAX: usize = 4_096;

/// The longest answer to a question, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// What all requests share of counting.
pub(crate) struct Counting {
    places: Semaphore,
    pausing: Mutex<HashMap<KeyId, Instant>>,
}

impl Default for Counting {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), pausing: Mutex::default() }
    }
}

impl Counting {
    fn is_pausing(&self, key: KeyId) -> bool {
        let pausing = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        pausing.get(&key).is_some_and(|since| since.elapsed() < PAUSE)
    }

    fn pause(&self, key: KeyId) {
        let mut pausing = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        pausing.retain(|_, since| since.elapsed() < PAUSE);
        if pausing.len() < PAUSING_MAX {
            pausing.insert(key, Instant::now());
        }
    }
}

/// The tokens to set aside for the input instead of its cheap bound; `None` when counting is not possible or does
/// not help.
pub(crate) async fn count_input(
    till: &Inner,
    key: &Authenticated,
    request: &Head,
    facts: &Facts,
    body: &Bytes,
    plan: &Plan,
    terms: &Arc<KeyTerms>,
) -> Option<u64> {
    let (model, is_plain_text) = plan.countable()?;
    // With its margin no count is lower.
    if plan.input_tokens() <= with_margin(0) {
        return None;
    }
    let _place = till.counting.places.try_acquire().ok()?;
    let provider = &key.key().provider;
    let count = if is_plain_text && is_tokenisable(provider, model, body) {
        let (provider, model, body) = (provider.clone(), model.to_owned(), body.clone());
        tokio::task::spawn_blocking(move || tokenise(&provider, &model, &body)).await.ok()??
    } else {
        if till.counting.is_pausing(key.key().id) {
            return None;
        }
        let wanted = CountRequest::of(&question(key, request, facts, body))?;
        let hold = till.store.hold_uncounted(terms, Demand::ONE_ACTIVATION, PATIENCE).await.ok()?;
        let count = tokio::time::timeout(PATIENCE, ask(till, key.key(), request, wanted)).await;
        hold.void();
        count.ok()??
    };
    till.metrics.inputs_counted.add(1);
    let bound = with_margin(count);
    if bound >= plan.input_tokens() {
        till.counting.pause(key.key().id);
        return None;
    }
    Some(bound)
}

/// Asks the provider.
async fn ask(till: &Inner, key: &Arc<VerifiedKey>, request: &Head, wanted: CountRequest) -> Option<u64> {
    let raw = RawPath::parse(wanted.path.as_bytes()).ok()?;
    let place = Arc::new(key.provider.place(&Method::POST, raw).ok()?);
    // What names the version of the API counts for the question too; what was about the other body does not.
    let mut fields = request.fields.clone();
    fields.retain(|name, _| !matches!(name, b"accept" | b"content-type"));
    fields.push("content-type", "application/json");
    let target = Target::new(&wanted.path);
    let head = Head { method: Method::POST, target, version: Version::HTTP_11, fields };
    let facts = Facts { place, query: None, websocket: None };
    let body = Either::Right(Full::new(Bytes::from(wanted.body)));
    let request = outbound(key, &facts, &head, body, None).ok()?;
    let mut lease = match Pool::reuse(&key.bucket, &key.metrics, Instant::now()) {
        Some(lease) => lease,
        None => till.pool.connect(&key.bucket, &key.metrics).await.ok()?,
    };
    lease.wire.begin(request);
    let answer = poll_fn(|cx| lease.wire.poll_answer(cx)).await.ok()?;
    if !answer.status.is_success() {
        return None;
    }
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|cx| lease.wire.poll_data(cx)).await {
        body.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        if body.len() > ANSWER_MAX {
            return None;
        }
    }
    lease.release(Instant::now());
    counted(&body)
}

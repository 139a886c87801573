//! The price at which OpenRouter may choose a provider.
//!
//! It balances a model among providers whose prices differ, and a request can prefer dearer ones. `provider.max_price`, in
//! dollars per million tokens, is what it enforces
//! (<https://openrouter.ai/docs/features/provider-routing#max-price>), so the price that is known here goes there.

use super::super::object::{Object, Value};
use super::super::{Edit, Refused, RequestFacts, cap, unbounded};
use crate::price::ModelPrice;
use crate::usage::Unit;

/// Pico-dollars per token in a dollar per million tokens.
const PICOS: u64 = 1_000_000;

/// Puts the known price in where the request has none; a higher one has no bound in money.
pub(super) fn cap_price(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let listed = |unit| price.and_then(|price| price.listed(unit));
    let (Some(prompt), Some(completion)) = (listed(Unit::InputTokens), listed(Unit::OutputTokens)) else {
        return Ok(());
    };
    let whole = format!(r#"{{"prompt":{},"completion":{}}}"#, dollars(prompt), dollars(completion));
    let Some(provider) = inner(body, "provider")? else {
        facts.spend_edits.push(put(body, "provider", &format!(r#"{{"max_price":{whole}}}"#)));
        return Ok(());
    };
    let Some(most) = inner(&provider, "max_price")? else {
        facts.spend_edits.push(put(&provider, "max_price", &whole));
        return Ok(());
    };
    let mut missing = Vec::new();
    for (name, known) in [("prompt", prompt), ("completion", completion)] {
        let place = format!("provider.max_price.{name}");
        match most.get(name) {
            Some(value) if value.is_null() => {
                facts.spend_edits.push(Edit { range: value.range(), text: dollars(known) });
            }
            Some(value) => {
                let given = picos(&value)
                    .ok_or_else(|| Refused::Malformed(format!("{place:?} must be a number of dollars.")))?;
                if given > known {
                    let rule = format!(
                        "is higher than the price of this model that is known here, {} dollars for a million tokens. \
                         Lower it, or leave it out.",
                        dollars(known)
                    );
                    facts.unbounded_spend = Some(unbounded(&place, &rule));
                }
            }
            None => missing.push(format!("\"{name}\":{}", dollars(known))),
        }
    }
    if !missing.is_empty() {
        let comma = if most.is_empty() { "" } else { "," };
        let text = format!("{comma}{}", missing.join(","));
        facts.spend_edits.push(Edit { range: most.end()..most.end(), text });
    }
    Ok(())
}

/// The object under a name, unless there is none.
fn inner<'a>(object: &Object<'a>, name: &str) -> Result<Option<Object<'a>>, Refused> {
    let Some(value) = object.given(name) else { return Ok(None) };
    let found = value.as_object();
    found.map(Some).ok_or_else(|| Refused::Malformed(format!("{name:?} must be an object.")))
}

/// A member that is not there, or null.
fn put(object: &Object<'_>, name: &str, text: &str) -> Edit {
    match object.get(name) {
        Some(null) => Edit { range: null.range(), text: text.to_owned() },
        None => {
            let end = object.end();
            Edit { range: end..end, text: format!("{}{text}", cap::member(object, name)) }
        }
    }
}

/// A price as it is written there.
fn dollars(picos: u64) -> String {
    let (whole, rest) = (picos / PICOS, picos % PICOS);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:06}").trim_end_matches('0').to_owned()
}

/// A price, rounded up; `None` if it is no plain number.
fn picos(value: &Value<'_>) -> Option<u64> {
    let text = value.as_str();
    let text = text.as_deref().unwrap_or(value.raw());
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let is_plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(whole) || !is_plain(rest) {
        return None;
    }
    let (kept, beyond) = rest.split_at(rest.len().min(6));
    let kept: u64 = format!("{kept:0<6}").parse().ok()?;
    let up = u64::from(beyond.bytes().any(|byte| byte != b'0'));
    whole.parse::<u64>().ok()?.checked_mul(PICOS)?.checked_add(kept + up)
}

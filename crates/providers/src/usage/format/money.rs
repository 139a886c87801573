//! What a provider itself says to have charged, and other decimal numbers.

use super::value::Value;

/// The members of a usage with the cost that it states.
pub(super) const COST_NAMES: [&str; 4] = ["cost_in_usd_ticks", "cost", "is_byok", "cost_details"];

/// The cost that a usage states, in pico-dollars; `None` where it states none, or one that is no amount.
pub(super) fn stated_cost([ticks, cost, is_byok, details]: [Option<Value<'_>>; 4]) -> Option<u128> {
    let number = |value: Option<Value<'_>>| value.and_then(|value| decimal(value, 12, Rounding::Nearest));
    // xAI, in ticks of 10⁻¹⁰ dollars, <https://docs.x.ai/developers/cost-tracking>.
    if let Some(ticks) = ticks.and_then(Value::as_digits) {
        return Some(u128::from(ticks) * 100);
    }
    // Perplexity breaks it down, <https://docs.perplexity.ai/api-reference/chat-completions-post>.
    let cost = number(cost?.get("total_cost").or(cost))?;
    // OpenRouter's is its fee alone where the upstream provider charges a key of the customer's own for the rest,
    // <https://openrouter.ai/docs/use-cases/usage-accounting>.
    let is_byok = is_byok.is_some_and(Value::is_true);
    let upstream = number(details.and_then(|details| details.get("upstream_inference_cost")));
    Some(cost.saturating_add(upstream.filter(|_| is_byok).unwrap_or(0)))
}

/// What happens to places that are too small.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// For amounts that were floating-point numbers at the provider, and have its noise in their last places.
    Nearest,
    Up,
}

/// A JSON number of zero or more in units of 10 to the power of minus `places`.
pub(super) fn decimal(value: Value<'_>, places: i32, rounding: Rounding) -> Option<u128> {
    let text = value.as_number()?.to_string();
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = places.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let Some(power) = 10_u128.checked_pow(shift.unsigned_abs()) else {
        // Nothing is left of so small a number, and so great a one is none.
        let rest = u128::from(digits > 0 && rounding == Rounding::Up);
        return (shift < 0 || digits == 0).then_some(rest);
    };
    match rounding {
        _ if shift >= 0 => digits.checked_mul(power),
        Rounding::Up => Some(digits.div_ceil(power)),
        Rounding::Nearest => Some(digits.checked_add(power / 2)? / power),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{COST_NAMES, Rounding, decimal, stated_cost};
    use crate::usage::format::value::{Document, Object};

    /// Something with an object, as an answer has it.
    fn with<T>(object: &serde_json::Value, read: impl FnOnce(Object<'_>) -> T) -> T {
        read(Document::parse(object.to_string().as_bytes()).expect("an object").object())
    }

    #[test]
    fn decimal_numbers_are_read_to_the_place() {
        for (value, nearest, up) in [
            (json!(0), Some(0), Some(0)),
            (json!(2), Some(2000), Some(2000)),
            (json!(1.1), Some(1100), Some(1100)),
            (json!(0.0004), Some(0), Some(1)),
            (json!(0.0005), Some(1), Some(1)),
            (json!(1e-320), Some(0), Some(1)),
            (json!(4.140_000_000_000_3e-1), Some(414), Some(415)),
            (json!(1e30), Some(10_u128.pow(33)), Some(10_u128.pow(33))),
            (json!(1e300), None, None),
            (json!(-1), None, None),
            (json!("1"), None, None),
        ] {
            let in_places = |rounding| {
                with(&json!({"n": value}), |object| decimal(object.get("n").expect("a value"), 3, rounding))
            };
            assert_eq!(in_places(Rounding::Nearest), nearest, "{value}");
            assert_eq!(in_places(Rounding::Up), up, "{value}");
        }
    }

    #[test]
    fn stated_costs_of_each_provider() {
        for (usage, picos) in [
            (json!({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}), Some(950_000_000_000)),
            (
                json!({"cost": 0.01, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.02}}),
                Some(30_000_000_000),
            ),
            (json!({"cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": null}}), Some(0)),
            (json!({"cost": {"input_tokens_cost": 0.001, "total_cost": 0.006}}), Some(6_000_000_000)),
            (json!({"cost_in_usd_ticks": 37_756_000}), Some(3_775_600_000)),
            (json!({"cost": null}), None),
            (json!({"cost": -1}), None),
            (json!({}), None),
        ] {
            assert_eq!(with(&usage, |usage| stated_cost(usage.pick(COST_NAMES))), picos, "{usage}");
        }
    }
}

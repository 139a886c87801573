//! The output cap of a request: where it is, or where it goes.

use std::borrow::Cow;

use super::object::{Object, Value};
use super::{CapPlace, OutputCap, Refused};

/// A number that must be whole and not negative.
pub(super) fn whole(value: &Value<'_>, name: &str) -> Result<u64, Refused> {
    value
        .as_u64()
        .ok_or_else(|| Refused::Malformed(format!("{name:?} must be a whole number that is not negative.")))
}

/// A flag, `false` if it is not given.
pub(super) fn flag(object: &Object<'_>, name: &str) -> Result<bool, Refused> {
    match object.given(name) {
        None => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| Refused::Malformed(format!("{name:?} must be true or false.")))
        }
    }
}

/// The text of a member that must be there.
pub(super) fn name_of_model(object: &Object<'_>) -> Result<String, Refused> {
    let model = object.given("model").and_then(|model| model.as_str());
    let model = model.filter(|model| !model.is_empty() && model.len() <= 256);
    model
        .map(Cow::into_owned)
        .ok_or_else(|| Refused::Malformed("\"model\" must be given, and be the name of a model.".to_owned()))
}

/// The cap under one of these names, the one that is put in being the first. Two different ones are refused: nobody
/// knows which one counts.
pub(super) fn find(
    object: &Object<'_>,
    names: &'static [&'static str],
    default: Option<u64>,
) -> Result<OutputCap, Refused> {
    let mut found: Option<(&'static str, u64, CapPlace)> = None;
    for name in names {
        let Some(value) = object.given(name) else { continue };
        let cap = whole(&value, name)?;
        if let Some((other, _, _)) = found {
            return Err(Refused::Malformed(format!(
                "{other:?} and {name:?} are both given. Leave one of them out."
            )));
        }
        found = Some((name, cap, CapPlace::Replace(value.range())));
    }
    let (parameter, requested, place) = match found {
        Some((name, cap, place)) => (name, Some(cap), place),
        None => (names[0], None, insertion(object, names[0])),
    };
    Ok(OutputCap { parameter, requested, default, min: 1, outputs: 1, also: Vec::new(), place })
}

/// Where a member goes that is not there, or is null.
pub(super) fn insertion(object: &Object<'_>, name: &'static str) -> CapPlace {
    if let Some(null) = object.get(name) {
        return CapPlace::Replace(null.range());
    }
    CapPlace::Insert { at: object.end(), before: member(object, name).into(), after: Cow::Borrowed("") }
}

/// The beginning of a member at the end of an object.
pub(super) fn member(object: &Object<'_>, name: &str) -> String {
    let comma = if object.is_empty() { "" } else { "," };
    format!("{comma}\"{name}\":")
}

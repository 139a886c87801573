//! What all things have in common that administrators keep: versions, pages, changes that nobody overwrites.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_store::{Entity, EntityKind, EntityQuery, Kept, Lookup, Put, Store, StoreError};

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::query::Parameters;

/// Longest page of a list, and what a list without `limit` has.
pub(crate) const PAGE_MAX: u32 = 1000;

/// How often a change is made again from a newer version, where the caller did not say from which.
const TRIES: usize = 8;

/// A version as an entity tag (RFC 9110 section 8.8.3).
pub(crate) fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

/// An answer that carries the version of what it is about.
pub(crate) fn versioned(status: StatusCode, version: u64, body: impl Serialize) -> Response {
    (status, [(header::ETAG, etag(version))], Json(body)).into_response()
}

/// The version that a change is to be made from; `None` is any.
///
/// # Errors
/// `If-Match` is not one entity tag as an answer had it, or `*`.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = || {
        let message = "`If-Match` must be the `ETag` of an answer, such as \"3\" with its quotes, or *";
        ApiError::new(ErrorCode::InvalidField, message)
    };
    let text = value.to_str().map_err(|_| invalid())?.trim();
    if values.next().is_some() {
        return Err(invalid());
    }
    if text == "*" {
        return Ok(None);
    }
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(invalid)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // One that no answer had matches nothing.
    if plain { Ok(Some(digits.parse().unwrap_or(u64::MAX))) } else { Err(invalid()) }
}

/// What is to become of something.
pub(crate) struct Edit<T> {
    pub(crate) is: T,
    /// What it is found by from now on; `None` leaves that.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) ends: bool,
    /// For the audit log, without secrets.
    pub(crate) detail: Value,
}

/// Something is found by a new text, and by those that it had for a while longer, or at once no more.
#[derive(Clone, Copy)]
pub(crate) struct Rotation {
    pub(crate) new: Lookup,
    pub(crate) old_until: Option<Timestamp>,
}

impl Rotation {
    /// All that it is found by from now on. What is on its way out already stays as it is, and what is over goes.
    fn lookups(self, before: &[Lookup], now: Timestamp) -> Vec<Lookup> {
        let mut all = vec![self.new];
        if let Some(until) = self.old_until {
            let still = before.iter().filter(|old| old.until.is_none_or(|end| end > now));
            let ends = |old: &Lookup| Some(old.until.map_or(until, |end| end.min(until)));
            all.extend(still.map(|old| Lookup { until: ends(old), ..*old }));
        }
        all
    }
}

/// Changes something that has not ended: from the version of the caller, or from the newest, again if somebody else was
/// faster. `edit` sees what there is, and may say that the caller does not.
pub(crate) async fn update<T: Entity>(
    store: &Store,
    id: &str,
    wanted: Option<u64>,
    action: &str,
    actor: &Actor,
    edit: impl Fn(&Kept<T>) -> Result<Edit<T>, ApiError>,
) -> Result<Kept<T>, ApiError> {
    for _ in 0..TRIES {
        let found = store.entity_fetch::<T>(id).await?.ok_or_else(|| missing(T::KIND))?;
        if found.ended_at.is_some() {
            // If its end was cut short, sending it again does the rest.
            store.endings_finish().await?;
            return Err(missing(T::KIND));
        }
        let Edit { is, rotation, ends, detail } = edit(&found)?;
        if wanted.is_some_and(|wanted| wanted != found.version) {
            return Err(StoreError::Changed.into());
        }
        let lookups = match rotation {
            None => None,
            // Read after the version that the change is made from, so that they are those of that version or the change is
            // refused: what another rotation took away in between must not come back.
            Some(rotation) => {
                let before = store.entity_lookups(T::KIND, &found.id).await?;
                Some(rotation.lookups(&before, store.now()))
            }
        };
        let put = Put { id: found.id, version: Some(found.version), is, lookups, ends };
        match store.entity_put(put, action, detail, actor).await {
            Err(StoreError::Changed) if wanted.is_none() => {}
            Err(StoreError::Missing) => return Err(missing(T::KIND)),
            done => return Ok(done?),
        }
    }
    Err(StoreError::Changed.into())
}

/// Something that has not ended.
pub(crate) async fn alive<T: Entity>(store: &Store, id: &str) -> Result<Kept<T>, ApiError> {
    let found = store.entity_fetch::<T>(id).await?.filter(|found| found.ended_at.is_none());
    found.ok_or_else(|| missing(T::KIND))
}

/// Something of the caller's project by the id in a path, also if it has ended.
pub(crate) async fn fetch<T: Entity>(
    store: &Store,
    caller: &Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Kept<T>, ApiError> {
    let no_such = || missing(T::KIND);
    let Path(id) = id.map_err(|_| no_such())?;
    let kept: Option<Kept<T>> = store.entity_fetch(&id).await?;
    kept.filter(|kept| caller.sees_bound(kept.is.project())).ok_or_else(no_such)
}

/// The answer for something that is not there, or not for this caller.
pub(crate) fn missing(kind: EntityKind) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no {} with this id", kind.as_str()))
}

/// What differs between two objects as they are shown.
pub(crate) fn difference(before: &Value, after: &Value) -> Value {
    let (mut old, mut new) = (Map::new(), Map::new());
    for (name, value) in after.as_object().into_iter().flatten() {
        if before.get(name) != Some(value) && !BOOKKEEPING.contains(&name.as_str()) {
            old.insert(name.clone(), before.get(name).cloned().unwrap_or(Value::Null));
            new.insert(name.clone(), value.clone());
        }
    }
    json!({"before": old, "after": new})
}

/// Fields that change with every change.
const BOOKKEEPING: [&str; 3] = ["version", "updatedAt", "lastUsedAt"];

/// An id that nobody has: the prefix and 20 random hexadecimal digits.
pub(crate) fn new_id(prefix: &str) -> Result<String, ApiError> {
    Ok(format!("{prefix}{}", to_hex(&random::<10>()?)))
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(error = %error, "the operating system gave no randomness");
        ApiError::plain(ErrorCode::InternalError)
    })?;
    Ok(bytes)
}

/// A page of a list.
pub(crate) struct Page {
    limit: Option<u32>,
    after: Option<String>,
    pub(crate) with_ended: bool,
}

impl Page {
    /// Names of the parameters that it takes.
    pub(crate) const NAMES: [&str; 3] = ["limit", "cursor", "ended"];

    pub(crate) fn take(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let limit = parameters.take_count("limit", PAGE_MAX)?;
        let after = parameters.take("cursor")?;
        let with_ended = parameters.take_flag("ended")?.unwrap_or(false);
        Ok(Self { limit, after, with_ended })
    }

    /// Reads a whole query that has nothing else.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let mut parameters = Parameters::parse(uri)?;
        let page = Self::take(&mut parameters)?;
        parameters.finish(&Self::NAMES)?;
        Ok(page)
    }

    /// What to ask the store for: one more than is shown tells whether there is a next page.
    pub(crate) fn query(&self, project: Option<&str>) -> EntityQuery {
        EntityQuery {
            after: self.after.clone(),
            limit: self.limit.map(|limit| limit + 1),
            project: project.map(str::to_owned),
            with_ended: self.with_ended,
        }
    }

    /// What is on the page, of one project or of all, and where the next one begins.
    pub(crate) async fn fetch<T: Entity>(
        &self,
        store: &Store,
        project: Option<&str>,
    ) -> Result<(Vec<Kept<T>>, Option<String>), ApiError> {
        let mut all = store.entity_list(self.query(project)).await?;
        let next = self.cut(&mut all);
        Ok((all, next))
    }

    /// Takes off what is too much, and says where the next page begins.
    pub(crate) fn cut<T: Entity>(&self, all: &mut Vec<Kept<T>>) -> Option<String> {
        let limit = usize::try_from(self.limit?).expect("a page has at most 1000 things");
        let more = all.len() > limit;
        all.truncate(limit);
        all.last().filter(|_| more).map(|last| last.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use serde_json::json;
    use till_core::audit::Actor;
    use till_core::role::Role;
    use till_core::time::Timestamp;
    use till_store::{AdminToken, Lookup, OpenOptions, Put, Store};
    use tokio::runtime::Handle;

    use super::{Edit, Rotation, etag, if_match, update};

    /// One rotation takes a text away at once while another one, which lets it go on, is under way.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_text_that_was_taken_away_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&OpenOptions::new(dir.path(), "0.0.0-test")).unwrap();
        let (now, actor) = (store.now(), Actor::system());
        let later = Timestamp(now.0 + 3_600_000);
        let find = |n: u8, until: Option<Timestamp>| Lookup { hash: [n; 32], until };
        let is = AdminToken::unbound("ci", Role::Viewer);
        let lookups = vec![find(0, None), find(9, Some(Timestamp(now.0.saturating_sub(1))))];
        let put =
            Put { id: "tok_ci".into(), version: None, is: is.clone(), lookups: Some(lookups), ends: false };
        store.entity_put(put, "token.create", json!({}), &actor).await.unwrap();
        let edit = |found: &super::Kept<AdminToken>| {
            if found.version == 1 {
                let lookups = Some(vec![find(1, None)]);
                let put = Put { id: "tok_ci".into(), version: Some(1), is: is.clone(), lookups, ends: false };
                let faster = store.entity_put(put, "token.rotate", json!({}), &actor);
                tokio::task::block_in_place(|| Handle::current().block_on(faster)).unwrap();
            }
            let rotation = Some(Rotation { new: find(2, None), old_until: Some(later) });
            Ok(Edit { is: found.is.clone(), rotation, ends: false, detail: json!({}) })
        };
        update(&store, "tok_ci", None, "token.rotate", &actor, edit).await.unwrap();
        let left = store.entity_lookups(super::EntityKind::Token, "tok_ci").await.unwrap();
        assert_eq!(left, [find(2, None), find(1, Some(later))]);
        // What is over is not carried on for ever.
        let rotation = Rotation { new: find(3, None), old_until: Some(later) };
        let before = [find(2, None), find(1, Some(Timestamp(7))), find(0, Some(Timestamp(9)))];
        let left = rotation.lookups(&before, Timestamp(8));
        assert_eq!(left, [find(3, None), find(2, Some(later)), find(0, Some(Timestamp(9)))]);
        assert_eq!(Rotation { old_until: None, ..rotation }.lookups(&before, Timestamp(8)), [find(3, None)]);
    }

    #[test]
    fn versions_are_entity_tags() {
        assert_eq!(etag(17), "\"17\"");
        for (text, expected) in [
            (Some("\"17\""), Some(Some(17))),
            (Some("*"), Some(None)),
            (None, Some(None)),
            (Some("\"99999999999999999999999\""), Some(Some(u64::MAX))),
            (Some("17"), None),
            (Some("\"\""), None),
            (Some("W/\"17\""), None),
            (Some("\"1\", \"2\""), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::IF_MATCH, HeaderValue::from_static(text));
            }
            assert_eq!(if_match(&headers).ok(), expected, "{text:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::IF_MATCH, HeaderValue::from_static("\"1\""));
        twice.append(header::IF_MATCH, HeaderValue::from_static("\"1\""));
        assert!(if_match(&twice).is_err());
    }
}

//! `/admin/keys`: mint, list, show, change and revoke.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::Limits;
use till_core::rate::Rates;
use till_core::scope::Scope;
use till_core::token::{Minted, token_fingerprint};
use till_providers::Provider;
use till_providers::request::endpoints;
use till_store::{
    DEFAULT_PROJECT, KeyChange, KeyOptions, KeyPlace, KeyQuery, KeyRecord, KeySort, NewKey, StoreError,
};

use crate::authenticate::Caller;
use crate::claim;
use crate::entity_json::{if_match, random, versioned};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::idempotency::{self, Repeatable};
use crate::json_body;
use crate::key_create::{KeyCreate, KeyCreateBody, scope_mentions};
use crate::key_json::{CreatedKeyJson, HandOver, KeyAnswer, KeyCreateAnswer, KeyJson, KeyListAnswer};
use crate::key_life;
use crate::key_update::{self, KeyUpdateBody};
use crate::key_upstream::MintFrom;
use crate::keys_revoke::STATUS_RULE;
use crate::query::{self, Parameters};
use crate::router::Shared;

/// Longest page of a list.
const PAGE_MAX: u32 = 1000;

/// Longest text to search for, in characters: as long as a name.
const SEARCH_CHARS_MAX: usize = 256;

/// Mint a scoped key
///
/// Seals the real key, or the name of a stored one, into a new scoped key with limits of its own. The scoped key is in this
/// answer and nowhere else: till does not keep it. With `claim_ttl_seconds` the answer has a link in its place that shows the scoped key
/// once.
///
/// With an `Idempotency-Key` the same request can be sent again: it answers the same key and makes no second one.
#[utoipa::path(post, path = "/admin/keys", request_body = KeyCreateBody,
    params(("idempotency-key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters that nobody else has used: a UUID", pattern = "^[!-~]{1,255}$")),
    responses(
        (status = 201, description = "The new key", body = KeyCreateAnswer),
        (status = 409, description = "The `Idempotency-Key` was used with another request", body = ErrorBody),
        (status = 400, description = "A field or the body breaks a rule, or the provider is not known", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn key_create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<KeyCreateAnswer>), ApiError> {
    query::none(&uri)?;
    let body = json_body::read(&headers, body).await?;
    let repeatable = Repeatable::of(&headers, &caller)?;
    let mut wanted =
        KeyCreate::parse(&body, shared.state.store.now(), shared.state.settings.key_lifetime_max)?;
    let project = caller.project_for(wanted.project.take())?.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
    let from = MintFrom::find(&shared, &wanted.upstream, &project).await?;
    meterable(&shared, from.provider.id(), wanted.limits, wanted.options)?;
    let scope = scope(&mut wanted, from.provider)?;
    let minted = mint(&shared, &from, repeatable.as_ref())?;
    let request = repeatable.map(|_| idempotency::fingerprint(&body, &minted)).transpose()?;
    if request.is_some() && wanted.claim_until.is_some() {
        let message = "`Idempotency-Key` can't be used with `claim_ttl_seconds`: a link is made once";
        return Err(ApiError::new(ErrorCode::InvalidField, message));
    }
    let new_key = NewKey {
        place: KeyPlace { project, maker: Some(caller.maker().to_owned()), credential: from.credential },
        request,
        id: minted.id,
        master_key: Some(minted.master_key),
        fingerprint: minted.scoped_key.reveal_str().map(token_fingerprint),
        provider: from.provider.id().to_owned(),
        origin: from.origin,
        limits: wanted.limits,
        options: wanted.options,
        lifetime: wanted.lifetime,
        scope,
        metadata: wanted.metadata,
    };
    let (store, actor) = (&shared.state.store, caller.actor());
    let key = match wanted.claim_until {
        None => {
            let record = match store.key_create(new_key, actor).await {
                Err(StoreError::Conflict { .. }) if request.is_some() => {
                    idempotency::repeated(store, minted.id, request).await?
                }
                made => made?,
            };
            CreatedKeyJson::new(record, HandOver::Now(&minted.scoped_key))
        }
        Some(until) => {
            let (claim, url) = claim::wrap(&minted.scoped_key, until, &shared.state.settings.public_url)?;
            let record = store.key_create_for_claim(new_key, claim, actor).await?;
            CreatedKeyJson::new(record, HandOver::ByLink(url, until))
        }
    };
    Ok((StatusCode::CREATED, Json(KeyCreateAnswer { key })))
}

/// A limit in tokens or money is refused for an API that no table knows: no request could pass under it.
fn meterable(
    shared: &Shared,
    provider_id: &str,
    limits: Limits,
    options: KeyOptions,
) -> Result<(), ApiError> {
    let provider = shared.state.providers.get(provider_id);
    if options.allow_unbounded || provider.is_some_and(|provider| !endpoints(provider).is_empty()) {
        return Ok(());
    }
    for (is_set, field) in [
        (limits.tokens.is_some(), "`max_tokens`"),
        (limits.spend_nanos.is_some(), "a limit in money"),
        (options.rates.tokens_per_minute.is_some(), "`rate.tokens_per_minute`"),
    ] {
        if is_set {
            let message = format!(
                "{field} can't be enforced for `{provider_id}`: till does not know what its requests cost; use `max_activations`"
            );
            return Err(ApiError::new(ErrorCode::InvalidField, message));
        }
    }
    Ok(())
}

/// What the key may call, with words replaced by what they stand for today.
fn scope(wanted: &mut KeyCreate, provider: &Provider) -> Result<Scope, ApiError> {
    let scope = std::mem::take(&mut wanted.scope).resolve(provider)?;
    if wanted.upstream.key().is_some_and(|key| scope_mentions(&scope, key)) {
        let message = "`scope` must not contain the upstream key: a scope is stored and shown";
        return Err(ApiError::new(ErrorCode::InvalidField, message));
    }
    Ok(scope)
}

fn mint(shared: &Shared, from: &MintFrom<'_>, repeatable: Option<&Repeatable>) -> Result<Minted, ApiError> {
    let random_id = match repeatable {
        None => random()?,
        Some(repeatable) => repeatable.random_id(&shared.state.store.instance_id()),
    };
    from.mint(&shared.state.keys, random_id).map_err(|error| {
        ApiError::new(ErrorCode::InvalidField, format!("`upstream_key` can't be sealed: {error}"))
    })
}

/// List keys
///
/// Newest first unless `sort` and `order` say otherwise. Without `limit` the answer has all keys; with it, `nextCursor` leads to the next page.
#[utoipa::path(get, path = "/admin/keys",
    params(
        ("limit" = Option<u32>, Query, description = "Keys per page", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before", pattern = "^key_[0-9A-Za-z]{22}$"),
        ("status" = Option<String>, Query, description = "Only keys in this state: `active`, `pending`, `paused`, `exhausted`, `expired` or `revoked`", pattern = "^(active|pending|paused|exhausted|expired|revoked)$"),
        ("provider" = Option<String>, Query, description = "Only keys of this provider"),
        ("project" = Option<String>, Query, description = "Only keys of this project"),
        ("created_by" = Option<String>, Query, description = "Only keys that this member or admin token made"),
        ("upstream" = Option<String>, Query, description = "Only keys that were minted from this upstream credential"),
        ("search" = Option<String>, Query, description = "Only keys with this text in their name, in any case of the letters, or whose id begins so; at most 256 characters", max_length = 256),
        ("sort" = Option<String>, Query, description = "What they are sorted by: `created`, when absent, `last_used` or `expires`. A key that is used between two pages may move from one to the other", pattern = "^(created|last_used|expires)$"),
        ("order" = Option<String>, Query, description = "`desc`, greatest and newest first, when absent, or `asc`", pattern = "^(asc|desc)$"),
    ),
    responses(
        (status = 200, description = "The keys", body = KeyListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn key_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<KeyListAnswer>, ApiError> {
    let (mut wanted, page) = list_query(&uri)?;
    if wanted.project.as_deref().is_some_and(|project| !caller.sees(project)) {
        return Ok(Json(KeyListAnswer { keys: Vec::new(), next_cursor: page.map(|_| None) }));
    }
    wanted.project = wanted.project.or_else(|| caller.project().map(str::to_owned));
    if let Some(provider) = wanted.provider.as_deref().and_then(|id| shared.state.providers.get(id)) {
        // Keys carry the id; people may ask by an alias.
        wanted.provider = Some(provider.id().to_owned());
    }
    // One more than is shown tells whether there is a next page.
    wanted.limit = page.map(|page| page + 1);
    let mut records = shared.state.store.key_list(wanted).await?;
    let next_cursor = page.map(|page| {
        let page = usize::try_from(page).expect("a page has at most 1000 keys");
        let more = records.len() > page;
        records.truncate(page);
        records.last().filter(|_| more).map(|last| last.id.to_string())
    });
    Ok(Json(KeyListAnswer { keys: records.into_iter().map(KeyJson::from).collect(), next_cursor }))
}

fn list_query(uri: &Uri) -> Result<(KeyQuery, Option<u32>), ApiError> {
    let mut parameters = Parameters::parse(uri)?;
    let page = parameters.take_count("limit", PAGE_MAX)?;
    let cursor = parameters.take("cursor")?;
    let status = parameters.take("status")?;
    let provider = parameters.take("provider")?;
    let project = parameters.take("project")?;
    let maker = parameters.take("created_by")?;
    let credential = parameters.take("upstream")?;
    let search = parameters.take("search")?.filter(|text| !text.is_empty());
    if search.as_ref().is_some_and(|text| text.chars().count() > SEARCH_CHARS_MAX) {
        return Err(query::invalid("search", &format!("has at most {SEARCH_CHARS_MAX} characters")));
    }
    let sort = parameters.take("sort")?;
    let ascending = parameters.take_ascending()?.unwrap_or(false);
    parameters.finish(&[
        "limit",
        "cursor",
        "status",
        "provider",
        "project",
        "created_by",
        "upstream",
        "search",
        "sort",
        "order",
    ])?;
    let unknown = || query::invalid("sort", "must be `created`, `last_used` or `expires`");
    let sort = sort.map(|word| KeySort::parse(&word).ok_or_else(unknown)).transpose()?.unwrap_or_default();
    let after = cursor.map(|cursor| cursor.parse::<KeyId>()).transpose();
    let after = after.map_err(|_| query::invalid("cursor", "is not a `nextCursor` of an answer"))?;
    let status = status.map(|word| status_of(&word)).transpose()?;
    let query = KeyQuery {
        sort,
        ascending,
        after,
        status,
        provider,
        project,
        maker,
        credential,
        search,
        ..KeyQuery::default()
    };
    Ok((query, page))
}

fn status_of(word: &str) -> Result<KeyStatus, ApiError> {
    KeyStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| query::invalid("status", STATUS_RULE))
}

/// Show a key
#[utoipa::path(get, path = "/admin/keys/{id}",
    params(("id" = String, Path, description = "Id of the key", pattern = "^key_[0-9A-Za-z]{22}$", example = "key_ADlySp2gash6K23CpSXW7n")),
    responses(
        (status = 200, description = "The key", body = KeyAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "The path does not hold a key id", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
    ))]
pub(crate) async fn key_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(answer(key_of(&shared, &caller, key_id(id)?).await?))
}

/// A key that the caller sees.
///
/// # Errors
/// There is none, or not for them: nobody learns which.
pub(crate) async fn key_of(shared: &Shared, caller: &Caller, id: KeyId) -> Result<KeyRecord, ApiError> {
    let key = shared.state.store.key_fetch(id).await?;
    key.filter(|key| caller.sees(&key.place.project)).ok_or_else(no_such_key)
}

fn answer(key: KeyRecord) -> Response {
    versioned(StatusCode::OK, key.version, KeyAnswer { key: key.into() })
}

/// Change a key
///
/// Takes effect on the next request; a pause also cuts the streams of the key, before the answer. A limit below what is
/// used stops the key at once, and a higher one lets it go on, also after it was exceeded. All of the change is done, or
/// nothing of it.
#[utoipa::path(patch, path = "/admin/keys/{id}", request_body = KeyUpdateBody,
    params(
        ("id" = String, Path, description = "Id of the key", pattern = "^key_[0-9A-Za-z]{22}$", example = "key_ADlySp2gash6K23CpSXW7n"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that the change is made from, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The key as it is now", body = KeyAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
        (status = 400, description = "A field or the body breaks a rule, or the path does not hold a key id", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn key_update(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let id = key_id(id)?;
    let store = &shared.state.store;
    let version = if_match(&headers)?;
    let change = key_update::parse(&json_body::read(&headers, body).await?, store.now())?;
    // Neither what it is for nor when it was made ever changes.
    let key = key_of(&shared, &caller, id).await?;
    caller.may_change(&key)?;
    let change = KeyChange { version, ..change };
    key_life::check_end(&change.lifetime, key.created_at, shared.state.settings.key_lifetime_max)?;
    let limits = Limits {
        activations: None,
        tokens: change.limits.tokens.flatten(),
        spend_nanos: change.limits.spend_nanos.flatten(),
    };
    let options = KeyOptions { rates: change.rates.of(Rates::default()), ..key.options };
    meterable(&shared, &key.provider, limits, options)?;
    let changed = store.key_update(id, change, caller.actor()).await.map_err(|error| match error {
        StoreError::Invalid { reason } => ApiError::new(ErrorCode::InvalidField, reason),
        error => error.into(),
    })?;
    Ok(answer(changed.ok_or_else(no_such_key)?))
}

/// Revoke a key
///
/// Takes effect before the answer: the next request is refused and streams in flight are cut. A revoked key never
/// comes back. Revoking it again changes nothing and answers the same.
#[utoipa::path(delete, path = "/admin/keys/{id}",
    params(
        ("id" = String, Path, description = "Id of the key", pattern = "^key_[0-9A-Za-z]{22}$", example = "key_ADlySp2gash6K23CpSXW7n"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be revoked, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The key, revoked", body = KeyAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "The path does not hold a key id, or `If-Match` is no version", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
    ))]
pub(crate) async fn key_revoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let id = key_id(id)?;
    let version = if_match(&headers)?;
    caller.may_change(&key_of(&shared, &caller, id).await?)?;
    let store = &shared.state.store;
    let key = match version {
        None => store.key_revoke(id, caller.actor()).await?,
        Some(version) => store.key_revoke_from(id, version, caller.actor()).await?,
    };
    Ok(answer(key.ok_or_else(no_such_key)?))
}

pub(crate) fn key_id(id: Result<Path<String>, PathRejection>) -> Result<KeyId, ApiError> {
    let invalid = || ApiError::new(ErrorCode::InvalidId, "a key id is `key_` and 22 letters or digits");
    let Path(id) = id.map_err(|_| invalid())?;
    id.parse().map_err(|_| invalid())
}

pub(crate) fn no_such_key() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no key with this id")
}

//! The route table, and what stands around every handler.
//!
//! Each row of [`plane`] gives a handler, its documentation and who may call it; router, OpenAPI document and
//! permission check are all made from these rows, so none can forget one of the others.
//!
//! Around each request, outermost first: headers and counters ([`answer`]), a task of its own, the gate of
//! `authenticate.rs`, then the handler.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use till_core::time::Timestamp;
use till_core::token::KeyRing;
use till_providers::Registry;
use till_providers::price::PriceTable;
use till_store::{EntityKind, Store};
use tracing::Instrument as _;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{HttpMethod, Paths};

use crate::authenticate::{REQUEST_ID_HEADER, gate, request_id};
use crate::doors::Doors;
use crate::error::{ApiError, ErrorCode};
use crate::events::Listeners;
use crate::example::add_examples;
use crate::master_keys::MasterKeys;
use crate::metrics::AdminMetrics;
use crate::openapi::{self as document, Document, complete};
use crate::overview::Overviews;
use crate::password::Passwords;
use crate::permission::{Access, Permission};
use crate::refusals::Refusals;
use crate::{
    account, audit, audit_checkpoints, audit_export, audit_find, backups, claim, credentials, dashboard,
    denials, docs_page, events, health, holds, instance, key_explain, keys, keys_revoke, kill_switch, login,
    master_key_api, members, metrics, overview, price_list, projects, providers, tokens, usage, who,
};

/// What the control plane works with.
pub struct AdminState {
    /// Where keys, tokens and the audit log are.
    pub store: Store,
    /// What mints scoped keys.
    pub keys: Arc<KeyRing>,
    /// What they are minted under.
    pub master_keys: MasterKeys,
    /// The providers of this instance.
    pub providers: Arc<Registry>,
    /// What requests cost.
    pub prices: Arc<PriceTable>,
    /// Facts about this process.
    pub settings: AdminSettings,
    /// The counters of the data plane in the Prometheus text format; `/metrics` adds those of store and control plane.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The time now.
    pub clock: fn() -> Timestamp,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Facts about this process.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Whether the listener is bound to a loopback address: then `/docs`, `/metrics` and `/admin/openapi.json` are
    /// open to whoever is on this machine.
    pub loopback: bool,
    /// The URL at which clients reach this instance: `http://127.0.0.1:4100`.
    pub public_url: String,
    /// Version of till.
    pub version: &'static str,
    /// When this process started.
    pub started: Timestamp,
    /// The longest lifetime of a key, if there is one.
    pub key_lifetime_max: Option<Duration>,
}

/// For so many things it is remembered in memory when their use was noted.
const USES_MAX: usize = 10_000;

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) state: AdminState,
    pub(crate) metrics: AdminMetrics,
    openapi_json: OnceLock<Bytes>,
    docs_html: OnceLock<Bytes>,
    access: HashMap<(Method, String), Access>,
    /// Who may try a password.
    pub(crate) doors: Doors,
    /// What works on passwords.
    pub(crate) passwords: Passwords,
    /// Who was not let in lately.
    pub(crate) refusals: Refusals,
    /// Who follows changes.
    pub(crate) listeners: Listeners,
    /// What the overview said last.
    pub(crate) overviews: Overviews,
    /// When uses were last noted.
    uses: Mutex<HashMap<(EntityKind, String), u64>>,
    /// The group of each path template.
    tags: HashMap<String, &'static str>,
}

impl Shared {
    /// Notes that something was used, at most once a minute. `known` is what the store knows.
    pub(crate) fn note_use(&self, kind: EntityKind, id: &str, known: Option<Timestamp>) {
        let minute = self.state.store.now().minute();
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody has so many; what is forgotten is noted once more.
        if uses.len() > USES_MAX {
            uses.clear();
        }
        let last = uses.entry((kind, id.to_owned())).or_insert(0);
        if *last != minute && known.is_none_or(|at| at.minute() < minute) {
            self.state.store.entity_used(kind, id);
        }
        *last = minute;
    }

    /// Who may call the route of this method and path template.
    pub(crate) fn access(&self, method: &Method, path: &str) -> Option<Access> {
        self.access.get(&(method.clone(), path.to_owned())).copied()
    }

    /// The document as text, made when somebody asks for it first, as most instances never do.
    pub(crate) fn openapi_json(&self) -> Bytes {
        self.openapi_json.get_or_init(|| openapi_text().into()).clone()
    }

    /// The document as a page, made when somebody asks for it first.
    pub(crate) fn docs_html(&self) -> Bytes {
        self.docs_html.get_or_init(|| docs_page::render(&openapi(), &self.state.settings).into()).clone()
    }
}

/// The route table while it is put together.
#[derive(Default)]
struct Plane {
    /// The tag of the document under which the rows that follow stand.
    tag: &'static str,
    routes: HashMap<String, MethodRouter<Arc<Shared>>>,
    /// The operations of the document, if it is wanted.
    paths: Option<Paths>,
    access: HashMap<(Method, String), Access>,
    tags: HashMap<String, &'static str>,
}

impl Plane {
    /// Starts a group.
    fn under(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// Adds a handler with the documentation `P` that `utoipa::path` made of it.
    fn serve<P, H, T>(mut self, access: Access, handler: H) -> Self
    where
        P: utoipa::Path,
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        let path = P::path();
        self.tags.insert(path.clone(), self.tag);
        let mut is_read = false;
        for method in P::methods() {
            let (method, filter) = http_method(&method);
            is_read |= method == Method::GET;
            self.access.insert((method, path.clone()), access);
            let routes = self.routes.remove(&path).unwrap_or_default();
            self.routes.insert(path.clone(), routes.on(filter, handler.clone()));
        }
        if let Some(paths) = &mut self.paths {
            let mut operation = P::operation();
            operation.tags = Some(vec![self.tag.to_owned()]);
            complete(&mut operation, access, is_read);
            paths.add_path_operation(path, P::methods(), operation);
        }
        self
    }
}

fn http_method(method: &HttpMethod) -> (Method, MethodFilter) {
    match method {
        HttpMethod::Get => (Method::GET, MethodFilter::GET),
        HttpMethod::Post => (Method::POST, MethodFilter::POST),
        HttpMethod::Put => (Method::PUT, MethodFilter::PUT),
        HttpMethod::Delete => (Method::DELETE, MethodFilter::DELETE),
        HttpMethod::Options => (Method::OPTIONS, MethodFilter::OPTIONS),
        HttpMethod::Head => (Method::HEAD, MethodFilter::HEAD),
        HttpMethod::Patch => (Method::PATCH, MethodFilter::PATCH),
        HttpMethod::Trace => (Method::TRACE, MethodFilter::TRACE),
    }
}

/// Adds every route there is.
fn plane(plane: Plane) -> Plane {
    use Access::{Open, Page, Token};
    use Permission::{
        AccountRead, AuditExport, AuditRead, BackupsWrite, CredentialsRead, CredentialsWrite, HoldsForgive,
        HoldsRead, InstanceRead, InstanceWrite, KeysCreate, KeysRead, KeysWrite, MasterKeysRead,
        MasterKeysWrite, MembersRead, MembersWrite, MetricsRead, ProjectsRead, ProjectsWrite, SelfRead,
        TokensRead, TokensWrite, UsageRead,
    };

    plane
        .under("Keys")
        .serve::<keys::__path_key_create, _, _>(Token(KeysCreate), keys::key_create)
        .serve::<keys::__path_key_list, _, _>(Token(KeysRead), keys::key_list)
        .serve::<keys::__path_key_show, _, _>(Token(KeysRead), keys::key_show)
        .serve::<keys::__path_key_update, _, _>(Token(KeysWrite), keys::key_update)
        .serve::<keys::__path_key_revoke, _, _>(Token(KeysWrite), keys::key_revoke)
        .serve::<keys_revoke::__path_keys_revoke, _, _>(Token(KeysWrite), keys_revoke::keys_revoke)
        .serve::<key_explain::__path_key_explain, _, _>(Token(KeysRead), key_explain::key_explain)
        .under("Claims")
        .serve::<claim::__path_claim_page, _, _>(Open, claim::claim_page)
        .serve::<claim::__path_claim_open, _, _>(Open, claim::claim_open)
        .serve::<claim::__path_claim_script, _, _>(Open, claim::claim_script)
        .serve::<claim::__path_claim_style, _, _>(Open, claim::claim_style)
        .under("Usage")
        .serve::<usage::__path_usage_list, _, _>(Token(UsageRead), usage::usage_list)
        .serve::<usage::__path_usage_summary, _, _>(Token(UsageRead), usage::usage_summary)
        .serve::<holds::__path_hold_list, _, _>(Token(HoldsRead), holds::hold_list)
        .serve::<holds::__path_hold_forgive, _, _>(Token(HoldsForgive), holds::hold_forgive)
        .serve::<denials::__path_denial_summary, _, _>(Token(UsageRead), denials::denial_summary)
        .serve::<overview::__path_overview, _, _>(Token(UsageRead), overview::overview)
        .under("Providers")
        .serve::<providers::__path_provider_list, _, _>(Token(InstanceRead), providers::provider_list)
        .serve::<price_list::__path_price_list, _, _>(Token(InstanceRead), price_list::price_list)
        .under("Projects")
        .serve::<projects::__path_project_create, _, _>(Token(ProjectsWrite), projects::project_create)
        .serve::<projects::__path_project_list, _, _>(Token(ProjectsRead), projects::project_list)
        .serve::<projects::__path_project_show, _, _>(Token(ProjectsRead), projects::project_show)
        .serve::<projects::__path_project_update, _, _>(Token(ProjectsWrite), projects::project_update)
        .serve::<projects::__path_project_end, _, _>(Token(ProjectsWrite), projects::project_end)
        .under("Admin tokens")
        .serve::<tokens::__path_token_create, _, _>(Token(TokensWrite), tokens::token_create)
        .serve::<tokens::__path_token_list, _, _>(Token(TokensRead), tokens::token_list)
        .serve::<tokens::__path_token_show, _, _>(Token(TokensRead), tokens::token_show)
        .serve::<tokens::__path_token_update, _, _>(Token(TokensWrite), tokens::token_update)
        .serve::<tokens::__path_token_rotate, _, _>(Token(TokensWrite), tokens::token_rotate)
        .serve::<tokens::__path_token_revoke, _, _>(Token(TokensWrite), tokens::token_revoke)
        .under("Upstream credentials")
        .serve::<credentials::__path_credential_create, _, _>(
            Token(CredentialsWrite),
            credentials::credential_create,
        )
        .serve::<credentials::__path_credential_list, _, _>(
            Token(CredentialsRead),
            credentials::credential_list,
        )
        .serve::<credentials::__path_credential_show, _, _>(
            Token(CredentialsRead),
            credentials::credential_show,
        )
        .serve::<credentials::__path_credential_update, _, _>(
            Token(CredentialsWrite),
            credentials::credential_update,
        )
        .serve::<credentials::__path_credential_remove, _, _>(
            Token(CredentialsWrite),
            credentials::credential_remove,
        )
        .under("Members")
        .serve::<members::__path_member_create, _, _>(Token(MembersWrite), members::member_create)
        .serve::<members::__path_member_list, _, _>(Token(MembersRead), members::member_list)
        .serve::<members::__path_member_show, _, _>(Token(MembersRead), members::member_show)
        .serve::<members::__path_member_update, _, _>(Token(MembersWrite), members::member_update)
        .serve::<members::__path_member_remove, _, _>(Token(MembersWrite), members::member_remove)
        .under("Account")
        .serve::<login::__path_login, _, _>(Open, login::login)
        .serve::<login::__path_logout, _, _>(Token(SelfRead), login::logout)
        .serve::<login::__path_password_change, _, _>(Token(SelfRead), login::password_change)
        .serve::<who::__path_who, _, _>(Token(SelfRead), who::who)
        .serve::<account::__path_account_show, _, _>(Token(AccountRead), account::account_show)
        .under("Instance")
        .serve::<instance::__path_instance_show, _, _>(Token(InstanceRead), instance::instance_show)
        .serve::<instance::__path_rollback_accept, _, _>(Token(InstanceWrite), instance::rollback_accept)
        .serve::<kill_switch::__path_kill_switch_show, _, _>(
            Token(InstanceRead),
            kill_switch::kill_switch_show,
        )
        .serve::<kill_switch::__path_kill_switch_set, _, _>(
            Token(InstanceWrite),
            kill_switch::kill_switch_set,
        )
        .serve::<master_key_api::__path_master_key_list, _, _>(
            Token(MasterKeysRead),
            master_key_api::master_key_list,
        )
        .serve::<master_key_api::__path_master_key_rotate, _, _>(
            Token(MasterKeysWrite),
            master_key_api::master_key_rotate,
        )
        .serve::<master_key_api::__path_master_key_retire, _, _>(
            Token(MasterKeysWrite),
            master_key_api::master_key_retire,
        )
        .serve::<backups::__path_backup_note, _, _>(Token(BackupsWrite), backups::backup_note)
        .serve::<audit::__path_audit_list, _, _>(Token(AuditRead), audit::audit_list)
        .serve::<audit::__path_audit_show, _, _>(Token(AuditRead), audit::audit_show)
        .serve::<audit_checkpoints::__path_audit_checkpoints, _, _>(
            Token(AuditExport),
            audit_checkpoints::audit_checkpoints,
        )
        .serve::<audit_export::__path_audit_export, _, _>(Token(AuditExport), audit_export::audit_export)
        .serve::<audit_find::__path_audit_find, _, _>(Token(AuditExport), audit_find::audit_find)
        .under("Watching")
        .serve::<events::__path_events, _, _>(Token(SelfRead), events::events)
        .serve::<health::__path_healthz, _, _>(Open, health::healthz)
        .serve::<health::__path_readyz, _, _>(Open, health::readyz)
        .serve::<metrics::__path_metrics, _, _>(Page(MetricsRead), metrics::metrics)
        .under("Documentation")
        .serve::<docs_page::__path_docs, _, _>(Page(InstanceRead), docs_page::docs)
        .serve::<docs_page::__path_style, _, _>(Page(InstanceRead), docs_page::style)
        .serve::<document::__path_openapi_json, _, _>(Page(InstanceRead), document::openapi_json)
}

/// The OpenAPI document of everything that [`router`] serves.
pub fn openapi() -> OpenApi {
    let plane = plane(Plane { paths: Some(Paths::default()), ..Plane::default() });
    let mut document = Document::openapi();
    document.paths = plane.paths.unwrap_or_default();
    add_examples(&mut document);
    document
}

/// The document as text: two spaces of indent and a line break at the end, as it stands in `docs/openapi.json`.
pub fn openapi_text() -> String {
    let mut text = openapi().to_pretty_json().expect("the document is made of strings, numbers and maps");
    text.push('\n');
    text
}

/// The whole control plane: `/admin/…`, `/claim/…`, `/dashboard/`, `/docs`, `/healthz`, `/readyz` and `/metrics`.
///
/// Requests should carry [`PeerAddr`](crate::PeerAddr) and [`RequestId`](crate::RequestId) in their extensions; both
/// go into the audit log. Must be called inside a Tokio runtime: each request runs as a task.
pub fn router(state: AdminState) -> Router {
    with_shared(state).0
}

/// The same, with what its handlers share.
pub(crate) fn with_shared(state: AdminState) -> (Router, Arc<Shared>) {
    let plane = plane(Plane::default());
    let shared = Arc::new(Shared {
        state,
        metrics: AdminMetrics::new(plane.tags.values().copied()),
        openapi_json: OnceLock::new(),
        docs_html: OnceLock::new(),
        access: plane.access,
        doors: Doors::default(),
        passwords: Passwords::default(),
        refusals: Refusals::default(),
        listeners: Listeners::default(),
        overviews: Overviews::default(),
        uses: Mutex::default(),
        tags: plane.tags,
    });
    let routes =
        plane.routes.into_iter().fold(Router::new(), |router, (path, methods)| router.route(&path, methods));
    let routes = routes
        .merge(dashboard::routes())
        .fallback(|| async {
            ApiError::new(ErrorCode::NotFound, "there is no such page; /docs lists what there is")
        })
        .method_not_allowed_fallback(|| async { ApiError::plain(ErrorCode::MethodNotAllowed) })
        .layer(from_fn_with_state(Arc::clone(&shared), gate))
        .layer(from_fn_with_state(Arc::clone(&shared), answer))
        .with_state(Arc::clone(&shared));
    (routes, shared)
}

/// Runs the rest as a task of its own and completes its answer.
///
/// # Cancel safety
/// A client that hangs up cancels nothing: a key that was being minted or revoked is, and is in the audit log. A
/// panic ends the task and becomes a 500; the process and other requests go on.
async fn answer(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let path = request.extensions().get::<MatchedPath>();
    let tag = path.and_then(|path| shared.tags.get(path.as_str()).copied());
    let mut response = match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(error) => {
            // The panic's own text may hold anything; the panic hook decides what to do with it.
            tracing::error!(request.id = id, panicked = error.is_panic(), "an admin request did not finish");
            shared.metrics.panicked();
            ApiError::plain(ErrorCode::InternalError).into_response()
        }
    };
    shared.metrics.answered(tag, response.status());
    complete_headers(response.headers_mut(), id.as_deref());
    response
}

/// Headers that every answer has. A handler's own `content-security-policy` and `cache-control` are kept.
fn complete_headers(headers: &mut HeaderMap, request_id: Option<&str>) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
    }
}

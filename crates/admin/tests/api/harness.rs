//! An instance to call, and answers to look at.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use till_admin::{AdminSettings, AdminState, MakeMasterKey, MasterKeys, PeerAddr, RequestId};
use till_core::audit::Actor;
use till_core::role::Role;
use till_core::time::Timestamp;
use till_core::token::{IndexKey, KeyRing, MasterKey, admin_token_hash, mint_admin_token};
use till_providers::Registry;
use till_store::{AdminToken, Lookup, OpenOptions, Put, Store};
use tower::ServiceExt as _;

pub(crate) const STARTED: Timestamp = Timestamp(1_769_846_400_000);

/// An upstream key that must be found nowhere.
pub(crate) const CANARY: &str = "sk-proj-canary4Ux9vQ2LmT7";

pub(crate) struct Instance {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) token: String,
    pub(crate) keys: Arc<KeyRing>,
    /// Makes `/metrics` panic.
    pub(crate) broken: Arc<AtomicBool>,
    router: Router,
}

pub(crate) fn keyring(store: &Store) -> KeyRing {
    KeyRing::new(MasterKey::from_bytes([7; 32]), store.instance_id(), IndexKey::from_bytes([9; 32]))
}

/// A new one every time, from 8 on; the ninth can't be made.
fn make_master_key() -> MakeMasterKey {
    let next = AtomicU8::new(8);
    Arc::new(move || match next.fetch_add(1, Ordering::SeqCst) {
        byte @ ..16 => Ok(MasterKey::from_bytes([byte; 32])),
        _ => Err("there are no more of them".into()),
    })
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(&OpenOptions::new(dir, "0.0.0-test")).expect("a fresh directory opens")
}

/// Keeps an admin token with this text.
pub(crate) async fn put_token(store: &Store, id: &str, text: &str, role: Role, project: Option<&str>) {
    let is = AdminToken { project: project.map(str::to_owned), ..AdminToken::unbound(id, role) };
    let lookups = Some(vec![Lookup { hash: admin_token_hash(text), until: None }]);
    let put = Put { id: id.to_owned(), version: None, is, lookups, ends: false };
    store.entity_put(put, "token.create", json!({}), &Actor::system()).await.unwrap();
}

impl Instance {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), true).await
    }

    pub(crate) async fn start_in(dir: TempDir, loopback: bool) -> Self {
        Self::start_with(dir, loopback, None).await
    }

    pub(crate) async fn start_with(dir: TempDir, loopback: bool, key_lifetime_max: Option<Duration>) -> Self {
        let store = open(dir.path());
        let keys = Arc::new(keyring(&store));
        store.audit_sign_with(keys.audit_keys()).await.unwrap();
        let token = mint_admin_token([3; 32]).reveal_str().unwrap().to_owned();
        if store.entity_fetch::<AdminToken>("owner").await.unwrap().is_none() {
            put_token(&store, "owner", &token, Role::Owner, None).await;
        }
        store.index_key_put(keys.wrap_index_key(&MasterKey::from_bytes([7; 32]))).await.unwrap();
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = Arc::clone(&broken);
        let router = till_admin::router(AdminState {
            store: store.clone(),
            keys: Arc::clone(&keys),
            master_keys: MasterKeys::new(
                store.clone(),
                Arc::clone(&keys),
                make_master_key(),
                Arc::new(|_| Ok(())),
            ),
            providers: Arc::new(Registry::builtin()),
            prices: Arc::new(till_providers::price::PriceTable::builtin()),
            settings: AdminSettings {
                loopback,
                public_url: "http://127.0.0.1:4100".into(),
                version: "1.2.3",
                started: STARTED,
                key_lifetime_max,
            },
            metrics: Arc::new(move || {
                assert!(!breaks.load(Ordering::SeqCst), "broken on purpose");
                "# TYPE till_requests_total counter\ntill_requests_total 5".to_owned()
            }),
            clock: || Timestamp(STARTED.0 + 61_999),
        });
        Self { dir, store, token, keys, broken, router }
    }

    /// Sends a request as it is, as the listener would hand it over.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry(header::HOST).or_insert("127.0.0.1:4100".parse().unwrap());
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([127, 0, 0, 1], 5555))));
        request.extensions_mut().insert(RequestId("req_1".into()));
        let response = self.router.clone().oneshot(request).await.expect("the router is infallible");
        let (parts, body) = response.into_parts();
        // A stream of events has no end.
        let is_stream =
            parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes = if is_stream {
            let mut body = body;
            let first = body.frame().await.expect("it says that it begins").unwrap();
            first.into_data().expect("there are no trailers")
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Sends a request and leaves its answer as it comes.
    pub(crate) async fn open(&self, mut request: Request<Body>) -> axum::response::Response {
        request.headers_mut().entry(header::HOST).or_insert("127.0.0.1:4100".parse().unwrap());
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([127, 0, 0, 1], 5555))));
        self.router.clone().oneshot(request).await.expect("the router is infallible")
    }

    /// Sends a request with the owner's token and a JSON content type, as till-ac does for every method.
    pub(crate) async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Body::empty()).await
    }

    /// Sends a request without a token.
    pub(crate) async fn get_anonymously(&self, path: &str) -> Answer {
        self.send(Request::builder().uri(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn create(&self, body: &Value) -> Answer {
        self.call("POST", "/admin/keys", body.to_string()).await
    }

    /// Mints a key with so many activations and answers its JSON.
    pub(crate) async fn minted(&self, max_activations: u64) -> Value {
        let body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": max_activations});
        let answer = self.create(&body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["key"].clone()
    }

    /// The whole audit log.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        self.get("/admin/audit?limit=1000").await.json()["entries"].as_array().unwrap().clone()
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that the instance is not ready, for exactly these reasons.
    pub(crate) fn assert_not_ready(&self, codes: &[&str]) {
        assert_eq!(self.status.as_u16(), 503, "{}", self.text);
        let body = self.json();
        let reasons = body["reasons"].as_array().expect("reasons");
        let found: Vec<_> = reasons.iter().map(|reason| reason["code"].as_str().expect("a code")).collect();
        assert_eq!(found, codes, "{}", self.text);
        assert_eq!(body, json!({"status": "unavailable", "error": reasons[0], "reasons": reasons}));
    }

    /// Asserts that this is an error of the documented shape and nothing else.
    pub(crate) fn assert_error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["error"]["code"], code, "{}", self.text);
        let message = body["error"]["message"].as_str().expect("a message").to_owned();
        let title = body["title"].as_str().expect("a title");
        let expected = json!({
            "error": {"code": code, "message": message},
            "type": format!("urn:till:error:{code}"), "title": title, "status": status, "detail": message,
        });
        assert_eq!(body, expected);
        message
    }
}

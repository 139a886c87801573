//! A running data plane with everything around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use till_core::audit::{Actor, ActorKind};
use till_core::key::KeyId;
use till_core::limit::Limits;
use till_core::policy::Policy;
use till_core::scope::Scope;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_core::token::{CredentialKeys, IndexKey, KeyRing, MasterKey};
use till_core::upstream::{NamedUpstream, Upstream};
use till_providers::Registry;
use till_providers::price::PriceTable;
use till_proxy::{DrainReport, OutboundProxy, OwnPaths, Proxy, ProxyConfig, Timeouts, TrustedProxies};
use till_store::{
    Credential, DEFAULT_PROJECT, Kept, KeyOptions, KeyPlace, KeyRecord, NewKey, OpenOptions, Project, Put,
    Store, UsageFilter, UsageQuery, UsageRecord,
};
use till_testkit::client::{Answer, Client};
use till_testkit::upstream::Upstream as ScriptedUpstream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The real key of every test: must never come out.
pub(super) const UPSTREAM_KEY: &str = "sk-canary-0123456789abcdefghijklmnop";

/// Settings that differ between tests.
pub(super) struct Options {
    pub(super) timeouts: Timeouts,
    pub(super) in_flight_max: usize,
    pub(super) grace: Duration,
    pub(super) outbound_proxy: OutboundProxy,
    pub(super) clock: fn() -> Timestamp,
    /// Whether the scripted upstream bills as the provider does.
    pub(super) bills_alike: bool,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) proxy_protocol: bool,
}

/// Noon of 2026-11-22, UTC: some prices depend on the hour.
pub(super) fn noon() -> Timestamp {
    Timestamp(1_795_348_800_000)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            in_flight_max: 10_000,
            grace: Duration::from_secs(20),
            outbound_proxy: OutboundProxy::default(),
            clock: noon,
            bills_alike: true,
            trusted_proxies: TrustedProxies::default(),
            proxy_protocol: false,
        }
    }
}

pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) store: Store,
    pub(super) proxy: Proxy,
    pub(super) keys: Arc<KeyRing>,
    registry: Arc<Registry>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<DrainReport>,
    next_id: AtomicU32,
    pub(super) directory: tempfile::TempDir,
}

impl Rig {
    /// With OpenAI at `url`.
    pub(super) async fn openai(url: &str) -> Self {
        Self::start(&[("openai", url)], Options::default()).await
    }

    pub(super) async fn start(repointed: &[(&str, &str)], options: Options) -> Self {
        let repointed = repointed.iter().map(|(id, url)| (*id, *url, false));
        Self::start_accepting(repointed, options).await
    }

    /// With a choice per provider whether keys sealed for another address are accepted.
    pub(super) async fn start_accepting<'a>(
        repointed: impl IntoIterator<Item = (&'a str, &'a str, bool)>,
        options: Options,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&OpenOptions::new(directory.path().join("data"), "test")).expect("it opens");
        let keys = Arc::new(KeyRing::new(
            MasterKey::from_bytes([7; 32]),
            store.instance_id(),
            IndexKey::from_bytes([8; 32]),
        ));
        let credentials = follow(&store, &keys).await;
        let mut registry = Registry::builtin();
        for (id, url, accept_sealed) in repointed {
            registry.repoint(id, url, accept_sealed).expect("a good URL");
            if options.bills_alike {
                registry.bills_alike(id).expect("a known provider");
            }
        }
        let registry = Arc::new(registry);
        let config = ProxyConfig {
            registry: Arc::clone(&registry),
            prices: Arc::new(PriceTable::builtin()),
            keys: Arc::clone(&keys),
            credentials,
            store: store.clone(),
            upstream_tls: tls(),
            outbound_proxy: options.outbound_proxy,
            timeouts: options.timeouts,
            head_limits: till_proxy::HeadLimits::default(),
            in_flight_max: options.in_flight_max,
            log_requests: true,
            tracing: None,
            trusted_proxies: options.trusted_proxies,
            proxy_protocol: options.proxy_protocol,
            clock: options.clock,
        };
        let proxy = Proxy::new(config, own_paths()).expect("randomness");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let serving = {
            let proxy = proxy.clone();
            tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                proxy.serve(listener, None, stopped, options.grace).await
            })
        };
        Self {
            address,
            store,
            proxy,
            keys,
            registry,
            stop: Some(stop),
            serving,
            next_id: AtomicU32::new(1),
            directory,
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A scoped key, as an admin would mint it.
    pub(super) async fn mint(&self, provider: &str, activations: u64) -> (String, KeyId) {
        self.mint_for(provider, UPSTREAM_KEY, activations).await
    }

    pub(super) async fn mint_for(&self, provider: &str, key: &str, activations: u64) -> (String, KeyId) {
        let base = self.registry.get(provider).expect("a known provider").base_url();
        let origin = base.expect("it has an address").as_str().to_owned();
        self.mint_sealed(provider, key, origin, activations).await
    }

    /// A scoped key sealed for an address, which need not be the configured one.
    pub(super) async fn mint_sealed(
        &self,
        provider: &str,
        key: &str,
        origin: String,
        activations: u64,
    ) -> (String, KeyId) {
        let limits = Limits { activations: Some(activations), ..Limits::default() };
        self.mint_limited(provider, key, origin, limits, KeyOptions::default(), Scope::default()).await
    }

    /// A scoped key with a limit in nano-dollars.
    pub(super) async fn mint_dollars(&self, provider: &str, spend_nanos: u64) -> (String, KeyId) {
        let limits = Limits { spend_nanos: Some(spend_nanos), ..Limits::default() };
        self.mint_with(provider, limits, KeyOptions::default()).await
    }

    /// A scoped key with these limits.
    pub(super) async fn mint_with(
        &self,
        provider: &str,
        limits: Limits,
        options: KeyOptions,
    ) -> (String, KeyId) {
        let base = self.registry.get(provider).expect("a known provider").base_url();
        let origin = base.expect("it has an address").as_str().to_owned();
        self.mint_limited(provider, UPSTREAM_KEY, origin, limits, options, Scope::default()).await
    }

    /// A scoped key with everything that one can have.
    pub(super) async fn mint_all(
        &self,
        provider: &str,
        limits: Limits,
        options: KeyOptions,
        scope: serde_json::Value,
    ) -> (String, KeyId) {
        let base = self.registry.get(provider).expect("a known provider").base_url();
        let origin = base.expect("it has an address").as_str().to_owned();
        let scope = serde_json::from_value(scope).expect("a scope");
        self.mint_limited(provider, UPSTREAM_KEY, origin, limits, options, scope).await
    }

    /// A scoped key for many requests, with a scope as its JSON.
    pub(super) async fn mint_scoped(&self, provider: &str, scope: serde_json::Value) -> (String, KeyId) {
        let limits = Limits { activations: Some(1_000_000), ..Limits::default() };
        self.mint_all(provider, limits, KeyOptions::default(), scope).await
    }

    async fn mint_limited(
        &self,
        provider: &str,
        key: &str,
        origin: String,
        limits: Limits,
        options: KeyOptions,
        scope: Scope,
    ) -> (String, KeyId) {
        let provider = self.registry.get(provider).expect("a known provider");
        let upstream = Upstream {
            key: Secret::new(key),
            provider: provider.id().to_owned(),
            origin: origin.clone(),
            placement: provider.placement().clone(),
        };
        let minted = match self.keys.mint(&upstream, self.random_id()) {
            Ok(minted) => minted,
            Err(error) => panic!("a bad upstream key: {error}"),
        };
        let new = NewKey {
            place: Default::default(),
            request: None,
            id: minted.id,
            master_key: None,
            fingerprint: None,
            provider: provider.id().to_owned(),
            origin,
            limits,
            options,
            lifetime: Default::default(),
            scope,
            metadata: serde_json::Map::new(),
        };
        self.store.key_create(new, &actor()).await.expect("a new row");
        (minted.scoped_key.reveal_str().expect("text").to_owned(), minted.id)
    }

    /// A scoped key that names a stored upstream key.
    pub(super) async fn mint_named(&self, provider: &str, name: &str, activations: u64) -> (String, KeyId) {
        let base = self.registry.get(provider).expect("a known provider").base_url();
        let origin = base.expect("it has an address").as_str().to_owned();
        self.mint_named_for(provider, name, origin, activations).await
    }

    /// The same for an address, which need not be the configured one.
    pub(super) async fn mint_named_for(
        &self,
        provider: &str,
        name: &str,
        origin: String,
        activations: u64,
    ) -> (String, KeyId) {
        let provider = self.registry.get(provider).expect("a known provider");
        let upstream = NamedUpstream {
            credential: name.to_owned(),
            provider: provider.id().to_owned(),
            origin: origin.clone(),
            placement: provider.placement().clone(),
        };
        let minted = match self.keys.mint_named(&upstream, self.random_id()) {
            Ok(minted) => minted,
            Err(error) => panic!("it is short enough: {error}"),
        };
        let new = NewKey {
            place: KeyPlace { credential: Some(name.to_owned()), ..KeyPlace::default() },
            request: None,
            id: minted.id,
            master_key: Some(minted.master_key),
            fingerprint: None,
            provider: provider.id().to_owned(),
            origin,
            limits: Limits { activations: Some(activations), ..Limits::default() },
            options: KeyOptions::default(),
            lifetime: Default::default(),
            scope: Scope::default(),
            metadata: serde_json::Map::new(),
        };
        self.store.key_create(new, &actor()).await.expect("a new row");
        (minted.scoped_key.reveal_str().expect("text").to_owned(), minted.id)
    }

    /// Stores an upstream key by name; `None` removes it.
    pub(super) async fn store_upstream_key(&self, provider: &str, name: &str, key: Option<&str>) {
        let base = self.registry.get(provider).expect("a known provider").base_url();
        let origin = base.expect("it has an address").as_str().to_owned();
        let sealed = key.map(|key| self.sealed(name, provider, origin, key));
        self.store_sealed(provider, name, sealed).await;
    }

    /// Stores an upstream key for an address, which need not be the configured one.
    pub(super) async fn store_upstream_key_for(&self, provider: &str, name: &str, origin: &str, key: &str) {
        let sealed = self.sealed(name, provider, origin.to_owned(), key);
        self.store_sealed(provider, name, Some(sealed)).await;
    }

    fn sealed(&self, name: &str, provider: &str, origin: String, key: &str) -> Vec<u8> {
        let placement = self.registry.get(provider).expect("a known provider").placement().clone();
        let upstream = Upstream { key: Secret::new(key), provider: provider.to_owned(), origin, placement };
        match self.keys.seal_credential(name, &upstream) {
            Ok(sealed) => sealed,
            Err(error) => panic!("a bad upstream key: {error}"),
        }
    }

    /// Stores an upstream key for one provider as if it were for another.
    pub(super) async fn store_upstream_key_as(
        &self,
        provider: &str,
        name: &str,
        sealed_for: &str,
        key: &str,
    ) {
        let sealed = self.sealed(name, sealed_for, "https://api.example.com".to_owned(), key);
        self.store_sealed(provider, name, Some(sealed)).await;
    }

    async fn store_sealed(&self, provider: &str, name: &str, sealed: Option<Vec<u8>>) {
        let found = self.store.entity_fetch::<Credential>(name).await.expect("readable");
        let ends = sealed.is_none();
        let is = Credential {
            provider: provider.to_owned(),
            sealed: Credential::text_of(&sealed.unwrap_or_default()),
            project: None,
            projects: None,
            policy: Default::default(),
        };
        let version = found.map(|found| found.version);
        let put = Put { id: name.to_owned(), version, is, lookups: None, ends };
        let detail = serde_json::json!({});
        self.store.entity_put(put, "credential.put", detail, &actor()).await.expect("it is written");
    }

    /// Sets the rules of the project that all keys are in.
    pub(super) async fn rules_of_default(&self, version: u64, policy: Policy) {
        let is = Project { name: "default".to_owned(), policy };
        let put =
            Put { id: DEFAULT_PROJECT.to_owned(), version: Some(version), is, lookups: None, ends: false };
        let detail = serde_json::json!({});
        self.store.entity_put(put, "project.put", detail, &actor()).await.expect("it is written");
    }

    fn random_id(&self) -> [u8; 16] {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        [id; 4].concat().try_into().expect("16 bytes")
    }

    /// The key's row, after everything that was settled.
    pub(super) async fn key(&self, id: KeyId) -> KeyRecord {
        self.store.flush().await.expect("writable");
        self.store.key_fetch(id).await.expect("readable").expect("it is there")
    }

    /// The newest usage record of a key.
    pub(super) async fn last_record(&self, id: KeyId) -> UsageRecord {
        self.store.flush().await.expect("writable");
        let filter = UsageFilter { key: Some(id), ..UsageFilter::default() };
        let query = UsageQuery { filter, limit: 1, ..UsageQuery::default() };
        let records = self.store.usage_list(query).await.expect("readable").records;
        records.into_iter().next().expect("a record").1
    }

    pub(super) async fn used(&self, id: KeyId) -> u64 {
        self.store.key_fetch(id).await.expect("readable").expect("it is there").used.activations
    }

    /// Waits until no request is served any more.
    pub(super) async fn becomes_idle(&self) {
        let idle = async {
            while !self.proxy.metrics_text().contains("till_requests_in_flight 0\n") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(idle).await;
    }

    pub(super) async fn revoke(&self, id: KeyId) {
        self.store.key_revoke(id, &actor()).await.expect("writable").expect("it is there");
    }

    /// One request on a connection of its own.
    pub(super) async fn call(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        Client::connect(self.address).await.request(request(token, method, path, body)).await
    }

    /// Checks that nothing is left, by asking for more: what was given back by mistake would be granted.
    pub(super) async fn has_nothing_left(&self, token: &str) {
        let answer = self.call(token, "POST", "/v1/chat/completions", "{}").await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("activations_exhausted"), "{}", answer.text());
    }

    /// Stops as SIGTERM does.
    pub(super) fn stop(&mut self) -> &mut JoinHandle<DrainReport> {
        self.store.stop_granting();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        &mut self.serving
    }
}

/// What must not take for ever: a defect would make the test hang otherwise.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it happens")
}

/// Waits for a state that is reached without anybody being told.
pub(super) async fn becomes(is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(reached).await;
}

/// Waits until no connection to the provider is left.
pub(super) async fn connections_end(upstream: &ScriptedUpstream) {
    let ended = async {
        while upstream.connections_open() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(ended).await;
}

/// A request with a bearer token.
pub(super) fn request(token: &str, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn actor() -> Actor {
    Actor { kind: ActorKind::System, id: "test".to_owned(), address: None, request_id: None }
}

/// The stored upstream keys, kept up to date as the program does it.
async fn follow(store: &Store, keys: &Arc<KeyRing>) -> Arc<CredentialKeys> {
    let credentials = Arc::<CredentialKeys>::default();
    let (known, ring) = (Arc::clone(&credentials), Arc::clone(keys));
    let listener = move |kept: &Kept<Credential>| match kept.ended_at {
        Some(_) => known.remove(&kept.id, kept.version),
        // What can't be unsealed is no key from then on.
        None => drop(known.put(&ring, kept.label(), kept.version, &kept.is.sealed_bytes())),
    };
    store.credentials_follow(Arc::new(listener)).await.expect("readable");
    credentials
}

fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

/// A control plane that reads what it is sent, and only says that it was asked.
fn own_paths() -> OwnPaths {
    Arc::new(|request, _| {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (status, text) = match request.into_body().collect().await {
                Ok(_) => (200, format!("own {path}")),
                Err(error) => (400, error.to_string()),
            };
            let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            answer
        })
    })
}

//! `till start`: wires the parts together, serves, and stops without losing anything.
//!
//! The order matters. The store is locked first, which keeps a second process out, and started with its master key: one
//! without it, in a wrong key directory for example, must not fence what is sound; the port is
//! taken before the owner's key is made, so that a start that fails over a port prints no key; the key is
//! printed before it is stored, so that no crash swallows a key that is printed only once; the rest that is
//! printed is true when it is printed.

mod address;
mod configuration;
mod control;
mod credentials;
mod master_key;
mod open_files;
mod owner;
mod process_metrics;
mod screen;
mod signals;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use till_admin::{AdminSettings, AdminState, MasterKeys};
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_core::token::CredentialKeys;
use till_proxy::{
    HeadLimits, OutboundProxy, Proxy, ProxyConfig, ServerTls, Timeouts, Tracing, TrustedProxies,
};
use till_store::{OpenOptions, Opening, Store};
use tokio::net::TcpListener;

pub(crate) use master_key::{check as check_keys, kept as master_keys_kept, open as open_keys};
pub(crate) use owner::replace as replace_owner_key;

use self::master_key::Keys;
use self::owner::OwnerKey;
use self::signals::Signals;
use crate::env::{self, Surroundings};
use crate::inputs::{self, Inputs};
use crate::otlp::{self, Exporter, Resource};
use crate::prices;
use crate::settings::{SettingFlags, Settings, Written};
use crate::tls::{self, Roots};
use crate::{client, local_file, logging, memory_lock};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the server until a signal ends it.
pub(crate) fn run(flags: &SettingFlags, surroundings: &Surroundings) -> anyhow::Result<()> {
    let written = Written::gather(flags, surroundings);
    let (settings, inputs) = inputs::read(&written, surroundings)?;
    logging::start(&settings, surroundings.stderr_is_terminal);
    memory_lock::lock();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = settings.worker_threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build().context("can't start the threads")?;
    runtime.block_on(serve(&settings, &written, inputs, surroundings))
}

async fn serve(
    settings: &Settings,
    written: &Written,
    inputs: Inputs,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    open_files::raise_limit();
    let listener_tls = inputs.listener_tls.map(|config| Arc::new(ServerTls::new(config)));
    let upstream_tls = upstream_tls(inputs.upstream_roots);

    let opening = Opening::new(&open_options(settings))?;
    local_file::make_private_dir(&settings.key_dir)?;
    let (store, keys) = master_key::open(settings, inputs.master_keys, opening).await?;
    store.endings_finish().await.context("can't revoke the keys of what has ended")?;
    // Before anything is entered that names a token.
    let audit_keys = keys.ring.audit_keys();
    store.audit_sign_with(audit_keys.clone()).await.context("can't write the audit log")?;
    let credentials = credentials::follow(&store, &keys.ring).await?;
    let listener = listen(settings.listen()).await?;
    let bound = listener.local_addr().context("can't tell the address of the listener")?;
    let url = address::public_url(bound, listener_tls.is_some());
    let owner = owner::ensure(&store, inputs.owner_key, screen::show_owner_key).await?;
    let exporter = exporter(settings, &store)?;
    let instance = Instance {
        settings,
        store: store.clone(),
        keys,
        credentials,
        upstream_tls,
        exporter: exporter.clone(),
        url: url.clone(),
        bound,
    };
    let proxy = instance.proxy(surroundings)?;

    let started = json!({"version": VERSION, "listen": bound.to_string(), "afterCrash": !store.was_closed()});
    configuration::enter_start(&store, &audit_keys, written, (settings, surroundings), &url, started)
        .await
        .context("can't write the audit log")?;
    address::write(&settings.data, &url)?;
    screen::show(settings, surroundings, &url, owner, &store)?;
    report_fence(&store);
    warn_about(settings, bound);

    signals.reload_tls_on_hangup(settings, listener_tls.clone(), store.clone());
    let stop = signals.stop(store.clone());
    let report = proxy.serve(listener, listener_tls, stop, settings.shutdown_grace).await;
    let stopped = stop_cleanly(settings, &store, report.cut).await;
    if let Some(exporter) = exporter {
        // A panic in it would be one of its own, when nothing is left to lose.
        let _ = tokio::task::spawn_blocking(move || exporter.finish()).await;
    }
    stopped
}

/// What sends traces, if that is wanted.
fn exporter(settings: &Settings, store: &Store) -> anyhow::Result<Option<Exporter>> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let base = endpoint.as_str().trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    let agent = client::agent(&url, &settings.upstream_ca, otlp::SEND_TIME_MAX)?;
    let resource = Resource {
        version: VERSION,
        instance: to_hex(&store.instance_id()),
        has_tls: settings.tls_files().is_some(),
    };
    Ok(Some(Exporter::start(url, agent, resource).context("can't start the thread that sends traces")?))
}

async fn stop_cleanly(settings: &Settings, store: &Store, cut: usize) -> anyhow::Result<()> {
    if cut > 0 {
        tracing::warn!(connections.cut = cut, "requests were still in flight when the grace period was over");
    }
    address::remove(&settings.data);
    // The store must be closed even if the audit log can't be written.
    let noted =
        store.audit_append("instance.stop", "", json!({"connectionsCut": cut}), &Actor::system()).await;
    store.close().await.context("the store could not be closed cleanly")?;
    noted.context("the stop is missing in the audit log")?;
    tracing::info!("stopped");
    Ok(())
}

/// Where the store is.
pub(crate) fn open_options(settings: &Settings) -> OpenOptions {
    OpenOptions {
        data_dir: settings.data.clone(),
        witness: settings.key_dir.join("witness"),
        version: VERSION.to_owned(),
        usage_retention: settings.usage_retention(),
        audit_retention: settings.audit_retention(),
    }
}

/// Looks at the store of an instance that was started before, for a command that does something in it. Where a start would
/// fence it, the command was probably given the wrong key directory, so it does nothing.
pub(crate) fn existing_store(settings: &Settings) -> anyhow::Result<Opening> {
    if !till_store::database(&settings.data).exists() {
        bail!("there is no database in {}; give the right one with --data", settings.data.display());
    }
    let opening = Opening::new(&open_options(settings))?;
    if let Some(fence) = opening.doubt() {
        bail!(
            "{} (in {}). Nothing was done: if the key directory is elsewhere, say where with --key-dir or {}. If the database \
             was put back or moved on purpose, start till first, which refuses all keys until you accept that",
            fence.reason,
            settings.key_dir.display(),
            env::KEY_DIR
        );
    }
    Ok(opening)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("can't listen on {address}; choose another address with --listen, or port 0 for a free one")
    })
}

fn upstream_tls(roots: Roots) -> Arc<rustls::ClientConfig> {
    if !roots.has_system_roots {
        tracing::warn!(
            "the system has no certificates: install ca-certificates, or name a file with --upstream-ca"
        );
    }
    Arc::new(tls::towards_upstreams(roots))
}

/// Everything the two planes are made of.
struct Instance<'a> {
    settings: &'a Settings,
    store: Store,
    keys: Keys,
    credentials: Arc<CredentialKeys>,
    upstream_tls: Arc<rustls::ClientConfig>,
    exporter: Option<Exporter>,
    url: String,
    bound: SocketAddr,
}

impl Instance<'_> {
    /// The data plane with the control plane inside. Each knows the other only as a function.
    fn proxy(self, surroundings: &Surroundings) -> anyhow::Result<Proxy> {
        let settings = self.settings;
        let registry = Arc::new(settings.registry.clone());
        let proxy_cell: Arc<OnceLock<Proxy>> = Arc::default();
        let metrics_of = Arc::clone(&proxy_cell);
        let prices = Arc::new(prices::table(settings)?);
        let started = now();
        let counted = self.exporter.clone();
        let own = control::own_paths(AdminState {
            store: self.store.clone(),
            keys: Arc::clone(&self.keys.ring),
            master_keys: MasterKeys::new(
                self.store.clone(),
                Arc::clone(&self.keys.ring),
                self.keys.make(),
                self.keys.note(),
            ),
            providers: Arc::clone(&registry),
            prices: Arc::clone(&prices),
            settings: AdminSettings {
                loopback: self.bound.ip().is_loopback(),
                public_url: self.url,
                version: VERSION,
                started,
                key_lifetime_max: settings.key_lifetime_max,
            },
            metrics: Arc::new(move || {
                let mut text = process_metrics::text(VERSION, started, counted.as_ref());
                text.push_str(&metrics_of.get().map(Proxy::metrics_text).unwrap_or_default());
                text
            }),
            clock: now,
        });
        let proxies = surroundings.proxies();
        let config = ProxyConfig {
            registry,
            prices,
            keys: self.keys.ring,
            credentials: self.credentials,
            store: self.store,
            upstream_tls: self.upstream_tls,
            outbound_proxy: OutboundProxy {
                https: proxies.https,
                http: proxies.http,
                no_proxy: proxies.no_proxy,
            },
            timeouts: Timeouts {
                connect: settings.connect_timeout,
                first_byte: settings.first_byte_timeout,
                idle: settings.idle_timeout,
                client_head: settings.client_header_timeout,
                budget: settings.budget_wait,
                ..Timeouts::default()
            },
            head_limits: HeadLimits { bytes: settings.header_bytes_max, count: settings.header_count_max },
            in_flight_max: settings.in_flight_max,
            log_requests: settings.log_requests,
            tracing: self.exporter.map(|exporter| Tracing {
                sample: settings.otlp_sample_ratio,
                propagate: settings.otlp_propagate,
                sink: Arc::new(move |trace| exporter.take(trace)),
            }),
            trusted_proxies: TrustedProxies {
                networks: settings.trusted_proxies.clone(),
                header: settings.client_address_header,
            },
            proxy_protocol: settings.proxy_protocol,
            clock: now,
        };
        let proxy = Proxy::new(config, own)
            .map_err(|error| anyhow!("the operating system gives no randomness: {error}"))?;
        // It was empty: this is the only place that fills it.
        let _ = proxy_cell.set(proxy.clone());
        Ok(proxy)
    }
}

/// The screen says it too, but where till runs unattended only the log is read.
fn report_fence(store: &Store) {
    if let Some(fence) = store.fenced() {
        tracing::error!(reason = fence.reason, fix = screen::FENCE_FIX, "all keys are refused");
    }
}

/// Says what an operator may not have meant.
fn warn_about(settings: &Settings, bound: SocketAddr) {
    if !bound.ip().is_loopback() && settings.tls_files().is_none() {
        tracing::warn!(
            listen = %bound,
            "other machines can connect, and keys travel in clear text: set --tls-cert and --tls-key, or put TLS in front"
        );
    }
    for provider in settings.registry.iter() {
        let clear_text =
            |url: &&till_providers::BaseUrl| url.as_str().starts_with("http://") && !url.is_loopback();
        if let Some(url) = provider.base_url().filter(clear_text) {
            tracing::warn!(provider = provider.id(), url = %url, "upstream keys travel to this provider in clear text");
        }
    }
}

/// The time of the operating system.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

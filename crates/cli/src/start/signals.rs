//! Signals: SIGTERM and SIGINT stop, a second one stops at once, SIGHUP reads the certificate again.

use std::process;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use till_core::audit::Actor;
use till_proxy::ServerTls;
use till_store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::Settings;
use crate::tls;

/// Taken over at the start of the process, so that none is lost while it starts.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("can't take over signals");
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: Some(take(SignalKind::hangup())?),
        })
    }

    /// From now on SIGHUP replaces the certificate. One that can't be used leaves the old one in place, and so does an audit
    /// log that can't be written.
    pub(super) fn reload_tls_on_hangup(
        &mut self,
        settings: &Settings,
        listener_tls: Option<Arc<ServerTls>>,
        store: Store,
    ) {
        let Some(mut hangup) = self.hangup.take() else { return };
        let files = settings.tls_files().map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let (Some(listener_tls), Some((certificate, key))) = (&listener_tls, &files) else {
                    continue;
                };
                match tls::towards_clients(certificate, key) {
                    Ok(config) => {
                        let noted = store.audit_append("tls.reload", "", json!({}), &Actor::system()).await;
                        if let Err(error) = noted {
                            tracing::error!(%error, "the audit log can't be written; the old certificate stays");
                            continue;
                        }
                        listener_tls.replace(config);
                        tracing::info!("read the certificate again");
                    }
                    Err(error) => {
                        let reason = format!("{error:#}");
                        tracing::error!(reason, "the new certificate can't be used; the old one stays");
                    }
                }
            }
        });
    }

    /// Ready at the first signal to stop. Nothing more is granted from then on; a second signal ends the
    /// process where it is, which loses nothing but leaves open holds to count as spent.
    pub(super) async fn stop(mut self, store: Store) {
        self.next_stop().await;
        tracing::info!("stopping: requests in flight may finish, a second signal ends them");
        store.stop_granting();
        tokio::spawn(async move {
            self.next_stop().await;
            tracing::warn!("stopped at once");
            process::exit(1);
        });
    }

    async fn next_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

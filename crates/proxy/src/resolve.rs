//! Addresses of names, asked of the system.
//!
//! The system's resolver blocks a thread until it has an answer, also when nobody waits for that any more, and there are only
//! so many such threads for everything that blocks. Invariant: each name is asked for once at a time, so a name server that
//! never answers takes a thread per name, however many requests come. Nothing is remembered: the next one asks again.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// `None` until it is there. An error is kept as its kind and text: all who wait get it.
type Answer = Option<Result<Vec<IpAddr>, (io::ErrorKind, String)>>;

/// The names that are being asked for.
#[derive(Clone, Default)]
pub(crate) struct Resolver {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Answer>>>>,
}

impl Resolver {
    /// The addresses of a host, in the order of the system.
    ///
    /// # Errors
    /// The name has none, or the resolver does not work.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let mut answer = self.ask(host);
        let answer = answer.wait_for(Option::is_some).await;
        match answer.ok().as_deref() {
            Some(Some(Ok(addresses))) => {
                Ok(addresses.iter().map(|address| (*address, port).into()).collect())
            }
            Some(Some(Err((kind, text)))) => Err(io::Error::new(*kind, text.clone())),
            _ => Err(io::Error::other("the look-up broke off")),
        }
    }

    /// Joins who asks already.
    fn ask(&self, host: &str) -> watch::Receiver<Answer> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = under_way.get(host) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(host.to_owned(), answer.clone());
        let (asked, host) = (self.clone(), host.to_owned());
        tokio::spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let found = found
                .map(|addresses| addresses.map(|address| address.ip()).collect())
                .map_err(|error| (error.kind(), error.to_string()));
            asked.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
            // Those who asked may have gone.
            let _ = sender.send(Some(found));
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::Resolver;

    #[tokio::test]
    async fn a_name_is_asked_for_once_at_a_time_and_is_not_remembered() {
        let resolver = Resolver::default();
        let (one, other) = (resolver.ask("localhost"), resolver.ask("localhost"));
        assert!(one.same_channel(&other));
        let found = resolver.addresses("localhost", 7).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|found| found.port() == 7 && found.ip().is_loopback()));
        assert!(resolver.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_error_reaches_everybody() {
        let resolver = Resolver::default();
        let (one, other) =
            tokio::join!(resolver.addresses("no.such.invalid", 1), resolver.addresses("no.such.invalid", 2));
        assert_eq!(one.unwrap_err().to_string(), other.unwrap_err().to_string());
        for literal in ["127.0.0.1", "::1"] {
            assert_eq!(resolver.addresses(literal, 9).await.unwrap().len(), 1);
        }
        assert!(resolver.under_way.lock().unwrap().is_empty());
    }
}

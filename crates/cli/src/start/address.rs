//! Where clients reach the server, and the file in the data directory that says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::client::ADDRESS_FILE;
use crate::local_file;

/// A URL at which this machine reaches the listener. One that listens everywhere is reached on loopback.
pub(super) fn public_url(bound: SocketAddr, has_tls: bool) -> String {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, bound.port()))
}

/// Lets the commands find the server.
pub(super) fn write(data: &Path, url: &str) -> anyhow::Result<()> {
    local_file::replace(&data.join(ADDRESS_FILE), &format!("{url}\n"))
}

/// Nobody is there any more. That the file stays behind when it can't be removed does no harm.
pub(super) fn remove(data: &Path) {
    if let Err(error) = std::fs::remove_file(data.join(ADDRESS_FILE)) {
        tracing::debug!(error = %error, "the address file could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::public_url;

    #[test]
    fn urls() {
        let check =
            |bound: &str, has_tls, url: &str| assert_eq!(public_url(bound.parse().unwrap(), has_tls), url);
        check("127.0.0.1:4100", false, "http://127.0.0.1:4100");
        check("0.0.0.0:4100", false, "http://127.0.0.1:4100");
        check("[::]:7", true, "https://[::1]:7");
        check("10.1.2.3:7", true, "https://10.1.2.3:7");
    }
}

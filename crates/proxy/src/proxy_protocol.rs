//! The PROXY protocol, versions 1 and 2, with which a load balancer says who connected to it:
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
//!
//! It stands before everything else on a connection, TLS included, so it is read off the socket byte for byte and nothing
//! beyond it. It is only read where the operator says so, and only from machines that are trusted: from anybody else the
//! same bytes are no HTTP, and the connection ends.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;

/// Signature, version and command, family, length.
const V2_HEAD: usize = 16;

/// The longest header of version 2 that is read: addresses have at most 216 bytes, the rest is for extensions.
const V2_REST_MAX: usize = 4096;

/// The longest line of version 1, its end included (section 2.1).
const V1_LINE_MAX: usize = 107;

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The machine that made it: it looks whether till is well.
    Itself,
    /// Whoever is at this address.
    Other(SocketAddr),
    /// The machine does not say.
    Unknown,
}

/// Reads the header.
///
/// # Errors
/// There is no such header, or it can't be read.
pub(crate) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Sender> {
    let mut header = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(V2_HEAD, 0);
        socket.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > V2_REST_MAX {
            return Err(invalid());
        }
        header.resize(V2_HEAD + rest, 0);
        socket.read_exact(&mut header[V2_HEAD..]).await?;
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            if header.len() >= V1_LINE_MAX {
                return Err(invalid());
            }
            header.push(socket.read_u8().await?);
        }
    } else {
        return Err(invalid());
    }
    source(&header)
}

fn source(header: &[u8]) -> io::Result<Sender> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => Sender::Unknown,
            v1::Addresses::Tcp4(of) => Sender::Other((of.source_address, of.source_port).into()),
            v1::Addresses::Tcp6(of) => Sender::Other((of.source_address, of.source_port).into()),
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) => Sender::Itself,
            (v2::Command::Proxy, v2::Addresses::IPv4(of)) => {
                Sender::Other((of.source_address, of.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(of)) => {
                Sender::Other((of.source_address, of.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Sender::Unknown,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the connection does not begin with a PROXY header")
}

#[cfg(test)]
mod tests {
    use super::{SIGNATURE, Sender, read};

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn what_stands_before_the_rest_is_read_and_nothing_more() {
        let v4 = [192, 0, 2, 9, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        let with_extension = [&v4[..], &[0x04, 0x00, 0x02, 0xaa, 0xbb]].concat();
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 1;
        v6[33] = 80;
        let other = |text: &str| Sender::Other(text.parse().expect("an address"));
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.9 10.0.0.1 4660 443\r\n".to_vec(), other("192.0.2.9:4660")),
            (b"PROXY TCP6 2001:db8::1 ::1 80 443\r\n".to_vec(), other("[2001:db8::1]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Sender::Unknown),
            (v2(1, 0x11, &v4), other("192.0.2.9:4660")),
            (v2(1, 0x11, &with_extension), other("192.0.2.9:4660")),
            (v2(1, 0x21, &v6), other("[2001:db8::1]:80")),
            (v2(0, 0x11, &v4), Sender::Itself),
            (v2(0, 0, &[]), Sender::Itself),
            (v2(1, 0, &[]), Sender::Unknown),
        ] {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let mut rest = &bytes[..];
            let found = read(&mut rest).await.expect("a header");
            assert_eq!(found, expected, "{header:?}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn what_is_none_ends_the_connection() {
        for bytes in [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.9\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.9 10.0.0.1 99999 443\r\n".to_vec(),
            [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
            v2(1, 0x11, &[1, 2, 3]),
            v2(1, 0x11, &vec![0; 5_000]),
            SIGNATURE.to_vec(),
            Vec::new(),
        ] {
            assert!(read(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}

//! Where a provider's API is.
//!
//! Invariant: there is one text for every destination (lower-case scheme and host, no default port,
//! no trailing slash), because tokens are sealed for that text and compared with it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use till_core::path::{PathError, RawPath};

/// Scheme, host, port and base path of an API.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    path_prefix: Box<str>,
    text: Box<str>,
}

/// How the connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// With TLS.
    Https,
}

/// Why a text is no base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It can't be read as a URL at all.
    #[error("it is not a URL such as https://api.example.com")]
    NotAUrl,
    /// Another scheme, or none.
    #[error("it must start with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("it must not have a user name or password; keys are given when a scoped key is made")]
    UserInfo,
    /// `?…`
    #[error("it must not have a query ('?')")]
    Query,
    /// `#…`
    #[error("it must not have a fragment ('#')")]
    Fragment,
    /// Empty labels, a trailing dot, characters that no host name has.
    #[error("its host must be a name such as api.example.com or an IP address")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("its port must be a number from 1 to 65535")]
    Port,
    /// The base path breaks a rule for paths.
    #[error("its path is refused: {0}")]
    Path(PathError),
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port when none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl BaseUrl {
    /// How the connection is made.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host in lower case. An IPv6 address is without brackets, as name resolution wants it.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, also when it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host, and the port unless it is the default one: what the `Host` header says.
    pub fn authority(&self) -> &str {
        let after_scheme = &self.text[self.scheme.as_str().len() + "://".len()..];
        &after_scheme[..after_scheme.len() - self.path_prefix.len()]
    }

    /// What stands in front of every path: empty, or with a leading and without a trailing slash.
    pub fn path_prefix(&self) -> &str {
        &self.path_prefix
    }

    /// The canonical text, `https://api.openai.com` for example.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the host is this machine, where clear text is harmless.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Without `suffix`, if the base path ends with exactly these segments.
    pub(crate) fn without_suffix(&self, suffix: &str) -> Option<Self> {
        let prefix = self.path_prefix.strip_suffix(suffix)?;
        Some(Self::new(self.scheme, self.host.clone(), self.port, prefix.into()))
    }

    fn new(scheme: Scheme, host: Box<str>, port: u16, path_prefix: Box<str>) -> Self {
        let text = if port == scheme.default_port() {
            format!("{}://{host}{path_prefix}", scheme.as_str())
        } else {
            format!("{}://{host}:{port}{path_prefix}", scheme.as_str())
        };
        Self { scheme, host, port, path_prefix, text: text.into() }
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        // `Uri` drops a fragment silently and reads `host:1` as an authority, so both are looked at first.
        if text.contains('#') {
            return Err(BaseUrlError::Fragment);
        }
        if text.contains('?') {
            return Err(BaseUrlError::Query);
        }
        let scheme = scheme(text)?;
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::NotAUrl)?;
        let authority = uri.authority().ok_or(BaseUrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::UserInfo);
        }
        let host = host(authority.host())?;
        let port = port(&authority.as_str()[authority.host().len()..], scheme)?;
        let path_prefix = path_prefix(uri.path())?;
        Ok(Self::new(scheme, host, port, path_prefix))
    }
}

fn scheme(text: &str) -> Result<Scheme, BaseUrlError> {
    let (scheme, _) = text.split_once("://").ok_or(BaseUrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err(BaseUrlError::Scheme),
    }
}

/// The host in lower case. A trailing dot is refused because it would be a second text for the same host.
fn host(host: &str) -> Result<Box<str>, BaseUrlError> {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(BaseUrlError::Host)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| BaseUrlError::Host)?;
        return Ok(format!("[{address}]").into());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(BaseUrlError::Host);
    }
    // A name whose last label is a number is read as an IPv4 address by some resolvers (`127.1`,
    // `0x7f.1`) and as a name by others: only the plain form is accepted.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        host.parse::<std::net::Ipv4Addr>().map_err(|_| BaseUrlError::Host)?;
    }
    Ok(host.to_ascii_lowercase().into())
}

/// `text` is what stands behind the host: nothing, or `:` and the port.
fn port(text: &str, scheme: Scheme) -> Result<u16, BaseUrlError> {
    let Some(digits) = text.strip_prefix(':') else {
        return Ok(scheme.default_port());
    };
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && only_digits => Ok(port),
        _ => Err(BaseUrlError::Port),
    }
}

fn path_prefix(path: &str) -> Result<Box<str>, BaseUrlError> {
    RawPath::parse(path.as_bytes())
        .and_then(|raw| raw.finalise(0, "", till_core::path::PathRules::default()))
        .map_err(BaseUrlError::Path)?;
    Ok(path.strip_suffix('/').unwrap_or(path).into())
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use till_core::path::PathError;

    use super::{BaseUrl, BaseUrlError};

    #[test]
    fn canonical_texts() {
        for (text, canonical, host, port, prefix, authority) in [
            ("https://api.openai.com", "https://api.openai.com", "api.openai.com", 443, "", "api.openai.com"),
            (
                "HTTPS://API.OpenAI.com:443/",
                "https://api.openai.com",
                "api.openai.com",
                443,
                "",
                "api.openai.com",
            ),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000", "127.0.0.1", 9000, "", "127.0.0.1:9000"),
            ("http://localhost:80/Api/", "http://localhost/Api", "localhost", 80, "/Api", "localhost"),
            (
                "https://gw.example/openai/v1",
                "https://gw.example/openai/v1",
                "gw.example",
                443,
                "/openai/v1",
                "gw.example",
            ),
            ("http://[::1]:8080", "http://[::1]:8080", "::1", 8080, "", "[::1]:8080"),
            ("http://[0:0::1]", "http://[::1]", "::1", 80, "", "[::1]"),
            ("https://my_host", "https://my_host", "my_host", 443, "", "my_host"),
            ("https://h:80", "https://h:80", "h", 80, "", "h:80"),
        ] {
            let url: BaseUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.as_str(), canonical);
            assert_eq!(url.to_string(), canonical);
            assert_eq!((url.host(), url.port(), url.path_prefix()), (host, port, prefix), "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(canonical.parse(), Ok(url));
        }
    }

    #[test]
    fn refuses() {
        for (text, error) in [
            ("", BaseUrlError::Scheme),
            ("api.openai.com", BaseUrlError::Scheme),
            ("localhost:9000", BaseUrlError::Scheme),
            ("ftp://h", BaseUrlError::Scheme),
            ("https://", BaseUrlError::NotAUrl),
            ("https:///v1", BaseUrlError::NotAUrl),
            ("https://a b", BaseUrlError::NotAUrl),
            ("https://u:p@h", BaseUrlError::UserInfo),
            ("https://u@h", BaseUrlError::UserInfo),
            ("https://h/?a=b", BaseUrlError::Query),
            ("https://h?", BaseUrlError::Query),
            ("https://h/#x", BaseUrlError::Fragment),
            ("https://h.", BaseUrlError::Host),
            ("https://a..b", BaseUrlError::Host),
            ("https://127.1", BaseUrlError::Host),
            ("https://0x7f000001", BaseUrlError::Host),
            ("https://2130706433", BaseUrlError::Host),
            ("https://a!b", BaseUrlError::Host),
            ("https://h:0", BaseUrlError::Port),
            ("https://h:", BaseUrlError::Port),
            ("https://h/a/../b", BaseUrlError::Path(PathError::DotSegment)),
            ("https://h//", BaseUrlError::Path(PathError::EmptySegment)),
            ("https://h/a%2Fb", BaseUrlError::Path(PathError::EncodedSlash)),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(error), "{text}");
        }
        assert!("https://h:99999".parse::<BaseUrl>().is_err());
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("http://localhost", true),
            ("http://a.localhost:1", true),
            ("http://127.0.0.1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://0.0.0.0", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
            ("https://api.openai.com", false),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().is_loopback(), expected, "{text}");
        }
    }
}

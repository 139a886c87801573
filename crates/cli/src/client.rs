//! The commands' way to a running server: its admin API over HTTP.

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use till_core::secret::Secret;
use ureq::Agent;
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::args::Connection;
use crate::env::{self, Surroundings};
use crate::exit::Usage;
use crate::{local_file, tls};

/// The file in the data directory that says where the server is.
pub(crate) const ADDRESS_FILE: &str = "address";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Room for a page of keys with the largest metadata.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A server and the right to ask it.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    /// How the address became known, for messages.
    told_by: String,
    admin_key: Secret,
}

impl Client {
    /// Finds the server and the admin key. Nothing is sent yet.
    pub(crate) fn new(connection: &Connection, surroundings: &Surroundings) -> anyhow::Result<Self> {
        let (base_url, told_by) = find_server(connection, surroundings)?;
        let admin_key = find_admin_key(connection, surroundings)?;
        let agent = agent(&base_url, &connection.ca_file, TIMEOUT)?;
        Ok(Self { agent, base_url, told_by, admin_key })
    }

    /// Where the server is, without a slash at the end.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.call(&Method::POST, path, body)
    }

    /// A long answer, to be read as it comes, and how many entries it says that it has.
    pub(crate) fn download(&self, path: &str) -> anyhow::Result<(Option<u64>, impl Read + use<>)> {
        let request = self.request(&Method::GET, path)?.body(()).map_err(|_| self.not_a_url())?;
        let patient = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_recv_response(Some(TIMEOUT))
            .build();
        let answer = self.agent.run(patient).map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            let status = answer.status();
            return Err(self.read(answer).err().unwrap_or_else(|| anyhow!("the server answered {status}")));
        }
        let entries = answer.headers().get("x-till-audit-entries");
        let entries = entries.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((entries, answer.into_body().into_reader()))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::PUT, path, Some(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::PATCH, path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::DELETE, path, None)
    }

    fn request(&self, method: &Method, path: &str) -> anyhow::Result<Builder> {
        let admin_key = self
            .admin_key
            .reveal_str()
            .ok_or_else(|| Usage("the admin key has strange characters".into()))?;
        Ok(Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {admin_key}"))
            .header("accept", "application/json"))
    }

    fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.request(method, path)?;
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.map_err(|_| self.not_a_url())?)
            }
            None => self.agent.run(request.body(()).map_err(|_| self.not_a_url())?),
        };
        self.read(answer.map_err(|error| self.unreachable(&error))?)
    }

    fn read(&self, mut answer: Response<ureq::Body>) -> anyhow::Result<Value> {
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .with_context(|| format!("the answer of {} broke off", self.base_url))?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        match value {
            Some(value) if status.is_success() => Ok(value),
            value => Err(self.refused(status.as_u16(), value.as_ref())),
        }
    }

    fn refused(&self, status: u16, answer: Option<&Value>) -> anyhow::Error {
        let field = |name| Some(answer?.get("error")?.get(name)?.as_str()?.to_owned());
        let (Some(code), Some(message)) = (field("code"), field("message")) else {
            return anyhow!(
                "{} answered with status {status}, but not as till does; is {} right?",
                self.base_url,
                self.told_by
            );
        };
        let mut text = format!("{message} ({code}, status {status})");
        let advice = match status {
            401 => {
                "\nThe admin key is the one that the first `till start` printed. Give it as TILL_ADMIN_KEY or with \
                 --admin-key-file; if it is lost, stop the server and run `till admin reset-owner`."
            }
            403 => "\nThis admin key may not do that.",
            _ => "",
        };
        text.push_str(advice);
        anyhow!(text)
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        let mut text = format!("no till answers at {} ({}): {error}", self.base_url, self.told_by);
        if text.contains(tls::CA_AS_SERVER) {
            text.push_str(tls::CA_AS_SERVER_ADVICE);
            return anyhow!(text);
        }
        if matches!(error, ureq::Error::Io(_) | ureq::Error::ConnectionFailed) {
            text.push_str("\nStart it with `till start`, or say where it is with --url or TILL_URL.");
        }
        anyhow!(text)
    }

    fn not_a_url(&self) -> anyhow::Error {
        anyhow!("{} ({}) is not a URL", self.base_url, self.told_by)
    }
}

/// The URL, and how it became known.
fn find_server(connection: &Connection, surroundings: &Surroundings) -> anyhow::Result<(String, String)> {
    let (url, told_by) = if let Some(url) = &connection.url {
        (url.clone(), "--url".to_owned())
    } else if let Some(url) = surroundings.variable(env::URL).filter(|_| connection.data.is_none()) {
        (url.to_owned(), env::URL.to_owned())
    } else {
        let file = data_dir(connection, surroundings)?.join(ADDRESS_FILE);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            anyhow!(
                "till does not seem to run here: can't read {}: {error}\nStart it with `till start`, or say where it is \
                 with --url or TILL_URL.",
                file.display()
            )
        })?;
        (text.trim().to_owned(), file.display().to_string())
    };
    let url = url.trim_end_matches('/').to_owned();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!(Usage(format!("{told_by} does not say a URL that starts with http:// or https://")));
    }
    Ok((url, told_by))
}

fn data_dir(connection: &Connection, surroundings: &Surroundings) -> anyhow::Result<PathBuf> {
    let named = connection.data.clone().or_else(|| surroundings.variable(env::DATA).map(PathBuf::from));
    named.or_else(|| surroundings.data_dir()).ok_or_else(|| {
        Usage("there is no home directory to look for the server's data in: give --url or --data".into())
            .into()
    })
}

fn find_admin_key(connection: &Connection, surroundings: &Surroundings) -> anyhow::Result<Secret> {
    if let Some(file) = &connection.admin_key_file {
        return local_file::read_secret(file);
    }
    if let Some(key) = surroundings.variable(env::ADMIN_KEY) {
        return Ok(Secret::new(key.trim()));
    }
    if let Some(file) = surroundings.variable(env::ADMIN_KEY_FILE) {
        return local_file::read_secret(file.as_ref());
    }
    let how = "an admin key is needed: set TILL_ADMIN_KEY to the key that the first `till start` printed, or name a file \
               with --admin-key-file";
    bail!(Usage(how.into()))
}

/// What speaks HTTP to one of our own servers; each exchange may take as long as `timeout`.
///
/// # Errors
/// A file of certificates can't be read.
pub(crate) fn agent(base_url: &str, ca_files: &[PathBuf], timeout: Duration) -> anyhow::Result<Agent> {
    // Proxies from the environment are for upstreams: an admin key does not travel through them.
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent(concat!("till/", env!("CARGO_PKG_VERSION")));
    if !base_url.starts_with("https://") {
        return Ok(config.build().new_agent());
    }
    let roots = tls::roots(ca_files)?.certificates;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    Ok(config.tls_config(tls).build().new_agent())
}

/// A text as one segment of a path or one value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a String takes everything");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{escape, find_server};
    use crate::args::Connection;
    use crate::env::Surroundings;

    #[test]
    fn finds_the_server() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("address"), "http://127.0.0.1:7\n").unwrap();
        let data = dir.path().to_str().unwrap();
        let check = |url: Option<&str>,
                     data: Option<&str>,
                     variables: &[(&str, &str)],
                     expected: Option<&str>| {
            let connection =
                Connection { url: url.map(Into::into), data: data.map(Into::into), ..Connection::default() };
            let found = find_server(&connection, &Surroundings::of(variables)).ok().map(|(url, _)| url);
            assert_eq!(found.as_deref(), expected);
        };
        check(Some("http://a/"), Some(data), &[("TILL_URL", "http://b")], Some("http://a"));
        check(None, None, &[("TILL_URL", "https://b"), ("TILL_DATA", data)], Some("https://b"));
        check(None, Some(data), &[("TILL_URL", "https://b")], Some("http://127.0.0.1:7"));
        check(None, None, &[("TILL_DATA", data)], Some("http://127.0.0.1:7"));
        check(None, None, &[("HOME", "/nowhere")], None);
        check(None, None, &[], None);
        check(Some("127.0.0.1:4100"), None, &[], None);
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("key_aZ9"), "key_aZ9");
        assert_eq!(escape("../x?y=1&ä"), "..%2Fx%3Fy%3D1%26%C3%A4");
    }
}

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
use crate::profiles::{self, Profile, Profiles};
use crate::{local_file, tls};

/// The file in the data directory that says where the server is.
pub(crate) const ADDRESS_FILE: &str = "address";

/// Things per request; the server's largest page.
const PAGE: usize = 1000;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Room for a page of keys with the largest metadata.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The server says no.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// What it says, and what can be done about it.
    text: String,
}

/// A server and the right to ask it.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    /// How the address became known, for messages.
    told_by: String,
    admin_key: Secret,
    /// The profile that the address and the admin key are of, if they are of one.
    profile: Option<String>,
}

impl Client {
    /// Finds the server and the admin key. Nothing is sent yet.
    ///
    /// Both come from one place: an admin key of the environment is not sent to where a profile points, nor the other way
    /// round. The first of these that says anything counts: a flag, the environment, the chosen profile, the server of this
    /// machine.
    pub(crate) fn new(connection: &Connection, surroundings: &Surroundings) -> anyhow::Result<Self> {
        if let Some((name, profile)) = find_profile(connection, surroundings)? {
            let told_by = format!("profile {name}");
            let ca_files = [&profile.ca_file[..], &connection.ca_file].concat();
            let client = Self::with(&profile.url, told_by, profile.admin_token, &ca_files)?;
            return Ok(Self { profile: Some(name), ..client });
        }
        let (base_url, told_by) = find_server(connection, surroundings)?;
        let admin_key = find_admin_key(connection, surroundings)?;
        Self::with(&base_url, told_by, admin_key, &connection.ca_file)
    }

    /// A client of a server that is known. Nothing is sent yet.
    pub(crate) fn with(
        url: &str,
        told_by: String,
        admin_key: Secret,
        ca_files: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let base_url = checked_url(url, &told_by)?;
        let agent = agent(&base_url, ca_files, TIMEOUT)?;
        Ok(Self { agent, base_url, told_by, admin_key, profile: None })
    }

    /// Where the server is, without a slash at the end.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How the address became known.
    pub(crate) fn told_by(&self) -> &str {
        &self.told_by
    }

    /// The profile that the address and the admin key are of, if they are of one.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::GET, path, None, None)
    }

    pub(crate) fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.call(&Method::POST, path, body, None)
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
        self.call(&Method::PUT, path, Some(body), None)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(&Method::PATCH, path, Some(body), None)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::DELETE, path, None, None)
    }

    /// Changes something, if `version` is given only from that version of it.
    pub(crate) fn change(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> anyhow::Result<Value> {
        self.call(method, path, body, version)
    }

    /// All pages of a list: what stands in `field` of the answers.
    pub(crate) fn get_all(&self, path: &str, field: &str) -> anyhow::Result<Vec<Value>> {
        let first = format!("{path}{}limit={PAGE}", if path.contains('?') { '&' } else { '?' });
        let mut all = Vec::new();
        let mut next = first.clone();
        loop {
            let mut page = self.get(&next)?;
            if let Value::Array(page) = page[field].take() {
                all.extend(page);
            }
            match page["nextCursor"].as_str() {
                Some(cursor) => next = format!("{first}&cursor={}", escape(cursor)),
                None => return Ok(all),
            }
        }
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

    fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> anyhow::Result<Value> {
        let mut request = self.request(method, path)?;
        if let Some(version) = version {
            request = request.header("if-match", format!("\"{version}\""));
        }
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
        let advice = match (status, &self.profile) {
            (401, Some(profile)) => &format!(
                "\nThe admin token of the profile {profile} was revoked, replaced or has expired, or its project has ended. Log in \
                 again with `till login {} --profile {profile}`.",
                self.base_url
            ),
            (401, None) => {
                "\nThe admin key is the one that the first `till start` printed, or an admin token that somebody made for you. \
                 Give it as TILL_ADMIN_KEY or with --admin-key-file, or log in with `till login`; if the owner's is lost, stop \
                 the server and run `till admin reset-owner`."
            }
            // The message of another refusal names the rule.
            (403, _) if code == "forbidden" => {
                "\nThis admin key may not do that; `till whoami` shows what it may do."
            }
            (412, _) => {
                "\nLook at it again with `show`, and name the version that you see there with --if-version."
            }
            _ => "",
        };
        text.push_str(advice);
        Refused { status, text }.into()
    }

    /// Whether a profile is the one that this client asks with: the same address and the same token.
    pub(crate) fn is_of(&self, profile: &Profile) -> bool {
        profile.url == self.base_url && profile.admin_token == self.admin_key
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
pub(crate) fn find_server(
    connection: &Connection,
    surroundings: &Surroundings,
) -> anyhow::Result<(String, String)> {
    let (url, told_by) = if let Some(url) = &connection.url {
        (url.clone(), "--url".to_owned())
    } else if let Some(url) = surroundings.variable(env::URL).filter(|_| connection.data.is_none()) {
        (url.to_owned(), env::URL.to_owned())
    } else {
        let data = data_dir(connection, surroundings)?;
        let file = data.join(ADDRESS_FILE);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            anyhow!(
                "till does not seem to run here: can't read {}: {error}\nStart it with `till start`, say where it is with \
                 --url or TILL_URL, or log in to one that runs elsewhere with `till login`.",
                file.display()
            )
        })?;
        // A crash leaves the file behind, and then anybody on this machine can listen there and be sent the admin key.
        if matches!(till_store::store_is_open(&data), Ok(false)) {
            bail!(
                "till does not run here: {} is what a crash left behind\nStart it with `till start`, or say where it is with \
                 --url or TILL_URL.",
                file.display()
            );
        }
        (text.trim().to_owned(), file.display().to_string())
    };
    Ok((checked_url(&url, &told_by)?, told_by))
}

/// A URL that paths can be put behind.
fn checked_url(url: &str, told_by: &str) -> anyhow::Result<String> {
    let url = url.trim_end_matches('/');
    let wrong = |what: &str| Err(Usage(format!("{told_by} does not say a URL that {what}")).into());
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return wrong("starts with http:// or https://");
    };
    if rest.is_empty() || rest.contains(['@', '?', '#']) || rest.chars().any(|one| one.is_whitespace()) {
        return wrong("has a host, and neither a user, a query nor a fragment");
    }
    Ok(url.to_owned())
}

/// The profile to use, unless flags or the environment say where the server is.
fn find_profile(
    connection: &Connection,
    surroundings: &Surroundings,
) -> anyhow::Result<Option<(String, Profile)>> {
    let path = || profiles::path(surroundings);
    if let Some(name) = &connection.profile {
        return Ok(Some((name.clone(), Profiles::load(&path()?)?.named(name)?.clone())));
    }
    if connection.url.is_some() || connection.data.is_some() || connection.admin_key_file.is_some() {
        return Ok(None);
    }
    let variable = [env::URL, env::DATA, env::ADMIN_KEY, env::ADMIN_KEY_FILE]
        .into_iter()
        .find(|name| surroundings.variable(name).is_some());
    match (surroundings.variable(env::PROFILE), variable) {
        (Some(_), Some(other)) => bail!(Usage(format!(
            "{} and {other} both say which server is meant: unset one of them, or say it with --profile or --url",
            env::PROFILE
        ))),
        (Some(name), None) => Ok(Some((name.to_owned(), Profiles::load(&path()?)?.named(name)?.clone()))),
        (None, Some(_)) => Ok(None),
        (None, None) => {
            let Some(path) = surroundings.profiles_file() else { return Ok(None) };
            let profiles = Profiles::load(&path)?;
            Ok(profiles.chosen()?.map(|(name, profile)| (name.to_owned(), profile.clone())))
        }
    }
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
    let how = "an admin key is needed: set TILL_ADMIN_KEY to the key that the first `till start` printed, name a file with \
               --admin-key-file, or log in with `till login`";
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
    use std::path::Path;

    use super::{Client, checked_url, escape, find_server};
    use crate::args::Connection;
    use crate::env::Surroundings;

    #[test]
    fn finds_the_server() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("address"), "http://127.0.0.1:7\n").unwrap();
        let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
        lock.lock().unwrap();
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
    }

    #[test]
    fn urls_are_places_that_paths_stand_behind() {
        for (url, expected) in [
            ("http://a/", Some("http://a")),
            ("https://a.example:1/till//", Some("https://a.example:1/till")),
            ("127.0.0.1:4100", None),
            ("https://", None),
            ("https://user:word@a", None),
            ("https://a?b", None),
            ("https://a#b", None),
            ("https://a b", None),
        ] {
            assert_eq!(checked_url(url, "x").ok().as_deref(), expected, "{url}");
        }
    }

    /// Where a command goes, and whose key it brings, with these flags and variables and the profiles `one` (chosen) and `two`.
    fn way(home: &Path, connection: &Connection, variables: &[(&str, &str)]) -> Option<(String, String)> {
        let variables = [&[("HOME", home.to_str().unwrap())], variables].concat();
        let client = Client::new(connection, &Surroundings::of(&variables)).ok()?;
        Some((client.base_url, client.admin_key.reveal_str().unwrap().to_owned()))
    }

    #[test]
    fn the_address_and_the_key_come_from_one_place() {
        use crate::profiles::{Profile, Profiles};
        use till_core::secret::Secret;

        let home = tempfile::tempdir().unwrap();
        let data = home.path().join(".local/share/till");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("address"), "http://local\n").unwrap();
        let none = Connection::default();
        let env_key = ("TILL_ADMIN_KEY", "of-env");
        assert_eq!(
            way(home.path(), &none, &[env_key]),
            None,
            "nobody has the lock: a crash left the address"
        );
        let lock = std::fs::File::create(data.join("lock")).unwrap();
        lock.lock().unwrap();
        std::fs::write(home.path().join("key"), "of-file").unwrap();
        let file = home.path().join(".config/till/profiles.toml");
        Profiles::update(&file, |profiles| {
            for name in ["one", "two"] {
                let admin_token = Secret::new(format!("of-{name}"));
                let profile = Profile { url: format!("http://{name}"), admin_token, ca_file: Vec::new() };
                profiles.all.insert(name.into(), profile);
            }
            profiles.chosen = Some("one".into());
            Ok(())
        })
        .unwrap();
        let url = Connection { url: Some("http://flag".into()), ..Connection::default() };
        let key = Connection { admin_key_file: Some(home.path().join("key")), ..Connection::default() };
        let at = Connection { data: Some(data.clone()), ..Connection::default() };
        let two = Connection { profile: Some("two".into()), ..Connection::default() };
        let three = Connection { profile: Some("three".into()), ..Connection::default() };
        let env_url = ("TILL_URL", "http://env");
        let env_two = ("TILL_PROFILE", "two");
        for (connection, variables, expected) in [
            (&none, &[][..], Some(("http://one", "of-one"))),
            (&none, &[env_two], Some(("http://two", "of-two"))),
            (&none, &[("TILL_PROFILE", "three")], None),
            (&none, &[env_url, env_key], Some(("http://env", "of-env"))),
            (&none, &[env_key], Some(("http://local", "of-env"))),
            // A profile's token goes nowhere but to its own address.
            (&none, &[env_url], None),
            (&none, &[env_two, env_url, env_key], None),
            (&none, &[env_two, env_key], None),
            (&none, &[("TILL_DATA", "/none")], None),
            (&two, &[env_url, env_key], Some(("http://two", "of-two"))),
            (&two, &[("TILL_PROFILE", "one")], Some(("http://two", "of-two"))),
            (&three, &[], None),
            (&url, &[], None),
            (&url, &[env_key], Some(("http://flag", "of-env"))),
            (&url, &[env_two, env_key], Some(("http://flag", "of-env"))),
            (&key, &[], Some(("http://local", "of-file"))),
            (&at, &[env_key], Some(("http://local", "of-env"))),
        ] {
            let expected = expected.map(|(url, key)| (url.to_owned(), key.to_owned()));
            assert_eq!(way(home.path(), connection, variables), expected, "{variables:?}");
        }
        // Logged in nowhere: as without profiles.
        std::fs::remove_file(&file).unwrap();
        assert_eq!(way(home.path(), &none, &[]), None);
        let expected = Some(("http://local".to_owned(), "of-env".to_owned()));
        assert_eq!(way(home.path(), &none, &[env_key]), expected);
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("key_aZ9"), "key_aZ9");
        assert_eq!(escape("../x?y=1&ä"), "..%2Fx%3Fy%3D1%26%C3%A4");
    }
}

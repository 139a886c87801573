use std::path::{Path, PathBuf};
use std::time::Duration;

use till_core::upstream::Placement;

use super::value::{count, duration};
use super::{Mistakes, SettingFlags, Settings, TABLE, Written};
use crate::env::{self, Surroundings};

/// A configuration file, variables and flags, resolved.
struct Case {
    dir: tempfile::TempDir,
    file: Option<String>,
    variables: Vec<(&'static str, &'static str)>,
    flags: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, file: None, variables: Vec::new(), flags: Vec::new() }
    }

    fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    fn variables(mut self, variables: &[(&'static str, &'static str)]) -> Self {
        self.variables = variables.to_vec();
        self
    }

    fn flags(mut self, flags: &[(&'static str, &'static str)]) -> Self {
        self.flags = flags.to_vec();
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("till.toml")
    }

    fn resolve(&self) -> Result<Settings, Mistakes> {
        let path = self.path();
        let mut variables = vec![("HOME", "/home/u")];
        variables.extend(&self.variables);
        if let Some(text) = &self.file {
            std::fs::write(&path, text).expect("the file can be written");
            variables.push((env::CONFIG, path.to_str().expect("UTF-8")));
        }
        let surroundings = Surroundings::of(&variables);
        let written = Written::gather(&SettingFlags::of(&self.flags), &surroundings);
        Settings::resolve(&written, &surroundings)
    }

    fn settings(&self) -> Settings {
        self.resolve().expect("the settings are right")
    }

    /// The mistakes, with the directory of the test taken out.
    fn mistakes(&self) -> Vec<String> {
        let Mistakes(mistakes) = self.resolve().expect_err("there are mistakes");
        let dir = format!("{}/", self.dir.path().display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&dir, "")).collect()
    }
}

#[test]
fn the_table_is_regular() {
    for setting in TABLE {
        assert_eq!(setting.env, format!("TILL_{}", setting.name.to_uppercase().replace('-', "_")));
        assert!(setting.help.ends_with('.') && !setting.help.contains("  "), "{}", setting.name);
        assert_eq!(TABLE.iter().filter(|other| other.name == setting.name).count(), 1, "{}", setting.name);
        assert!(!env::NOT_SETTINGS.contains(&setting.env), "{}", setting.name);
    }
}

#[test]
fn nothing_written_gives_the_defaults() {
    let settings = Case::new().settings();
    assert_eq!(settings.data, Path::new("/home/u/.local/share/till"));
    assert_eq!(settings.key_dir, Path::new("/home/u/.local/share/till/keys"));
    assert_eq!(settings.listen().to_string(), "127.0.0.1:4100");
    assert_eq!(settings.shutdown_grace, Duration::from_secs(30));
    assert_eq!(settings.header_bytes_max, 65536);
    assert!(settings.log_requests);
    assert_eq!(settings.tls_files(), None);
}

#[test]
fn flag_over_variable_over_file_over_default() {
    const FILE: &str = "listen = \"127.0.0.1:1\"\n";
    const VARIABLE: &[(&str, &str)] = &[("TILL_LISTEN", "127.0.0.1:2")];
    const FLAG: &[(&str, &str)] = &[("listen", "127.0.0.1:3")];
    let check = |case: Case, port: u16| assert_eq!(case.settings().listen().port(), port);
    check(Case::new(), 4100);
    check(Case::new().file(FILE), 1);
    check(Case::new().file(FILE).variables(VARIABLE), 2);
    check(Case::new().variables(VARIABLE), 2);
    check(Case::new().file(FILE).variables(VARIABLE).flags(FLAG), 3);
    check(Case::new().file(FILE).flags(FLAG), 3);
    check(Case::new().file(FILE).variables(&[("TILL_LISTEN", "")]), 1);
}

#[test]
fn a_list_comes_whole_from_one_place() {
    let ids = |case: Case| {
        let settings = case.settings();
        settings.provider_urls.iter().map(|url| (url.provider.clone(), url.accept_sealed)).collect::<Vec<_>>()
    };
    let file = "provider_url = [\"openai=http://a:1\", \"groq=http://b:2/x,accept-sealed\"]\n";
    assert_eq!(ids(Case::new().file(file)), [("openai".to_owned(), false), ("groq".to_owned(), true)]);
    let variables = [("TILL_PROVIDER_URL", "mistral=http://c:3;cohere=http://d:4")];
    assert_eq!(
        ids(Case::new().file(file).variables(&variables)),
        [("mistral".to_owned(), false), ("cohere".to_owned(), false)]
    );
    let both =
        Case::new().file("provider_url = \"openai=http://a:1,bills-alike,accept-sealed\"\n").settings();
    assert!(both.provider_urls[0].bills_alike && both.provider_urls[0].accept_sealed);
    let flags = [("provider-url", "xai=http://e:5")];
    assert_eq!(ids(Case::new().file(file).variables(&variables).flags(&flags)), [("xai".to_owned(), false)]);
    assert_eq!(ids(Case::new().file("provider_url = \"openai=http://a:1\"")), [("openai".to_owned(), false)]);
}

#[test]
fn every_kind_of_value_works_in_the_file() {
    let settings = Case::new()
        .file(
            "data = \"/d\"\nlisten = \"[::1]:0\"\nidle_timeout = \"90s\"\nin_flight_max = 7\nlog_requests = false\n\
             log_format = \"json\"\nlog_level = \"debug\"\nupstream_ca = [\"/a b.pem\"]\nworker_threads = 2\n",
        )
        .settings();
    assert_eq!(settings.key_dir, Path::new("/d/keys"));
    assert_eq!(settings.listen().to_string(), "[::1]:0");
    assert_eq!(settings.idle_timeout, Duration::from_secs(90));
    assert_eq!(settings.in_flight_max, 7);
    assert!(!settings.log_requests);
    assert_eq!(settings.upstream_ca, [Path::new("/a b.pem")]);
    assert_eq!(settings.worker_threads, Some(2));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let mistakes = Case::new()
        .file(
            "lisen = 1\n\
             shutdown-grace = \"1s\"\n\
             in_flight_max = 0\n\
             log_requests = \"maybe\"\n\
             connect_timeout = 5\n\
             config = \"x\"\n\
             header_count_max = [8]\n\
             tls_cert = \"/cert.pem\"\n\
             [providers.Bad]\n\
             base_url = \"ftp://x\"\n\
             extra = 1\n",
        )
        .variables(&[
            ("TILL_LISEN", "x"),
            ("TILL_LISTEN", "nowhere"),
            ("TILL_ADMIN_KEY", "s"),
            ("TILL_URL", "u"),
        ])
        .flags(&[("listen", "127.0.0.1:70000"), ("log-level", "loud"), ("data", "/a"), ("data", "/b")])
        .mistakes();
    let expected = [
        "TILL_LISEN (environment): is not a setting",
        "data (flag --data): is given more than once",
        "lisen (till.toml:1): is not a setting",
        "shutdown-grace (till.toml:2): is not a setting; write `shutdown_grace`",
        "in-flight-max (till.toml:3): `0` is not allowed; expected a whole number from 1 to 10000000",
        "log-requests (till.toml:4): `maybe` is not allowed; expected `on` or `off`",
        "connect-timeout (till.toml:5): `5` is not allowed; expected a number with `ms`",
        "config (till.toml:6): is not a setting",
        "header-count-max (till.toml:7): has the wrong type",
        "tls-cert: is set without tls-key",
        "providers.Bad (till.toml:9): has an unknown key `extra`",
        "providers.Bad (till.toml:9): provider \"Bad\": an id is ",
        "providers.Bad (till.toml:9): provider \"Bad\": base_url: ",
        "providers.Bad (till.toml:9): has no `auth`",
        "listen (flag --listen): `127.0.0.1:70000` is not allowed; expected IP address and port",
        "listen (variable TILL_LISTEN): `nowhere` is not allowed",
        "log-level (flag --log-level): `loud` is not allowed; expected error, warn, info, debug or trace",
    ];
    for start in expected {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start}\n{mistakes:#?}");
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
}

#[test]
fn other_mistakes() {
    let check = |case: Case, start: &str| {
        let mistakes = case.mistakes();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(start), "{start}\n{mistakes:#?}");
    };
    check(Case::new().file("listen = \n"), "config (till.toml:1): is not TOML");
    check(
        Case::new().flags(&[("config", "/no/such/file")]),
        "config (flag --config): can't read /no/such/file",
    );
    check(Case::new().flags(&[("tls-key", "/k")]), "tls-key: is set without tls-cert");
    check(Case::new().variables(&[("HOME", "")]), "data: has no default here");
    check(Case::new().file("providers = 1"), "providers (till.toml:1): is not a table");
    let twice = [("provider-url", "openai=http://a"), ("provider-url", "openai=http://b")];
    check(Case::new().flags(&twice), "provider-url: names provider `openai` twice");
    check(
        Case::new().flags(&[("provider-url", "nobody=http://a")]),
        "provider-url: there is no provider \"nobody\"",
    );
    check(
        Case::new().file("[providers.x]\nbase_url = \"ftp://x\"\nauth = {basic = true}\n"),
        "providers.x (till.toml:1): ",
    );
    check(
        Case::new().file("[providers.openai]\nbase_url = \"http://x\"\nauth = {basic = true}\n"),
        "providers.openai (till.toml:1): ",
    );
    for url in ["openai", "openai=x", "openai=http://a,yes", "openai=http://u:p@a", "openai=http://a?q"] {
        check(Case::new().flags(&[("provider-url", url)]), "provider-url (flag --provider-url): ");
    }
}

#[test]
fn no_mistake_of_a_provider_hides_another() {
    let check = |table: &str, rules: &[&str]| {
        let flags = [("provider-url", "OpenAI=http://a")];
        let mistakes = Case::new().file(table).flags(&flags).mistakes();
        for rule in rules {
            let hit = |mistake: &String| {
                mistake.starts_with("providers.OpenAI (till.toml:1): ") && mistake.contains(rule)
            };
            assert!(mistakes.iter().any(hit), "{table}: {rule}\n{mistakes:#?}");
        }
        assert_eq!(mistakes.len(), rules.len(), "{table}\n{mistakes:#?}");
    };
    let id = "an id is ";
    let template = "auth.template must have {key}";
    check(
        "[providers.OpenAI]\nauth = {header = \"x\", template = \"y\"}",
        &[id, template, "has no `base_url`"],
    );
    check(
        "[providers.OpenAI]\nbase_url = 1\nauth = {header = \"host\", template = \"y\"}",
        &[id, template, "that HTTP itself uses", "`base_url` that is not a string"],
    );
    check(
        "[providers.OpenAI]\nbase_url = \"ftp://x\"\nauth = {header = \"x\", template = \"y\"}",
        &[id, template, "base_url: "],
    );
    check("[providers.OpenAI]\nbase_url = \"ftp://x\"\nauth = {}", &[id, "base_url: ", "has an `auth` that"]);
    check(
        "[providers.OpenAI]\nallow_encoded_slash = 1",
        &[id, "no `base_url`", "no `auth`", "neither true nor"],
    );
    check("providers.OpenAI = 1", &[id, "is not a table"]);
}

#[test]
fn passwords_in_urls_are_not_repeated() {
    let mistakes = Case::new().flags(&[("provider-url", "openai=http://user:hunter2@a")]).mistakes();
    assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
}

#[test]
fn custom_providers() {
    let placement = |auth: &str| {
        let file = format!("[providers.mine]\nbase_url = \"https://a.example/v1/\"\nauth = {auth}\n");
        Case::new().file(&file).resolve().map(|settings| {
            let mine = settings.registry.get("mine").expect("it was added");
            assert_eq!(mine.base_url().map(ToString::to_string).as_deref(), Some("https://a.example/v1"));
            mine.placement().clone()
        })
    };
    let header =
        |name: &str, template: &str| Placement::Header { name: name.into(), template: template.into() };
    assert_eq!(placement("{header = \"X-API-Key\"}"), Ok(header("x-api-key", "{key}")));
    let token = "{header = \"authorization\", template = \"Token {key}\"}";
    assert_eq!(placement(token), Ok(header("authorization", "Token {key}")));
    assert_eq!(placement("{query = \"key\"}"), Ok(Placement::Query { name: "key".into() }));
    assert_eq!(placement("{basic = true}"), Ok(Placement::Basic));
    for wrong in [
        "{}",
        "1",
        "{basic = false}",
        "{query = \"a b\"}",
        "{query = 1}",
        "{header = \"a b\"}",
        "{header = \"host\"}",
        "{header = \"x\", template = \"no slot\"}",
        "{header = \"x\", template = \"{key}{key}\"}",
        "{header = \"x\", query = \"y\"}",
        "{header = \"x\", other = \"y\"}",
    ] {
        assert!(placement(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn values() {
    for (text, millis) in [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("24h", 86_400_000)] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
    }
    for text in [
        "",
        "s",
        "10",
        "-1s",
        "1.5s",
        "0s",
        "25h",
        "99999999999999999999s",
        "18446744073709551615h",
        "1 s",
        "1d",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert_eq!(count("8", 8, 9), Ok(8));
    for text in ["", "7", "10", "+8", "8.0", "-8", "99999999999999999999"] {
        assert!(count(text, 8, 9).is_err(), "{text}");
    }
}

#[test]
fn rows_for_what_costs_nothing_are_read() {
    const FILE: &str = "[[neutral]]\nprovider = \"openai\"\nfield = \"new_field\"\n\n[[neutral]]\nprovider = \"claude\"\nbeta = \"x\"\n";
    Case::new().file(FILE).settings();
    let check = |row: &str, expected: &str| {
        let case = Case::new().file(&format!("listen = \"127.0.0.1:0\"\n[[neutral]]\n{row}\n"));
        assert_eq!(case.mistakes(), [expected], "{row}");
    };
    let shape = "neutral (till.toml:2): must have `provider` and exactly one of `endpoint`, `field`, `tool` and `beta`, \
                 each a string, and nothing else";
    check("provider = \"openai\"", shape);
    check("provider = \"openai\"\nfield = \"a\"\ntool = \"b\"", shape);
    check("provider = \"openai\"\nfield = 1", shape);
    check("field = \"a\"", shape);
    check("provider = \"nobody\"\nfield = \"a\"", "neutral (till.toml:2): there is no provider \"nobody\"");
    check("provider = \"openai\"\nfield = \"\"", "neutral (till.toml:2): a name must not be empty");
    check(
        "provider = \"openai\"\nendpoint = \"v1/x\"",
        "neutral (till.toml:2): endpoint \"v1/x\" must be a method and a path, as in \"GET /v1/things/*\"",
    );
}

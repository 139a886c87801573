//! The built program from outside: what it says and how it exits, without and with a server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const CANARY: &str = "sk-canary-5f0c1d";

/// A home of its own: no variable and no file of the machine plays a part.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_till"));
        command.args(args).env_clear().env("HOME", self.path()).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// Starts a server on a free port and waits until it says that it runs.
    fn start(&self, args: &[&str]) -> Server {
        self.start_with(args, |_| {})
    }

    fn start_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Server {
        let mut command = self.command(&["start", "--listen", "127.0.0.1:0"]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut server = Server { child: Some(child), screen: String::new() };
        while !server.screen.ends_with("/docs\n") {
            if lines.read_line(&mut server.screen).expect("readable") == 0 {
                let log = server.log();
                panic!("it did not start:\n{}{log}", server.screen);
            }
        }
        server
    }
}

struct Server {
    child: Option<Child>,
    screen: String,
}

impl Server {
    fn url(&self) -> String {
        let line = self.screen.lines().find(|line| line.contains("is running at")).expect("it says where");
        line.rsplit(' ').next().expect("the last word").to_owned()
    }

    fn admin_key(&self) -> String {
        let key = self.screen.lines().find_map(|line| line.trim().strip_prefix("export TILL_ADMIN_KEY="));
        key.expect("the first screen has the key").to_owned()
    }

    /// What it wrote to stderr, to the end.
    fn log(&mut self) -> String {
        let mut log = String::new();
        let child = self.child.as_mut().expect("it runs");
        child.stderr.take().expect("piped").read_to_string(&mut log).expect("readable");
        log
    }

    /// Sends SIGTERM and answers the log.
    fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().expect("it runs"));
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let log = self.log();
        let status = self.child.take().expect("it runs").wait().expect("it ends");
        assert!(status.success(), "{status}\n{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check(output: &Output, code: i32, expected: &str) {
    let text = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("the output is JSON")
}

#[test]
fn version_in_both_forms() {
    let home = Home::new();
    check(&home.run(&["version"]), 0, concat!("till ", env!("CARGO_PKG_VERSION")));
    check(&home.run(&["--version"]), 0, concat!("till ", env!("CARGO_PKG_VERSION")));
    let version = json(&home.run(&["version", "--output", "json"]));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::new();
    check(&home.run(&["fly"]), 2, "unrecognized subcommand");
    check(&home.run(&["keys", "create", "--provider", "openai"]), 2, "--max-activations");
    check(&home.run(&["providers", "show", "nobody"]), 2, "till providers list");
    check(&home.run(&["start", "--listen", "nowhere"]), 2, "IP address and port");
}

#[test]
fn config_check_names_every_mistake() {
    let home = Home::new();
    check(&home.run(&["config", "check"]), 0, "The settings are right.");
    let file = home.path().join("till.toml");
    fs::write(&file, "lisen = 1\nlog_level = \"loud\"\n").unwrap();
    let args =
        ["config", "check", "--config", "till.toml", "--connect-timeout", "soon", "--tls-cert", "/none"];
    let output = home.command(&args).env("TILL_LISTENN", "x").output().unwrap();
    for name in [
        "lisen",
        "log-level (till.toml:2)",
        "connect-timeout (flag --connect-timeout)",
        "TILL_LISTENN",
        "tls-cert",
    ] {
        check(&output, 2, name);
    }
    check(&output, 2, "tls-cert (flag --tls-cert): can't read certificates in PEM from /none");
    check(&output, 2, "6 mistakes in the settings:");
    let output = home.run(&["config", "check", "--config", "till.toml", "--output", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["mistakes"].as_array().map(Vec::len), Some(2));
    let output = home.run(&["config", "check", "--upstream-ca", "/none"]);
    check(&output, 2, "can't read certificates in PEM from /none");
    // `till start` refuses in the same words.
    check(&home.run(&["start", "--config", "till.toml"]), 2, "2 mistakes in the settings:");
    let files = ["--tls-cert", "/n1", "--tls-key", "/n2", "--upstream-ca", "/n3", "--master-key-file", "/n4"];
    let also = ["--admin-key-file", "/n5", "--provider-url", "openai=ftp://x"];
    let said = |command: &[&str]| {
        let mut command = home.command(&[command, &files[..], &also[..]].concat());
        let output = command.env("TILL_ADMIN_KEY", "short").output().unwrap();
        check(&output, 2, "7 mistakes in the settings:");
        stderr(&output)
    };
    assert_eq!(said(&["config", "check"]), said(&["start"]));
    assert!(!home.path().join(".local").exists(), "nothing was made");
}

#[test]
fn config_show_says_where_values_come_from() {
    let home = Home::new();
    fs::create_dir_all(home.path().join(".config/till")).unwrap();
    let file = home.path().join(".config/till/till.toml");
    fs::write(&file, "\nin_flight_max = 7\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let mut command = home.command(&["config", "show", "--listen", "127.0.0.1:2", "--output", "json"]);
    let shown = json(&command.env("TILL_LOG_LEVEL", "warn").output().unwrap());
    let row = |name: &str| {
        let rows = shown["settings"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["setting"] == name).expect("every setting is there");
        (row["value"].clone(), row["from"].as_str().expect("a text").to_owned())
    };
    assert_eq!(row("listen"), ("127.0.0.1:2".into(), "flag --listen".into()));
    assert_eq!(row("log-level"), ("warn".into(), "variable TILL_LOG_LEVEL".into()));
    assert_eq!(row("in-flight-max"), ("7".into(), format!("{}:2", file.display())));
    assert_eq!(row("shutdown-grace"), ("30s".into(), "default".into()));
    assert_eq!(row("tls-cert"), (Value::Null, "default".into()));
    check(&home.run(&["config", "show"]), 0, "shutdown-grace");
}

#[test]
fn providers_without_a_server() {
    let home = Home::new();
    let listed = json(&home.run(&["providers", "list", "--output", "json"]));
    let ids: Vec<&str> =
        listed["providers"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    for id in ["openai", "anthropic", "google", "stripe", "github"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    check(&home.run(&["providers", "show", "openai"]), 0, "https://api.openai.com");
}

#[test]
fn completions_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        check(&home.run(&["completions", shell]), 0, "accept-rollback");
    }
}

#[test]
fn man_pages_for_every_command() {
    let home = Home::new();
    check(&home.run(&["man", "share/man1"]), 0, "share/man1/till.1");
    let page = |name: &str| fs::read_to_string(home.path().join("share/man1").join(name)).unwrap();
    assert!(page("till.1").contains("till\\-tokens(1)"), "{}", page("till.1"));
    assert!(page("till-tokens-rotate.1").contains("\\-\\-overlap"));
    assert!(!page("till.1").contains("till\\-man(1)"), "it is for packagers");
}

#[test]
fn profiles_without_a_server() {
    let home = Home::new();
    check(&home.run(&["profiles", "list"]), 0, "There are no profiles");
    check(&home.run(&["profiles", "use", "x"]), 2, "there is no profile x");
    check(&home.run(&["logout"]), 2, "there is no chosen profile");
    check(&home.run(&["status", "--profile", "x"]), 2, "there is no profile x");
    check(&home.run(&["status", "--profile", "x", "--url", "http://127.0.0.1:1"]), 2, "cannot be used with");
    check(&home.run(&["login", "till.example.com"]), 2, "https://till.example.com");
    check(&home.run(&["login", "http://127.0.0.1:1"]), 2, "--admin-key-file");
    check(&home.run(&["login", "http://a@127.0.0.1:1"]), 2, "neither a user");
    let file = home.path().join(".config/till/profiles.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, format!("[profiles.default]\nurl = \"http://a\"\nadmin_token = {CANARY}\n")).unwrap();
    check(&home.run(&["status"]), 1, "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let output = home.run(&["status"]);
    check(&output, 1, "line 3 is not as `till login` writes it");
    assert!(!stderr(&output).contains(CANARY));
}

#[test]
fn commands_say_what_they_need() {
    let home = Home::new();
    check(&home.run(&["status"]), 1, "till does not seem to run here");
    check(&home.run(&["status", "--url", "localhost"]), 2, "http:// or https://");
    check(&home.run(&["status", "--url", "http://127.0.0.1:1"]), 2, "TILL_ADMIN_KEY");
    let mut command = home.command(&["status", "--url", "http://127.0.0.1:1"]);
    check(&command.env("TILL_ADMIN_KEY", "k").output().unwrap(), 1, "http://127.0.0.1:1 (--url)");
    check(&home.run(&["admin", "reset-owner"]), 1, "there is no database");
}

#[test]
fn first_start_to_clean_stop() {
    let home = Home::new();
    let server = home.start(&[]);
    let (url, key) = (server.url(), server.admin_key());
    let data = home.path().join(".local/share/till");
    assert_eq!(fs::read_to_string(data.join("address")).unwrap(), format!("{url}\n"));
    let mode = |path: &str| fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys"), mode("keys/master.key")), (0o700, 0o600));

    let run = |args: &[&str]| home.command(args).env("TILL_ADMIN_KEY", &key).output().unwrap();
    check(&run(&["status"]), 0, &url);
    assert_eq!(json(&run(&["status", "-o", "json"]))["account"]["keysUsed"], 0);
    check(
        &home.command(&["status"]).env("TILL_ADMIN_KEY", "wrong").output().unwrap(),
        1,
        "till admin reset-owner",
    );
    check(&home.run(&["admin", "reset-owner"]), 1, "already running");
    check(&home.run(&["start", "--listen", "127.0.0.1:0"]), 1, "already running");
    let port = url.rsplit(':').next().unwrap();
    let other = ["start", "--data", "other", "--listen", &format!("127.0.0.1:{port}")];
    check(&home.run(&other), 1, "can't listen on");

    let log = server.stop();
    assert!(!log.contains("till_admin_"), "{log}");
    assert!(!data.join("address").exists());
    check(&run(&["status"]), 1, "till does not seem to run here");

    // The second start knows the same key and does not show it again.
    let server = home.start(&[]);
    assert!(!server.screen.contains("till_admin_"));
    check(&run(&["status"]), 0, &server.url());
    server.stop();

    // A new owner key replaces it.
    let reset = json(&home.run(&["admin", "reset-owner", "--output", "json"]));
    let server = home.start(&[]);
    check(&run(&["status"]), 1, "status 401");
    let mut command = home.command(&["status"]);
    check(
        &command.env("TILL_ADMIN_KEY", reset["adminKey"].as_str().unwrap()).output().unwrap(),
        0,
        "version",
    );
    server.stop();

    // Without its master key it does not start, and it makes no new one.
    fs::remove_file(data.join("keys/master.key")).unwrap();
    check(&home.run(&["start", "--listen", "127.0.0.1:0"]), 1, "the master key is missing");
    assert!(!data.join("keys/master.key").exists());
}

/// Whenever the first start is killed, the last key that was printed is the owner's.
#[test]
fn a_killed_first_start_loses_no_owner_key() {
    let home = Home::new();
    let mut child = home
        .command(&["start", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let printed = lines
        .find_map(|line| Some(line.ok()?.trim().strip_prefix("export TILL_ADMIN_KEY=")?.to_owned()))
        .expect("it prints a key");
    child.kill().unwrap();
    child.wait().unwrap();
    let server = home.start(&[]);
    let is_new = server.screen.contains("export TILL_ADMIN_KEY=");
    let key = if is_new { server.admin_key() } else { printed };
    check(&home.command(&["status"]).env("TILL_ADMIN_KEY", key).output().unwrap(), 0, &server.url());
}

#[test]
fn a_fenced_start_is_logged() {
    let home = Home::new();
    let log = home.start(&[]).stop();
    assert!(!log.contains("ERROR"), "{log}");
    fs::remove_file(home.path().join(".local/share/till/keys/witness")).unwrap();
    let log = home.start(&["--log-format", "json"]).stop();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let error = events.iter().find(|event| event["level"] == "ERROR").expect(&log);
    assert_eq!(error["message"], "all keys are refused");
    assert_eq!(error["fix"], "till admin accept-rollback");
    assert!(error["reason"].as_str().unwrap().contains("witness"), "{error}");
}

#[test]
fn keys_from_creation_to_revocation() {
    let home = Home::new();
    let server = home.start(&[]);
    let key = server.admin_key();
    let run =
        |args: &[&str]| home.command(args).env("TILL_ADMIN_KEY", &key).env("REAL", CANARY).output().unwrap();
    check(&run(&["keys", "list"]), 0, "There are no keys");
    let create = ["keys", "create", "--provider", "openai", "--max-activations", "3", "--name", "crawler"];

    check(&run(&create), 2, "--upstream-key-env");
    let refused = run(&[&create[..], &["--upstream-key", "sk-on-the-command-line"]].concat());
    check(&refused, 2, "--upstream-key is refused");
    assert!(!stderr(&refused).contains("sk-on-the-command-line"));
    check(&run(&[&create[..], &["--upstream-key-env", "NOT_SET"]].concat()), 1, "NOT_SET is not set");
    let both = ["--upstream-key-env", "REAL", "--upstream-key-file", "-"];
    check(&run(&[&create[..], &both[..]].concat()), 2, "cannot be used with");

    let with_env = [&create[..], &["--upstream-key-env", "REAL", "--metadata", "team=search"]].concat();
    let created = run(&with_env);
    check(&created, 0, &format!("export OPENAI_BASE_URL={}/v1", server.url()));
    check(&created, 0, "export OPENAI_API_KEY=till_sk_");

    let mut child = home
        .command(&[&create[..], &["--upstream-key-file", "-", "-o", "json"]].concat())
        .env("TILL_ADMIN_KEY", &key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{CANARY}\n").as_bytes()).unwrap();
    let created = json(&child.wait_with_output().unwrap());
    let id = created["key"]["id"].as_str().unwrap();
    assert!(created["key"]["scopedKey"].as_str().unwrap().starts_with("till_sk_"));

    let listed = json(&run(&["keys", "list", "-o", "json"]));
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["keys"][1]["metadata"]["team"], "search");
    check(&run(&["keys", "list"]), 0, "0/3");
    check(&run(&["keys", "show", id]), 0, "crawler");
    check(&run(&["keys", "revoke", id]), 0, "is revoked");
    assert_eq!(json(&run(&["keys", "show", id, "-o", "json"]))["key"]["status"], "revoked");
    let active = json(&run(&["keys", "list", "--status", "active", "-o", "json"]));
    assert_eq!(active["keys"].as_array().map(Vec::len), Some(1));
    check(
        &run(&["keys", "show", "key_0000000000000000000000"]),
        1,
        "key_0000000000000000000000: there is no key",
    );
    check(&run(&["keys", "show", "../account"]), 1, "status 4");
    let unknown =
        ["keys", "create", "--provider", "nobody", "--max-activations", "1", "--upstream-key-env", "REAL"];
    check(&run(&unknown), 1, "unknown_provider");

    let log = server.stop();
    assert!(!log.contains(CANARY) && !log.contains("till_sk_"), "{log}");
}

#[test]
fn the_owner_key_can_be_preset_and_changed() {
    let home = Home::new();
    let preset = |letter: &str| format!("till_admin_{}", letter.repeat(40));
    let status = |key: &str| home.command(&["status"]).env("TILL_ADMIN_KEY", key).output().unwrap();
    let server = home.start_with(&[], |command| {
        command.env("TILL_ADMIN_KEY", preset("a"));
    });
    assert!(!server.screen.contains("till_admin_"));
    check(&status(&preset("a")), 0, "version");
    server.stop();
    fs::write(home.path().join("owner"), preset("b") + "\n").unwrap();
    let server = home.start(&["--admin-key-file", "owner"]);
    check(&status(&preset("b")), 0, "version");
    check(&status(&preset("a")), 1, "status 401");
    server.stop();
    let weak = home.command(&["start"]).env("TILL_ADMIN_KEY", "till_admin_short").output().unwrap();
    check(&weak, 2, "at least 32 random");
    assert!(!stderr(&weak).contains("till_admin_short"));
}

#[test]
fn a_given_master_key_is_not_written() {
    let home = Home::new();
    let master = "0".repeat(63) + "1";
    let server = home.start_with(&[], |command| {
        command.env("TILL_MASTER_KEY", &master);
    });
    server.stop();
    assert!(!home.path().join(".local/share/till/keys/master.key").exists());
    let other =
        home.command(&["start", "--listen", "127.0.0.1:0"]).env("TILL_MASTER_KEY", "2".repeat(64)).output();
    check(&other.unwrap(), 1, "put the right master key back");
    fs::write(home.path().join("master"), &master).unwrap();
    let server = home.start(&["--master-key-file", "master"]);
    let log = server.stop();
    assert!(
        log.contains("others on this machine may read the master key") && !log.contains(&master),
        "{log}"
    );
}

#[test]
fn json_log_has_an_object_per_line() {
    let home = Home::new();
    let log = home.start(&["--log-format", "json"]).stop();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(events.iter().any(|event| event["message"] == "stopped"), "{log}");
}

/// Certificates for 127.0.0.1, each trusted by itself alone.
fn certificate(name: &str) -> String {
    format!("{}/tests/fixtures/{name}.cert.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn tls_certificates_are_read_again_on_sighup() {
    let home = Home::new();
    let put = |name: &str| {
        fs::copy(certificate(name), home.path().join("cert.pem")).unwrap();
        fs::copy(certificate(name).replace(".cert.", ".key."), home.path().join("key.pem")).unwrap();
    };
    put("first");
    let mut server = home.start(&["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--log-format", "json"]);
    let key = server.admin_key();
    assert!(server.url().starts_with("https://127.0.0.1:"));
    let status = |name: &str| {
        let mut command = home.command(&["status", "--ca-file", &certificate(name)]);
        command.env("TILL_ADMIN_KEY", &key).output().unwrap()
    };
    check(&status("first"), 0, "https://127.0.0.1:");
    check(&status("second"), 1, "no till answers at https://127.0.0.1:");

    let child = server.child.as_mut().expect("it runs");
    let pid = rustix::process::Pid::from_child(child);
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut hang_up_until = |expected: &str| {
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(log.read_line(&mut line).expect("readable") > 0, "the log ended without `{expected}`");
        }
    };
    put("second");
    hang_up_until("read the certificate again");
    check(&status("second"), 0, "https://127.0.0.1:");
    check(&status("first"), 1, "no till answers");
    fs::write(home.path().join("cert.pem"), "broken").unwrap();
    hang_up_until("the old one stays");
    check(&status("second"), 0, "https://127.0.0.1:");
}

#[test]
fn an_authority_is_no_server_and_the_message_says_what_to_do() {
    let home = Home::new();
    let (cert, key) = (certificate("authority"), certificate("authority").replace(".cert.", ".key."));
    let server = home.start(&["--tls-cert", &cert, "--tls-key", &key]);
    let mut command = home.command(&["status", "--ca-file", &cert]);
    let output = command.env("TILL_ADMIN_KEY", server.admin_key()).output().unwrap();
    check(&output, 1, "-addext basicConstraints=critical,CA:FALSE");
}

/// A command whose output nobody reads.
fn unread(home: &Home, args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    home.command(args).stdout(writer).output().expect("the program runs")
}

#[test]
fn what_nobody_reads_is_no_better_for_it() {
    let home = Home::new();
    fs::write(home.path().join("bad.jsonl"), "nonsense\n").unwrap();
    check(&home.run(&["audit", "verify", "bad.jsonl"]), 1, "NOT sound");
    for output in ["table", "json"] {
        let unread = unread(&home, &["audit", "verify", "bad.jsonl", "--output", output]);
        assert_eq!(unread.status.code(), Some(1), "{output}: {}", stderr(&unread));
    }
    assert_eq!(unread(&home, &["version"]).status.code(), Some(0));
}

#[test]
fn a_server_does_not_write_to_the_terminal_by_its_errors() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("somebody asks");
        let mut asked = BufReader::new(socket.try_clone().expect("a handle"));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            asked.read_line(&mut line).expect("a head");
        }
        let body = r#"{"error":{"code":"no\u001b[2J","message":"first\u202e\u001b]0;title\u0007"}}"#;
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close";
        write!(socket, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("writable");
    });
    let mut command = home_of(&url);
    let output = command.1.output().expect("the program runs");
    answering.join().expect("no panic");
    check(&output, 1, "first��]0;title� (no�[2J, status 400)");
    assert!(!stderr(&output).contains('\u{1b}'));
}

fn home_of(url: &str) -> (Home, Command) {
    let home = Home::new();
    let mut command = home.command(&["whoami", "--url", url]);
    command.env("TILL_ADMIN_KEY", "till_admin_x");
    (home, command)
}

//! Real client libraries against a running engine, each through the common list of `tests/clients/checks.md`.
//!
//! `tests/clients/install` puts the libraries in place. One that is missing is passed over with a message, and fails
//! the test on CI.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use larder::domain::{CacheSpec, Capabilities};
use larder::engine::EngineEvent;

use crate::engine_fixture::{
    ALICE, EngineFixture, FLUSHER, OWNER, READER, WRITER, alice, credential,
};

/// Stands for the credential that is made while the clients run.
const PROMOTED: (&str, &str) = ("A11CE9", "99999999999999999999999999999999");

/// What every runner reports on.
const CHECKS: [&str; 22] = [
    "set-get",
    "multi-set-get",
    "add",
    "replace",
    "append",
    "prepend",
    "incr",
    "decr",
    "cas",
    "touch",
    "delete",
    "expiry",
    "large-value",
    "too-large",
    "binary-values",
    "unicode-values",
    "read-only",
    "no-flush",
    "promotion",
    "promoted-login",
    "flush",
    "wrong-password",
];

/// A runner that prints nothing for this long hangs. Far above what any check takes.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A library and the checks that it has no call for.
struct Client {
    /// Under which `tests/clients/install` notes that it is there.
    name: &'static str,
    skips: Vec<&'static str>,
    /// Not to be had everywhere, so that even CI may lack it.
    optional: bool,
}

impl Client {
    fn new(name: &'static str) -> Client {
        Client {
            name,
            skips: Vec::new(),
            optional: false,
        }
    }

    /// Allows these checks to be skipped, and asks for it: one that runs after all is to be taken off the list.
    fn without(mut self, _reason: &str, skips: &[&'static str]) -> Client {
        self.skips.extend(skips);
        self
    }

    fn is_installed(&self) -> bool {
        let installed = place().join("have").join(self.name).exists();
        let needed = std::env::var("CI").is_ok_and(|ci| ci == "true") && !self.optional;
        assert!(
            installed || !needed,
            "{} is not installed, and CI skips nothing",
            self.name
        );
        if !installed {
            eprintln!(
                "skipped: client {} is not there; run tests/clients/install",
                self.name
            );
        }
        installed
    }

    /// Runs the list and holds every line to what is allowed.
    fn check(&self, command: Command) {
        if !self.is_installed() {
            return;
        }
        let fixture = EngineFixture::start();
        let mut runner = Runner::start(command, &fixture);
        let mut outcomes: BTreeMap<String, String> = BTreeMap::new();
        let mut logins_before_promotion = None;
        while let Some(line) = runner.line() {
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("waiting", "promotion") => {
                    let mut leaving = fixture.text(FLUSHER);
                    logins_before_promotion = Some(logins(&fixture));
                    fixture.engine.apply(&after_promotion());
                    // When this one has been closed, the change has reached all open connections.
                    assert_eq!(leaving.rest(), b"");
                    runner.go();
                }
                ("waiting", "promoted-login") => {
                    let logins = Some(logins(&fixture));
                    assert_eq!(
                        logins, logins_before_promotion,
                        "the old connection was cut"
                    );
                    runner.go();
                }
                ("ok", id) => {
                    outcomes.insert(id.to_owned(), "ok".to_owned());
                }
                ("skip", rest) => {
                    let (id, _) = rest.split_once(' ').unwrap_or((rest, ""));
                    outcomes.insert(id.to_owned(), "skip".to_owned());
                }
                ("not", _) => {
                    outcomes.insert(line.clone(), "not ok".to_owned());
                }
                _ => panic!("{}: {line:?} is no line of the list", self.name),
            }
        }
        assert_eq!(outcomes, self.expected(), "\n{}", runner.complaints());
        self.check_events(&fixture);
    }

    fn expected(&self) -> BTreeMap<String, String> {
        let outcome = |id: &&str| {
            if self.skips.contains(id) {
                "skip"
            } else {
                "ok"
            }
        };
        let expected = CHECKS
            .iter()
            .map(|id| ((*id).to_owned(), outcome(id).to_owned()));
        expected.collect()
    }

    /// What the clients did must show on our side too, the more as some call a refused flush a success.
    fn check_events(&self, fixture: &EngineFixture) {
        let flushes = fixture.recorder.flushes();
        assert!(!flushes.is_empty(), "the flush left no event");
        if self.skips.contains(&"no-flush") {
            return;
        }
        assert!(
            flushes.iter().all(|flush| flush
                .credential
                .as_ref()
                .is_some_and(|who| who.as_str() == OWNER.0)),
            "flushed by somebody else: {flushes:?}"
        );
        let refused = fixture.recorder.events().into_iter().any(|event| {
            matches!(event, EngineEvent::FlushRefused { credential, .. } if credential.as_str() == WRITER.0)
        });
        assert!(refused, "the refused flush left no event");
    }
}

/// The running program of one library.
struct Runner {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    last: String,
    complaints: PathBuf,
    _folder: tempfile::TempDir,
}

impl Runner {
    fn start(mut command: Command, fixture: &EngineFixture) -> Runner {
        let folder = tempfile::tempdir().unwrap();
        let complaints = folder.path().join("stderr");
        let mut child = command
            .envs(environment(fixture))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&complaints).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Runner {
            input: child.stdin.take().unwrap(),
            child,
            lines,
            last: "nothing".to_owned(),
            complaints,
            _folder: folder,
        }
    }

    /// `None` when the program has ended.
    fn line(&mut self) -> Option<String> {
        use std::sync::mpsc::RecvTimeoutError;
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                self.last.clone_from(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("hangs after {:?}\n{}", self.last, self.complaints())
            }
        }
    }

    fn go(&mut self) {
        writeln!(self.input, "go").unwrap();
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(&self.complaints).unwrap_or_default()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn environment(fixture: &EngineFixture) -> Vec<(String, String)> {
    let mut variables = vec![
        (
            "MEMCACHIER_SERVERS".to_owned(),
            fixture.addresses.plain.unwrap().to_string(),
        ),
        (
            "OPEN_SERVER".to_owned(),
            fixture.addresses.open.unwrap().to_string(),
        ),
        (
            "NODE_PATH".to_owned(),
            text(&place().join("node/node_modules")),
        ),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
    ];
    for (prefix, (username, password)) in [
        ("MEMCACHIER", OWNER),
        ("READONLY", READER),
        ("NOFLUSH", WRITER),
        ("PROMOTED", PROMOTED),
    ] {
        variables.push((format!("{prefix}_USERNAME"), username.to_owned()));
        variables.push((format!("{prefix}_PASSWORD"), password.to_owned()));
    }
    variables
}

/// A new credential comes, and another goes, whose open connections must be closed.
fn after_promotion() -> CacheSpec {
    let mut spec = alice();
    spec.credentials
        .retain(|credential| credential.username.as_str() != FLUSHER.0);
    spec.credentials
        .push(credential(PROMOTED, Capabilities::ALL));
    spec
}

/// Logins ever: a client that was cut off and came back shows here.
fn logins(fixture: &EngineFixture) -> u64 {
    fixture.engine.figures(ALICE).unwrap().traffic.connections
}

/// Where `tests/clients/install` puts things.
fn place() -> PathBuf {
    match std::env::var_os("LARDER_TEST_CLIENTS") {
        Some(place) => place.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients"),
    }
}

fn script(name: &str) -> String {
    text(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients")
            .join(name),
    )
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn program(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn python(runner: &str) -> Command {
    program(
        place().join("venv/bin/python"),
        &[&script(&format!("python/{runner}.py"))],
    )
}

fn rust(protocol: &str) -> Command {
    program(place().join("rust/debug/larder-client-checks"), &[protocol])
}

#[test]
fn python_binary_memcached() {
    Client::new("python")
        .without("no such call", &["append", "prepend", "touch"])
        .check(python("with_bmemcached"));
}

#[test]
fn pylibmc() {
    Client::new("python").check(python("with_pylibmc"));
}

#[test]
fn pylibmc_in_the_text_protocol() {
    Client::new("python").check(python("with_pylibmc_text"));
}

#[test]
fn pymemcache() {
    Client::new("python").check(python("with_pymemcache"));
}

#[test]
fn aiomcache() {
    Client::new("python").check(python("with_aiomcache"));
}

#[test]
fn django() {
    let skips = ["replace", "append", "prepend", "cas"];
    Client::new("python")
        .without("not in Django's cache interface", &skips)
        .check(python("with_django"));
}

#[test]
fn flask_caching() {
    let skips = [
        "replace", "append", "prepend", "incr", "decr", "cas", "touch",
    ];
    Client::new("python")
        .without("not in Flask-Caching's interface", &skips)
        .check(python("with_flask"));
}

#[test]
fn memjs() {
    Client::new("node")
        .without("no such call", &["cas"])
        .without("version 1.3.2 sends the opcode of append", &["prepend"])
        .check(program("node", &[&script("node/with_memjs.js")]));
}

#[test]
fn php_memcached() {
    Client::new("php").check(program("php", &[&script("php/with_memcached.php")]));
}

#[test]
fn dalli() {
    Client::new("ruby").check(program("ruby", &[&script("ruby/with_dalli.rb")]));
}

#[test]
fn dalli_5_without_login() {
    let skips = ["read-only", "no-flush", "promoted-login", "wrong-password"];
    let library = text(&place().join("dalli5/lib"));
    let command = program("ruby", &["-I", &library, &script("ruby/with_dalli.rb")]);
    let client = Client {
        optional: true,
        ..Client::new("dalli5")
    };
    client
        .without("version 5 has no login", &skips)
        .check(command);
}

#[test]
fn spymemcached() {
    let jar = "/usr/share/java/spymemcached.jar";
    Client::new("java").check(program(
        "java",
        &["-cp", jar, &script("java/WithSpymemcached.java")],
    ));
}

#[test]
fn rust_memcache_text() {
    Client::new("rust").check(rust("ascii"));
}

#[test]
fn rust_memcache_binary() {
    Client::new("rust").check(rust("binary"));
}

//! Who becomes a node, and what lies on a node's disk: nobody joins without the enrolment token, and whoever reads the
//! data folder of a node finds no password in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use larder::store::db::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use reqwest::StatusCode;

use crate::refusals::metric;
use crate::support::app::Values;
use crate::support::control_plane::eventually;
use crate::support::db::{Database, START};
use crate::support::full_service::{MASTER_KEY, master_key, setting};
use crate::support::link_calls::{LinkCaller, forged, introduction};
use crate::support::machines::{ControlMachine, Fleet, NODE_TOKEN};
use crate::support::markers::Markers;

/// A token that was good before the operator made another one.
const OLD_TOKEN: &str = "a0c9e2417b58d36f0e91c7a45d2b8f6303e7d519";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_become_a_node() {
    let fleet = Fleet::start(Database::sqlite()).await;
    let mut control = fleet.control();
    let process = control.start().await;
    let link = LinkCaller::to(&control.url());
    let left = link.join(NODE_TOKEN, "p1.example.net", "m:1:1").await;
    let right = link.join(NODE_TOKEN, "p2.example.net", "m:2:2").await;

    // Without the enrolment token nobody gets an id; a node's own token is not one.
    let stranger = introduction("p3.example.net", "m:3:3");
    for token in [None, Some(""), Some(OLD_TOKEN), Some(left.token.as_str())] {
        let answer = link.call("/join", token, &stranger).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // Nobody speaks for a node but itself.
    let [signed, unsigned] = forged(&left);
    let (signed, unsigned) = (signed.as_str(), unsigned.as_str());
    let no_tokens = ["", "a.b.c", NODE_TOKEN, signed, unsigned].map(Some);
    for token in no_tokens.into_iter().chain([None]) {
        let status = link.report(&left, token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    let of_another = link.report(&left, Some(&right.token)).await;
    assert_eq!(of_another, StatusCode::FORBIDDEN);
    let its_own = link.report(&left, Some(&left.token)).await;
    assert_eq!(its_own, StatusCode::OK);

    let (of_left, of_right) = (left.token.as_str(), right.token.as_str());
    let secrets = [NODE_TOKEN, OLD_TOKEN, of_left, of_right, signed];
    strangers_are_told_of(&fleet, &control, &secrets).await;
    assert_eq!(nodes(&fleet).await, 2, "nobody else joined");

    // A machine with the old token says why it cannot join, and goes on trying.
    let mut node = fleet.node(&[control.url()]);
    node.settings = setting(&node.settings, "LARDER_NODE_TOKEN", OLD_TOKEN);
    let mut outside = node.launch();
    eventually("the machine says why", async || {
        node.logs.newest().contains("does not admit this node")
    })
    .await;
    assert_eq!(nodes(&fleet).await, 2);

    // Both tokens are good while the operator gives the new one out.
    process.kill().await;
    let settings = &control.machine.settings;
    control.machine.settings = setting(settings, "LARDER_NODE_TOKEN_PREVIOUS", OLD_TOKEN);
    let process = control.start().await;
    outside.answers("/healthz").await;
    control.sees(&node, "serving").await;
    assert_eq!(nodes(&fleet).await, 3);
    for log in [control.logs.newest(), node.logs.newest()] {
        assert!(!log.contains(NODE_TOKEN) && !log.contains(OLD_TOKEN));
    }
    outside.kill().await;
    process.kill().await;
    fleet.stop().await;
}

async fn nodes(fleet: &Fleet) -> i64 {
    fleet.database.number("SELECT count(*) FROM nodes").await
}

/// In the log with their address, in the audit and in the metrics, and nowhere with what they showed.
async fn strangers_are_told_of(fleet: &Fleet, control: &ControlMachine, secrets: &[&str]) {
    let refused = "SELECT count(*) FROM audit WHERE action = 'node_link.refused'";
    eventually("the refusals are audited", async || {
        fleet.database.number(refused).await > 0
    })
    .await;
    let series = "larder_refused_calls_total{call=\"node_link\"} ";
    let counted = metric(&control.metrics, series).await;
    assert!(counted >= 4, "each enrolment counts: {counted}");
    let log = control.logs.newest();
    let told = |line: &str| line.contains("refused") && line.contains("127.0.0.1");
    assert!(log.lines().any(told), "{log}");
    for secret in secrets {
        assert!(!log.contains(secret), "a token is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_folder_is_private_and_holds_no_password() {
    let fleet = Fleet::start(Database::sqlite()).await;
    let control = fleet.control();
    let process = control.start().await;
    let node = fleet.node(&[control.url()]);
    let serving = node.start().await;
    control.sees(&node, "serving").await;
    fleet.calls_go_to(&control);
    let shop = fleet.order("shop").await;
    let mut owner = fleet.owner(&shop, &control).await;
    let second = owner.add_credentials().await;
    let second = shop.values.with(&second, &owner.reveal(&second).await);
    second.works().await;
    node.keeps_what_it_has(&mut owner, &shop.values.username)
        .await;

    let markers = secrets_of(&fleet, &[&shop.values, &second]).await;
    let mut files = BTreeMap::new();
    gather(&node.data_dir(), &mut files);
    for name in ["node-id", "snapshot.key", "snapshot.sealed"] {
        assert!(
            files.contains_key(name),
            "{name} is not in {:?}",
            files.keys()
        );
    }
    files.insert("the log".to_owned(), node.logs.newest().into_bytes());
    let found = markers.found_in(&files);
    assert!(found.is_empty(), "{found:?}");
    // However its header is written, a node's own token begins in one of these ways.
    for start in ["eyJhbGciOi", "eyJ0eXAiOi"] {
        let mut token = Markers::default();
        token.add("node token", start);
        assert!(token.found_in(&files).is_empty());
    }

    let mode = |path: &Path| {
        let file = fs::metadata(path).expect("it is there");
        file.permissions().mode() & 0o777
    };
    let folder = node.data_dir();
    assert_eq!(mode(&folder), 0o700, "nobody else gets in");
    for name in ["snapshot.key", "snapshot.sealed"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    serving.kill().await;
    process.kill().await;
    fleet.stop().await;
}

/// What must not be found: passwords, what they are checked with, the key for that, and what opens the installation.
async fn secrets_of(fleet: &Fleet, known: &[&Values]) -> Markers {
    let settings = StoreSettings {
        url: fleet.database.url().to_owned().into(),
        master_key: MasterKey::from_base64(&master_key()).expect("32 bytes"),
        previous_keys: vec![],
        connections_max: 2,
    };
    let store = Store::open(&settings, Schema::Expect, START).await;
    let store = store.expect("the database opens a second time");
    let key = store.verifier_key();
    let mut markers = Markers::default();
    markers.add("master key", MASTER_KEY);
    markers.add("enrolment token", NODE_TOKEN);
    markers.add("verifier key", key.expose_bytes());
    for values in known {
        let (name, password) = (values.username.as_bytes(), values.password.as_bytes());
        markers.add("password", password);
        markers.add("verifier", key.verifier(name, password).as_bytes());
    }
    store.close().await;
    markers
}

/// All files of a folder and of those in it, by name.
fn gather(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, found);
        } else {
            let name = path.file_name().expect("a name").to_string_lossy();
            found.insert(name.into_owned(), fs::read(&path).expect("readable"));
        }
    }
}

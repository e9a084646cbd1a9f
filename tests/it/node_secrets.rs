//! What a node is told of a cache's secrets, and what it keeps (security.md ST-1).

use std::collections::BTreeSet;
use std::time::Duration;

use larder::cluster::link::wire::ChangesQuery;
use larder::cluster::{ControlLink as _, LocalLink};
use serde_json::Value;

use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// All that the link has of a cache. A member that is added here is one that a node may know.
const MEMBERS: [&str; 23] = [
    "authorities",
    "authorities.der",
    "caches",
    "caches.serve",
    "caches.serve.cache",
    "caches.serve.connections_max",
    "caches.serve.credentials",
    "caches.serve.credentials.capabilities",
    "caches.serve.credentials.certificates",
    "caches.serve.credentials.certificates.expires_at",
    "caches.serve.credentials.certificates.fingerprint",
    "caches.serve.credentials.username",
    "caches.serve.credentials.verifier",
    "caches.serve.flush_orders",
    "caches.serve.flush_orders.id",
    "caches.serve.flush_orders.origin",
    "caches.serve.flush_orders.reason",
    "caches.serve.label",
    "caches.serve.limit_bytes",
    "complete",
    "more_after",
    "plans",
    "usernames",
];

fn gather(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, path, found)),
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                gather(value, &path, found);
                found.insert(path);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_no_password_and_keeps_none() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control
            .provision("11111111-2222-3333-4444-555555555555")
            .await;
        let cache = made.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let name = &made.values.username;
        let issued = control.access.issue_certificate(&owner, name, None).await;
        issued.expect("a certificate");
        control.hang();
        control
            .access
            .flush(&owner, Some("test"), Duration::ZERO)
            .await
            .expect("ordered");

        let link = LocalLink(control.cluster.clone());
        let node = control.node.id();
        let changes = link.changes_since(node, ChangesQuery::default()).await;
        let changes = serde_json::to_value(changes.expect("changes")).expect("JSON");
        let mut members = BTreeSet::new();
        gather(&changes, "", &mut members);
        let mut expected: BTreeSet<String> = MEMBERS.map(str::to_owned).into();
        expected.insert("revision".to_owned());
        assert_eq!(members, expected);

        let text = changes.to_string();
        let password = made.values.password.expose();
        assert!(text.contains(name.as_str()), "the cache is in it");
        assert!(!text.contains(password), "its password is not");
    })
    .await;
}

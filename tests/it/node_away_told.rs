//! What an owner reads in the app's log, and the operator in the service's, when the only machine of a cache is away and
//! when it is back. Real `larder serve` processes.

use larder::sandbox::{ProvisionOptions, Sandbox};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{lines_of, sandbox_settings, setting};
use crate::support::machine::Machine;
use crate::support::on_both_databases;
use crate::support::process::Process;

on_both_databases!(owner_and_operator_read_which_machine_is_away);

/// A machine whose marketplace is this sandbox.
fn machine_of(sandbox: &Sandbox, database: &Database, host: &str) -> Machine {
    let mut machine = Machine::new(database, host);
    for name in [
        "LARDER_HEROKU_API_URL",
        "LARDER_HEROKU_ADDONS_URL",
        "LARDER_HEROKU_ID_URL",
    ] {
        machine.settings = setting(&machine.settings, name, sandbox.url());
    }
    machine
}

async fn owner_and_operator_read_which_machine_is_away(database: Database) {
    let sandbox = Sandbox::start(sandbox_settings(None)).await;
    let sandbox = sandbox.expect("the sandbox starts");
    let only = machine_of(&sandbox, &database, "node-a.example");
    let base = &only.base;
    let (orders, sso) = (
        format!("{base}/heroku/resources"),
        format!("{base}/heroku/sso"),
    );
    sandbox.set_provider(&orders, &sso);
    let dying = only.start().await;
    let app = sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let ordered = sandbox.provision(app, "dev", options).await;
    let label = ordered.expect("provisioned").config["MEMCACHIER_USERNAME"].clone();
    dying.kill().await;

    let logs = tempfile::tempdir().expect("a folder");
    let log = |name: &str| logs.path().join(name);
    let told = |name: &str| std::fs::read_to_string(log(name)).expect("a log");
    // It has no cache; it sees that the other is away, and does the other's duties.
    let beside = machine_of(&sandbox, &database, "node-b.example");
    let serving = Process::start_logging(&beside.base, &beside.settings, &log("beside")).await;
    let lines = |event: &str| lines_of(&sandbox.log_lines(app), event);
    eventually("the app's log tells it", async || {
        !lines("node_away").is_empty()
    })
    .await;
    let away = lines("node_away");
    assert_eq!(away.len(), 1, "{away:?}");
    let begin = format!(
        "event=node_away cache={label} node={} since=20",
        only.server
    );
    assert!(away[0].starts_with(&begin), "{away:?}");

    let warning = "a node is away and its caches cannot be reached: start it again, or give it up with `larder admin nodes \
                   retire`";
    let text = told("beside");
    let line = text.lines().find(|line| line.contains(warning));
    let line = line.unwrap_or_else(|| panic!("nobody warned the operator\n{text}"));
    for part in [
        " WARN ",
        &format!("node={}", only.node_id()),
        &format!("address={}", only.server),
        "caches=1",
        "since=20",
    ] {
        assert!(line.contains(part), "{part}\n{line}");
    }

    assert!(serving.terminate().await.success());
    let again = Process::start_logging(&only.base, &only.settings, &log("again")).await;
    eventually("and that it is back", async || {
        !lines("node_back").is_empty()
    })
    .await;
    let back = format!("event=node_back cache={label} node={}", only.server);
    assert_eq!(lines("node_back"), [back]);
    assert_eq!(lines("node_away").len(), 1);
    let text = told("again");
    assert!(text.contains("a node is back"), "{text}");
    again.kill().await;
    sandbox.stop().await;
    database.drop().await;
}

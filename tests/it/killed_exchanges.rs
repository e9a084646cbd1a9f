//! `larder serve` is killed with SIGKILL while grants are exchanged: what it had leased holds up no later resource.

use larder::sandbox::{EndpointGroup, Fault, ProvisionOptions, Sandbox};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{free_port, sandbox_settings, settings};
use crate::support::machine::on_both;
use crate::support::process::Process;

/// As many exchanges as one marketplace may have under way at once.
const CAP: i64 = 8;

async fn order(sandbox: &Sandbox, app: &str) {
    let app = sandbox.create_app(app).expect("a new app");
    let options = ProvisionOptions::default();
    let ordered = sandbox.provision(app, "dev", options).await;
    ordered.expect("provisioned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_exchange_waits_for_no_lease_of_a_killed_process() {
    on_both(async |database: Database| {
        let data = tempfile::tempdir().expect("a folder");
        let sandbox = Sandbox::start(sandbox_settings(None)).await;
        let sandbox = sandbox.expect("the sandbox starts");
        let base = format!("http://127.0.0.1:{}", free_port());
        let settings = settings(&base, sandbox.url(), &database, &data);
        let (orders, sso) = (
            format!("{base}/heroku/resources"),
            format!("{base}/heroku/sso"),
        );
        sandbox.set_provider(&orders, &sso);
        sandbox.set_fault(EndpointGroup::Token, Some(Fault::Hang));
        let dying = Process::start(&base, &settings).await;
        for number in 0..CAP {
            order(&sandbox, &format!("app-{number}")).await;
        }
        let leased = "SELECT count(*) FROM grants WHERE state = 'pending' AND lease_by IS NOT NULL";
        eventually("all exchanges are under way", async || {
            database.number(leased).await == CAP
        })
        .await;
        let ends = "SELECT min(lease_until) FROM grants WHERE lease_by IS NOT NULL";
        let leases_end = database.number(ends).await;
        dying.kill().await;

        sandbox.set_fault(EndpointGroup::Token, None);
        let again = Process::start(&base, &settings).await;
        order(&sandbox, "app-new").await;
        let new = "SELECT count(*) FROM grants WHERE state = 'active' \
                   AND cache_id = (SELECT max(cache_id) FROM grants)";
        eventually("the new one is exchanged", async || {
            database.number(new).await == 1
        })
        .await;
        let exchanged = "SELECT updated_at FROM grants ORDER BY cache_id DESC LIMIT 1";
        assert!(
            database.number(exchanged).await < leases_end,
            "it has not waited for the leases to end"
        );
        let all = "SELECT count(*) FROM grants WHERE state = 'active'";
        eventually("the others are exchanged as well", async || {
            database.number(all).await == CAP + 1
        })
        .await;
        assert!(again.terminate().await.success());
        sandbox.stop().await;
        database.drop().await;
    })
    .await;
}

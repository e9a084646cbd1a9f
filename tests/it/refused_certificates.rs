//! An app that goes on with a client certificate that was revoked: its owner reads of it, and so does the operator.

use crate::certificates::CertificateFixture;
use crate::refusals::metric;
use crate::support::authority::Identity;
use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{free_port, setting};
use crate::support::on_both_databases;
use crate::support::process::Process;

on_both_databases!(a_revoked_certificate_that_is_still_in_use_is_told_of);

async fn a_revoked_certificate_that_is_still_in_use_is_told_of(database: Database) {
    let fixture = CertificateFixture::start(&database).await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let settings = setting(&fixture.settings, "LARDER_METRICS_ADDR", &metrics);
    let settings = setting(&settings, "LARDER_LOG_FORMAT", "json");
    let log = fixture.folder.path().join("log");
    let process = Process::start_logging(&fixture.base, &settings, &log).await;
    let addon = fixture.provision().await;
    let mut owner = Dashboard::open(&fixture.sandbox, addon, &fixture.base).await;
    let primary = owner.usernames().await.remove(0);
    let pem = owner.issue_certificate(&primary).await;
    let shop = Identity::from_pem(&pem);
    let mut client = fixture.connect(&shop);
    client.talk("mn\r\n", "MN\r\n");
    let fingerprint = shop.fingerprint().to_string();
    let form = [("fingerprint", fingerprint.as_str()), ("confirmed", "yes")];
    let revoke = format!("credentials/{primary}/certificates/revoke");
    assert!(owner.act(&revoke, &form).await.status.is_redirection());
    client.closed();

    for _ in 0..20 {
        assert!(fixture.connect(&shop).refusal().contains("Revoked"));
    }
    let told = format!("credential={primary} remote=127.0.0.1 refused=1 window=600s");
    eventually("the owner is told", async || {
        visible_text(&owner.page().await).contains(&told)
    })
    .await;
    let page = visible_text(&owner.page().await);
    assert!(page.contains("an old certificate"), "{page}");
    let metrics = format!("http://{metrics}/metrics");
    let of_unknown = "larder_engine_certificates_refused_total{reason=\"unknown\"} ";
    eventually("all are counted", async || {
        metric(&metrics, of_unknown).await == 20
    })
    .await;
    assert_eq!(
        metric(&metrics, "larder_engine_logins_refused_total ").await,
        20
    );

    assert!(process.terminate().await.success());
    let text = std::fs::read_to_string(&log).expect("UTF-8");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<serde_json::Value> = lines
        .filter(|line: &serde_json::Value| line["fields"]["message"] == "memcached logins refused")
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let fields = &lines[0]["fields"];
    assert_eq!(fields["remote"], "127.0.0.1");
    assert_eq!(fields["username"], primary.as_str());
    assert_eq!(fields["certificate"], "unknown");
    let body = pem.lines().nth(1).expect("a line of base64");
    assert!(!text.contains(body), "the certificate is not shown");
    fixture.sandbox.stop().await;
    database.drop().await;
}

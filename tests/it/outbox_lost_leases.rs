//! A worker that held a row too long records nothing, of whatever kind the row is: neither that it worked nor that it
//! failed, and it takes the lease from nobody.

use std::time::Duration;

use larder::domain::{Clock as _, CompletionGoal, Timestamp};
use larder::store::Tx;
use larder::store::outbox::async_provisions::{AsyncProvisionClaim, CompletionFailure};
use larder::store::outbox::claims::Terms;
use larder::store::outbox::config_sync::{ConfigClaim, ConfigFailure};
use larder::store::outbox::deliveries::LaneClaim;
use larder::store::outbox::grants::CodeClaim;
use larder::store::outbox::reconciles::ReconcileClaim;

use crate::outbox_fixture::{OutboxFixture, code};
use crate::support::claims::{heroku, terms};
use crate::support::control_plane::request;
use crate::support::db::on_each;

/// A row of each kind.
struct Claims {
    config: ConfigClaim,
    code: CodeClaim,
    lane: LaneClaim,
    reconcile: ReconcileClaim,
    async_provision: AsyncProvisionClaim,
}

impl Claims {
    async fn take(tx: &mut Tx, terms: &Terms) -> Claims {
        Claims {
            config: tx.claim_config(terms).await.expect("claims").remove(0),
            code: tx.claim_codes(terms).await.expect("claims").remove(0),
            lane: tx.claim_lanes(terms, 99).await.expect("claims").remove(0),
            reconcile: tx.claim_reconciles(terms).await.expect("claims").remove(0),
            async_provision: tx
                .claim_async_provisions(terms)
                .await
                .expect("claims")
                .remove(0),
        }
    }

    /// Which of them could record that an attempt failed.
    async fn record_failed(&self, tx: &mut Tx, next: Timestamp, now: Timestamp) -> [bool; 5] {
        let failure = ConfigFailure {
            error: "failed".to_owned(),
            next_attempt_at: next,
            dead: false,
        };
        let completion = CompletionFailure {
            error: "failed",
            goal: CompletionGoal::Finish,
            next_attempt_at: next,
        };
        let (code, lane) = (&self.code, &self.lane);
        let recorded = [
            tx.record_config_failed(&self.config, &failure, now).await,
            tx.record_grant_failed(code.cache, code.fence, "failed", Some(next), now)
                .await,
            tx.record_lines_failed(lane, "failed", next, now).await,
            tx.record_reconcile_failed(&self.reconcile, "failed", next, now)
                .await,
            tx.record_async_provision_failed(&self.async_provision, &completion, now)
                .await,
        ];
        recorded.map(|recorded| recorded.expect("answers"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_lease_records_no_failure() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.promote_new(&owner).await;
        let mut slow = request("r-2");
        slow.plan = "slow".to_owned();
        slow.grant = Some(code("c", &fixture.control.clock));
        let ordered = fixture.control.provisioning.provision(slow).await;
        ordered.expect("ordered");

        let store = &fixture.control.store;
        let start = fixture.control.clock.now().plus(Duration::from_secs(60));
        let after = |secs| start.plus(Duration::from_secs(secs));
        let mut tx = store.begin().await.expect("a transaction");
        let late = Claims::take(&mut tx, &terms(start, after(60), 1, 8)).await;
        let ours = Claims::take(&mut tx, &terms(after(60), after(120), 1, 8)).await;
        assert_eq!(ours.config.cache, late.config.cache, "the same row again");
        let recorded = late.record_failed(&mut tx, after(70), after(61)).await;
        assert_eq!(recorded, [false; 5]);
        for gone in [
            tx.record_lines_delivered(&late.lane, after(61)).await,
            tx.record_lines_refused(&late.lane, "failed", after(61))
                .await,
            tx.abandon_lane(&late.lane, "failed", after(61)).await,
            tx.begin_config_push(&late.config).await,
        ] {
            assert!(!gone.expect("answers"));
        }
        // The lease is still the other's: nobody else gets the row, and its holder records.
        let claimed = tx.claim_config(&terms(after(119), after(180), 1, 8)).await;
        let claimed = claimed.expect("claims");
        assert!(claimed.iter().all(|claim| claim.cache != ours.config.cache));
        let recorded = ours.record_failed(&mut tx, after(70), after(61)).await;
        assert_eq!(recorded, [true; 5]);
        tx.commit().await.expect("a commit");
    })
    .await;
}

/// A webhook event that comes while a reconcile is under way is not lost with it when it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_during_a_failed_reconcile_is_due_at_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let store = &fixture.control.store;
        let now = fixture.control.clock.now().plus(Duration::from_secs(60));
        let hour = now.plus(Duration::from_secs(3_600));
        for (asked, due) in [(false, 0), (true, 1)] {
            let mut tx = store.begin().await.expect("a transaction");
            tx.request_reconcile(owner.cache(), now)
                .await
                .expect("asked");
            let until = now.plus(Duration::from_secs(60));
            let claims = tx.claim_reconciles(&terms(now, until, 1, 8)).await;
            let claim = claims.expect("claims").remove(0);
            if asked {
                tx.request_reconcile(owner.cache(), now)
                    .await
                    .expect("asked");
            }
            let recorded = tx
                .record_reconcile_failed(&claim, "failed", hour, now)
                .await;
            assert!(recorded.expect("answers"));
            tx.commit().await.expect("a commit");
            let backlog = store.reconciles_backlog(&heroku(), now).await;
            assert_eq!(backlog.expect("a count").due, due, "asked: {asked}");
        }
    })
    .await;
}

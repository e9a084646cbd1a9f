//! What the ledger says, held against what is there.

use larder::sandbox::{AddonId, AppId};
use tokio::time::{Instant, sleep};

use std::time::Duration;

use super::LEASES_OVER;
use super::owners::{KillFixture, Told, note};
use crate::support::dashboard::Dashboard;
use crate::support::full_service::lines_of;

/// Holds the ledger against the service that was just restarted.
pub async fn inspect(fixture: &KillFixture, kill: u32) {
    let told: Vec<(AddonId, Told)> = fixture
        .ledger
        .lock()
        .iter()
        .map(|(id, told)| (*id, told.clone()))
        .collect();
    for (addon, told) in told {
        let reply = fixture
            .sandbox
            .repeat_provision(addon)
            .await
            .expect("an answer");
        if told.deprovisioned {
            assert_eq!(
                reply.status, 410,
                "kill {kill}: {addon:?} came back: {reply:?}"
            );
            continue;
        }
        if told.maybe_deprovisioned && reply.status == 410 {
            note(fixture, addon, |told| told.deprovisioned = true);
            continue;
        }
        assert!(
            [200, 201].contains(&reply.status) || (reply.status == 202 && told.slow),
            "kill {kill}: {addon:?} is lost: {reply:?}"
        );
        note(fixture, addon, |told| told.maybe_deprovisioned = false);
        let mut dashboard = fixture.dashboard(addon).await;
        let names = dashboard.usernames().await;
        let primary = names.first().expect("a primary").clone();
        let possible = [Some(told.primary.clone()), told.maybe.clone()];
        assert!(
            told.rotating || possible.contains(&Some(primary.clone())),
            "kill {kill}: {primary} is primary, told {told:?}"
        );
        for name in &told.credentials {
            assert!(
                names.contains(name),
                "kill {kill}: credential {name} is lost"
            );
        }
        let page = dashboard.page().await;
        assert_eq!(
            page.matches("class=\"is-primary\"").count(),
            1,
            "kill {kill}: one primary"
        );
        let on_plan = |plan: &&str| page.contains(&format!("<dt>Plan</dt><dd>{plan} "));
        assert!(
            told.plans.iter().any(on_plan),
            "kill {kill}: {addon:?} is not on one of {:?}",
            told.plans
        );
        note(fixture, addon, |told| {
            told.primary = primary;
            told.maybe = None;
        });
    }
}

/// Lets everything promised arrive: variables equal to the primary, a line for every flush and promotion.
pub async fn settle(fixture: &KillFixture) {
    let ledger = fixture.ledger.lock().clone();
    for (addon, told) in ledger.iter().filter(|(_, told)| !told.deprovisioned) {
        let app = told.app.expect("known since the provision");
        let deadline = Instant::now() + LEASES_OVER;
        let mut dashboard = fixture.dashboard(*addon).await;
        loop {
            // The schedule may still be at work.
            let primary = match told.rotating {
                true => dashboard.usernames().await.remove(0),
                false => told.primary.clone(),
            };
            let vars = fixture.sandbox.config_vars(app);
            if vars.get("MEMCACHIER_USERNAME") == Some(&primary) {
                break;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "{addon:?} has {:?}, not {primary}", vars.keys());
            sleep(Duration::from_millis(100)).await;
        }
        if let Some(more) = told.attached {
            sees_flushes_in_its_log(fixture, &mut dashboard, more).await;
        }
        let lines = fixture.sandbox.wait_for(LEASES_OVER, |market| {
            let log: Vec<_> = market.app(app)?.log.iter().cloned().collect();
            let all_there = lines_of(&log, "flush").len() >= told.flushes
                && lines_of(&log, "credentials_promoted").len() >= told.promotions;
            all_there.then_some(())
        });
        let lines = lines.await;
        lines.unwrap_or_else(|late| panic!("{late}: lines of {addon:?} are missing: {told:?}"));
    }
}

/// An attached app gets the lines of flushes once the attachment was seen.
async fn sees_flushes_in_its_log(fixture: &KillFixture, dashboard: &mut Dashboard, app: AppId) {
    let deadline = Instant::now() + LEASES_OVER;
    while lines_of(&fixture.sandbox.log_lines(app), "flush").is_empty() {
        assert!(Instant::now() < deadline, "{app:?} never hears of a flush");
        assert!(dashboard.flush().await.status.is_redirection());
        sleep(Duration::from_millis(500)).await;
    }
}

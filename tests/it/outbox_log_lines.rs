//! Lines to the apps' logs: in order, counted when lost, never in the way of anything (P6).

use std::collections::HashSet;
use std::time::Duration;

use larder::http::CallErrorKind;
use larder::outbox::ports::AttachedApp;

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture, code};
use crate::support::claims::terms;
use crate::support::control_plane::{eventually, ready, request};
use crate::support::db::on_each;

const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };

fn proxies(lines: &[String]) -> Vec<String> {
    let proxy = |line: &String| {
        let rest = line.split("proxy=").nth(1).unwrap_or(line);
        rest.split(' ').next().unwrap_or(rest).to_owned()
    };
    lines.iter().map(proxy).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_out_in_order_and_to_that_app_alone() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.cache("r-2").await;
        for count in 0..5 {
            fixture.pass(1);
            fixture.flush(&owner, &format!("p{count}")).await;
        }
        while fixture.work().await > 0 {}
        let logs = fixture.provider.logs();
        assert_eq!(logs.len(), 1, "one batch to one app");
        assert_eq!(proxies(&logs[0]), ["p0", "p1", "p2", "p3", "p4"]);
        assert_eq!(
            fixture.control.store.lines_waiting().await.expect("read"),
            0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_reported_twice_is_one_line() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let now = crate::support::db::START;
        let event = crate::outbox_fixture::flush(owner.cache(), "p1", now);
        for _ in 0..2 {
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            larder::outbox::announce(
                &mut tx,
                owner.cache(),
                "L",
                &event,
                &event.actor_on_node(),
                now,
            )
            .await
            .expect("promised");
            tx.commit().await.expect("a commit");
        }
        assert_eq!(
            fixture.control.store.lines_waiting().await.expect("read"),
            1
        );
        assert_eq!(
            fixture.control.history(owner.cache()).await,
            ["flush", "provisioned"]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_sent_late_carries_the_time_of_its_event() {
    on_each(async |db| {
        use larder::domain::Clock as _;
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let before = fixture.control.clock.now();
        fixture.flush(&owner, "p1").await;
        let after = fixture.control.clock.now();
        fixture
            .provider
            .fail([CallErrorKind::Retry { after: None }]);
        fixture.work().await;
        fixture.pass(600);
        fixture.work().await;
        let times = fixture.provider.log_times.lock().clone();
        assert_eq!(times.len(), 2, "sent twice");
        assert!(times.iter().all(|at| *at >= before && *at <= after));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_batch_is_sent_again_before_anything_newer() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.flush(&owner, "p1").await;
        fixture.provider.fail([RETRY]);
        fixture.work().await;
        fixture.flush(&owner, "p2").await;
        assert_eq!(fixture.work().await, 0, "the pause after a failure is kept");
        fixture.pass(1);
        fixture.work().await;
        let logs = fixture.provider.logs();
        let sent: Vec<_> = logs.iter().map(|lines| proxies(lines)).collect();
        assert_eq!(sent, [vec!["p1"], vec!["p1", "p2"]]);
    })
    .await;
}

/// So that whoever finds a line twice can tell a repetition from a second event (P4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_lines_sent_again_have_the_same_batch_id_and_others_another() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.flush(&owner, "p1").await;
        fixture.provider.fail([RETRY, RETRY]);
        for _ in 0..2 {
            fixture.work().await;
            fixture.pass(60);
        }
        fixture.flush(&owner, "p2").await;
        fixture.work().await;
        fixture.flush(&owner, "p3").await;
        fixture.work().await;
        let sent: Vec<_> = fixture
            .provider
            .logs()
            .iter()
            .map(|of| proxies(of))
            .collect();
        assert_eq!(sent, [vec!["p1"], vec!["p1"], vec!["p1", "p2"], vec!["p3"]]);
        let batches = fixture.provider.log_batches.lock().clone();
        assert_eq!(batches[0], batches[1]);
        let different: HashSet<_> = batches[1..].iter().collect();
        assert_eq!(different.len(), 3, "{batches:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_expire_after_a_quarter_of_an_hour_and_are_told_of() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.flush(&owner, "p1").await;
        fixture.flush(&owner, "p2").await;
        let mut tries = 0;
        for _ in 0..15 {
            fixture.provider.fail([RETRY]);
            tries += fixture.work().await;
            fixture.provider.script.lock().clear();
            fixture.pass(60);
        }
        assert!(tries >= 14, "{tries}");
        fixture.flush(&owner, "p3").await;
        fixture.work().await;
        let last = fixture.provider.logs().pop().expect("sent");
        assert_eq!(last.len(), 2, "{last:?}");
        assert!(last[0].contains("2 messages dropped"), "{}", last[0]);
        assert_eq!(proxies(&last[1..]), ["p3"]);
        fixture.flush(&owner, "p4").await;
        fixture.work().await;
        let last = fixture.provider.logs().pop().expect("sent");
        assert_eq!(proxies(&last), ["p4"], "told once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_the_oldest_and_counts_them() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        for count in 0..1_010 {
            if count % 10 == 0 {
                fixture.pass(1);
            }
            fixture.flush(&owner, &format!("p{count}")).await;
        }
        assert_eq!(
            fixture.control.store.lines_waiting().await.expect("read"),
            1_000
        );
        while fixture.work().await > 0 {}
        let logs = fixture.provider.logs();
        assert!(logs.iter().all(|lines| lines.len() <= 100));
        let all: Vec<String> = logs.into_iter().flatten().collect();
        assert!(all[0].contains("10 messages dropped"), "{}", all[0]);
        let expected: Vec<String> = (10..1_010).map(|count| format!("p{count}")).collect();
        assert_eq!(proxies(&all[1..]), expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_flushes_is_ten_lines_a_second_and_the_counts_add_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        for _ in 0..37 {
            fixture.flush(&owner, "p1").await;
        }
        while fixture.work().await > 0 {}
        let sent: usize = fixture.provider.logs().iter().map(Vec::len).sum();
        assert_eq!(sent, 10, "the sum waits until its second is over");
        fixture.pass(1);
        fixture.flush(&owner, "p2").await;
        while fixture.work().await > 0 {}
        let all: Vec<String> = fixture.provider.logs().into_iter().flatten().collect();
        assert_eq!(all.len(), 12);
        assert!(all[10].ends_with(" repeated=27"), "{}", all[10]);
        assert_eq!(proxies(&all[11..]), ["p2"]);
    })
    .await;
}

fn app(app: &str, owns: bool, url: &str) -> AttachedApp {
    AttachedApp {
        app: app.to_owned(),
        owns,
        log_url: Some(url.to_owned().into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_input_is_replaced_by_the_one_the_provider_has_now() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let fresh = "https://token:t.2@2.us.logplex.io/logs";
        *fixture.provider.apps.lock() = vec![
            app("other", false, "https://token:t.9@9.us.logplex.io/logs"),
            app("mine", true, fresh),
        ];
        fixture.flush(&owner, "p1").await;
        fixture.provider.fail([CallErrorKind::Unauthorized]);
        while fixture.work().await > 0 {}
        let urls: Vec<String> = fixture
            .provider
            .calls
            .lock()
            .iter()
            .filter_map(|call| match call {
                Call::Log { url, .. } => Some(url.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(urls, [LOG_URL, fresh]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_stays_dead_is_closed_and_nothing_is_promised_to_it() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        *fixture.provider.apps.lock() = vec![app("mine", true, LOG_URL)];
        fixture.flush(&owner, "p1").await;
        fixture.provider.fail([CallErrorKind::Unauthorized]);
        while fixture.work().await > 0 {}
        fixture.flush(&owner, "p2").await;
        assert_eq!(
            fixture.control.store.lines_waiting().await.expect("read"),
            0
        );
        assert_eq!(fixture.work().await, 0);
        assert_eq!(fixture.provider.logs().len(), 1);
        assert_eq!(
            fixture.control.history(owner.cache()).await,
            ["provisioned", "flush", "flush"],
            "the history has them all the same"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_is_dropped_and_told_of() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.flush(&owner, "p1").await;
        fixture.provider.fail([CallErrorKind::Refused]);
        while fixture.work().await > 0 {}
        fixture.flush(&owner, "p2").await;
        fixture.work().await;
        let last = fixture.provider.logs().pop().expect("sent");
        assert!(last[0].contains("1 messages dropped"), "{}", last[0]);
        assert_eq!(proxies(&last[1..]), ["p2"]);
    })
    .await;
}

/// Ten apps at a host that does not answer, and one elsewhere (security.md OB-9).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_answer_has_two_calls_and_holds_up_nobody_else() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let mut owners = Vec::new();
        for count in 0..10 {
            owners.push(fixture.cache(&format!("r-{count}")).await);
        }
        let mut ask = request("quiet");
        ask.grant = Some(code("c", &fixture.control.clock));
        ask.log_url = Some(LOG_URL.replace("1.us", "2.us").into());
        let made = fixture.control.provisioning.provision(ask).await;
        let made = ready(made.expect("a cache"));
        owners.push(fixture.control.owner(made.resource.cache, "quiet").await);
        while fixture.work().await > 0 {}

        for owner in &owners {
            fixture.flush(owner, "p1").await;
        }
        let gate = fixture.provider.hold_log(LOG_URL);
        let outbox = fixture.outbox.clone();
        let working = tokio::spawn(async move { outbox.run_due().await });
        let waiting = async || fixture.control.store.lines_waiting().await.expect("read");
        let held = || {
            let there = |call: &Call| matches!(call, Call::Log { url, .. } if url == LOG_URL);
            fixture.provider.count(there)
        };
        eventually("the other line is delivered", async || {
            waiting().await == 10 && held() == 2
        })
        .await;
        assert_eq!(fixture.work().await, 0, "no third call");

        fixture.provider.go_on();
        gate.add_permits(2);
        working.await.expect("no panic").expect("recorded");
        while fixture.work().await > 0 {}
        assert_eq!((waiting().await, held()), (0, 10));
    })
    .await;
}

/// A worker that slept through its lease cannot record over the one that took the lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lane_is_not_recorded() {
    use larder::domain::Clock as _;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.flush(&owner, "p1").await;
        let store = &fixture.control.store;
        let claim = async || {
            let now = fixture.control.clock.now();
            let mut tx = store.begin().await.expect("a transaction");
            let until = now.plus(Duration::from_secs(60));
            let claims = tx
                .claim_lanes(&terms(now, until, 10, 8), 99)
                .await
                .expect("claims");
            tx.commit().await.expect("a commit");
            claims
        };
        let slow = claim().await;
        assert_eq!(slow.len(), 1);
        assert!(claim().await.is_empty());
        fixture.pass(61);
        let quick = claim().await;
        assert_eq!(quick.len(), 1);
        let now = fixture.control.clock.now();
        let mut tx = store.begin().await.expect("a transaction");
        assert!(
            !tx.record_lines_delivered(&slow[0], now)
                .await
                .expect("asked")
        );
        assert!(
            tx.record_lines_delivered(&quick[0], now)
                .await
                .expect("asked")
        );
        tx.commit().await.expect("a commit");
        assert_eq!(store.lines_waiting().await.expect("read"), 0);
    })
    .await;
}

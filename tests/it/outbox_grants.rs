//! Tokens: exchanged while the code lives, refreshed once for all who need it.

use std::time::Duration;

use larder::domain::WorkerId;
use larder::http::CallErrorKind;
use larder::store::outbox::grants::{FreshTokens, GrantState};
use secrecy::ExposeSecret as _;

use crate::outbox_fixture::{Call, OutboxFixture, code};
use crate::support::control_plane::request;
use crate::support::db::on_each;

const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };

fn refreshes(fixture: &OutboxFixture) -> usize {
    fixture
        .provider
        .count(|call| matches!(call, Call::Refresh(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_is_retried_while_the_code_lives() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.provider.fail([RETRY, RETRY]);
        fixture.work().await;
        fixture.pass(1);
        fixture.work().await;
        fixture.pass(2);
        fixture.work().await;
        let grant = fixture.control.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Active);
        let token = grant.access.expect("a token");
        assert_eq!(token.expose_secret(), "access-1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_runs_out_breaks_the_grant_and_a_new_one_mends_it() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.provider.fail([CallErrorKind::Retry {
            after: Some(Duration::from_secs(600)),
        }]);
        fixture.work().await;
        let state = async || {
            let grant = fixture.control.store.grant(owner.cache()).await;
            grant.expect("read").expect("a grant").state
        };
        assert_eq!(state().await, GrantState::Broken);
        fixture.pass(3_600);
        assert_eq!(fixture.work().await, 0);

        let mut again = request("r-1");
        again.grant = Some(code("code-2", &fixture.control.clock));
        let again = fixture.control.provisioning.provision(again).await;
        again.expect("the same cache");
        fixture.work().await;
        assert_eq!(state().await, GrantState::Active);
    })
    .await;
}

/// As after a crash between an exchange and the recording of its answer: the code is spent, its tokens are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_code_is_replaced_by_a_fresh_one() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        // The old code, then trouble with the request for a new one, for longer than the old code lives. The old one is
        // spent, so it is not sent again.
        let refused = CallErrorKind::Refused;
        fixture.provider.fail([refused, RETRY, RETRY]);
        fixture.work().await;
        fixture.pass(600);
        fixture.work().await;
        fixture.pass(2);
        fixture.work().await;
        let grant = fixture.control.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Active);
        let (exchange, fresh) = (Call::Exchange, Call::FreshCode);
        let expected = [
            exchange.clone(),
            fresh.clone(),
            fresh.clone(),
            fresh,
            exchange,
        ];
        assert_eq!(*fixture.provider.calls.lock(), expected);
    })
    .await;
}

/// A provider in trouble is asked for a fresh code for a day, not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_code_is_asked_for_a_day() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        let state = async || {
            let grant = fixture.control.store.grant(owner.cache()).await;
            grant.expect("read").expect("a grant").state
        };
        fixture.provider.fail([CallErrorKind::Refused]);
        for (secs, expected) in [
            (0, GrantState::Pending),
            (86_400, GrantState::Pending),
            (600, GrantState::Broken),
        ] {
            fixture.pass(secs);
            fixture.provider.fail([RETRY]);
            fixture.work().await;
            assert_eq!(state().await, expected, "{secs} s later");
        }
        let fresh = |call: &Call| *call == Call::FreshCode;
        assert_eq!(fixture.provider.count(fresh), 3);
        assert_eq!(fixture.provider.calls.lock().len(), 4, "and one exchange");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_refresh_token_is_replaced_through_a_fresh_code() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799);
        let username = fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Refused]);
        fixture.work().await;
        assert_eq!(*fixture.provider.effects.lock(), [username]);
        assert_eq!(fixture.provider.count(|call| *call == Call::FreshCode), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_code_is_exchanged_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.cache("r-1").await;
        for round in 0..3 {
            let mut again = request("r-1");
            let text = if round == 2 { "another" } else { "code-1" };
            again.grant = Some(code(text, &fixture.control.clock));
            let again = fixture.control.provisioning.provision(again).await;
            again.expect("the same cache");
            fixture.work().await;
        }
        assert_eq!(*fixture.provider.calls.lock(), [Call::Exchange]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_about_to_end_is_refreshed_before_the_call() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799 - 89);
        let username = fixture.promote_new(&owner).await;
        fixture.work().await;
        let push = Call::Push {
            token: "access-2".to_owned(),
            username,
        };
        let calls = fixture.provider.calls.lock().clone();
        assert_eq!(calls[1..3], [Call::Refresh("refresh-1".to_owned()), push]);
    })
    .await;
}

/// A crash after the call must not lose the only refresh token that is still good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_refresh_token_is_stored_before_its_access_token_is_used() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799);
        let username = fixture.promote_new(&owner).await;
        let gate = fixture.provider.hold();
        let outbox = fixture.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        let push = Call::Push {
            token: "access-2".to_owned(),
            username,
        };
        fixture.provider.called(&push).await;

        let grant = fixture.control.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        let refresh = grant.refresh.expect("a refresh token");
        assert_eq!(refresh.expose_secret(), "refresh-2");
        let access = grant.access.expect("a token");
        assert_eq!(access.expose_secret(), "access-2");
        fixture.provider.go_on();
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        assert_eq!(fixture.state(owner.cache()).await.applied, 2);
    })
    .await;
}

/// Three who need a token at once: a push and two dead log inputs. Two processes, one refresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_shares_one_refresh() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let other = fixture.another_worker(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        let url = "https://token:t.5@5.us.logplex.io/logs".to_owned().into();
        let now = crate::support::db::START;
        tx.insert_attachment(owner.cache(), "second", Some(&url), now)
            .await
            .expect("attached");
        tx.commit().await.expect("a commit");

        fixture.pass(28_799);
        fixture.promote_new(&owner).await;
        fixture.provider.refuse_logs(true);
        let (here, there) = tokio::join!(
            async {
                let mut done = fixture.outbox.run_due().await.expect("the store answers");
                done += fixture.outbox.run_due().await.expect("the store answers");
                done
            },
            async {
                let mut done = other.run_due().await.expect("the store answers");
                done += other.run_due().await.expect("the store answers");
                done
            }
        );
        assert_eq!(here + there, 3);
        assert_eq!(refreshes(&fixture), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_is_leased_to_one() {
    use larder::domain::Clock as _;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let cache = fixture.cache("r-1").await.cache();
        fixture.work().await;
        let store = &fixture.control.store;
        let lease = async || {
            let now = fixture.control.clock.now();
            let seen = store.grant(cache).await.expect("read").expect("a grant");
            let until = now.plus(Duration::from_secs(60));
            let mut tx = store.begin().await.expect("a transaction");
            let leased = tx
                .lease_grant(cache, seen.fence, now, until, WorkerId::generate(now))
                .await;
            tx.commit().await.expect("a commit");
            leased.expect("asked")
        };
        assert!(lease().await.is_some());
        assert_eq!(lease().await, None);
        fixture.pass(61);
        assert!(lease().await.is_some());
    })
    .await;
}

/// The answer to a renewal comes after its lease has ended and another worker has renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_pair_does_not_replace_a_newer_one() {
    use larder::domain::Clock as _;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let cache = fixture.cache("r-1").await.cache();
        fixture.work().await;
        let store = &fixture.control.store;
        let lease = async || {
            let now = fixture.control.clock.now();
            let seen = store.grant(cache).await.expect("read").expect("a grant");
            let until = now.plus(Duration::from_secs(60));
            let mut tx = store.begin().await.expect("a transaction");
            let leased = tx
                .lease_grant(cache, seen.fence, now, until, WorkerId::generate(now))
                .await;
            tx.commit().await.expect("a commit");
            leased.expect("asked").expect("leased")
        };
        let record = async |fence: i64, token: &str| {
            let now = fixture.control.clock.now();
            let fresh = FreshTokens {
                access: token.to_owned().into(),
                expires_at: now.plus(Duration::from_secs(28_800)),
                refresh: Some(format!("refresh-{token}").into()),
            };
            let mut tx = store.begin().await.expect("a transaction");
            let stored = tx.record_tokens(cache, fence, &fresh, now).await;
            tx.commit().await.expect("a commit");
            stored.expect("asked")
        };
        let late = lease().await;
        fixture.pass(61);
        let newer = lease().await;
        assert!(record(newer, "newer").await);
        assert!(!record(late, "late").await);
        let grant = store.grant(cache).await.expect("read").expect("a grant");
        let held = [grant.access, grant.refresh].map(|token| {
            let token = token.expect("a token");
            token.expose_secret().to_owned()
        });
        assert_eq!(held, ["newer", "refresh-newer"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_in_trouble_is_tried_again_and_a_refused_one_is_not() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799);
        fixture.promote_new(&owner).await;
        fixture.provider.fail([RETRY]);
        fixture.work().await;
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.dead_at, None);
        fixture.provider.fail([CallErrorKind::Refused]);
        fixture.pass(1);
        fixture.work().await;
        assert_eq!(refreshes(&fixture), 2);
        assert!(fixture.state(owner.cache()).await.dead_at.is_some());
        fixture.pass(60);
        assert_eq!(fixture.work().await, 0, "never in a loop");
    })
    .await;
}

/// P9: what is on disk opens nothing without the master key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_tokens_and_log_inputs_are_sealed_on_disk() {
    let db = crate::support::db::sqlite().await;
    let fixture = OutboxFixture::start(&db).await;
    let mut ask = request("r-1");
    ask.grant = Some(code("MARKER-code", &fixture.control.clock));
    ask.log_url = Some(
        "https://token:MARKER-log@1.us.logplex.io/logs"
            .to_owned()
            .into(),
    );
    let made = fixture.control.provisioning.provision(ask).await;
    made.expect("a cache");
    let files = || {
        let crate::support::db::Kind::Sqlite { dir } = &db.kind else {
            panic!("SQLite was asked for")
        };
        let list = std::fs::read_dir(dir.path()).expect("a directory");
        list.map(|file| std::fs::read(file.expect("a file").path()).expect("bytes"))
            .collect::<Vec<_>>()
            .concat()
    };
    let holds = |needle: &str| {
        let bytes = files();
        bytes
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
    };
    assert!(holds("1.us.logplex.io"), "the search finds what is there");
    fixture.work().await;
    for marker in ["MARKER", "access-1", "refresh-1"] {
        assert!(!holds(marker), "{marker}");
    }
}

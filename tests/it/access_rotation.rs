//! Rotation in one step, and how long the former primary should stay, on both databases.

use std::time::Duration;

use larder::access::{AccessError, AccessSettings, Owner, Replaced};
use larder::domain::{Capabilities, Credential, Timestamp, Username};
use larder::http::CallErrorKind;

use crate::outbox_fixture::OutboxFixture;
use crate::support::db::on_each;

const HOUR: u64 = 3_600;

async fn credentials(fixture: &OutboxFixture, owner: &Owner) -> Vec<Credential> {
    let credentials = fixture.control.access.credentials(owner).await;
    credentials.expect("a list")
}

async fn primary(fixture: &OutboxFixture, owner: &Owner) -> Username {
    let credentials = credentials(fixture, owner).await;
    assert_eq!(credentials.iter().filter(|one| one.primary).count(), 1);
    credentials[0].username.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clicks_rotate_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let old = primary(&fixture, &owner).await;
        let restricted = Capabilities::ALL.with(Capabilities::FLUSH, false);
        let set = fixture
            .control
            .access
            .set_capabilities(&owner, &old, restricted);
        set.await.expect("restricted");
        let click = || {
            let (access, owner, old) = (fixture.control.access.clone(), owner.clone(), old.clone());
            tokio::spawn(async move { access.rotate(&owner, &old).await })
        };
        for click in [click(), click(), click(), click()] {
            click.await.expect("no panic").expect("a rotation");
        }
        let both = credentials(&fixture, &owner).await;
        let names: Vec<_> = both.iter().map(|one| one.username.clone()).collect();
        assert_eq!(names[1..], [old], "the old one stays, as a secondary");
        assert_eq!(both[0].capabilities, restricted);
        fixture.work().await;
        assert_eq!(*fixture.provider.effects.lock(), [names[0].to_string()]);
        let history = fixture.control.history(owner.cache()).await;
        let promoted = history
            .iter()
            .filter(|kind| *kind == "credentials_promoted");
        assert_eq!(promoted.count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_plan_rotates_only_after_a_deletion() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let old = primary(&fixture, &owner).await;
        for _ in 0..3 {
            fixture.control.access.create(&owner).await.expect("room");
        }
        let refused = fixture.control.access.rotate(&owner, &old).await;
        assert!(matches!(
            refused,
            Err(AccessError::TooManyCredentials { max: 4 })
        ));
        assert_eq!(primary(&fixture, &owner).await, old);
        assert_eq!(fixture.work().await, 1, "only the grant's exchange");
        let unknown = "ABCDEF".parse().expect("a user name");
        let answer = fixture.control.access.rotate(&owner, &unknown).await;
        assert_eq!(answer.expect("no effect"), old);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overlap_begins_when_the_provider_has_the_new_values() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let settings = AccessSettings {
            overlap: Duration::from_secs(2 * HOUR),
            ..AccessSettings::default()
        };
        let access = fixture.control.access.clone().with_settings(settings);
        let old = primary(&fixture, &owner).await;
        access.rotate(&owner, &old).await.expect("a rotation");
        fixture.provider.fail([CallErrorKind::Retry {
            after: Some(Duration::from_secs(HOUR)),
        }]);
        fixture.work().await;
        fixture.pass(3 * HOUR);
        fixture.work().await;
        assert_eq!(fixture.provider.pushes().len(), 2);

        let now = larder::domain::Clock::now(fixture.control.clock.as_ref());
        let both = credentials(&fixture, &owner).await;
        assert_eq!(access.overlap_ends(&both[0]), None, "the primary stays");
        let ends = access.overlap_ends(&both[1]).expect("a former primary");
        let ahead = ends.since(now).as_secs();
        assert!((2 * HOUR - 1..=2 * HOUR).contains(&ahead), "{ahead}");

        // A later push begins the overlap of its own predecessor only, and a primary again has none.
        fixture.pass(600);
        access.promote(&owner, &old).await.expect("a promotion");
        fixture.work().await;
        let both = credentials(&fixture, &owner).await;
        assert_eq!(both[0].username, old);
        assert_eq!(access.overlap_ends(&both[0]), None);
        fixture.pass(600);
        let third = access.rotate(&owner, &old).await.expect("a rotation");
        fixture.work().await;
        let all = credentials(&fixture, &owner).await;
        assert_eq!(all[0].username, third);
        let ends = |one: &Credential| access.overlap_ends(one).expect("a former primary");
        let apart = ends(&all[1]).since(ends(&all[2])).as_secs();
        assert!((599..=601).contains(&apart), "{apart}");
    })
    .await;
}

/// A user name is given once, so a loop that makes and removes credentials would use up those of everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_gets_a_hundred_credentials_a_day() {
    const DAY: u64 = 24 * HOUR;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let other = fixture.control.provision("r-2").await.resource.cache;
        let other = fixture.control.owner(other, "r-2").await;
        while fixture.work().await > 0 {}
        let access = &fixture.control.access;
        let first = credentials(&fixture, &owner).await.remove(0);
        // The order itself made the first.
        for number in 2..=100 {
            let made = access.create(&owner).await;
            let (made, _) = made.unwrap_or_else(|refused| panic!("{number}: {refused}"));
            let removed = access.remove(&owner, &made.username).await;
            removed.expect("a secondary");
        }
        let refused = |answer: Result<(), AccessError>| match answer {
            Err(AccessError::TooManyCredentialsToday { max: 100, again_at }) => again_at,
            other => panic!("{other:?}"),
        };
        let again_at = refused(access.create(&owner).await.map(|_| ()));
        let a_day_later = first.created_at.plus(Duration::from_secs(DAY));
        assert_eq!(again_at, Timestamp::from_secs(a_day_later.secs() + 1));
        let rotated = access.rotate(&owner, &first.username).await;
        assert_eq!(refused(rotated.map(|_| ())), again_at);
        assert_eq!(primary(&fixture, &owner).await, first.username);
        access.create(&other).await.expect("it is another cache's");

        // After a leak the operator does not wait for tomorrow.
        let operator = access.for_operator(owner.cache()).await;
        let operator = operator.expect("it is live");
        let now = larder::domain::Clock::now(fixture.control.clock.as_ref());
        let replaced = access.replace_older(&operator, now).await;
        assert_eq!(replaced.expect("an answer"), Replaced::Done);
        refused(access.create(&owner).await.map(|_| ()));

        fixture.pass(DAY + 1);
        access.create(&owner).await.expect("a new day");
    })
    .await;
}

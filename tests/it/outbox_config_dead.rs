//! A push that a person was called about.

use larder::domain::Clock as _;
use larder::http::CallErrorKind;

use crate::outbox_fixture::OutboxFixture;
use crate::support::db::on_each;

/// Once the provider has refused it, trouble on the way does not make it new: it stays a case for a person, hourly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_push_stays_a_case_for_a_person_when_the_next_try_meets_trouble() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Refused]);
        while fixture.work().await > 0 {}
        let dead_at = fixture.state(owner.cache()).await.dead_at;
        assert!(dead_at.is_some());

        fixture.pass(3_601);
        fixture
            .provider
            .fail([CallErrorKind::Retry { after: None }]);
        assert_eq!(fixture.work().await, 1);
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.dead_at, dead_at);
        let wait = state.next_attempt_at.since(fixture.control.clock.now());
        assert!(wait.as_secs() > 3_500, "{wait:?}");
    })
    .await;
}

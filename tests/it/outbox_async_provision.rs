//! Resources that are set up in the background: accepted at once, told to the provider when they are ready, given up
//! when they never will be.

use larder::access::Owner;
use larder::domain::{Resource, ResourceState};
use larder::http::CallErrorKind;
use larder::outbox::ports::ProviderState;
use larder::provisioning::{Provisioned, ProvisioningError};

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture, code};
use crate::support::HEROKU;
use crate::support::control_plane::{ready, request};
use crate::support::db::on_each;

const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };
const HOUR: u64 = 3_600;

/// Orders a cache on a plan that is set up in the background.
async fn order(fixture: &OutboxFixture, id: &str) -> Resource {
    let mut ask = request(id);
    ask.plan = "slow".to_owned();
    ask.grant = Some(code("code-1", &fixture.control.clock));
    ask.log_url = Some(LOG_URL.to_owned().into());
    match fixture.control.provisioning.provision(ask).await {
        Ok(Provisioned::Pending(resource)) => resource,
        other => panic!("{other:?}"),
    }
}

async fn now(fixture: &OutboxFixture, resource: &Resource) -> ResourceState {
    let resource = fixture.control.store.resource(resource.cache).await;
    resource.expect("read").expect("a row").state
}

/// Works until nothing is due, over some minutes.
async fn let_time_pass(fixture: &OutboxFixture, secs: u64) {
    for _ in 0..20 {
        fixture.pass(secs / 20);
        while fixture.work().await > 0 {}
    }
}

fn told(fixture: &OutboxFixture) -> Vec<Call> {
    let calls = fixture.provider.calls.lock().clone();
    let of_interest = |call: &Call| !matches!(call, Call::Push { .. });
    calls.into_iter().filter(of_interest).collect()
}

async fn owner(fixture: &OutboxFixture, resource: &Resource) -> Owner {
    fixture.control.owner(resource.cache, "visit").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_is_told_once_it_holds_the_values() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        assert_eq!(resource.state, ResourceState::Provisioning);
        assert!(fixture.provider.calls.lock().is_empty());
        let owner = owner(&fixture, &resource).await;
        while fixture.work().await > 0 {}
        assert_eq!(told(&fixture), [Call::Exchange, Call::Finish]);
        let primary = fixture
            .control
            .access
            .credentials(&owner)
            .await
            .expect("a list");
        assert_eq!(fixture.provider.pushes(), [primary[0].username.to_string()]);
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
        let history = fixture.control.history(resource.cache).await;
        assert_eq!(history, ["async_provision_began", "provisioned"]);

        // From here on it is a cache like any other.
        let again = fixture.control.provisioning.provision(request("r-1")).await;
        assert_eq!(
            ready(again.expect("the same")).values.username,
            primary[0].username
        );
        let_time_pass(&fixture, HOUR).await;
        assert_eq!(told(&fixture).len(), 2, "nothing more is told");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_accepted_again_and_a_new_grant_is_taken() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.fail([CallErrorKind::Refused]);
        fixture.work().await;
        for plan in ["slow", "dev"] {
            let mut again = request("r-1");
            again.plan = plan.to_owned();
            again.grant = Some(code("code-2", &fixture.control.clock));
            let again = fixture.control.provisioning.provision(again).await;
            assert!(matches!(again, Ok(Provisioned::Pending(same)) if same == resource));
        }
        let_time_pass(&fixture, 120).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_it_is_provisioned_at_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let mut ask = request("r-1");
        ask.plan = "slow".to_owned();
        let made = fixture.control.provisioning.provision(ask).await;
        assert!(ready(made.expect("a cache")).created);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_call_whose_answer_was_lost_is_not_taken_for_a_failure() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.lose_answers(true);
        // the exchange and the push pass
        fixture.provider.fail_after(2, RETRY);
        fixture.work().await;
        fixture.provider.lose_answers(false);
        let_time_pass(&fixture, 60).await;
        let calls = [Call::Exchange, Call::Finish, Call::Finish, Call::Resource];
        assert_eq!(told(&fixture), calls);
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_meanwhile_is_what_the_app_gets() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        let owner = owner(&fixture, &resource).await;
        let new = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes(), [new]);
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_while_it_is_set_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        let provisioning = &fixture.control.provisioning;
        let id = &resource.external_id;
        let changed = provisioning.change_plan(HEROKU, id, "100").await;
        assert_eq!(changed.expect("another plan").to.as_str(), "100");
        while fixture.work().await > 0 {}
        let resource = fixture.control.store.resource(resource.cache).await;
        let resource = resource.expect("read").expect("a row");
        assert_eq!(resource.state, ResourceState::Provisioned);
        assert_eq!(resource.plan.as_str(), "100");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_meanwhile_ends_it_without_a_completion_call() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        let gate = fixture.provider.hold_finish();
        let working = tokio::spawn({
            let outbox = fixture.outbox.clone();
            async move { outbox.run_due().await }
        });
        fixture.provider.called(&Call::Finish).await;
        let provisioning = &fixture.control.provisioning;
        let id = &resource.external_id;
        let gone = provisioning.deprovision(HEROKU, id).await;
        gone.expect("it ends");
        gate.add_permits(1);
        working.await.expect("no panic").expect("recorded");
        let state = now(&fixture, &resource).await;
        assert!(matches!(state, ResourceState::Deprovisioned { .. }));
        let before = told(&fixture).len();
        let_time_pass(&fixture, 12 * HOUR).await;
        assert_eq!(told(&fixture).len(), before, "nobody is told anything more");
        let late = provisioning.provision(request("r-1")).await;
        assert!(matches!(late, Err(ProvisioningError::Gone)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_taken_is_given_up_before_the_provider_does() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.refuse_finish(true);
        let_time_pass(&fixture, 9 * HOUR).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioning);
        assert_eq!(fixture.provider.count(|call| *call == Call::GiveUp), 0);
        // The answer to giving up is lost, and later read from the provider.
        fixture.provider.lose_answers(true);
        fixture.provider.fail_give_up(RETRY);
        let_time_pass(&fixture, 2 * HOUR).await;
        assert_eq!(fixture.provider.count(|call| *call == Call::GiveUp), 1);
        let state = now(&fixture, &resource).await;
        assert!(matches!(state, ResourceState::Deprovisioned { .. }));
        let store = &fixture.control.store;
        assert!(
            store
                .credentials(resource.cache)
                .await
                .expect("read")
                .is_empty()
        );
        assert!(store.grant(resource.cache).await.expect("read").is_none());
        let late = fixture.control.provisioning.provision(request("r-1")).await;
        assert!(matches!(late, Err(ProvisioningError::Gone)));
        let id = &resource.external_id;
        let removed = fixture.control.provisioning.deprovision(HEROKU, id).await;
        assert!(matches!(removed, Err(ProvisioningError::Gone)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_provider_took_after_all_is_given_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.refuse_finish(true);
        let_time_pass(&fixture, 9 * HOUR).await;
        *fixture.provider.state.lock() = ProviderState::Provisioned;
        // Not even asked about for so long that it is over time.
        fixture.pass(10 * HOUR);
        let_time_pass(&fixture, HOUR).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
        assert_eq!(fixture.provider.count(|call| *call == Call::GiveUp), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_turns_out_to_be_ready_stays_though_it_was_to_be_given_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.refuse_finish(true);
        let_time_pass(&fixture, 9 * HOUR).await;
        fixture.provider.fail_give_up(RETRY);
        while fixture.provider.count(|call| *call == Call::GiveUp) == 0 {
            let_time_pass(&fixture, HOUR).await;
        }
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioning);
        // A completion call of long ago arrives after all.
        *fixture.provider.state.lock() = ProviderState::Provisioned;
        let tried = fixture.provider.count(|call| *call == Call::GiveUp);
        let_time_pass(&fixture, HOUR).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
        assert_eq!(fixture.provider.count(|call| *call == Call::GiveUp), tried);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_gives_nothing_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.give_codes(true);
        fixture.pass(24 * HOUR);
        let_time_pass(&fixture, HOUR).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
        assert_eq!(fixture.provider.count(|call| *call == Call::GiveUp), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        fixture.provider.fail_after(2, RETRY);
        fixture.work().await;
        fixture.go_back(24 * HOUR);
        fixture.outbox.tidy().await.expect("tidied");
        while fixture.work().await > 0 {}
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_is_followed_by_another() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let resource = order(&fixture, "r-1").await;
        let _gate = fixture.provider.hold_finish();
        let dying = tokio::spawn({
            let outbox = fixture.another_worker(db).await;
            async move { outbox.run_due().await }
        });
        fixture.provider.called(&Call::Finish).await;
        dying.abort();
        fixture.provider.go_on();
        while fixture.work().await > 0 {}
        assert_eq!(
            fixture.provider.count(|call| *call == Call::Finish),
            1,
            "the lease holds"
        );
        let_time_pass(&fixture, 120).await;
        assert_eq!(now(&fixture, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_without_room_is_waited_for_where_that_can_be_told() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.control.fill_region().await;

        let mut silent = request("r-1");
        silent.plan = "100".to_owned();
        let refused = fixture.control.provisioning.provision(silent).await;
        assert!(matches!(refused, Err(ProvisioningError::NoRoom(_))));
        let mut ask = request("r-2");
        ask.plan = "100".to_owned();
        ask.grant = Some(code("code-1", &fixture.control.clock));
        let Ok(Provisioned::Pending(waiting)) = fixture.control.provisioning.provision(ask).await
        else {
            panic!("accepted")
        };
        let_time_pass(&fixture, HOUR).await;
        assert_eq!(now(&fixture, &waiting).await, ResourceState::Provisioning);
        assert!(fixture.provider.pushes().is_empty());

        let id = "full-3".parse().expect("an id");
        let gone = fixture.control.provisioning.deprovision(HEROKU, &id).await;
        gone.expect("room again");
        let_time_pass(&fixture, 600).await;
        assert_eq!(now(&fixture, &waiting).await, ResourceState::Provisioned);
        assert_eq!(fixture.provider.pushes().len(), 1);
        assert_eq!(*fixture.provider.servers.lock(), ["p1.example.net:11211"]);
    })
    .await;
}

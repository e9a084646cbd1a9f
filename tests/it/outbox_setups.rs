//! Resources that are set up in the background: accepted at once, told to the provider when they are ready, given up
//! when they never will be.

use larder::access::Owner;
use larder::domain::{Marketplace, Resource, ResourceState};
use larder::outbox::ports::{SendErrorKind, Stage};
use larder::provisioning::{Provisioned, ProvisioningError};

use crate::outbox_bed::{Bed, Call, LOG_URL, code};
use crate::support::db::on_each;
use crate::support::world::{ready, request};

const RETRY: SendErrorKind = SendErrorKind::Retry { after: None };
const HOUR: u64 = 3_600;

/// Orders a cache on a plan that is set up in the background.
async fn order(bed: &Bed, id: &str) -> Resource {
    let mut ask = request(id);
    ask.plan = "slow".to_owned();
    ask.grant = Some(code("code-1", &bed.world.clock));
    ask.log_url = Some(LOG_URL.to_owned().into());
    match bed.world.provisioning.provision(ask).await {
        Ok(Provisioned::Pending(resource)) => resource,
        other => panic!("{other:?}"),
    }
}

async fn now(bed: &Bed, resource: &Resource) -> ResourceState {
    let resource = bed.world.store.resource(resource.cache).await;
    resource.expect("read").expect("a row").state
}

/// Works until nothing is due, over some minutes.
async fn let_time_pass(bed: &Bed, secs: u64) {
    for _ in 0..20 {
        bed.pass(secs / 20);
        while bed.work().await > 0 {}
    }
}

fn told(bed: &Bed) -> Vec<Call> {
    let calls = bed.provider.calls.lock().clone();
    let of_interest = |call: &Call| !matches!(call, Call::Push { .. });
    calls.into_iter().filter(of_interest).collect()
}

async fn owner(bed: &Bed, resource: &Resource) -> Owner {
    bed.world.owner(resource.cache, "visit").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_is_told_once_it_holds_the_values() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        assert_eq!(resource.state, ResourceState::Provisioning);
        assert!(bed.provider.calls.lock().is_empty());
        let owner = owner(&bed, &resource).await;
        while bed.work().await > 0 {}
        assert_eq!(told(&bed), [Call::Exchange, Call::Finish]);
        let primary = bed.world.access.credentials(&owner).await.expect("a list");
        assert_eq!(bed.provider.pushes(), [primary[0].username.to_string()]);
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
        let history = bed.world.history(resource.cache).await;
        assert_eq!(history, ["setup_began", "provisioned"]);

        // From here on it is a cache like any other.
        let again = bed.world.provisioning.provision(request("r-1")).await;
        assert_eq!(
            ready(again.expect("the same")).username,
            primary[0].username
        );
        let_time_pass(&bed, HOUR).await;
        assert_eq!(told(&bed).len(), 2, "nothing more is told");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_accepted_again_and_a_new_grant_is_taken() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.fail([SendErrorKind::Refused]);
        bed.work().await;
        for plan in ["slow", "dev"] {
            let mut again = request("r-1");
            again.plan = plan.to_owned();
            again.grant = Some(code("code-2", &bed.world.clock));
            let again = bed.world.provisioning.provision(again).await;
            assert!(matches!(again, Ok(Provisioned::Pending(same)) if same == resource));
        }
        let_time_pass(&bed, 120).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_it_is_provisioned_at_once() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let mut ask = request("r-1");
        ask.plan = "slow".to_owned();
        let made = bed.world.provisioning.provision(ask).await;
        assert!(ready(made.expect("a cache")).created);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_whose_answer_was_lost_is_not_taken_for_a_failure() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.lose_answers(true);
        // the exchange and the push pass
        bed.provider.fail_after(2, RETRY);
        bed.work().await;
        bed.provider.lose_answers(false);
        let_time_pass(&bed, 60).await;
        let calls = [Call::Exchange, Call::Finish, Call::Finish, Call::Resource];
        assert_eq!(told(&bed), calls);
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_meanwhile_is_what_the_app_gets() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        let owner = owner(&bed, &resource).await;
        let new = bed.promote_new(&owner).await;
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes(), [new]);
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_while_it_is_set_up() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        let provisioning = &bed.world.provisioning;
        let id = &resource.external_id;
        let changed = provisioning
            .change_plan(Marketplace::Heroku, id, "100")
            .await;
        assert_eq!(changed.expect("another plan").to.as_str(), "100");
        while bed.work().await > 0 {}
        let resource = bed.world.store.resource(resource.cache).await;
        let resource = resource.expect("read").expect("a row");
        assert_eq!(resource.state, ResourceState::Provisioned);
        assert_eq!(resource.plan.as_str(), "100");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_meanwhile_ends_it_without_a_word() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        let gate = bed.provider.hold_finish();
        let working = tokio::spawn({
            let outbox = bed.outbox.clone();
            async move { outbox.run_due().await }
        });
        bed.provider.called(&Call::Finish).await;
        let provisioning = &bed.world.provisioning;
        let id = &resource.external_id;
        let gone = provisioning.deprovision(Marketplace::Heroku, id).await;
        gone.expect("it ends");
        gate.add_permits(1);
        working.await.expect("no panic").expect("recorded");
        let state = now(&bed, &resource).await;
        assert!(matches!(state, ResourceState::Deprovisioned { .. }));
        let before = told(&bed).len();
        let_time_pass(&bed, 12 * HOUR).await;
        assert_eq!(told(&bed).len(), before, "nobody is told anything more");
        let late = provisioning.provision(request("r-1")).await;
        assert!(matches!(late, Err(ProvisioningError::Gone)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_taken_is_given_up_before_the_provider_does() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.refuse_finish(true);
        let_time_pass(&bed, 9 * HOUR).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioning);
        assert_eq!(bed.provider.count(|call| *call == Call::GiveUp), 0);
        // The answer to giving up is lost, and later read from the provider.
        bed.provider.lose_answers(true);
        bed.provider.fail_give_up(RETRY);
        let_time_pass(&bed, 2 * HOUR).await;
        assert_eq!(bed.provider.count(|call| *call == Call::GiveUp), 1);
        let state = now(&bed, &resource).await;
        assert!(matches!(state, ResourceState::Deprovisioned { .. }));
        let store = &bed.world.store;
        assert!(
            store
                .credentials(resource.cache)
                .await
                .expect("read")
                .is_empty()
        );
        assert!(store.grant(resource.cache).await.expect("read").is_none());
        let late = bed.world.provisioning.provision(request("r-1")).await;
        assert!(matches!(late, Err(ProvisioningError::Gone)));
        let id = &resource.external_id;
        let removed = bed
            .world
            .provisioning
            .deprovision(Marketplace::Heroku, id)
            .await;
        assert!(matches!(removed, Err(ProvisioningError::Gone)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_provider_took_after_all_is_given_up() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.refuse_finish(true);
        let_time_pass(&bed, 9 * HOUR).await;
        *bed.provider.stage.lock() = Stage::Provisioned;
        // Not even asked about for so long that it is over time.
        bed.pass(10 * HOUR);
        let_time_pass(&bed, HOUR).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
        assert_eq!(bed.provider.count(|call| *call == Call::GiveUp), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_turns_out_to_be_ready_stays_though_it_was_to_be_given_up() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.refuse_finish(true);
        let_time_pass(&bed, 9 * HOUR).await;
        bed.provider.fail_give_up(RETRY);
        while bed.provider.count(|call| *call == Call::GiveUp) == 0 {
            let_time_pass(&bed, HOUR).await;
        }
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioning);
        // A word of long ago arrives after all.
        *bed.provider.stage.lock() = Stage::Provisioned;
        let tried = bed.provider.count(|call| *call == Call::GiveUp);
        let_time_pass(&bed, HOUR).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
        assert_eq!(bed.provider.count(|call| *call == Call::GiveUp), tried);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_gives_nothing_up() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.give_codes(true);
        bed.pass(24 * HOUR);
        let_time_pass(&bed, HOUR).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
        assert_eq!(bed.provider.count(|call| *call == Call::GiveUp), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        bed.provider.fail_after(2, RETRY);
        bed.work().await;
        bed.go_back(24 * HOUR);
        bed.outbox.tidy().await.expect("tidied");
        while bed.work().await > 0 {}
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_is_followed_by_another() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let resource = order(&bed, "r-1").await;
        let _gate = bed.provider.hold_finish();
        let dying = tokio::spawn({
            let outbox = bed.another_worker(db).await;
            async move { outbox.run_due().await }
        });
        bed.provider.called(&Call::Finish).await;
        dying.abort();
        bed.provider.go_on();
        while bed.work().await > 0 {}
        assert_eq!(
            bed.provider.count(|call| *call == Call::Finish),
            1,
            "the lease holds"
        );
        let_time_pass(&bed, 120).await;
        assert_eq!(now(&bed, &resource).await, ResourceState::Provisioned);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_without_room_is_waited_for_where_that_can_be_told() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        bed.world.fill_region().await;

        let mut silent = request("r-1");
        silent.plan = "100".to_owned();
        let refused = bed.world.provisioning.provision(silent).await;
        assert!(matches!(refused, Err(ProvisioningError::NoRoom(_))));
        let mut ask = request("r-2");
        ask.plan = "100".to_owned();
        ask.grant = Some(code("code-1", &bed.world.clock));
        let Ok(Provisioned::Pending(waiting)) = bed.world.provisioning.provision(ask).await else {
            panic!("accepted")
        };
        let_time_pass(&bed, HOUR).await;
        assert_eq!(now(&bed, &waiting).await, ResourceState::Provisioning);
        assert!(bed.provider.pushes().is_empty());

        let id = "full-3".parse().expect("an id");
        let gone = bed
            .world
            .provisioning
            .deprovision(Marketplace::Heroku, &id)
            .await;
        gone.expect("room again");
        let_time_pass(&bed, 600).await;
        assert_eq!(now(&bed, &waiting).await, ResourceState::Provisioned);
        assert_eq!(bed.provider.pushes().len(), 1);
        assert_eq!(*bed.provider.servers.lock(), ["p1.example.net:11211"]);
    })
    .await;
}

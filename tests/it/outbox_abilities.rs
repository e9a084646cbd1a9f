//! A marketplace that has not every ability: what needs one it has not is not promised, not tried, and told apart from
//! what was done.

use larder::access::{ConfigState, Owner};
use larder::domain::{Abilities, AbilityTable};
use larder::http::CallErrorKind;
use larder::store::outbox::claims::Served;
use larder::store::outbox::grants::GrantState;

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture, code};
use crate::support::claims::heroku;
use crate::support::control_plane::{ready, request};
use crate::support::db::on_each;

fn able(fixture: &OutboxFixture, change: impl FnOnce(&mut Abilities)) {
    change(&mut fixture.provider.abilities.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_push_nothing_is_due_and_nothing_counts_as_applied() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        able(&fixture, |abilities| abilities.config_push = false);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let promoted = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        assert!(fixture.provider.pushes().is_empty());
        let state = fixture.state(owner.cache()).await;
        assert!(state.applied < state.desired);
        assert_eq!(state.last_error, None);

        // A later release can push: the change of long ago arrives.
        able(&fixture, |abilities| abilities.config_push = true);
        fixture.work().await;
        assert_eq!(*fixture.provider.effects.lock(), [promoted]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_ability_nothing_is_promised_called_or_said_to_be_applied() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        able(&fixture, |abilities| *abilities = Abilities::default());
        let (control, none) = (&fixture.control, AbilityTable::default());
        let provisioning = control.provisioning.clone().with_abilities(none.clone());
        let access = control.access.clone().with_abilities(none);
        // Even a plan that is provisioned asynchronously is ready at once: nobody could be told later.
        let mut ask = request("r-1");
        ask.plan = "slow".to_owned();
        ask.grant = Some(code("code-1", &control.clock));
        ask.log_url = Some(LOG_URL.to_owned().into());
        let made = ready(provisioning.provision(ask).await.expect("a cache"));
        let owner = control.owner(made.resource.cache, "visit").await;

        fixture.promote_new(&owner).await;
        fixture.flush(&owner, "p1").await;
        fixture.pass(86_400);
        assert_eq!(fixture.work().await, 0);
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 0);
        fixture.outbox.take_inventory_due().await.expect("none");
        assert!(fixture.provider.calls.lock().is_empty());

        let store = &control.store;
        assert_eq!(store.lines_waiting().await.expect("read"), 0);
        assert!(store.grant(owner.cache()).await.expect("read").is_none());
        let state = access.config_state(&owner).await.expect("read");
        assert_eq!(state, ConfigState::NotPushed);
        assert!(access.has_token(&owner).await.expect("read"), "lacks none");
    })
    .await;
}

/// Rotating by schedule would take the app's credential away from under it, since nobody gives it the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_push_a_scheduled_rotation_is_put_off() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let access = &fixture.control.access;
        let daily = larder::domain::RotationPeriod::from_days(1).expect("a day");
        let set = access.set_rotation(&owner, Some(daily)).await;
        set.expect("scheduled");
        fixture.pass(86_401);
        let unable = access.clone().with_abilities(AbilityTable::default());
        assert_eq!(unable.rotate_due().await.expect("read"), 0);
        let rotation = access.rotation(&owner).await.expect("read");
        let why = rotation.expect("a schedule").last_error.expect("a reason");
        assert!(why.contains("by hand"), "{why}");
    })
    .await;
}

/// A marketplace that knows us by other means than a token per resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_a_push_goes_out_without_one() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        able(&fixture, |abilities| abilities.tokens = false);
        let owner = fixture.cache("r-1").await;
        let username = fixture.promote_new(&owner).await;
        fixture.work().await;
        let push = Call::Push {
            token: String::new(),
            username,
        };
        assert_eq!(fixture.provider.calls.lock()[0], push);
    })
    .await;
}

/// Rows of a marketplace that is not served must not keep the alarms of those that are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_counts_what_is_served() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.promote_new(&owner).await;
        let (store, now) = (&fixture.control.store, crate::support::db::START);
        let later = now.plus(std::time::Duration::from_secs(1));
        let due = async |served: Served| {
            let backlog = store.config_backlog(&served, later).await;
            backlog.expect("read").due
        };
        assert_eq!(due(heroku()).await, 1);
        assert_eq!(due(Served::from_iter([])).await, 0);
    })
    .await;
}

const REFUSED: CallErrorKind = CallErrorKind::Unauthorized;

async fn grant_state(fixture: &OutboxFixture, owner: &Owner) -> GrantState {
    let grant = fixture.control.store.grant(owner.cache()).await;
    grant.expect("read").expect("a grant").state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_refused_twice_for_a_fresh_log_input_breaks_the_grant() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.flush(&owner, "p1").await;
        // The line and the list of apps; then the renewal passes, and the list is refused again.
        fixture.provider.fail([REFUSED, REFUSED]);
        fixture.provider.fail_after(1, REFUSED);
        fixture.work().await;
        let asked = |call: &Call| *call == Call::Attachments;
        assert_eq!(fixture.provider.count(asked), 2);
        assert_eq!(grant_state(&fixture, &owner).await, GrantState::Broken);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_refused_twice_for_a_reconcile_breaks_the_grant() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.provider.fail([REFUSED]);
        fixture.provider.fail_after(1, REFUSED);
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
        assert_eq!(grant_state(&fixture, &owner).await, GrantState::Broken);
    })
    .await;
}

/// Nothing can renew such a token, so nobody must be left to believe that it works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_without_a_refresh_token_breaks_the_grant() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_refresh_tokens(false);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        fixture.provider.refuse_tokens(true);
        fixture.work().await;
        let grant = fixture.control.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Broken);
        let why = grant.last_error.expect("a reason");
        assert!(why.contains("no refresh token"), "{why}");
    })
    .await;
}

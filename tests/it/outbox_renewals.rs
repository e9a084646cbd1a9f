//! Tokens that no refresh token renews: what becomes of them while the provider is in trouble, and when nothing renews them.

use larder::access::Owner;
use larder::http::CallErrorKind;
use larder::store::outbox::grants::GrantState;

use crate::outbox_fixture::{Call, OutboxFixture};
use crate::support::db::on_each;

const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };

async fn state(fixture: &OutboxFixture, owner: &Owner) -> GrantState {
    let grant = fixture.control.store.grant(owner.cache()).await;
    grant.expect("read").expect("a grant").state
}

async fn is_dead(fixture: &OutboxFixture, owner: &Owner) -> bool {
    fixture.state(owner.cache()).await.dead_at.is_some()
}

/// The access tokens of the pushes, in order.
fn tokens_used(fixture: &OutboxFixture) -> Vec<String> {
    let calls = fixture.provider.calls.lock();
    let token = |call: &Call| match call {
        Call::Push { token, .. } => Some(token.clone()),
        _ => None,
    };
    calls.iter().filter_map(token).collect()
}

/// The provider refuses a token that came without a refresh token, and is in trouble when a fresh code is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_a_fresh_code_breaks_no_grant_without_a_refresh_token() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_refresh_tokens(false);
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let username = fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Unauthorized, RETRY]);
        fixture.work().await;
        assert_eq!(state(&fixture, &owner).await, GrantState::Active);
        assert!(!is_dead(&fixture, &owner).await);

        fixture.pass(1);
        fixture.provider.fail([CallErrorKind::Unauthorized]);
        fixture.work().await;
        assert_eq!(tokens_used(&fixture), ["access-1", "access-1", "access-2"]);
        assert_eq!(*fixture.provider.effects.lock(), [username]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_a_fresh_code_breaks_no_grant_whose_refresh_token_is_void() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799);
        let username = fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Refused, RETRY]);
        fixture.work().await;
        assert_eq!(state(&fixture, &owner).await, GrantState::Active);
        assert!(!is_dead(&fixture, &owner).await);

        fixture.pass(1);
        fixture.provider.fail([CallErrorKind::Refused]);
        fixture.work().await;
        assert_eq!(tokens_used(&fixture), ["access-2"]);
        assert_eq!(*fixture.provider.effects.lock(), [username]);
    })
    .await;
}

/// Nobody has said how long it lives, or somebody was wrong: only the provider knows that it has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_nothing_renews_is_used_until_it_is_refused() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_refresh_tokens(false);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(10 * 86_400);
        let username = fixture.promote_new(&owner).await;
        fixture.work().await;
        assert_eq!(*fixture.provider.effects.lock(), [username]);
        assert_eq!(state(&fixture, &owner).await, GrantState::Active);

        fixture.provider.refuse_tokens(true);
        fixture.promote_new(&owner).await;
        fixture.work().await;
        assert_eq!(tokens_used(&fixture), ["access-1", "access-1"]);
        assert_eq!(state(&fixture, &owner).await, GrantState::Broken);
        assert!(is_dead(&fixture, &owner).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_has_ended_is_renewed_by_a_fresh_code_first() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.provider.give_refresh_tokens(false);
        fixture.provider.give_codes(true);
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.pass(28_799);
        fixture.promote_new(&owner).await;
        fixture.work().await;
        assert_eq!(tokens_used(&fixture), ["access-2"]);
    })
    .await;
}

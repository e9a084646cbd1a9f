//! The long-lived dashboard URL while it is replaced.

use larder::access::{Access, Owner};
use larder::domain::secret::BearerSecret;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// Whoever opens the old URL is looked up by it, is asked for the cookie, and only then waits for the cache's lock. The
/// rotation comes in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_rotated_between_look_up_and_lock_opens_nothing() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let owner = control.owner(cache, "proof").await;
        let old = control.access.sso_hash(&owner).await.expect("a hash");
        let mut new = None;
        let opened = control.access.open_by_link(
            &old,
            |found| {
                assert_eq!(found, cache, "it was good when it was looked up");
                new = Some(rotate(&control.access, &owner));
                None
            },
            None,
        );
        assert!(opened.await.expect("answers").is_none());
        let audit = control.store.audit_of(cache, 100).await;
        for record in audit.expect("the audit") {
            assert_ne!(record.entry.action, "session.open.link");
        }

        let new = new.expect("rotated");
        let opened = control.access.open_by_link(&new, |_| None, None).await;
        assert!(opened.expect("answers").is_some());
    })
    .await;
}

fn rotate(access: &Access, owner: &Owner) -> BearerSecret {
    let rotated = access.rotate_sso(owner);
    block_in_place(|| Handle::current().block_on(rotated)).expect("rotated")
}

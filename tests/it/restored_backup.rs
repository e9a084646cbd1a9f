//! A node whose control plane goes on with a restored backup: what the backup does not know, the node forgets.

use larder::domain::Revision;

use crate::store_battery::by_hand;
use crate::support::HEROKU;
use crate::support::control_plane::{ControlPlane, eventually};
use crate::support::db::on_each;

/// The backup was taken before the cache `lost` was ordered. Its rows stay here where no node looks at them.
const BACK_TO_REVISION_1: [&str; 3] = [
    "DELETE FROM placements WHERE cache_id IN (SELECT cache_id FROM resources WHERE external_id = 'lost')",
    "DELETE FROM changes WHERE revision > 1",
    "UPDATE revision SET value = 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_forgets_what_a_restored_backup_does_not_know() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let kept = control.provision("kept").await.resource;
        let lost = control.provision("lost").await.resource;
        let holds = |cache| control.plane.spec(cache).is_some();
        assert!(holds(kept.cache) && holds(lost.cache));
        assert_eq!(*control.node.applied().borrow(), Revision(2));

        for sql in BACK_TO_REVISION_1 {
            by_hand(db, sql).await;
        }
        control.cluster.wake();
        eventually("the node stands where the backup does", async || {
            *control.node.applied().borrow() == Revision(1)
        })
        .await;
        assert!(holds(kept.cache), "the backup has it");
        assert!(!holds(lost.cache), "the backup does not have it");

        // The new history counts on from there, and the node follows it as it did the old one.
        let next = control.provision("next").await.resource;
        assert!(holds(next.cache));
        let removed = control
            .provisioning
            .deprovision(HEROKU, &kept.external_id)
            .await;
        removed.expect("removed");
        eventually("the node forgets it", async || !holds(kept.cache)).await;
    })
    .await;
}

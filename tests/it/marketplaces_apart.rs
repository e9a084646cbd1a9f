//! One marketplace can neither see nor change what belongs to another (security.md PA-5): an id of another is an id of nobody.

use larder::domain::{ExternalId, Marketplace};

use crate::support::HEROKU;
use crate::support::control_plane::{ControlPlane, ready, request};
use crate::support::db::on_each;

const OTHER: Marketplace = Marketplace::named("corner");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_marketplace_is_an_id_of_nobody() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let provisioning = &control.provisioning;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let before = control.store.resource(cache).await.expect("read");
        let id = |text: &str| -> ExternalId { text.parse().expect("an id") };
        let told = async |text: &str| {
            let id = id(text);
            let found = provisioning.find(OTHER, &id).await.expect("answers");
            let change = provisioning.change_plan(OTHER, &id, "100").await.map(drop);
            let end = provisioning.deprovision(OTHER, &id).await;
            format!("{found:?} {change:?} {end:?}").replace(text, "ID")
        };
        assert_eq!(told("r-1").await, told("never").await);
        assert_eq!(control.store.resource(cache).await.expect("read"), before);

        // Its own order of the same id is a cache of its own. The id of one that was ended early is refused to it alone.
        let mut ask = request("r-2");
        ask.marketplace = OTHER;
        let mine = control.provision("r-2").await;
        let theirs = ready(provisioning.provision(ask).await.expect("a cache"));
        assert!(theirs.created && theirs.resource.cache != mine.resource.cache);
        assert_ne!(theirs.values.username, mine.values.username);
        provisioning
            .deprovision(OTHER, &id("r-2"))
            .await
            .expect("ended");
        let still = provisioning
            .find(HEROKU, &id("r-2"))
            .await
            .expect("answers");
        assert!(still.is_some_and(|resource| resource.state.is_live()));
    })
    .await;
}

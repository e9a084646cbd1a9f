//! The page stands although one of its panels cannot be loaded.

use larder::sandbox::ProvisionOptions;

use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;

on_both_databases!(a_panel_that_cannot_be_loaded_leaves_the_rest);

/// Shop's owner opens the dashboard while the schedules of rotations cannot be read.
async fn a_panel_that_cannot_be_loaded_leaves_the_rest(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let app = service.sandbox.create_app("shop").expect("an app");
    let addon = service
        .sandbox
        .provision(app, "dev", ProvisionOptions::default());
    let addon = addon.await.expect("a cache").id;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let failed = "This part of the page could not be loaded";
    assert!(!owner.page().await.contains(failed));

    let away = "ALTER TABLE rotations RENAME TO rotations_away";
    service.database.execute(away).await;
    let page = owner.page().await;
    assert_eq!(page.matches(failed).count(), 1, "{page}");
    let rotation = panel(&page, "rotation");
    assert!(rotation.starts_with("Scheduled rotation Not loaded") && rotation.contains(failed));
    assert!(panel(&page, "credentials").contains("Config vars:"));
    assert!(panel(&page, "settings").contains("MEMCACHIER_SERVERS"));
    for heading in ["Storage", "Hit rate", "Connections", "All-time counters"] {
        assert!(visible_text(&page).contains(heading), "{heading}");
    }
    let name = owner.add_credentials().await;
    assert_eq!(owner.usernames().await[1], name, "and its buttons work");

    let back = "ALTER TABLE rotations_away RENAME TO rotations";
    service.database.execute(back).await;
    assert!(!owner.page().await.contains(failed));
    service.stop().await;
}

/// What a reader sees of one panel.
fn panel(page: &str, id: &str) -> String {
    let start = format!("<section class=\"panel\" id=\"{id}\"");
    let section = page.split(&start).nth(1).expect("the panel");
    let section = section.split("</section>").next().expect("its end");
    let (_, inside) = section.split_once('>').expect("its content");
    visible_text(inside)
}

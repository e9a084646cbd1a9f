//! Two processes where only one may be: in a data folder, on a SQLite file, under a node's id, at an announced address.

use std::path::Path;

use tempfile::TempDir;

use crate::support::db::Database;
use crate::support::full_service::setting;
use crate::support::machine::{Machine, on_both};
use crate::support::needs;

/// A copy of a folder, as a careless backup or a cloned disk makes it.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
        }
    }
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_is_for_one_process() {
    on_both(async |database| {
        let first = Machine::new(&database, "node-a.example");
        let process = first.start().await;
        let pid = process.id();
        first.order("r-1", false).await.is_on(&first);

        let spare = tempfile::tempdir().expect("a folder");
        let mut second = first.elsewhere(spare, "node-b.example");
        let folder = first.folder.path().display().to_string();
        second.settings = setting(&second.settings, "LARDER_DATA_DIR", &folder);
        let refused = second.start_in_vain().await.stderr;
        assert!(refused.contains("is in use by another larder"), "{refused}");
        assert!(
            refused.contains(&format!("pid {pid}, since 20")),
            "{refused}"
        );

        // Nothing has changed, and commands beside the service work.
        let list = first.admin("nodes").await;
        assert!(
            list.contains(&first.server) && !list.contains(&second.server),
            "{list}"
        );
        first.order("r-1", false).await.is_on(&first);

        // Who held it may come back at once, also after `kill -9`.
        let id = first.node_id();
        process.kill().await;
        let again = first.start().await;
        assert_eq!(first.node_id(), id);
        first.order("r-1", false).await.is_on(&first);
        again.kill().await;
        database.drop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_is_for_one_process() {
    let database = Database::sqlite();
    let first = Machine::new(&database, "node-a.example");
    let process = first.start().await;
    let second = first.elsewhere(tempfile::tempdir().expect("a folder"), "node-b.example");
    let refused = second.start_in_vain().await.stderr;
    assert!(refused.contains("is served by another larder"), "{refused}");
    assert!(
        refused.contains(&format!("pid {}", process.id())),
        "{refused}"
    );
    process.kill().await;
    let instead = second.start().await;
    instead.kill().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_folder_is_another_machine() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let first = Machine::new(&database, "node-a.example");
    let process = first.start().await;
    first.order("r-1", false).await.is_on(&first);
    let copy = first.elsewhere(copy_of(first.folder.path()), "node-b.example");
    assert_eq!(copy.node_id(), first.node_id());
    let beside = copy.start().await;
    assert_ne!(copy.node_id(), first.node_id(), "it joined as a new node");
    let list = copy.admin("nodes").await;
    assert!(
        list.contains(&first.server) && list.contains(&copy.server),
        "{list}"
    );
    copy.order("r-1", false).await.is_on(&first);
    beside.kill().await;

    // Nor is an announced address taken from a process that lives.
    let mut collides = first.elsewhere(copy_of(first.folder.path()), "node-a.example");
    let port = first.server.rsplit_once(':').expect("a port").1;
    collides.settings = setting(&collides.settings, "LARDER_PROXY_PORT", port);
    let refused = collides.start_in_vain().await.stderr;
    assert!(
        refused.contains(&format!("{} is announced by", first.server)),
        "{refused}"
    );
    assert_eq!(first.state_of(&first.server).await, "serving");
    process.kill().await;
    database.drop().await;
}

/// A copy of everything is another installation; its node is another one, so that nothing is pushed to customers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_sqlite_file_is_another_installation() {
    let database = Database::sqlite();
    let first = Machine::new(&database, "node-a.example");
    let process = first.start().await;
    first.order("r-1", false).await.is_on(&first);
    process.kill().await;
    let (_, file) = database.url().split_once(':').expect("a path");
    let files = copy_of(Path::new(file).parent().expect("a folder"));
    let process = first.start().await;

    let mut copy = first.elsewhere(copy_of(first.folder.path()), "node-b.example");
    let url = format!("sqlite:{}", files.path().join("larder.db").display());
    copy.settings = setting(&copy.settings, "LARDER_DATABASE_URL", &url);
    let beside = copy.start().await;
    assert_ne!(copy.node_id(), first.node_id());
    let list = copy.admin("caches").await;
    assert!(
        !list.contains("pending") && !list.contains("REFUSED"),
        "{list}"
    );
    beside.kill().await;

    let mut collides = first.elsewhere(copy_of(first.folder.path()), "node-a.example");
    let port = first.server.rsplit_once(':').expect("a port").1;
    collides.settings = setting(&collides.settings, "LARDER_PROXY_PORT", port);
    collides.settings = setting(&collides.settings, "LARDER_DATABASE_URL", &url);
    let refused = collides.start_in_vain().await.stderr;
    assert!(
        refused.contains(&format!("{} is announced by", first.server)),
        "{refused}"
    );
    process.kill().await;
    database.drop().await;
}

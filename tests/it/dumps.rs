//! Core dumps hold secrets: the program switches them off for itself.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::db::Database;
use crate::support::full_service::setting;
use crate::support::machine::Machine;

/// How large core dumps of this process may be made.
fn core_limit(pid: u32) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    // The call answers what was in force.
    let all = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    prlimit(pid, Resource::Core, all).expect("ours").maximum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_not_dumped_unless_that_is_allowed() {
    let database = Database::sqlite();
    let mut machine = Machine::new(&database, "node-a.example");
    let serving = machine.start().await;
    assert_eq!(core_limit(serving.id()), Some(0));
    assert!(serving.terminate().await.success());
    machine.settings = setting(&machine.settings, "LARDER_ALLOW_DUMPS", "on");
    let allowing = machine.start().await;
    let inherited = getrlimit(Resource::Core).maximum;
    assert_eq!(core_limit(allowing.id()), inherited);
    assert!(allowing.terminate().await.success());
    database.drop().await;
}

//! Core dumps hold secrets: the program switches them off for itself.

use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::process::Command;

use crate::process_limits::core_limits;
use crate::support::control_plane::eventually;
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

/// What they read or make are the same secrets. Each of them waits for the manifest, which nobody writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_see_secrets_are_not_dumped_either() {
    let database = Database::sqlite();
    let machine = Machine::new(&database, "node-a.example");
    let pipe = machine.folder.path().join("manifest.json");
    let made = Command::new("mkfifo").arg(&pipe).status().await;
    assert!(made.expect("mkfifo runs").success());
    let pipe = pipe.display().to_string();
    let settings = setting(&machine.settings, "LARDER_MANIFEST", &pipe);
    for command in ["check-config", "serve --print-config", "admin manifest"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(command.split(' '))
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let id = child.id().expect("it runs");
        let none = ("0".to_owned(), "0".to_owned());
        eventually(command, async || core_limits(id) == none).await;
        assert!(child.try_wait().expect("ours").is_none(), "{command} waits");
        child.kill().await.expect("it ran");
    }
    database.drop().await;
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

//! Real processes: environment, output, restart on release, end.

use std::time::Duration;

use super::support::*;
use crate::sandbox::*;

/// Says its password, then waits for SIGTERM and says so.
const COMMAND: &str = "trap 'echo bye $MEMCACHIER_PASSWORD; exit 0' TERM; \
    echo hello $MEMCACHIER_PASSWORD; echo oops >&2; \
    while :; do echo tick $MEMCACHIER_PASSWORD; sleep 0.05; done";

fn running() -> SandboxSettings {
    SandboxSettings {
        app_command: Some(COMMAND.to_owned()),
        ..settings()
    }
}

/// The first line the processes of `app` themselves said, from `start` on.
async fn said(world: &World, app: AppId, start: &str) -> LogLine {
    let find = |market: &Market| {
        let mut log = market.app(app)?.log.iter();
        let fits = |line: &&LogLine| line.source == "app" && line.text.starts_with(start);
        log.find(fits).cloned()
    };
    world.sandbox.wait_for(SOON, find).await.unwrap()
}

/// Waits until a killed process has ended; as a zombie it stays until someone asks for it.
async fn ended(pid: &str) {
    let ended = async {
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(SOON, ended).await;
    assert!(waited.is_ok(), "process {pid} goes on");
}

fn place(lines: &[LogLine], text: &str) -> usize {
    let found = lines.iter().position(|line| line.text == text);
    found.unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
}

#[tokio::test]
async fn a_release_starts_the_new_process_before_the_old_one_ends() {
    let mut settings = running();
    settings.overlap = Duration::from_secs(60);
    let world = World::with(settings).await;
    let (app, addon) = world.ready_addon("shop").await;
    let hello = said(&world, app, "hello first").await;
    assert_eq!(
        (hello.source.as_str(), hello.process.as_str()),
        ("app", "web.1")
    );
    said(&world, app, "oops").await;

    let (token, _) = world.tokens_of(&addon).await;
    assert_eq!(status(world.push(&addon, &token, "second")).await, 200);
    let second = said(&world, app, "hello second").await;
    let old_goes_on = |market: &Market| {
        let log = market.app(app)?.log.iter();
        let ticks = log.filter(|line| line.seq > second.seq && line.text == "tick first");
        (ticks.count() >= 3).then_some(())
    };
    world.sandbox.wait_for(SOON, old_goes_on).await.unwrap();
    let (state, restarts) = world.sandbox.read(|market| {
        let app = market.app(app).unwrap();
        (app.process, app.restarts)
    });
    assert!(matches!(state, ProcessState::Up { release: 2, .. }));
    assert_eq!(restarts, 2);

    world.sandbox.stop().await;
    let lines = world.sandbox.log_lines(app);
    assert!(place(&lines, "hello second") < place(&lines, "bye first"));
    place(&lines, "bye second");
}

#[tokio::test]
async fn a_dropped_sandbox_leaves_no_process() {
    let mut settings = running();
    settings.app_command = Some("trap '' TERM; sleep 600 & echo child $!; wait".to_owned());
    let world = World::with(settings).await;
    let (app, _) = world.ready_addon("shop").await;
    let child = said(&world, app, "child ").await.text.replace("child ", "");
    drop(world);
    ended(&child).await;
}

#[tokio::test]
async fn a_stubborn_process_is_killed_with_all_it_started() {
    let mut settings = running();
    settings.grace = Duration::from_millis(50);
    settings.app_command =
        Some("trap '' TERM; sleep 600 & echo child $!; while :; do sleep 0.05; done".to_owned());
    let world = World::with(settings).await;
    let (app, _) = world.ready_addon("shop").await;
    let line = said(&world, app, "child ").await;
    let child = line.text.strip_prefix("child ").unwrap().to_owned();
    world.sandbox.stop().await;
    world
        .sandbox
        .wait_for_line(app, "SIGKILL", SOON)
        .await
        .unwrap();
    ended(&child).await;
}

#[tokio::test]
async fn a_crashed_process_is_started_again_at_once_by_a_release() {
    let mut settings = running();
    settings.app_command = Some("echo up $MEMCACHIER_PASSWORD; exit 3".to_owned());
    let world = World::with(settings).await;
    let (app, addon) = world.ready_addon("shop").await;
    let line = world
        .sandbox
        .wait_for_line(app, "Process ended", SOON)
        .await
        .unwrap();
    assert!(line.text.contains("exit status: 3"), "{}", line.text);
    let (token, _) = world.tokens_of(&addon).await;
    assert_eq!(status(world.push(&addon, &token, "second")).await, 200);
    said(&world, app, "up second").await;
    world.sandbox.stop().await;
}

#[tokio::test]
async fn nothing_runs_before_the_first_release() {
    let world = World::with(running()).await;
    let app = world.sandbox.create_app("shop").unwrap();
    world
        .sandbox
        .set_app_command(app, "echo own; sleep 600")
        .unwrap();
    let state = world
        .sandbox
        .read(|market| market.app(app).unwrap().process);
    assert_eq!(state, ProcessState::None);
    world
        .sandbox
        .provision(app, "dev", Default::default())
        .await
        .unwrap();
    said(&world, app, "own").await;
    world.sandbox.stop().await;
    let state = world
        .sandbox
        .read(|market| market.app(app).unwrap().process);
    assert_eq!(state, ProcessState::Stopped);
}

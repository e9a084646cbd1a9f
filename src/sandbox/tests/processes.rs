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
async fn said(fixture: &SandboxFixture, app: AppId, start: &str) -> LogLine {
    let find = |market: &Market| {
        let mut log = market.app(app)?.log.iter();
        let fits = |line: &&LogLine| line.source == "app" && line.text.starts_with(start);
        log.find(fits).cloned()
    };
    fixture.sandbox.wait_for(SOON, find).await.unwrap()
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
    let fixture = SandboxFixture::with(settings).await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let hello = said(&fixture, app, "hello first").await;
    assert_eq!(
        (hello.source.as_str(), hello.process.as_str()),
        ("app", "web.1")
    );
    said(&fixture, app, "oops").await;

    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
    let second = said(&fixture, app, "hello second").await;
    let old_goes_on = |market: &Market| {
        let log = market.app(app)?.log.iter();
        let ticks = log.filter(|line| line.seq > second.seq && line.text == "tick first");
        (ticks.count() >= 3).then_some(())
    };
    fixture.sandbox.wait_for(SOON, old_goes_on).await.unwrap();
    let (state, restarts) = fixture.sandbox.read(|market| {
        let app = market.app(app).unwrap();
        (app.process, app.restarts)
    });
    assert!(matches!(state, ProcessState::Up { release: 2, .. }));
    assert_eq!(restarts, 2);

    fixture.sandbox.stop().await;
    let lines = fixture.sandbox.log_lines(app);
    assert!(place(&lines, "hello second") < place(&lines, "bye first"));
    place(&lines, "bye second");
}

#[tokio::test]
async fn a_dropped_sandbox_leaves_no_process() {
    let mut settings = running();
    settings.app_command = Some("trap '' TERM; sleep 600 & echo child $!; wait".to_owned());
    let fixture = SandboxFixture::with(settings).await;
    let (app, _) = fixture.ready_addon("shop").await;
    let child = said(&fixture, app, "child ")
        .await
        .text
        .replace("child ", "");
    drop(fixture);
    ended(&child).await;
}

#[tokio::test]
async fn a_stubborn_process_is_killed_with_all_it_started() {
    let mut settings = running();
    settings.grace = Duration::from_millis(50);
    settings.app_command =
        Some("trap '' TERM; sleep 600 & echo child $!; while :; do sleep 0.05; done".to_owned());
    let fixture = SandboxFixture::with(settings).await;
    let (app, _) = fixture.ready_addon("shop").await;
    let line = said(&fixture, app, "child ").await;
    let child = line.text.strip_prefix("child ").unwrap().to_owned();
    fixture.sandbox.stop().await;
    fixture
        .sandbox
        .wait_for_line(app, "SIGKILL", SOON)
        .await
        .unwrap();
    ended(&child).await;
}

/// The shell dies of SIGTERM at once, and the program that it started still has something to bring to an end.
#[tokio::test]
async fn a_program_behind_a_shell_has_the_whole_grace() {
    let mut settings = running();
    settings.app_command = Some(
        "(trap 'sleep 0.3; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done) & wait"
            .to_owned(),
    );
    let fixture = SandboxFixture::with(settings).await;
    let (app, _) = fixture.ready_addon("shop").await;
    said(&fixture, app, "ready").await;
    fixture.sandbox.stop().await;
    said(&fixture, app, "tidied").await;
    let lines = fixture.sandbox.log_lines(app);
    assert!(lines.iter().all(|line| !line.text.contains("SIGKILL")));
}

/// Somebody ends the shell, or it ends by itself: what it started is told to end as well, and is given its time for it.
#[tokio::test]
async fn what_a_shell_leaves_behind_has_the_whole_grace() {
    let mut settings = running();
    settings.app_command = Some(
        "(trap 'sleep 0.3; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done) & wait"
            .to_owned(),
    );
    let fixture = SandboxFixture::with(settings).await;
    let (app, _) = fixture.ready_addon("shop").await;
    said(&fixture, app, "ready").await;
    let state = fixture
        .sandbox
        .read(|market| market.app(app).unwrap().process);
    let ProcessState::Up { pid, .. } = state else {
        panic!("it is up: {state:?}");
    };
    let ended = std::process::Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    assert!(ended.unwrap().success());
    said(&fixture, app, "tidied").await;
    let over = fixture.sandbox.wait_for_line(app, "Process ended", SOON);
    over.await.unwrap();
    fixture.sandbox.stop().await;
    let lines = fixture.sandbox.log_lines(app);
    assert!(lines.iter().all(|line| !line.text.contains("SIGKILL")));
}

#[tokio::test]
async fn a_crashed_process_is_started_again_at_once_by_a_release() {
    let mut settings = running();
    settings.app_command = Some("echo up $MEMCACHIER_PASSWORD; exit 3".to_owned());
    let fixture = SandboxFixture::with(settings).await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let line = fixture
        .sandbox
        .wait_for_line(app, "Process ended", SOON)
        .await
        .unwrap();
    assert!(line.text.contains("exit status: 3"), "{}", line.text);
    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
    said(&fixture, app, "up second").await;
    fixture.sandbox.stop().await;
}

#[tokio::test]
async fn nothing_runs_before_the_first_release() {
    let fixture = SandboxFixture::with(running()).await;
    let app = fixture.sandbox.create_app("shop").unwrap();
    fixture
        .sandbox
        .set_app_command(app, "echo own; sleep 600")
        .unwrap();
    let state = fixture
        .sandbox
        .read(|market| market.app(app).unwrap().process);
    assert_eq!(state, ProcessState::None);
    fixture
        .sandbox
        .provision(app, "dev", Default::default())
        .await
        .unwrap();
    said(&fixture, app, "own").await;
    fixture.sandbox.stop().await;
    let state = fixture
        .sandbox
        .read(|market| market.app(app).unwrap().process);
    assert_eq!(state, ProcessState::Stopped);
}

#[tokio::test]
async fn a_command_has_the_limit_of_open_files_that_it_is_given() {
    let fixture = SandboxFixture::with(SandboxSettings {
        app_command: Some("echo \"it's $(ulimit -S -n)\"; exec sleep 600".to_owned()),
        app_files: Some(300),
        ..settings()
    })
    .await;
    let (app, _) = fixture.ready_addon("shop").await;
    assert_eq!(said(&fixture, app, "it's").await.text, "it's 300");
    fixture.sandbox.stop().await;
}

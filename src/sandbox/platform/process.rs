//! Runs a real process for each app, as the platform runs its dynos.
//!
//! An app's process starts with its first release and is replaced for every later one: the new process is
//! started **first**, both run side by side for `overlap`, then the old one gets SIGTERM and, after `grace`,
//! SIGKILL. So a rotation is seen by a client on the old and one on the new credential at the same time.
//! Releases that follow each other closer than that are joined: only the newest is started.
//!
//! Commands run in a process group of their own, so that whatever a shell line starts is stopped as a whole; also when its
//! first process ends by itself, as a dyno goes with it.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AppId;
use crate::sandbox::platform::log_line::LogLine;
use crate::sandbox::platform::market::{App, ProcessState};
use crate::sandbox::platform::process_group::ProcessGroup;

/// A longer line is logged in pieces.
const LONGEST_LINE: u64 = 8 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a group that was told to end is asked whether it has.
const GROUP_POLL: Duration = Duration::from_millis(50);

/// Starts a runner for each app that has something to run, until the sandbox stops.
pub(in crate::sandbox) async fn run_apps(hub: Arc<Hub>) {
    let mut changes = hub.changes();
    let (mut runners, mut known) = (JoinSet::new(), BTreeSet::new());
    while !hub.stop.is_cancelled() {
        let apps: Vec<AppId> = hub.read(|market| market.apps().iter().map(|app| app.id).collect());
        for app in apps.into_iter().filter(|app| wanted(&hub, *app).is_some()) {
            if known.insert(app) {
                runners.spawn(run_app(hub.clone(), app));
            }
        }
        tokio::select! {
            () = hub.stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
        }
    }
    while runners.join_next().await.is_some() {}
}

/// What should run now for an app.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    release: u32,
    command: String,
}

fn wanted(hub: &Hub, app: AppId) -> Option<Wanted> {
    let of_app = |app: &App| {
        let command = app
            .command
            .clone()
            .or_else(|| hub.settings.app_command.clone());
        Some(Wanted {
            release: app.releases.last()?.version,
            command: command?,
        })
    };
    hub.read(|market| market.app(app).and_then(of_app))
}

/// A process and the tasks that read what it prints.
struct Running {
    wanted: Wanted,
    child: Child,
    group: ProcessGroup,
    /// Whether all of the group have ended.
    has_ended: bool,
    output: JoinSet<()>,
}

/// For a sandbox that is dropped without being stopped: nothing is left behind.
impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            self.group.kill_now();
        }
    }
}

async fn run_app(hub: Arc<Hub>, app: AppId) {
    let mut changes = hub.changes();
    let mut current: Option<Running> = None;
    // The release that was started last; none after a crash.
    let mut started: Option<u32> = None;
    let mut pause = FIRST_PAUSE;
    while !hub.stop.is_cancelled() {
        let Some(wanted) = wanted(&hub, app) else {
            break;
        };
        let release = wanted.release;
        if started != Some(release) {
            current = replace(&hub, app, wanted, current).await;
            started = Some(release);
        }
        tokio::select! {
            () = hub.stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
            ended = exit_of(&mut current) => {
                let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                if let Some(running) = current.take() {
                    stop_rest(&hub, app, running).await;
                }
                crashed(&hub, app, release, &status, pause);
                pause = match wait_before_restart(&hub, app, release, pause).await {
                    Pause::Over => (pause * 2).min(LONGEST_PAUSE),
                    Pause::NewRelease => FIRST_PAUSE,
                };
                started = None;
            }
        }
    }
    if let Some(running) = current {
        stop(&hub, app, running).await;
    }
    set_state(&hub, app, ProcessState::Stopped);
}

/// Never, while nothing runs: a command that could not be started waits for the next release.
async fn exit_of(current: &mut Option<Running>) -> std::io::Result<ExitStatus> {
    match current {
        Some(running) => running.child.wait().await,
        None => std::future::pending().await,
    }
}

/// New first, then old; see the head of this file.
async fn replace(
    hub: &Arc<Hub>,
    app: AppId,
    wanted: Wanted,
    old: Option<Running>,
) -> Option<Running> {
    let new = match start(hub, app, &wanted) {
        Ok(running) => Some(running),
        Err(error) => {
            line(
                hub,
                app,
                "heroku",
                format!("Cannot start the command: {error}"),
            );
            None
        }
    };
    if let Some(old) = old {
        until_stop(hub, tokio::time::sleep(hub.settings.overlap)).await;
        stop(hub, app, old).await;
    }
    new
}

fn start(hub: &Arc<Hub>, app: AppId, wanted: &Wanted) -> std::io::Result<Running> {
    let vars = hub.read(|market| market.config_vars(app, &hub.prefix));
    let ours = std::env::vars_os().filter(|(name, _)| !is_ours(&name.to_string_lossy()));
    let mut child = shell(hub, &wanted.command)
        .env_clear()
        .envs(ours)
        .env("DYNO", "web.1")
        .env("PORT", free_port()?.to_string())
        .envs(vars)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    // The group has the number of its first process, which is alive or not yet waited for.
    let pid = child.id().unwrap_or_default();
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(log_output(hub.clone(), app, stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(log_output(hub.clone(), app, stderr));
    }
    let release = wanted.release;
    set_state(hub, app, ProcessState::Up { release, pid });
    let text = format!(
        "Starting process with command `{}` for v{release}",
        wanted.command
    );
    line(hub, app, "heroku", text);
    Ok(Running {
        wanted: wanted.clone(),
        child,
        group: ProcessGroup(pid),
        has_ended: false,
        output,
    })
}

/// A shell that runs the command. Where it has a limit of open files, a first shell sets that and becomes the second one:
/// to set it between fork and exec would take `unsafe`.
fn shell(hub: &Hub, command: &str) -> Command {
    let mut shell = Command::new("sh");
    match hub.settings.app_files {
        Some(files) => {
            let limited = "ulimit -S -n \"$0\"; exec sh -c \"$1\"";
            shell.args(["-c", limited, &files.to_string(), command])
        }
        None => shell.args(["-c", command]),
    };
    shell
}

/// The service's own settings, keys among them, are no business of the app.
fn is_ours(name: &str) -> bool {
    name.starts_with("LARDER_")
}

/// Each process gets its own, for old and new run side by side.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

async fn stop(hub: &Hub, app: AppId, running: Running) {
    let release = running.wanted.release;
    line(
        hub,
        app,
        "heroku",
        format!("Stopping the process of v{release} with SIGTERM"),
    );
    end_group(hub, app, running).await;
}

/// What a first process that ended by itself has left of its group: a worker beside it, or the program behind a shell that
/// somebody ended. It gets the same time as in a stop.
async fn stop_rest(hub: &Hub, app: AppId, mut running: Running) {
    if running.group.is_alive() {
        let release = running.wanted.release;
        line(
            hub,
            app,
            "heroku",
            format!("Stopping what the process of v{release} has started with SIGTERM"),
        );
        end_group(hub, app, running).await;
    } else {
        running.has_ended = true;
        finish_output(running).await;
    }
}

/// SIGTERM to the whole group, then SIGKILL when the grace has passed.
async fn end_group(hub: &Hub, app: AppId, mut running: Running) {
    let release = running.wanted.release;
    running.group.signal("TERM").await;
    if tokio::time::timeout(hub.settings.grace, end_of(&mut running))
        .await
        .is_err()
    {
        line(
            hub,
            app,
            "heroku",
            format!("Stopping the process of v{release} with SIGKILL"),
        );
    }
    running.group.signal("KILL").await;
    let _status = running.child.wait().await;
    running.has_ended = true;
    finish_output(running).await;
}

/// Until no process of the group is left. The first one is mostly a shell, which dies of SIGTERM at once while the program
/// that it started still tidies up.
async fn end_of(running: &mut Running) {
    let _status = running.child.wait().await;
    while running.group.is_alive() {
        tokio::time::sleep(GROUP_POLL).await;
    }
}

/// Lets the last lines arrive; a pipe that another process holds open is not waited for.
async fn finish_output(mut running: Running) {
    let all = async { while running.output.join_next().await.is_some() {} };
    let _late = tokio::time::timeout(Duration::from_secs(1), all).await;
}

async fn log_output(hub: Arc<Hub>, app: AppId, pipe: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(pipe);
    loop {
        let mut piece = Vec::new();
        match (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut piece)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&piece);
                line(
                    &hub,
                    app,
                    "app",
                    text.trim_end_matches(['\n', '\r']).to_owned(),
                );
            }
        }
    }
}

fn crashed(hub: &Hub, app: AppId, release: u32, status: &str, pause: Duration) {
    set_state(hub, app, ProcessState::Crashed { release });
    let secs = pause.as_secs();
    line(
        hub,
        app,
        "heroku",
        format!("Process ended ({status}), starting again in {secs} s"),
    );
}

/// Why the pause after a crash ended.
enum Pause {
    Over,
    NewRelease,
}

async fn wait_before_restart(hub: &Hub, app: AppId, release: u32, pause: Duration) -> Pause {
    let mut changes = hub.changes();
    let is_new = || wanted(hub, app).is_none_or(|wanted| wanted.release != release);
    let released = async { while !is_new() && changes.changed().await.is_ok() {} };
    tokio::select! {
        () = hub.stop.cancelled() => Pause::Over,
        () = tokio::time::sleep(pause) => Pause::Over,
        () = released => Pause::NewRelease,
    }
}

async fn until_stop(hub: &Hub, work: impl Future<Output = ()>) {
    tokio::select! {
        () = hub.stop.cancelled() => {}
        () = work => {}
    }
}

fn set_state(hub: &Hub, id: AppId, state: ProcessState) {
    hub.change_quietly(|market| {
        if let Some(app) = market.apps.get_mut(&id) {
            app.process = state;
            app.restarts += u64::from(matches!(state, ProcessState::Up { .. }));
        }
    });
}

fn line(hub: &Hub, app: AppId, source: &str, text: String) {
    let line = LogLine {
        seq: 0,
        at: hub.now(),
        source: source.to_owned(),
        process: "web.1".to_owned(),
        text,
        addon: None,
    };
    hub.change_quietly(|market| market.log(app, line, hub.settings.log_lines));
}

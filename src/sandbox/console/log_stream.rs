//! An app's log as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AppId;
use crate::sandbox::platform::log_line::LogLine;
use crate::sandbox::platform::market::App;

#[derive(Deserialize)]
pub(in crate::sandbox) struct From {
    /// Number of the last line the page was made with.
    #[serde(default)]
    after: u64,
}

/// Streams the lines after `Last-Event-ID` (a reconnect) or `?after=`, and then new ones as they come. An event
/// `release` follows each new release, for the page to offer a reload.
pub(in crate::sandbox) async fn log_stream(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<AppId>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Response {
    if hub.read(|market| market.app(id).is_none()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let last_seen = headers.get("last-event-id");
    let last_seen = last_seen.and_then(|value| value.to_str().ok()?.parse().ok());
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(follow(hub, id, last_seen.unwrap_or(from.after), sender));
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::default())
        .into_response()
}

/// Level-triggered: after each change it sends what is new, so nothing is lost however fast lines come.
async fn follow(
    hub: Arc<Hub>,
    id: AppId,
    mut sent: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
) {
    let mut changes = hub.changes();
    let mut release = None;
    loop {
        let fresh = hub.read(|market| market.app(id).map(|app| lines_after(app, sent)));
        let Some((lines, version)) = fresh else {
            return;
        };
        for line in lines {
            sent = line.seq;
            if sender.send(Ok(line_event(&line))).await.is_err() {
                return;
            }
        }
        if release.is_some_and(|shown| shown != version) {
            let event = Event::default().event("release").data(version.to_string());
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        release = Some(version);
        tokio::select! {
            () = hub.stop.cancelled() => return,
            () = sender.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The lines after number `sent`, and the newest release.
fn lines_after(app: &App, sent: u64) -> (Vec<LogLine>, u32) {
    let lines = app.log.iter().filter(|line| line.seq > sent);
    let version = app.releases.last().map_or(0, |release| release.version);
    (lines.cloned().collect(), version)
}

/// The members the script of the page reads; it puts them in as text, never as markup.
fn line_event(line: &LogLine) -> Event {
    let data = serde_json::json!({
        "time": line.at.strftime("%H:%M:%S").to_string(),
        "label": format!("{}[{}]", line.source, line.process),
        "kind": line.writer(),
        "text": line.text,
    });
    Event::default()
        .id(line.seq.to_string())
        .data(data.to_string())
}

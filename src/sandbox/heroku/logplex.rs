//! The log input: `application/logplex-1` frames, read strictly, into the log of an app.
//!
//! Stricter than the real one, on purpose. That one drops an incomplete last frame silently and takes
//! control characters as they come; here both are a refusal, so that a framing mistake cannot hide.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use uuid::Uuid;

use crate::sandbox::heroku::basic::basic_credentials;
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::log_line::LogLine;

/// A longer frame is not accepted as a frame.
const MAX_FRAME_BYTES: usize = 10_240;
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// One frame's content: `<PRI>1 TIME HOST APPNAME PROCID - - MSG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Facility times eight plus severity.
    pub priority: u8,
    pub time: Timestamp,
    pub host: String,
    pub app_name: String,
    pub process_id: String,
    pub text: String,
}

/// Why a body is not a row of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrames {
    #[error("frame {0}: no decimal length followed by a blank")]
    Length(usize),
    #[error("frame {0}: longer than 10240 bytes")]
    TooLong(usize),
    #[error("frame {0}: the body ends before the announced length")]
    Incomplete(usize),
    #[error("frame {frame}: {part} is missing or malformed")]
    Header { frame: usize, part: &'static str },
    #[error("frame {0}: the message holds control characters or is not UTF-8")]
    Text(usize),
    #[error("message count mismatch: {announced} announced, {found} found")]
    Count { announced: String, found: usize },
    #[error("no frames")]
    Empty,
}

/// Reads a whole body. One bad frame refuses all.
pub fn parse_frames(body: &[u8]) -> Result<Vec<Frame>, BadFrames> {
    let (mut frames, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let number = frames.len() + 1;
        let (content, after) = split_frame(rest, number)?;
        frames.push(parse_frame(content, number)?);
        rest = after;
    }
    match frames.is_empty() {
        true => Err(BadFrames::Empty),
        false => Ok(frames),
    }
}

/// `<length> <content>` and what follows.
fn split_frame(body: &[u8], number: usize) -> Result<(&[u8], &[u8]), BadFrames> {
    let blank = memchr::memchr(b' ', body).ok_or(BadFrames::Length(number))?;
    let (digits, after) = (&body[..blank], &body[blank + 1..]);
    let plain = !digits.is_empty() && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)
        .ok_or(BadFrames::Length(number))?;
    match length.parse::<usize>() {
        Ok(length) if length <= MAX_FRAME_BYTES => after
            .split_at_checked(length)
            .ok_or(BadFrames::Incomplete(number)),
        _ => Err(BadFrames::TooLong(number)),
    }
}

fn parse_frame(content: &[u8], frame: usize) -> Result<Frame, BadFrames> {
    let bad = |part| BadFrames::Header { frame, part };
    let content = std::str::from_utf8(content).map_err(|_| BadFrames::Text(frame))?;
    let mut parts = content.splitn(8, ' ');
    let mut part = |name| {
        let present = parts.next().filter(|text| !text.is_empty());
        present.ok_or(bad(name))
    };
    let priority = parse_priority(part("priority")?).ok_or(bad("priority"))?;
    let time = part("timestamp")?.parse().map_err(|_| bad("timestamp"))?;
    let host = part("host name")?.to_owned();
    let app_name = part("app name")?.to_owned();
    let process_id = part("process id")?.to_owned();
    for name in ["message id", "structured data"] {
        if part(name)? != "-" {
            return Err(bad(name));
        }
    }
    let text = parts.next().ok_or(bad("message"))?;
    // One line end is allowed: clients of the real log input send it.
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.chars().any(char::is_control) {
        return Err(BadFrames::Text(frame));
    }
    let text = text.to_owned();
    Ok(Frame {
        priority,
        time,
        host,
        app_name,
        process_id,
        text,
    })
}

/// `<190>1`
fn parse_priority(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('<')?.strip_suffix(">1")?;
    let plain = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|priority| plain && *priority < 192)
}

pub(in crate::sandbox) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/logs", post(take_lines))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn take_lines(State(hub): State<Arc<Hub>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some((addon, app)) = log_input(&hub, &headers) else {
        return (StatusCode::UNAUTHORIZED, "unknown token\n").into_response();
    };
    if let Err((status, reason)) = check_headers(&headers) {
        return (status, reason).into_response();
    }
    match parse_frames(&body).and_then(|frames| check_count(&headers, frames)) {
        Ok(frames) => {
            store(&hub, addon, app, frames);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

/// Basic `token:t.<uuid>` names the attachment.
fn log_input(hub: &Hub, headers: &HeaderMap) -> Option<(AddonId, AppId)> {
    let (user, password) = basic_credentials(headers)?;
    let token = Uuid::try_parse(password.strip_prefix("t.")?).ok()?;
    hub.read(|market| market.log_input(token))
        .filter(|_| user == "token")
}

fn check_headers(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    match headers.get(CONTENT_TYPE).map(|value| value.as_bytes()) {
        Some(b"application/logplex-1" | b"application/x-logplex-1") => {}
        _ => return Err((unsupported, "content type is not application/logplex-1\n")),
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err((unsupported, "the sandbox takes plain bodies only\n"));
    }
    match headers.contains_key(CONTENT_LENGTH) {
        true => Ok(()),
        false => Err((
            StatusCode::LENGTH_REQUIRED,
            "chunked bodies are not supported\n",
        )),
    }
}

fn check_count(headers: &HeaderMap, frames: Vec<Frame>) -> Result<Vec<Frame>, BadFrames> {
    let Some(announced) = headers.get("logplex-msg-count") else {
        return Ok(frames);
    };
    let found = frames.len();
    match announced.as_bytes() == found.to_string().as_bytes() {
        true => Ok(frames),
        false => Err(BadFrames::Count {
            announced: String::from_utf8_lossy(announced.as_bytes()).into_owned(),
            found,
        }),
    }
}

fn store(hub: &Hub, addon: AddonId, app: AppId, frames: Vec<Frame>) {
    let capacity = hub.settings.log_lines;
    hub.change_quietly(|market| {
        for frame in frames {
            let line = LogLine {
                seq: 0,
                at: frame.time,
                source: frame.app_name,
                process: frame.process_id,
                text: frame.text,
                addon: Some(addon),
            };
            market.log(app, line, capacity);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "135 <190>1 2026-11-22T18:30:00.000000+00:00 \
        01234567-89ab-cdef-0123-456789abcdef app mcadd-on - - \
        at=flush source=dashboard credential=5f2a";
    const SECOND: &str = "124 <190>1 2026-11-22T18:30:01.000000+00:00 \
        01234567-89ab-cdef-0123-456789abcdef app mcadd-on - - at=flush source=api user=josé";

    #[test]
    fn the_worked_frames_of_the_reference_are_read() {
        let body = format!("{FIRST}{SECOND}");
        assert_eq!(body.len(), 267);
        let frames = parse_frames(body.as_bytes()).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].process_id, "mcadd-on");
        assert_eq!(frames[0].priority, 190);
        assert_eq!(frames[1].text, "at=flush source=api user=josé");
        assert_eq!(frames[1].time.to_string(), "2026-11-22T18:30:01Z");
    }

    #[test]
    fn a_wrong_length_is_never_silent() {
        for (length, expected) in [
            (136, BadFrames::Incomplete(1)),
            (134, BadFrames::Length(2)),
            (10_241, BadFrames::TooLong(1)),
        ] {
            let body = FIRST.replacen("135", &length.to_string(), 1);
            assert_eq!(parse_frames(body.as_bytes()), Err(expected), "{length}");
        }
        // One too long swallows the first digit of the next frame.
        let body = format!("{}{SECOND}", FIRST.replacen("135", "136", 1));
        assert!(parse_frames(body.as_bytes()).is_err());
        for bad in ["", "12", " <190>1", "+5 abcde", "05 abcde", "x abc"] {
            assert!(parse_frames(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_part_of_the_header_is_checked() {
        let good = "<190>1 2026-11-22T18:30:00+00:00 host app larder - - text";
        let framed = |content: &str| format!("{} {content}", content.len());
        assert!(parse_frames(framed(good).as_bytes()).is_ok());
        assert!(parse_frames(framed(&format!("{good}\n")).as_bytes()).is_ok());
        for (from, to) in [
            ("<190>1", "<190>"),
            ("<190>1", "<192>1"),
            ("<190>1", "190 1"),
            ("2026-11-22T18:30:00+00:00", "2026-11-22T18:30:00"),
            ("2026-11-22T18:30:00+00:00", "yesterday"),
            (" - - ", " - "),
            (" - - ", " -  "),
            (" - - text", " - -"),
            ("host", ""),
            ("text", "te\nxt"),
            ("text", "te\u{7f}xt"),
        ] {
            let body = framed(&good.replacen(from, to, 1));
            assert!(parse_frames(body.as_bytes()).is_err(), "{body:?}");
        }
    }
}

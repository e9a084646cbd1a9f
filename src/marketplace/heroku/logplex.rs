//! Framing of log lines for `application/logplex-1`: frames back to back, each preceded by its length in bytes.
//!
//! Source: heroku.md §9. Logplex answers 204 to a broken last frame and loses it; the message count in the
//! header is what turns such a mistake into a refusal, so it is always sent.

use std::fmt::Write as _;

use crate::domain::printable::in_a_line;
use crate::outbox::ports::LogLine;

/// Compared as a whole by logplex: a charset behind it makes it unknown.
pub const CONTENT_TYPE: &str = "application/logplex-1";
/// Frames in one request, at most.
pub const FRAMES_MAX: usize = 100;
/// Bytes of one message, at most: logplex does not take frames over 10 240 bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// local7.info, as an app's own lines have.
const PRIORITY: u8 = 190;

/// The body of one request. `hostname` and `process` stand in every header; neither may hold a blank, and one
/// that does loses it.
pub fn body(hostname: &str, process: &str, lines: &[LogLine]) -> String {
    let (hostname, process) = (header_part(hostname), header_part(process));
    let mut body = String::new();
    for line in lines {
        let frame = format!(
            "<{PRIORITY}>1 {} {hostname} app {process} - - {}",
            line.at,
            message(&line.text)
        );
        let written = write!(body, "{} {frame}", frame.len());
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
    body
}

fn header_part(text: &str) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).collect();
    if kept.is_empty() {
        "-".to_owned()
    } else {
        kept
    }
}

/// One line of what is printable, cut at a character boundary.
fn message(text: &str) -> String {
    in_a_line(&text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    const HOST: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn line(secs: i64, text: &str) -> LogLine {
        LogLine {
            at: Timestamp::from_secs(1_795_372_200 + secs),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_worked_frames_come_out_byte_for_byte() {
        let lines = [
            line(0, "at=flush source=dashboard credential=5f2a"),
            line(1, "at=flush source=api user=josé"),
        ];
        let body = body(HOST, "mcadd-on", &lines);
        let first = "135 <190>1 2026-11-22T18:30:00.000000+00:00 01234567-89ab-cdef-0123-456789abcdef app mcadd-on - - \
                     at=flush source=dashboard credential=5f2a";
        let second = "124 <190>1 2026-11-22T18:30:01.000000+00:00 01234567-89ab-cdef-0123-456789abcdef app mcadd-on - - \
                      at=flush source=api user=josé";
        assert_eq!((first.len(), second.len()), (139, 128));
        assert_eq!(body, format!("{first}{second}"));
        assert_eq!(body.len(), 267);
    }

    /// Reads a body the way logplex does.
    fn read_back(mut body: &[u8]) -> Vec<String> {
        let mut frames = Vec::new();
        while !body.is_empty() {
            let blank = body.iter().position(|byte| *byte == b' ').unwrap();
            let length: usize = std::str::from_utf8(&body[..blank])
                .unwrap()
                .parse()
                .unwrap();
            assert!(length <= 10_240);
            let frame = &body[blank + 1..blank + 1 + length];
            frames.push(String::from_utf8(frame.to_vec()).unwrap());
            body = &body[blank + 1 + length..];
        }
        frames
    }

    #[test]
    fn nothing_in_a_line_makes_another_frame() {
        let sly = [
            line(0, "a\n17 <134>1 - - - - - evil\r\0\u{85}"),
            line(0, "next"),
        ];
        let frames = read_back(body(HOST, "mc add\non", &sly).as_bytes());
        assert_eq!(frames.len(), 2);
        assert!(frames[0].ends_with("app mcaddon - - a?17 <134>1 - - - - - evil???"));
        assert!(frames[1].ends_with(" - - next"));
        let turned = [line(0, "a\u{2028}b\u{202e}c\u{9b}d")];
        let frames = read_back(body(HOST, "p", &turned).as_bytes());
        assert!(frames[0].ends_with(" - - a?b?c?d"), "{}", frames[0]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let frames = read_back(body(HOST, "p", &[line(0, &"é".repeat(3_000))]).as_bytes());
        let message = frames[0].rsplit_once("- - ").unwrap().1;
        assert_eq!(message.len(), 2_000);
        let odd =
            read_back(body(HOST, "p", &[line(0, &format!("a{}", "é".repeat(3_000)))]).as_bytes());
        assert_eq!(odd[0].rsplit_once("- - ").unwrap().1.len(), 1_999);
    }
}

//! Logs and metrics: set up once, used by all rooms through `tracing` and `metrics`, knowing none of them but `domain`.

pub mod metrics;
mod panics;

use std::io;
use std::sync::OnceLock;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::domain::printable::is_printable;

/// How the log of this process is written, once it is.
static STARTED: OnceLock<LogFormat> = OnceLock::new();

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging to standard error: standard output belongs to what commands print for people and programs. Without
/// colours: their escape sequences are what a log must never pass on.
pub fn start_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("LARDER_LOG is not a filter")?;
    let writer = move || PrintableLines {
        to: io::stderr(),
        format,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(BoxMakeWriter::new(writer))
        // they would be told on the same standard error, with a panic when it is on a full disk
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))?;
    STARTED.get_or_init(|| format);
    Ok(())
}

/// Writes each event as one line of printable characters. Paths, names and replies of others stand in it: what moves the
/// cursor, ends a line for some program or turns the direction of writing could forge or hide an entry.
struct PrintableLines<W> {
    to: W,
    format: LogFormat,
}

impl<W: io::Write> io::Write for PrintableLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = printable(&String::from_utf8_lossy(event), self.format);
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The event with everything else escaped. In JSON such characters stand within texts only, so its own escapes fit.
fn printable(event: &str, format: LogFormat) -> String {
    let (event, end) = match event.strip_suffix('\n') {
        Some(event) => (event, "\n"),
        None => (event, ""),
    };
    let mut line = String::with_capacity(event.len() + 1);
    for character in event.chars() {
        match format {
            _ if is_printable(character) => line.push(character),
            LogFormat::Text => line.extend(character.escape_unicode()),
            LogFormat::Json => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    line += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    line + end
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Line ends and commands of terminals, in their one-byte and two-byte forms, and marks that turn the direction.
    const EVIL: &str = "a\u{1b}[2J\r\nb\u{85}c\u{2028}d\u{9b}31me\u{202e}f\u{7f}g\u{feff}\u{e0001}";

    #[test]
    fn nothing_but_printable_characters_reaches_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut written = Vec::new();
            let mut lines = PrintableLines {
                to: &mut written,
                format,
            };
            lines
                .write_all(format!("path={EVIL} gr\u{fc}\u{df}e \u{65e5}\n").as_bytes())
                .unwrap();
            let line = String::from_utf8(written).unwrap();
            let shown = line.strip_suffix('\n').unwrap();
            assert!(shown.chars().all(is_printable), "{shown:?}");
            assert!(
                shown.contains("gr\u{fc}\u{df}e \u{65e5}"),
                "letters stay: {shown}"
            );
        }
    }

    #[test]
    fn escaped_json_is_still_json_and_means_the_same() {
        // serde escapes what JSON demands; the rest is ours
        let event = serde_json::json!({ "path": EVIL }).to_string();
        let line = printable(&event, LogFormat::Json);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], EVIL);
        assert!(line.is_ascii());
    }
}

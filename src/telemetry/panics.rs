//! Panics: counted, and told as one line of the log like everything else. The standard library writes several, as they are:
//! in the midst of JSON, and with whatever the message quotes of others.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic::PanicHookInfo;

use tracing::Level;

use super::{LogFormat, PrintableLines, STARTED};

/// A panic that is caught ends one request or one connection, and is a fault of the program all the same.
pub(super) fn count_and_tell() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        metrics::counter!("larder_panics_total").increment(1);
        match STARTED.get() {
            Some(format) => tell(&described(info), *format),
            None => before(info),
        }
    }));
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    // First the place, and what was said on a line of its own.
    let what = info.to_string().replacen('\n', " ", 1);
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => format!("thread '{name}' {what}\n{trace}"),
        _ => format!("thread '{name}' {what}"),
    }
}

/// By the log; and past it where that is switched off, or panicked itself: whoever writes a line of it cannot write another
/// one within.
fn tell(what: &str, format: LogFormat) {
    if tracing::enabled!(Level::ERROR) {
        tracing::error!("{what}");
        return;
    }
    let line = match format {
        LogFormat::Text => format!("ERROR {what}\n"),
        LogFormat::Json => {
            let fields = serde_json::json!({ "level": "ERROR", "fields": { "message": what } });
            format!("{fields}\n")
        }
    };
    let mut lines = PrintableLines {
        to: io::stderr(),
        format,
    };
    // Nobody is left to be told that it cannot be written.
    let _lost = lines.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::domain::printable::is_printable;
    use crate::telemetry::metrics::Recorder;
    use crate::telemetry::{LogFormat, start_logs};

    const CHILD: &str = "LARDER_TEST_PANICS";

    /// What the test below starts in a process of its own, since logs and hook are a process's.
    #[test]
    fn a_thread_panics() {
        let Ok(wanted) = std::env::var(CHILD) else {
            return;
        };
        let (format, filter) = match wanted.split_once(' ') {
            Some(("json", filter)) => (LogFormat::Json, filter),
            Some((_, filter)) => (LogFormat::Text, filter),
            None => panic!("a format and a filter"),
        };
        start_logs(filter, format).unwrap();
        Recorder::install().unwrap();
        let panicked = std::thread::spawn(|| panic!("first\nsecond\u{202e}\u{1b}[2J")).join();
        assert!(panicked.is_err());
    }

    #[test]
    fn a_panic_is_one_printable_line() {
        for wanted in ["json info", "json off", "text info", "text off"] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["telemetry::panics::tests::a_thread_panics", "--exact"])
                .arg("--nocapture")
                .env(CHILD, wanted)
                .env_remove("RUST_BACKTRACE")
                .env_remove("RUST_LIB_BACKTRACE")
                .output()
                .unwrap();
            let log = String::from_utf8(child.stderr).unwrap();
            assert!(child.status.success(), "{wanted}: {log}");
            let told: Vec<&str> = log.lines().collect();
            let [line] = told.as_slice() else {
                panic!("{wanted}: {log}");
            };
            assert!(line.chars().all(is_printable), "{wanted}: {line:?}");
            let message = if wanted.starts_with("json") {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["level"], "ERROR");
                line["fields"]["message"].as_str().unwrap().to_owned()
            } else {
                (*line).to_owned()
            };
            assert!(message.contains("panicked at src/telemetry/"), "{message}");
            assert!(
                message.contains("first") && message.contains("second"),
                "{message}"
            );
        }
    }
}

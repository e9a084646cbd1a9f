//! Fields as text: the line for an app's log, and the details of a timeline entry.
//!
//! The line's texts and field names are a contract (product reference, "Log lines to the app"): one line of
//! `key=value` pairs, quoted when a value holds a blank.

use std::fmt::{self, Display, Write as _};

use super::fields::{Fields, Value};
use super::{Event, RecordedEvent};
use crate::domain::printable::in_a_line;

/// Fields that stand before the cache's label.
const BEFORE_LABEL: [&str; 2] = ["origin", "proxy"];

impl Event {
    /// The line for an app's log. `label` is the cache's short name.
    pub fn line(&self, label: &str) -> String {
        let fields = self.fields();
        let mut line = Pairs::default();
        line.pair("event", self.kind());
        let (before, behind): (Vec<_>, Vec<_>) = fields
            .iter()
            .partition(|(name, _)| BEFORE_LABEL.contains(name));
        line.all(before);
        line.pair("cache", label);
        line.all(behind);
        line.0
    }
}

impl RecordedEvent {
    /// What happened, without kind and cache: the page around it names both.
    pub fn detail(&self) -> String {
        match &self.line {
            Some(line) => line.clone(),
            None => self.fields.to_string(),
        }
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = Pairs::default();
        pairs.all(self.iter());
        f.write_str(&pairs.0)
    }
}

/// Builds `key=value` pairs. Values lose what is not printable and are quoted when they hold a blank or a
/// quote, so that no field can start a line or a field of its own (security.md OB-8).
#[derive(Default)]
struct Pairs(String);

impl Pairs {
    /// In text the unit stands at the value: `window_secs` of 60 is `window=60s`.
    fn all<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a Value)>) {
        for (name, value) in fields {
            match (name.strip_suffix("_secs"), value) {
                (Some(name), Value::Number(secs)) => self.pair(name, format_args!("{secs}s")),
                _ => self.pair(name, value),
            }
        }
    }

    fn pair(&mut self, key: &str, value: impl Display) {
        let value = in_a_line(&value.to_string());
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        let written = if quoted {
            write!(self.0, "{key}=\"{}\"", value.replace('"', "'"))
        } else {
            write!(self.0, "{key}={value}")
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
}

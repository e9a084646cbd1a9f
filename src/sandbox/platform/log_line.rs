//! A line of an app's log.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::sandbox::platform::ids::AddonId;

/// One line of an app's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts up over all apps; the id of live events.
    pub seq: u64,
    pub at: Timestamp,
    /// `app` for the app and its add-ons, `heroku` for the platform.
    pub source: String,
    /// What is shown in brackets: `web.1`, or the add-on's slug.
    pub process: String,
    pub text: String,
    /// The add-on whose log input brought it.
    pub addon: Option<AddonId>,
}

impl LogLine {
    /// Who wrote the line; the console colours its label by it.
    pub fn writer(&self) -> &'static str {
        match (&self.addon, self.source.as_str()) {
            (Some(_), _) => "addon",
            (None, "heroku") => "platform",
            (None, _) => "app",
        }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.at.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00");
        let (source, process) = (&self.source, &self.process);
        write!(f, "{time} {source}[{process}]: {}", self.text)
    }
}

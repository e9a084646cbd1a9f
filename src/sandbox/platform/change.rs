//! What a change of the platform's state is told about the time and the settings, so that the rules stay pure.

use jiff::Timestamp;

/// The time of a change, and the settings that its rules depend on.
#[derive(Clone, Copy)]
pub(in crate::sandbox) struct Around<'a> {
    pub now: Timestamp,
    /// The manifest's prefix.
    pub prefix: &'a str,
    pub log_lines: usize,
    /// Nobody runs a process, so releases count as restarts at once.
    pub no_process: bool,
}

//! The processes that a command has started, as a whole.

use tokio::process::Command;

/// A process group. It has the number of its first process.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessGroup(pub u32);

impl ProcessGroup {
    /// Whether the group has a process that still runs. A zombie has ended, also where nobody waits for it, as in a
    /// container without an init: a signal could not tell it from a live one, the process table can.
    pub fn is_alive(self) -> bool {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return false;
        };
        let stats = entries
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let mut members = stats.filter_map(|stat| self.state_in(&stat));
        members.any(|state| !matches!(state, 'Z' | 'X'))
    }

    /// The state of a process that belongs to the group, from its line in the process table: `PID (NAME) STATE PPID PGRP …`.
    fn state_in(self, stat: &str) -> Option<char> {
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut fields = after_name.split(' ');
        let state = fields.next()?.chars().next()?;
        (fields.nth(1)?.parse() == Ok(self.0)).then_some(state)
    }

    /// Through the shell, which runs the command anyway; there is no other safe way to a signal in the tree.
    pub async fn signal(self, name: &str) {
        let script = self.kill_script(name);
        let sent = Command::new("sh").arg("-c").arg(script).status().await;
        if let Err(error) = sent {
            tracing::warn!(%error, name, group = self.0, "cannot signal the process of an app");
        }
    }

    /// SIGKILL, where nothing can be awaited.
    pub fn kill_now(self) {
        let script = self.kill_script("KILL");
        let sent = std::process::Command::new("sh")
            .args(["-c", &script])
            .status();
        if let Err(error) = sent {
            tracing::warn!(%error, group = self.0, "cannot kill the process of an app");
        }
    }

    fn kill_script(self, name: &str) -> String {
        format!("kill -s {name} -- -{} 2>/dev/null", self.0)
    }
}

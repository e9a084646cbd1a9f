//! Which part of the service a process runs.

use anyhow::bail;
use clap::ValueEnum;

use crate::config::Listens;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Both planes in one process.
    All,
    /// Only the outbox (config vars, tokens, completions, log lines, reconciles), on a PostgreSQL database that other
    /// processes share.
    Worker,
    /// Not in this version: needs the node link between machines.
    Control,
    /// Not in this version: needs the node link between machines.
    Node,
    /// Not in this version: needs the status page.
    Monitor,
}

impl Role {
    /// What a process of this role listens with.
    pub(super) fn listens(self) -> Listens {
        match self {
            Role::Worker => Listens::MetricsOnly,
            Role::All | Role::Control | Role::Node | Role::Monitor => Listens::Service,
        }
    }

    /// Refuses what this version cannot do, and says what is missing.
    pub(super) fn check(self) -> anyhow::Result<()> {
        match self {
            Role::All | Role::Worker => Ok(()),
            Role::Control | Role::Node => bail!(
                "control plane and node cannot run apart in this version: the node link between machines \
                 (LARDER_NODE_ADDR, LARDER_CONTROL_URL) is missing. Run `larder serve`, which holds both; several of \
                 them may share a PostgreSQL database"
            ),
            Role::Monitor => bail!(
                "there is no monitor in this version: the probes and the status page they feed are missing. Run \
                 `larder serve`"
            ),
        }
    }
}

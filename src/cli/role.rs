//! Which part of the service a process runs.

use anyhow::bail;
use clap::ValueEnum;

use crate::config::Runs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Both planes in one process. With LARDER_LINK_ADDR it takes nodes of other processes, too.
    All,
    /// The control plane: provisioning, dashboard and outbox, and the node link, over which nodes connect.
    Control,
    /// A node: memcached, told by control processes at LARDER_CONTROL_URL. It has no database and no master key.
    Node,
    /// Only the outbox (config vars, tokens, completions, log lines, reconciles), on a PostgreSQL database that other
    /// processes share.
    Worker,
    /// Not in this version: needs the status page.
    Monitor,
}

impl Role {
    /// What a process of this role runs. Refuses what this version cannot do, and says what is missing.
    pub(super) fn runs(self) -> anyhow::Result<Runs> {
        Ok(match self {
            Role::All => Runs::All,
            Role::Control => Runs::Control,
            Role::Node => Runs::Node,
            Role::Worker => Runs::Worker,
            Role::Monitor => bail!(
                "there is no monitor in this version: the probes and the status page they feed are missing. Run \
                 `larder serve`"
            ),
        })
    }

    /// As it is typed.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

//! Which part of the service a command runs: that decides which settings it reads, which of them it needs, and where it
//! listens.

use std::net::SocketAddr;

use super::setting::{About, Setting};
use super::{node, settings};

/// What a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// `larder serve`: control plane and node in one process.
    #[default]
    All,
    /// `larder dev`: the same and a marketplace.
    Dev,
    /// `larder serve --role control`.
    Control,
    /// `larder serve --role node`.
    Node,
    /// `larder serve --role worker`.
    Worker,
    /// Commands that work on the database.
    Nothing,
}

impl Runs {
    /// Whether the process serves memcached.
    pub(super) fn has_node(self) -> bool {
        matches!(self, Runs::All | Runs::Dev | Runs::Node)
    }

    /// Whether nodes of other processes may connect to it.
    pub(super) fn may_take_nodes(self) -> bool {
        matches!(self, Runs::All | Runs::Dev | Runs::Control)
    }

    /// Whether a setting has a meaning here. The text of one that has none is not even parsed.
    pub fn reads(self, setting: &About) -> bool {
        match self {
            Runs::Node => node::reads(setting),
            Runs::Control => !node::is_for_nodes_alone(setting),
            Runs::All | Runs::Dev | Runs::Worker | Runs::Nothing => true,
        }
    }

    /// The settings of the addresses that it listens on. Others may name any address.
    pub(super) fn listeners(self) -> Vec<&'static Setting<SocketAddr>> {
        let control = [
            &settings::HTTP_ADDR,
            &settings::METRICS_ADDR,
            &settings::LINK_ADDR,
        ];
        let memcached = [
            &settings::MEMCACHED_ADDR,
            &settings::MEMCACHED_TLS_ADDR,
            &settings::MEMCACHED_OPEN_ADDR,
        ];
        match self {
            Runs::All => [&control[..], &memcached[..]].concat(),
            Runs::Dev => {
                let sandbox = [&settings::SANDBOX_ADDR];
                [&control[..], &memcached[..], &sandbox[..]].concat()
            }
            Runs::Control => control.to_vec(),
            Runs::Node => [&[&settings::METRICS_ADDR][..], &memcached[..]].concat(),
            Runs::Worker => vec![&settings::METRICS_ADDR],
            Runs::Nothing => Vec::new(),
        }
    }
}

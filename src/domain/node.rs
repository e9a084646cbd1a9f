//! Nodes: what each says of itself, what the operator wants of it, and what follows for placement.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::time::Timestamp;

/// A node that nobody has heard of for this long is away: it gets no new cache. A node reports every three seconds.
pub const AWAY_AFTER: Duration = Duration::from_secs(10);

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodePhase {
    /// It fetches its caches, and its listeners are not open yet.
    Joining,
    Serving,
    /// It ended in good order.
    Stopped,
}

/// What the operator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeStanding {
    Open,
    /// It keeps its caches and gets no new one.
    Drained,
    /// It never comes back, and its caches are placed anew.
    Retired,
}

/// The state of a node, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    Joining,
    Serving,
    Draining,
    Away,
    Retired,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node is ever {0}")]
pub struct UnknownNodeText(String);

impl NodeState {
    pub fn of(
        phase: NodePhase,
        standing: NodeStanding,
        seen_at: Timestamp,
        now: Timestamp,
    ) -> NodeState {
        let silent = now.since(seen_at) >= AWAY_AFTER;
        match (standing, phase) {
            (NodeStanding::Retired, _) => NodeState::Retired,
            (_, NodePhase::Stopped) => NodeState::Away,
            _ if silent => NodeState::Away,
            (NodeStanding::Drained, _) => NodeState::Draining,
            (NodeStanding::Open, NodePhase::Joining) => NodeState::Joining,
            (NodeStanding::Open, NodePhase::Serving) => NodeState::Serving,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            NodeState::Joining => "joining",
            NodeState::Serving => "serving",
            NodeState::Draining => "draining",
            NodeState::Away => "away",
            NodeState::Retired => "retired",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl NodePhase {
    pub const fn as_str(self) -> &'static str {
        match self {
            NodePhase::Joining => "joining",
            NodePhase::Serving => "serving",
            NodePhase::Stopped => "stopped",
        }
    }
}

impl FromStr for NodePhase {
    type Err = UnknownNodeText;

    fn from_str(text: &str) -> Result<NodePhase, UnknownNodeText> {
        [NodePhase::Joining, NodePhase::Serving, NodePhase::Stopped]
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| UnknownNodeText(text.to_owned()))
    }
}

impl NodeStanding {
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeStanding::Open => "open",
            NodeStanding::Drained => "drained",
            NodeStanding::Retired => "retired",
        }
    }
}

impl FromStr for NodeStanding {
    type Err = UnknownNodeText;

    fn from_str(text: &str) -> Result<NodeStanding, UnknownNodeText> {
        [
            NodeStanding::Open,
            NodeStanding::Drained,
            NodeStanding::Retired,
        ]
        .into_iter()
        .find(|standing| standing.as_str() == text)
        .ok_or_else(|| UnknownNodeText(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: NodePhase, standing: NodeStanding, silent_secs: i64) -> NodeState {
        let now = Timestamp::from_secs(1_000);
        NodeState::of(
            phase,
            standing,
            Timestamp::from_secs(1_000 - silent_secs),
            now,
        )
    }

    #[test]
    fn a_silent_node_is_away_whatever_it_said_last() {
        use NodePhase::{Joining, Serving, Stopped};
        use NodeStanding::{Drained, Open, Retired};
        assert_eq!(state(Serving, Open, 9), NodeState::Serving);
        assert_eq!(state(Serving, Open, 10), NodeState::Away);
        assert_eq!(state(Serving, Open, -5), NodeState::Serving);
        assert_eq!(state(Joining, Open, 0), NodeState::Joining);
        assert_eq!(state(Stopped, Open, 0), NodeState::Away);
        assert_eq!(state(Serving, Drained, 0), NodeState::Draining);
        assert_eq!(state(Serving, Drained, 10), NodeState::Away);
        assert_eq!(state(Serving, Retired, 0), NodeState::Retired);
        assert_eq!(state(Stopped, Retired, 99), NodeState::Retired);
    }

    #[test]
    fn stored_texts_read_back() {
        for phase in [NodePhase::Joining, NodePhase::Serving, NodePhase::Stopped] {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        for standing in [
            NodeStanding::Open,
            NodeStanding::Drained,
            NodeStanding::Retired,
        ] {
            assert_eq!(standing.as_str().parse(), Ok(standing));
        }
        assert!("dead".parse::<NodePhase>().is_err());
        assert!("".parse::<NodeStanding>().is_err());
    }
}

use serde::{Deserialize, Serialize};

use super::{BadMessage, VERSION, parse};
use crate::domain::NodeId;

/// How a node presents itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    pub version: u32,
    /// The id this node was given before, if it remembers.
    pub known_as: Option<String>,
    pub cluster: String,
    pub region: String,
    pub proxy_hostname: String,
    pub proxy_port: u16,
    pub memory_bytes: u64,
    pub home: Home,
}

/// The data folder that a node runs from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Names the folder itself: `<machine>:<device>:<inode>`. A copy of the folder has another one.
    pub id: String,
    /// For people.
    pub path: String,
}

impl Home {
    /// Whether both folders are on one machine.
    pub fn is_beside(&self, other_id: &str) -> bool {
        let machine = |id: &str| id.split(':').next().map(str::to_owned);
        machine(&self.id) == machine(other_id)
    }
}

/// The control plane's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u32,
    pub node: String,
    /// What the machine's operator should know of how it got this id.
    #[serde(default)]
    pub note: Option<String>,
}

impl Welcome {
    pub fn new(node: &NodeId, note: Option<String>) -> Welcome {
        Welcome {
            version: VERSION,
            node: node.to_string(),
            note,
        }
    }

    pub fn node(&self) -> Result<NodeId, BadMessage> {
        parse("node id", &self.node)
    }
}

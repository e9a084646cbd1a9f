use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
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
    /// What the node checks passwords with. `None` within one process, where the engine has it already.
    #[serde(default)]
    pub verifier_key: Option<WireSecret>,
    /// What the node shows from now on. `None` within one process.
    #[serde(default)]
    pub token: Option<NodeToken>,
}

/// A short-lived token of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeToken {
    pub token: WireSecret,
    /// The node asks for another one well before that.
    pub lifetime_secs: u64,
}

/// A node asks for a new token with its own, or with the enrolment token when its own has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenQuery {
    /// The id of the data folder that the node runs from.
    pub home: String,
}

/// A secret on its way. It does not show itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireSecret(String);

impl WireSecret {
    pub fn new(text: String) -> WireSecret {
        WireSecret(text)
    }

    pub fn of_bytes(bytes: &[u8]) -> WireSecret {
        WireSecret(BASE64.encode(bytes))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The 32 bytes that it stands for.
    pub fn key_bytes(&self) -> Result<[u8; 32], BadMessage> {
        let mut bytes = [0; 32];
        match BASE64.decode_slice(&self.0, &mut bytes) {
            Ok(32) => Ok(bytes),
            _ => Err(BadMessage("key")),
        }
    }
}

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireSecret(…)")
    }
}

impl Welcome {
    pub fn new(node: &NodeId, note: Option<String>) -> Welcome {
        Welcome {
            version: VERSION,
            node: node.to_string(),
            note,
            verifier_key: None,
            token: None,
        }
    }

    pub fn node(&self) -> Result<NodeId, BadMessage> {
        parse("node id", &self.node)
    }
}

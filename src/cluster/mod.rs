//! Rank 2: nodes, what they must know, and what they tell.
//!
//! ```text
//!   control plane                                          node
//!   ┌───────────────┐   changes_since(revision)   ┌──────────────────────┐
//!   │ Cluster       │ ◀────────────────────────── │ Node: follow ──────▶ │ engine
//!   │ (over Store)  │ ◀────────────────────────── │       report ◀────── │ (DataPlane, Handover)
//!   └───────────────┘   report(applied, events)   └──────────────────────┘
//! ```
//!
//! The arrows between the two are the port [`ControlLink`], called by the node; [`Cluster`] implements it for nodes
//! in the same process. A node asks the control plane for nothing while it serves: whatever it knows goes on
//! being true until it hears otherwise.
//!
//! | file | side | holds |
//! |---|---|---|
//! | [`link`] | both | the port and what crosses it |
//! | `control` | control | waiting for nodes, figures, the SERVERS value |
//! | `placement`, `region` | control | where a new cache goes |
//! | `intake` | control | what becomes of a node's report |
//! | [`node`] | node | the two loops, and who this node is |
//! | [`handover`] | node | what the engine has to tell, bounded, until it is stored |
//! | `plane` | node | the engine as this room's [`DataPlane`] |

mod control;
pub mod handover;
mod intake;
pub mod link;
pub mod node;
mod placement;
mod plane;
mod region;

pub use control::{CaughtUp, Cluster, ClusterSettings};
pub use handover::Handover;
pub use link::{ControlLink, LinkError};
pub use node::{DataPlane, JoinError, Node, NodeSettings};
pub use placement::{NoRoom, Site};

use crate::domain::{Fingerprint, Username};

/// What the nodes of a cache report about it, summed. Counters are since the nodes' start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub items: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub evictions: u64,
    pub get_hits: u64,
    pub get_misses: u64,
    pub sets: u64,
    pub flushes: u64,
    pub connections: u64,
    pub connections_max: u64,
    /// The other counters of `stats`, by their protocol names.
    pub counters: Vec<(&'static str, u64)>,
    /// Live connections per credential.
    pub connections_by_credential: Vec<(Username, u64)>,
    /// The same per client certificate; they count for its credential too.
    pub connections_by_certificate: Vec<(Fingerprint, u64)>,
}

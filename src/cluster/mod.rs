//! Rank 2: nodes, what they must know, and what they tell.
//!
//! ```text
//!   control plane                                          node
//!   ┌───────────────┐   changes_since(revision)   ┌─────────────────────────┐
//!   │ Cluster       │ ◀────────────────────────── │ NodeAgent: follow ────▶ │ engine
//!   │ (over Store)  │ ◀────────────────────────── │            report ◀──── │ (DataPlane, EventBuffer)
//!   └───────────────┘   report(applied, events)   └─────────────────────────┘
//! ```
//!
//! The arrows between the two are the port [`ControlLink`], called by the node. A node asks the control plane for
//! nothing while it serves: what it knows stays in force until it hears otherwise. A node in a process of its own keeps
//! that in a sealed file, so that it serves after a restart, too, while the control plane is away.
//!
//! | folder | side | holds |
//! |---|---|---|
//! | [`link`] | both | the port, its messages (`wire`), the link inside one process (`local`) and between machines (`http`) |
//! | `control` | control | nodes and their liveness, placement, changes, reports, waiting for nodes |
//! | [`node`] | node | who this node is, its loops, its snapshot, and what the engine has to tell until it is stored |

mod control;
mod figures;
pub mod link;
pub mod node;

/// The file in a data folder that its process holds locked.
pub const FOLDER_LOCK: &str = "larder.lock";

pub use control::absence::Absences;
pub use control::nodes::{Evicted, NodeActionError};
pub use control::placement::{NewServers, NoSite, PlacedAnew, Site};
pub use control::{CaughtUp, Cluster, ClusterSettings};
pub use figures::{CacheFigures, FiguresSource};
pub use link::http::{EnrolmentTokens, HttpLink, HttpLinkSettings, routes as link_routes};
pub use link::local::LocalLink;
pub use link::{ControlLink, LinkError};
pub use node::event_buffer::EventBuffer;
pub use node::{
    DataPlane, Entry, JoinError, NodeAgent, NodeSettings, RunEnd, SnapshotError, SnapshotFile,
    Standing, enter, folder_id, join,
};

//! What a process does: one file for each role.
//!
//! | file | builds |
//! |---|---|
//! | `control` | provisioning, pages and outbox on their database |
//! | `node` | the engine, as this process's node |
//! | [`node_process`] | the same without a control plane beside it, for `serve --role node` |
//! | `worker` | the outbox alone, for `serve --role worker` |

pub(in crate::app) mod control;
pub(in crate::app) mod node;
pub mod node_process;
pub mod worker;

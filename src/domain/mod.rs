//! Rank 0: facts and rules of the product. No I/O, no SQL, no serde, and no clock: time is an argument.
//!
//! Everything here is plain data with private invariants. Other rooms parse outside input into these types
//! once, at their edge, and pass them inward.

pub mod abilities;
pub mod actor;
pub mod budget;
pub mod cache;
pub mod capability;
pub mod certificate;
pub mod config_vars;
pub mod credential;
pub mod der;
pub mod event;
pub mod flush;
pub mod host;
pub mod ids;
pub mod marketplace;
pub mod network;
pub mod node;
pub mod plan;
pub mod printable;
pub mod product;
pub mod region;
pub mod resource;
pub mod rotation;
pub mod secret;
pub mod throttle;
pub mod time;

pub use abilities::{Abilities, AbilityTable};
pub use actor::{Actor, CameBy, Identity};
pub use cache::{CacheSpec, CertificateSpec, CredentialSpec, FlushOrder};
pub use capability::Capabilities;
pub use certificate::{Authority, Certificate, Fingerprint};
pub use config_vars::{ConfigValues, ConfigVarNames};
pub use credential::{Credential, Username};
pub use event::{Event, EventKind, RecordedEvent};
pub use flush::{FlushEvent, Origin};
pub use host::{BadHostPattern, HostPattern};
pub use ids::{
    AttachmentId, CacheId, ClusterName, CredentialId, DeliveryId, EventId, ExternalId, FlushId,
    NodeId, ResourceId, Revision, WorkerId,
};
pub use marketplace::{BadMarketplace, Marketplace};
pub use network::{BadNetwork, Network, network_of};
pub use node::{NodePhase, NodeStanding, NodeState};
pub use plan::{Plan, PlanSlug, Plans};
pub use product::{Catalogue, Product};
pub use resource::{CompletionGoal, Elsewhere, Resource, ResourceState};
pub use rotation::{BadPeriod, RotationPeriod};
pub use time::{Clock, Timestamp};

use std::future::Future;
use std::pin::Pin;

/// A boxed future, for the ports between rooms that are used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

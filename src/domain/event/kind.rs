//! The kinds of events: their names, which are a contract with log readers and the API, and who hears of them.

use std::fmt;
use std::str::FromStr;

use super::Event;

macro_rules! kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// What sort of thing happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($kind,)*
        }

        impl EventKind {
            pub const ALL: &[EventKind] = &[$(EventKind::$kind,)*];

            /// The name in `event=`, in the stored timeline and in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Flushed = "flush",
    FlushRefused = "flush_refused",
    CredentialAdded = "credential_added",
    CredentialPromoted = "credentials_promoted",
    CredentialRemoved = "credential_removed",
    CapabilitiesChanged = "capabilities_changed",
    CertificateIssued = "certificate_issued",
    CertificateRevoked = "certificate_revoked",
    SsoSecretRotated = "sso_secret_rotated",
    RotationScheduled = "rotation_scheduled",
    RotationPutOff = "rotation_put_off",
    AsyncProvisionBegan = "async_provision_began",
    Provisioned = "provisioned",
    PlanChanged = "plan_changed",
    Deprovisioned = "deprovisioned",
    PlacedElsewhere = "placed_elsewhere",
    PlacedAnew = "placed_anew",
    NodeAway = "node_away",
    NodeBack = "node_back",
    LoginsRefused = "logins_refused",
    ConnectionsOverLimit = "connections_over_limit",
    MemoryFull = "memory_full",
}

impl EventKind {
    /// Whether attached apps get a line for it; the others are in the timeline only.
    pub const fn is_logged_to_app(self) -> bool {
        matches!(
            self,
            EventKind::Flushed
                | EventKind::FlushRefused
                | EventKind::CredentialPromoted
                | EventKind::PlacedElsewhere
                | EventKind::PlacedAnew
                | EventKind::NodeAway
                | EventKind::NodeBack
                | EventKind::ConnectionsOverLimit
                | EventKind::MemoryFull
        )
    }

    /// Whether a client can cause any number of them, so that the lines for them are bounded in rate.
    pub const fn is_caused_at_will(self) -> bool {
        matches!(self, EventKind::Flushed | EventKind::FlushRefused)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event is called {0}")]
pub struct UnknownEventKind(String);

impl FromStr for EventKind {
    type Err = UnknownEventKind;

    fn from_str(text: &str) -> Result<EventKind, UnknownEventKind> {
        EventKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownEventKind(text.to_owned()))
    }
}

impl Event {
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Flushed(_) => EventKind::Flushed,
            Event::FlushRefused { .. } => EventKind::FlushRefused,
            Event::CredentialAdded { .. } => EventKind::CredentialAdded,
            Event::CredentialPromoted { .. } => EventKind::CredentialPromoted,
            Event::CredentialRemoved { .. } => EventKind::CredentialRemoved,
            Event::CapabilitiesChanged { .. } => EventKind::CapabilitiesChanged,
            Event::CertificateIssued { .. } => EventKind::CertificateIssued,
            Event::CertificateRevoked { .. } => EventKind::CertificateRevoked,
            Event::SsoSecretRotated => EventKind::SsoSecretRotated,
            Event::RotationScheduled { .. } => EventKind::RotationScheduled,
            Event::RotationPutOff { .. } => EventKind::RotationPutOff,
            Event::AsyncProvisionBegan { .. } => EventKind::AsyncProvisionBegan,
            Event::Provisioned { .. } => EventKind::Provisioned,
            Event::PlanChanged { .. } => EventKind::PlanChanged,
            Event::Deprovisioned => EventKind::Deprovisioned,
            Event::PlacedElsewhere { .. } => EventKind::PlacedElsewhere,
            Event::PlacedAnew { .. } => EventKind::PlacedAnew,
            Event::NodeAway { .. } => EventKind::NodeAway,
            Event::NodeBack { .. } => EventKind::NodeBack,
            Event::LoginsRefused { .. } => EventKind::LoginsRefused,
            Event::ConnectionsOverLimit { .. } => EventKind::ConnectionsOverLimit,
            Event::MemoryFull { .. } => EventKind::MemoryFull,
            Event::Repeated { event, .. } => event.kind(),
        }
    }
}

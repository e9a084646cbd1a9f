//! *Events*: what happened to the cache, the newest first.

use askama::Template;

use crate::domain::{Actor, EventKind, RecordedEvent, Timestamp};
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::{Moment, Tone};
use crate::web::error::PageError;

#[derive(Template)]
#[template(path = "dashboard/panels/events/panel.html")]
pub struct EventsPanel {
    events: Vec<EventRow>,
}

struct EventRow {
    tone: Tone,
    title: String,
    detail: String,
    /// As in `by ada@example.com from 10.0.4.17`.
    actor: Option<String>,
    at: Moment,
}

impl Panel for EventsPanel {
    const ID: &'static str = "events";
    const TITLE: &'static str = "Events";
    const LINK: Option<&'static str> = Some("Events");

    async fn load(page: &PageContext) -> Result<EventsPanel, PageError> {
        let most = page.web.settings.history_rows_max;
        let timeline = page.web.access.timeline(&page.owner, most).await?;
        Ok(EventsPanel::new(&timeline, page.now))
    }
}

impl EventsPanel {
    pub fn new(timeline: &[RecordedEvent], now: Timestamp) -> EventsPanel {
        EventsPanel {
            events: timeline.iter().map(|event| row(event, now)).collect(),
        }
    }
}

fn row(event: &RecordedEvent, now: Timestamp) -> EventRow {
    let (tone, title) = match event.kind.parse() {
        Ok(kind) => heading(kind),
        // Written by another release: it is shown as it was written.
        Err(_) => (Tone::Plain, event.kind.as_str()),
    };
    EventRow {
        tone,
        title: title.to_owned(),
        detail: event.detail(),
        actor: event.actor.as_ref().map(actor),
        at: Moment::past(event.at, now),
    }
}

const fn heading(kind: EventKind) -> (Tone, &'static str) {
    match kind {
        EventKind::Flushed => (Tone::Plain, "Flushed"),
        EventKind::FlushRefused => (Tone::Fair, "Flush refused"),
        EventKind::CredentialAdded => (Tone::Plain, "Credential added"),
        EventKind::CredentialPromoted => (Tone::Plain, "Credential promoted"),
        EventKind::CredentialRemoved => (Tone::Plain, "Credential deleted"),
        EventKind::CapabilitiesChanged => (Tone::Plain, "Capabilities changed"),
        EventKind::CertificateIssued => (Tone::Plain, "Certificate issued"),
        EventKind::CertificateRevoked => (Tone::Plain, "Certificate revoked"),
        EventKind::SsoSecretRotated => (Tone::Plain, "SSO secret rotated"),
        EventKind::RotationScheduled => (Tone::Plain, "Rotation scheduled"),
        EventKind::RotationPutOff => (Tone::Fair, "Rotation put off"),
        EventKind::AsyncProvisionBegan => (Tone::Plain, "Ordered"),
        EventKind::Provisioned => (Tone::Good, "Provisioned"),
        EventKind::PlanChanged => (Tone::Plain, "Plan changed"),
        EventKind::Deprovisioned => (Tone::Bad, "Deprovisioned"),
        EventKind::PlacedElsewhere => (Tone::Fair, "Set up in another region than was ordered"),
        EventKind::PlacedAnew => (Tone::Fair, "Moved, empty, to another node"),
        EventKind::NodeAway => (Tone::Bad, "The cache's node is away"),
        EventKind::NodeBack => (Tone::Good, "The cache's node is back"),
        EventKind::LoginsRefused => (
            Tone::Fair,
            "Logins refused: an app uses a wrong password, a deleted credential or an old certificate",
        ),
        EventKind::ConnectionsOverLimit => (Tone::Fair, "Connections over the limit"),
        EventKind::MemoryFull => (Tone::Fair, "Memory full"),
    }
}

/// Who was behind an event, and from where.
fn actor(actor: &Actor) -> String {
    match actor.remote {
        Some(remote) => format!("by {} from {remote}", actor.identity),
        None => format!("by {}", actor.identity),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::Identity;

    #[test]
    fn each_kind_has_a_heading_of_its_own_and_names_who_did_it() {
        let now = Timestamp::from_secs(1_795_372_200);
        let shown = |kind: &str| {
            let event = RecordedEvent {
                id: "event".to_owned(),
                at: now,
                kind: kind.to_owned(),
                fields: Default::default(),
                line: None,
                actor: Some(Actor::local(Identity::Operator)),
            };
            row(&event, now)
        };
        let titles = EventKind::ALL.iter().map(|kind| shown(kind.as_str()).title);
        let titles: HashSet<String> = titles.collect();
        assert_eq!(titles.len(), EventKind::ALL.len());
        let removed = shown(EventKind::CredentialRemoved.as_str());
        assert_eq!(removed.title, "Credential deleted");
        assert!(removed.actor.is_some_and(|actor| actor.starts_with("by ")));
        assert_eq!(shown("of_another_release").title, "of_another_release");
    }
}

//! Reporting to the control plane: how far this node is, what its caches' owners should read of, and that it lives.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{NodeAgent, RETRY_FIRST, RETRY_LAST};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::Report;
use crate::domain::{NodePhase, Revision};

/// Logins and the rests of floods are reported this often.
const TICK: Duration = Duration::from_secs(1);
/// A report with nothing new tells the control plane that the node lives: every so many ticks. Three of them fit into
/// the time after which a node counts as away.
const HEARTBEAT_TICKS: u32 = 3;
/// How long the last report may take when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

impl NodeAgent {
    /// Tells the control plane that this node's listeners are open. When this returns `Ok`, new caches may come.
    pub async fn open(&self) -> Result<(), LinkError> {
        self.phase.send_replace(NodePhase::Serving);
        let report = Report {
            home: self.home.clone(),
            phase: NodePhase::Serving.into(),
            applied: self.applied.borrow().0,
            ..Report::default()
        };
        self.link.report(&self.id, &report).await
    }

    pub(super) async fn report(&self, stop: &CancellationToken) {
        let mut applied = self.applied.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quiet_ticks = 0;
        let mut reported = Revision::default();
        let mut report = Report::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.event_buffer.ready() => {}
                _ = applied.changed() => {}
                _ = tick.tick() => {
                    quiet_ticks += 1;
                    report.logins = self.event_buffer.take_logins();
                }
            }
            self.gather_events(&mut report);
            let anything = report.applied != reported.0
                || !report.events.is_empty()
                || !report.unknown_users.is_empty()
                || !report.logins.is_empty();
            if anything || quiet_ticks >= HEARTBEAT_TICKS {
                quiet_ticks = 0;
                if !self.deliver(&mut report, stop).await {
                    break;
                }
                reported = Revision(report.applied);
                report = Report::default();
            }
        }
        self.say_farewell(report).await;
    }

    async fn say_farewell(&self, mut report: Report) {
        self.phase.send_replace(NodePhase::Stopped);
        report.logins.extend(self.event_buffer.take_logins());
        self.gather_events(&mut report);
        let farewell = self.link.report(&self.id, &report);
        if !matches!(tokio::time::timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
            let events = report.events.len();
            tracing::warn!(node = %self.id, events, "the node's last report was not stored");
        }
    }

    fn gather_events(&self, report: &mut Report) {
        let (events, dropped) = self.event_buffer.take_events(self.clock.now());
        for address in self.event_buffer.take_refused() {
            tracing::warn!(
                node = %self.id,
                remote = address.remote.map(tracing::field::display),
                username = address.username,
                certificate = address.certificate.map(tracing::field::display),
                cache = address.cache.map(tracing::field::display),
                refused = address.refused,
                window_secs = address.window_secs,
                "memcached logins refused",
            );
        }
        if dropped > 0 {
            tracing::warn!(node = %self.id, dropped, "the queue of notices was full");
        }
        report.events.extend(events);
        report
            .unknown_users
            .extend(self.event_buffer.take_unknown_users());
        report.home.clone_from(&self.home);
        report.applied = self.applied.borrow().0;
        report.phase = (*self.phase.borrow()).into();
    }

    /// Repeats the report until it is stored or refused for good; false when the node stops first.
    async fn deliver(&self, report: &mut Report, stop: &CancellationToken) -> bool {
        let mut pause = RETRY_FIRST;
        loop {
            report.applied = self.applied.borrow().0;
            match self.link.report(&self.id, report).await {
                Ok(()) => return true,
                Err(error @ LinkError::Refused(_)) => {
                    tracing::error!(node = %self.id, %error, events = report.events.len(), "a report was refused");
                    return true;
                }
                Err(LinkError::Away(error)) => {
                    tracing::warn!(node = %self.id, error, "cannot report, trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_LAST);
        }
    }
}

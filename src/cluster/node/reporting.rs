//! Reporting to the control plane: how far this node is, what its caches' owners should read of, and that it lives.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::NodeAgent;
use super::event_buffer::BATCH_MAX;
use super::figures::FiguresPass;
use super::retry::{Backoff, Outage};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{Phase, Report};
use crate::domain::{NodePhase, Revision};

/// Logins and the rests of floods are reported this often.
const TICK: Duration = Duration::from_secs(1);
/// A report with nothing new tells the control plane that the node lives: every so many ticks. Three of them fit into
/// the time after which a node counts as away.
const HEARTBEAT_TICKS: u32 = 3;
/// How long the last report may take when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// How the node stood at a report: a change of it is reported at the next tick.
fn standing_in(report: &Report) -> (i64, Phase, bool) {
    (report.applied, report.phase, report.snapshot)
}

impl NodeAgent {
    /// Tells the control plane that this node's listeners are open. When this returns `Ok`, new caches may come; a node
    /// on its snapshot, or whose control plane has gone away since it joined, tells it later.
    ///
    /// # Errors
    /// When the control plane does not take it, and the node has no snapshot to go on with.
    pub async fn open(&self) -> Result<(), LinkError> {
        self.phase.send_replace(NodePhase::Serving);
        if !self.is_joined() {
            return Ok(());
        }
        let mut report = Report::default();
        self.stamp(&mut report);
        match self.link.report(&self.id, &report).await {
            Err(LinkError::Away(_) | LinkError::NotAdmitted(_)) if self.keeper.is_some() => Ok(()),
            told => told,
        }
    }

    pub(super) async fn report(&self, stop: &CancellationToken) {
        let mut applied = self.applied.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quiet_ticks = 0;
        let mut figures = FiguresPass::default();
        let mut reported = standing_in(&Report::default());
        let mut report = Report::default();
        let mut outage = Outage::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.event_buffer.ready() => {}
                _ = applied.changed() => {}
                _ = tick.tick() => {
                    quiet_ticks += 1;
                    report.logins = self.event_buffer.take_logins();
                    report.figures = self.next_figures(&mut figures);
                }
            }
            let settled = self.gather(&mut report);
            let anything = standing_in(&report) != reported
                || !report.events.is_empty()
                || !report.unknown_users.is_empty()
                || !report.logins.is_empty()
                || !report.figures.is_empty();
            if anything || quiet_ticks >= HEARTBEAT_TICKS {
                quiet_ticks = 0;
                if !self.deliver(&mut report, &mut outage, stop).await {
                    break;
                }
                self.settle(settled);
                reported = standing_in(&report);
                report = Report::default();
            }
        }
        self.say_farewell(report).await;
    }

    async fn say_farewell(&self, mut report: Report) {
        self.phase.send_replace(NodePhase::Stopped);
        report.logins.extend(self.event_buffer.take_logins());
        let settled = self.gather(&mut report);
        let farewell = self.link.report(&self.id, &report);
        if matches!(tokio::time::timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
            self.settle(settled);
        } else {
            let events = report.events.len();
            tracing::warn!(node = %self.id, events, "the node's last report was not stored");
        }
    }

    /// A report that tells of all flush orders up to this revision was stored.
    fn settle(&self, revision: Option<Revision>) {
        if let (Some(keeper), Some(revision)) = (&self.keeper, revision) {
            // The control plane may have gone back meanwhile, to a backup.
            let applied = *self.applied.borrow();
            keeper.settle(revision.min(applied));
        }
    }

    /// Fills the report up. Gives the revision up to which nothing is left to report; `None` when more events wait than
    /// one report takes.
    fn gather(&self, report: &mut Report) -> Option<Revision> {
        // Read before the events: those that a change causes are in the buffer when its revision is in force.
        let applied = *self.applied.borrow();
        let (events, dropped) = self.event_buffer.take_events(self.clock.now());
        let is_all = events.len() < BATCH_MAX;
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
        self.stamp(report);
        is_all.then_some(applied)
    }

    /// Writes into the report how this node stands now.
    fn stamp(&self, report: &mut Report) {
        report.home.clone_from(&self.home);
        report.applied = self.applied.borrow().0;
        report.phase = (*self.phase.borrow()).into();
        report.snapshot = self.is_on_snapshot();
    }

    /// Repeats the report until it is stored or refused for good; false when the node stops first.
    async fn deliver(
        &self,
        report: &mut Report,
        outage: &mut Outage,
        stop: &CancellationToken,
    ) -> bool {
        let mut backoff = Backoff::default();
        loop {
            self.stamp(report);
            // It may have been stored when it is cut off, and comes again with the farewell then.
            let told = tokio::select! {
                () = stop.cancelled() => return false,
                told = self.link.report(&self.id, report) => told,
            };
            let Err(error) = told else {
                if let Some(lasted) = outage.end() {
                    let after_secs = lasted.as_secs();
                    tracing::info!(node = %self.id, after_secs, "this node reports again");
                }
                return true;
            };
            let is_worth_a_line = outage.is_worth_a_line(&error);
            match error {
                LinkError::Refused(_) | LinkError::Gone(_) => {
                    let events = report.events.len();
                    if is_worth_a_line || events > 0 {
                        tracing::error!(node = %self.id, %error, events, "a report was refused");
                    }
                    return true;
                }
                LinkError::Away(_) | LinkError::NotAdmitted(_) => {
                    if is_worth_a_line {
                        tracing::warn!(node = %self.id, %error, "cannot report, trying again");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
            self.renew_figures(report);
        }
    }
}

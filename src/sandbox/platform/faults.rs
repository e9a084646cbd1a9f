//! Faults on demand: which calls go wrong, and how. The switches are pure; `heroku/fault_layer.rs` applies them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Endpoints of the sandbox that fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointGroup {
    /// `/addons/{id}/config`
    Config,
    /// `/oauth/token`
    Token,
    /// `/logs`
    Logs,
    /// `/addons/{id}/webhooks`
    Webhooks,
    /// `/addons/{id}/actions/…`
    Actions,
    /// The rest of the platform API.
    Api,
}

impl EndpointGroup {
    pub const ALL: [EndpointGroup; 6] = [
        EndpointGroup::Config,
        EndpointGroup::Token,
        EndpointGroup::Logs,
        EndpointGroup::Webhooks,
        EndpointGroup::Actions,
        EndpointGroup::Api,
    ];
}

/// What happens to a call of the provider to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered properly, this much later.
    Slow(Duration),
    /// 500, nothing done.
    ServerError,
    /// 429 with `Retry-After`, nothing done.
    TooManyRequests { retry_after_secs: u32 },
    /// Nothing done, and no answer for as long as the caller waits.
    Hang,
    /// Done, but the connection closes without an answer.
    LostReply,
    /// 401, nothing done: a dead log input, or a revoked token.
    Unauthorized,
    /// 403, nothing done: the provider lacks the permission.
    Forbidden,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Slow(_) => "slow",
            Fault::ServerError => "500",
            Fault::TooManyRequests { .. } => "429",
            Fault::Hang => "hang",
            Fault::LostReply => "lost reply",
            Fault::Unauthorized => "401",
            Fault::Forbidden => "403",
        }
    }
}

/// What happens to calls of the marketplace to the provider. Several may be on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFaults {
    /// Sent this much later.
    pub slow: Option<Duration>,
    /// Sent and processed, but the answer is thrown away.
    pub lose_reply: bool,
    /// Sent twice at the same time; the first answer counts.
    pub duplicate: bool,
    /// Held back until the next call has been answered, for 3 seconds at most.
    pub reorder: bool,
}

/// All switches.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    standing: BTreeMap<EndpointGroup, Fault>,
    queued: BTreeMap<EndpointGroup, VecDeque<Option<Fault>>>,
    /// For calls to the provider.
    pub calls: CallFaults,
}

impl Faults {
    /// Stands until set otherwise.
    pub fn set(&mut self, group: EndpointGroup, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.standing.insert(group, fault),
            None => self.standing.remove(&group),
        };
    }

    /// One entry for each of the next calls, before what stands; `None` lets one pass.
    pub fn queue(&mut self, group: EndpointGroup, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.queued.entry(group).or_default().extend(faults);
    }

    pub fn standing(&self, group: EndpointGroup) -> Option<Fault> {
        self.standing.get(&group).copied()
    }

    /// How many queued entries were not met yet.
    pub fn queued(&self, group: EndpointGroup) -> usize {
        self.queued.get(&group).map_or(0, VecDeque::len)
    }

    /// Whether anything at all is switched on.
    pub fn any(&self) -> bool {
        let queued = EndpointGroup::ALL
            .iter()
            .any(|group| self.queued(*group) > 0);
        queued || !self.standing.is_empty() || self.calls != CallFaults::default()
    }

    /// The fault of the next call.
    pub(in crate::sandbox) fn take(&mut self, group: EndpointGroup) -> Option<Fault> {
        let queued = self.queued.get_mut(&group).and_then(VecDeque::pop_front);
        queued.unwrap_or_else(|| self.standing(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_faults_come_first_and_one_by_one() {
        let mut faults = Faults::default();
        let group = EndpointGroup::Config;
        assert!(!faults.any());
        faults.set(group, Some(Fault::Hang));
        faults.queue(group, [Some(Fault::ServerError), None]);
        assert_eq!(faults.take(group), Some(Fault::ServerError));
        assert_eq!(faults.take(group), None);
        assert_eq!(faults.take(group), Some(Fault::Hang));
        assert_eq!(faults.take(EndpointGroup::Logs), None);
        faults.set(group, None);
        assert!(!faults.any());
    }
}

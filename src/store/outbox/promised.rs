//! Which kinds of promises a commit leaves, so that it wakes only those that have something to do: a loop that wakes
//! asks the database what is due.

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The kinds of promises that are kept in loops of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseKind {
    Grants,
    ConfigSync,
    AsyncProvisions,
    LogLines,
    Reconciles,
}

const KINDS: usize = PromiseKind::Reconciles as usize + 1;

/// The kinds that a transaction has promised something of.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct PromiseKinds([bool; KINDS]);

impl PromiseKinds {
    pub fn add(&mut self, kind: PromiseKind) {
        self.0[kind as usize] = true;
    }

    pub fn add_all(&mut self) {
        self.0 = [true; KINDS];
    }
}

/// Those in this process who wait for promises.
#[derive(Debug, Default)]
pub struct Promised([Notify; KINDS]);

impl Promised {
    /// Ends at the next commit in this process that promises something of this kind, counted from this call on.
    pub fn next(&self, kind: PromiseKind) -> Notified<'_> {
        self.0[kind as usize].notified()
    }

    /// Wakes all who wait.
    pub fn wake_all(&self) {
        self.0.iter().for_each(Notify::notify_waiters);
    }

    pub(in crate::store) fn wake(&self, kinds: PromiseKinds) {
        for (waiting, promised) in self.0.iter().zip(kinds.0) {
            if promised {
                waiting.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_wakes_those_who_wait_for_its_kinds() {
        let promised = Promised::default();
        let grants = promised.next(PromiseKind::Grants);
        let lines = promised.next(PromiseKind::LogLines);
        tokio::pin!(lines);
        let mut kinds = PromiseKinds::default();
        kinds.add(PromiseKind::Grants);
        promised.wake(kinds);
        grants.await;
        let woken = tokio::select! {
            biased;
            () = &mut lines => true,
            () = std::future::ready(()) => false,
        };
        assert!(!woken, "nothing was promised to lines");
        promised.wake_all();
        lines.await;
    }
}

//! Fair shares of a serving thread.
//!
//! The thread measures work in commands. A visit counts as one more command, and so does each kibibyte it moved. This
//! is right within a small factor, costs no clock reading, and gives the same result on every machine.
//!
//! Tenants above one sixteenth of a thread's work wait in the ready queue; tenants below it are served at once, even
//! with a batch of several visits now and then. The measure is a debt: what a tenant does adds to it, and each epoch
//! of the thread pays back one share.

use super::sync::atomic::{AtomicU64, Ordering};

/// How much debt each epoch pays back.
const SHARE: u32 = 256;
/// A tenant with a larger debt is over its share. It allows a batch of four full visits.
const DEBT_ALLOWED: u32 = 4 * SHARE;
/// Work of the thread in one epoch. A share is one sixteenth of it.
const EPOCH_WORK: u32 = 16 * SHARE;
/// The largest debt. A tenant that was busy for an hour is served at once again as soon as one that was busy briefly.
const DEBT_MAX: u32 = EPOCH_WORK;

/// Counts the epochs of a thread. An epoch lasts until the thread has done [`EPOCH_WORK`]; no clock is involved.
#[derive(Debug, Default)]
pub struct Epochs {
    now: u32,
    done: u32,
}

impl Epochs {
    /// The number of the present epoch.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Counts work of the thread.
    pub fn note(&mut self, work: u32) {
        self.done = self.done.saturating_add(work);
        if self.done >= EPOCH_WORK {
            self.done = 0;
            self.now = self.now.wrapping_add(1);
        }
    }
}

/// The work of a visit that executed `commands` and moved `bytes` in and out.
pub fn work_of_visit(commands: u32, bytes: usize) -> u32 {
    1 + commands + u32::try_from(bytes >> 10).unwrap_or(DEBT_MAX)
}

/// One tenant's debt on one thread. Only that thread writes it, so a relaxed load and store are enough.
#[derive(Debug, Default)]
pub struct RecentWork {
    /// Lower half: the debt. Upper half: the epoch in which it was that much. Packed into one word so that both change
    /// together.
    debt_at_epoch: AtomicU64,
}

impl RecentWork {
    /// Adds work that was done for the tenant.
    pub fn note(&self, epoch: u32, work: u32) {
        let debt = self.debt(epoch).saturating_add(work).min(DEBT_MAX);
        let packed = u64::from(epoch) << 32 | u64::from(debt);
        self.debt_at_epoch.store(packed, Ordering::Relaxed);
    }

    /// Whether the tenant's connections wait in the ready queue.
    pub fn is_over_share(&self, epoch: u32) -> bool {
        self.debt(epoch) > DEBT_ALLOWED
    }

    fn debt(&self, epoch: u32) -> u32 {
        let packed = self.debt_at_epoch.load(Ordering::Relaxed);
        let (then, debt) = ((packed >> 32) as u32, packed as u32);
        let paid = epoch.wrapping_sub(then).saturating_mul(SHARE);
        debt.saturating_sub(paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_the_allowance_is_over_share_until_it_is_paid_back() {
        let work = RecentWork::default();
        work.note(0, DEBT_ALLOWED);
        assert!(!work.is_over_share(0));
        work.note(0, SHARE + 1);
        assert!(work.is_over_share(0));
        assert!(work.is_over_share(1), "one share pays back too little");
        assert!(!work.is_over_share(2));
    }

    #[test]
    fn every_debt_is_paid_back_within_one_largest_debt() {
        let work = RecentWork::default();
        for _ in 0..1000 {
            work.note(u32::MAX, u32::MAX);
        }
        assert!(work.is_over_share(u32::MAX));
        assert!(!work.is_over_share(u32::MAX.wrapping_add(DEBT_MAX / SHARE)));
    }

    #[test]
    fn an_epoch_ends_with_its_work() {
        let mut epochs = Epochs::default();
        epochs.note(EPOCH_WORK - 1);
        assert_eq!(epochs.now(), 0);
        epochs.note(1);
        assert_eq!(epochs.now(), 1);
        epochs.note(1);
        assert_eq!(epochs.now(), 1);
    }
}

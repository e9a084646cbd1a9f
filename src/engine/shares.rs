//! Who has had its share of a serving thread.
//!
//! Work is counted in commands; a turn counts as one more, and so does each kibibyte that it moved. That is right to a
//! factor of a few, asks no clock, and comes out the same on every machine.
//!
//! A tenant that does less than a sixteenth of a thread's work is served as soon as there is news of it, be it a batch of
//! some turns now and then. One that does more owes the others what it did beyond, and waits in the line.

use super::sync::atomic::{AtomicU64, Ordering};

/// What a tenant may do in each epoch without owing anything.
const SHARE: u32 = 256;
/// What it may owe and still be served at once: a batch of four full turns.
const BATCH: u32 = 4 * SHARE;
/// Work of the thread after which every tenant has a further share.
const EPOCH_WORK: u32 = 16 * SHARE;
/// Nobody owes more than this: who was loud for an hour is forgiven as soon as who was for a moment.
const DEBT_MAX: u32 = EPOCH_WORK;

/// A thread's sense of how much it has done.
#[derive(Debug, Default)]
pub struct Epochs {
    now: u32,
    done: u32,
}

impl Epochs {
    /// The number of the present one.
    pub fn now(&self) -> u32 {
        self.now
    }

    pub fn note(&mut self, work: u32) {
        self.done = self.done.saturating_add(work);
        if self.done >= EPOCH_WORK {
            self.done = 0;
            self.now = self.now.wrapping_add(1);
        }
    }
}

/// What a turn cost.
pub fn work_of_turn(commands: u32, bytes: usize) -> u32 {
    1 + commands + u32::try_from(bytes >> 10).unwrap_or(DEBT_MAX)
}

/// What a thread has done for one tenant of late. Only that thread writes it.
#[derive(Debug, Default)]
pub struct Share {
    /// The work, and in the upper half the epoch in which it was so much.
    recent: AtomicU64,
}

impl Share {
    pub fn note(&self, epoch: u32, work: u32) {
        let recent = self.recent(epoch).saturating_add(work).min(DEBT_MAX);
        let packed = u64::from(epoch) << 32 | u64::from(recent);
        self.recent.store(packed, Ordering::Relaxed);
    }

    pub fn is_used_up(&self, epoch: u32) -> bool {
        self.recent(epoch) > BATCH
    }

    fn recent(&self, epoch: u32) -> u32 {
        let packed = self.recent.load(Ordering::Relaxed);
        let (then, work) = ((packed >> 32) as u32, packed as u32);
        work.saturating_sub(epoch.wrapping_sub(then).saturating_mul(SHARE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_more_than_its_share_owes_it() {
        let share = Share::default();
        share.note(0, BATCH);
        assert!(!share.is_used_up(0));
        share.note(0, SHARE + 1);
        assert!(share.is_used_up(0));
        assert!(share.is_used_up(1), "it did more than that");
        assert!(!share.is_used_up(2));
    }

    #[test]
    fn every_debt_is_forgiven() {
        let share = Share::default();
        for _ in 0..1000 {
            share.note(u32::MAX, u32::MAX);
        }
        assert!(share.is_used_up(u32::MAX));
        assert!(!share.is_used_up(u32::MAX.wrapping_add(DEBT_MAX / SHARE)));
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

//! Chains: queues of segments, oldest first. Up to three segments of a chain are open for new records.

use std::collections::VecDeque;

use super::adaptive_shares::SmallShare;
use super::clock::Expiry;
use super::segment::ChainKind;

/// Items that expire at about the same time share segments, so that a segment becomes free as a whole. There is one open
/// segment per class of TTL: none, long, short.
const CLASSES: usize = 3;
const SHORT_SECS: u32 = 600;
/// A shard with fewer segments has one class: three open segments would be too large a part of it.
const SEGMENTS_FOR_CLASSES: usize = 64;

/// Which of a chain's open segments an item goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    pub(super) fn of(expiry: Expiry, now: u32, segments: usize) -> Class {
        if segments < SEGMENTS_FOR_CLASSES {
            return Class(0);
        }
        match expiry.remaining(now) {
            None => Class(0),
            Some(left) if left >= SHORT_SECS => Class(1),
            Some(_) => Class(2),
        }
    }
}

/// One chain.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub queue: VecDeque<u16>,
    open: [Option<u16>; CLASSES],
    /// Bytes of the segments and of the large values whose records are in them.
    pub bytes: u64,
    /// Bytes of dead records: those that were deleted or overwritten and are not walked yet.
    pub dead_bytes: u64,
}

impl Chain {
    /// The open segment for a class.
    pub(super) fn open(&self, class: Class) -> Option<u16> {
        self.open[class.0 as usize]
    }

    /// Adds an empty segment at the end. It takes the records of `class`.
    pub(super) fn push_open(&mut self, class: Class, number: u16, bytes: usize) {
        self.queue.push_back(number);
        self.open[class.0 as usize] = Some(number);
        self.bytes += bytes as u64;
    }

    pub(super) fn is_open(&self, number: u16) -> bool {
        self.open.contains(&Some(number))
    }

    /// Closes a segment for further records.
    pub(super) fn seal(&mut self, number: u16) {
        for open in &mut self.open {
            if *open == Some(number) {
                *open = None;
            }
        }
    }

    /// Takes a segment out of the queue.
    pub(super) fn remove(&mut self, number: u16, bytes: usize) {
        self.seal(number);
        if self.queue.front() == Some(&number) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|&other| other != number);
        }
        self.bytes -= bytes as u64;
    }
}

/// An item this many times larger than usual must have been read once more to stay.
const BIG: f32 = 3.0;
/// An item this many times larger than usual must have been read twice more to stay.
const HUGE: f32 = 9.0;
/// Weight of one item in the moving average of item sizes.
const USUAL_WEIGHT: f32 = 1.0 / 256.0;

/// The two chains of one tier, and how they share the tier's bytes.
#[derive(Debug, Default)]
pub(super) struct Tier {
    pub small: Chain,
    pub main: Chain,
    pub share: SmallShare,
    /// A moving average of the size of items that eviction walks.
    usual_bytes: f32,
}

impl Tier {
    /// How many further hits an item needs to stay because it is larger than usual. In its place several items of usual
    /// size could stay, and users see the hit ratio of requests, not of bytes.
    pub(super) fn surcharge(&mut self, item_bytes: u64) -> u8 {
        let bytes = item_bytes as f32;
        if self.usual_bytes == 0.0 {
            self.usual_bytes = bytes;
        }
        self.usual_bytes += (bytes - self.usual_bytes) * USUAL_WEIGHT;
        u8::from(bytes > self.usual_bytes * BIG) + u8::from(bytes > self.usual_bytes * HUGE)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    pub(super) fn chain(&self, kind: ChainKind) -> &Chain {
        match kind {
            ChainKind::Small => &self.small,
            ChainKind::Main => &self.main,
        }
    }

    pub(super) fn chain_mut(&mut self, kind: ChainKind) -> &mut Chain {
        match kind {
            ChainKind::Small => &mut self.small,
            ChainKind::Main => &mut self.main,
        }
    }

    /// The oldest segment of the chain that is over its share, but never `except`. The small chain may always have
    /// `small_min` bytes.
    pub(super) fn victim(&self, small_min: u64, except: Option<u16>) -> Option<u16> {
        let small_is_over = self.small.bytes > self.share.of(self.bytes()).max(small_min);
        let first = if small_is_over {
            &self.small
        } else {
            &self.main
        };
        let second = if small_is_over {
            &self.main
        } else {
            &self.small
        };
        let oldest = |chain: &Chain| chain.queue.iter().copied().find(|&n| Some(n) != except);
        oldest(first).or_else(|| oldest(second))
    }
}

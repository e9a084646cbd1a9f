//! A queue of segments, oldest first, with the segments at its end that still take records.

use std::collections::VecDeque;

use super::clock::Expiry;

use super::balance::SmallShare;
use super::segment::ChainKind;

/// Items that die at about the same time lie together, so that segments die whole.
const CLASSES: usize = 3;
const SHORT_SECS: u32 = 600;
/// Below so many segments the open ones would be too large a part of the whole.
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

#[derive(Debug, Default)]
pub(super) struct Chain {
    pub queue: VecDeque<u16>,
    open: [Option<u16>; CLASSES],
    /// Bytes of the segments and of the large values they stand for.
    pub bytes: u64,
    /// Bytes of records that died in the middle of the queue.
    pub dead_bytes: u64,
}

impl Chain {
    pub(super) fn open(&self, class: Class) -> Option<u16> {
        self.open[class.0 as usize]
    }

    /// Puts a fresh segment at the end, to take the records of `class`.
    pub(super) fn push_open(&mut self, class: Class, number: u16, bytes: usize) {
        self.queue.push_back(number);
        self.open[class.0 as usize] = Some(number);
        self.bytes += bytes as u64;
    }

    pub(super) fn is_open(&self, number: u16) -> bool {
        self.open.contains(&Some(number))
    }

    /// Lets the segment take no more records.
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

/// An item of so many times the usual size must have been read once more to stay; of so many, twice.
const BIG: f32 = 3.0;
const HUGE: f32 = 9.0;
/// How quickly the usual size follows.
const USUAL_WEIGHT: f32 = 1.0 / 256.0;

/// The two chains of one tier, and how they share its bytes.
#[derive(Debug, Default)]
pub(super) struct Tier {
    pub small: Chain,
    pub main: Chain,
    pub share: SmallShare,
    /// Usual bytes of an item here, following those that are walked.
    usual_bytes: f32,
}

impl Tier {
    /// Further hits that an item must show to stay, for being larger than usual.
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

    /// The oldest segment, but for `except`, of the chain that is over its share. The small one may have `small_least`
    /// bytes in any case.
    pub(super) fn victim(&self, small_least: u64, except: Option<u16>) -> Option<u16> {
        let is_long = self.small.bytes > self.share.of(self.bytes()).max(small_least);
        let first = if is_long { &self.small } else { &self.main };
        let second = if is_long { &self.main } else { &self.small };
        let oldest = |chain: &Chain| chain.queue.iter().copied().find(|&n| Some(n) != except);
        oldest(first).or_else(|| oldest(second))
    }
}

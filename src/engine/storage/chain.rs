//! A queue of segments, oldest first, with the segments at its end that still take records.

use std::collections::VecDeque;

use super::clock::Expiry;

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

//! The model and the steps that are played on it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::*;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) flags: u32,
    pub(super) cas: u64,
    /// When it expires; `None` for never.
    pub(super) ends: Option<u64>,
    pub(super) stale: bool,
    pub(super) token: bool,
    pub(super) fetched: bool,
}

impl Entry {
    /// The empty item that a read makes on a miss (meta `N`).
    pub(super) fn vivified(ends: Option<u64>, fetched: bool) -> Entry {
        Entry {
            value: Vec::new(),
            flags: 0,
            cas: 0,
            ends,
            stale: false,
            token: true,
            fetched,
        }
    }
}

/// A cache by memcached's rules, over a map and without eviction.
#[derive(Default)]
pub(super) struct Model {
    pub(super) items: HashMap<u8, Entry>,
    pub(super) time: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Cas {
    None,
    Current,
    Lower,
    Higher,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Get {
        touch: Option<u8>,
        vivify: Option<u8>,
        recache: Option<u32>,
        meta: bool,
        no_bump: bool,
    },
    Store {
        mode: StoreMode,
        len: usize,
        flags: u32,
        exptime: u8,
        cas: Cas,
        invalidate: bool,
        vivify: Option<u8>,
        digits: bool,
    },
    Arith {
        up: bool,
        delta: u64,
        initial: Option<u64>,
        exptime: Option<u8>,
        cas: Cas,
    },
    Delete {
        stale: bool,
        empty: bool,
        exptime: Option<u8>,
        cas: Cas,
    },
    Touch {
        exptime: u8,
    },
    Flush,
    Pass {
        secs: u32,
    },
    Maintain,
}

pub(super) fn exptime_of(code: u8) -> Exptime {
    match code {
        0..4 => Exptime::Never,
        4 => Exptime::Expired,
        secs => Exptime::Relative(u32::from(secs)),
    }
}

pub(super) fn cas() -> impl Strategy<Value = Cas> {
    prop_oneof![6 => Just(Cas::None), 3 => Just(Cas::Current), 1 => Just(Cas::Lower), 1 => Just(Cas::Higher)]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let exptime = 0u8..30;
    let maybe_exptime = proptest::option::of(0u8..30);
    let mode = prop_oneof![
        4 => Just(StoreMode::Set), 1 => Just(StoreMode::Add), 1 => Just(StoreMode::Replace),
        1 => Just(StoreMode::Append), 1 => Just(StoreMode::Prepend)
    ];
    let len = prop_oneof![6 => 0usize..60, 2 => 60usize..3_000, 1 => 30_000usize..300_000];
    prop_oneof![
        8 => (maybe_exptime.clone(), maybe_exptime.clone(), proptest::option::of(1u32..20), any::<bool>(), any::<bool>())
            .prop_map(|(touch, vivify, recache, meta, no_bump)| Step::Get { touch, vivify, recache, meta, no_bump }),
        10 => (mode, len, prop_oneof![Just(0u32), any::<u32>()], exptime.clone(), cas(), any::<bool>(), maybe_exptime.clone(), any::<bool>())
            .prop_map(|(mode, len, flags, exptime, cas, invalidate, vivify, digits)|
                Step::Store { mode, len, flags, exptime, cas, invalidate, vivify, digits }),
        4 => (any::<bool>(), prop_oneof![0u64..200, any::<u64>()], proptest::option::of(0u64..1_000), maybe_exptime.clone(), cas())
            .prop_map(|(up, delta, initial, exptime, cas)| Step::Arith { up, delta, initial, exptime, cas }),
        3 => (any::<bool>(), any::<bool>(), maybe_exptime, cas())
            .prop_map(|(stale, empty, exptime, cas)| Step::Delete { stale, empty, exptime, cas }),
        1 => exptime.prop_map(|exptime| Step::Touch { exptime }),
        1 => Just(Step::Flush),
        2 => (1u32..5).prop_map(|secs| Step::Pass { secs }),
        1 => Just(Step::Maintain),
    ]
}

impl Model {
    pub(super) fn ends(&self, exptime: u8) -> Option<u64> {
        match exptime_of(exptime) {
            Exptime::Never => None,
            Exptime::Relative(secs) => Some(self.time + u64::from(secs)),
            _ => Some(0),
        }
    }

    pub(super) fn expire(&mut self) {
        let time = self.time;
        self.items
            .retain(|_, entry| entry.ends.is_none_or(|ends| ends > time));
    }

    pub(super) fn cas(&self, key: u8, cas: &Cas) -> Option<u64> {
        let current = self.items.get(&key).map_or(1_000, |entry| entry.cas);
        match cas {
            Cas::None => None,
            Cas::Current => Some(current),
            Cas::Lower => Some(current - 1),
            Cas::Higher => Some(current + 1),
        }
    }

    /// The outcome that a store must have. The CAS value in `Stored` and in the stored entry is set by the caller.
    pub(super) fn store(
        &mut self,
        key: u8,
        new: Entry,
        mode: StoreMode,
        cas: Option<u64>,
        invalidate: bool,
        vivify: Option<u8>,
    ) -> StoreOutcome {
        let done = |value: &[u8]| StoreOutcome::Stored {
            cas: 0,
            value_bytes: value.len() as u32,
        };
        let Some(old) = self.items.get(&key).cloned() else {
            let made = match mode {
                StoreMode::Set | StoreMode::Replace if cas.is_some() => {
                    return StoreOutcome::NotFound;
                }
                StoreMode::Replace => return StoreOutcome::NotStored,
                StoreMode::Append | StoreMode::Prepend => match vivify {
                    Some(exptime) => Entry {
                        ends: self.ends(exptime),
                        ..new
                    },
                    None => return StoreOutcome::NotStored,
                },
                _ => new,
            };
            let outcome = done(&made.value);
            self.items.insert(key, made);
            return outcome;
        };
        let differs = cas.is_some_and(|cas| cas != old.cas);
        let made = match mode {
            StoreMode::Add => return StoreOutcome::NotStored,
            StoreMode::Append | StoreMode::Prepend if differs => return StoreOutcome::Exists,
            StoreMode::Append => Entry {
                value: [old.value, new.value].concat(),
                flags: old.flags,
                ends: old.ends,
                ..new
            },
            StoreMode::Prepend => Entry {
                value: [new.value, old.value].concat(),
                flags: old.flags,
                ends: old.ends,
                ..new
            },
            _ if differs && invalidate && cas < Some(old.cas) => Entry {
                stale: true,
                token: old.token,
                ends: old.ends,
                ..new
            },
            _ if differs => return StoreOutcome::Exists,
            _ => new,
        };
        if made.value.len() + 10 > ITEM_BYTES_MAX {
            return StoreOutcome::NotStored;
        }
        let outcome = done(&made.value);
        self.items.insert(key, made);
        outcome
    }
}

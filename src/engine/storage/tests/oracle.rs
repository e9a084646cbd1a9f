//! Eviction off: every answer must be that of a plain model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    /// Time of death.
    ends: Option<u64>,
    stale: bool,
    token: bool,
    fetched: bool,
}

/// What memcached's rules say, over a map.
#[derive(Default)]
struct Model {
    items: HashMap<u8, Entry>,
    time: u64,
}

#[derive(Clone, Debug)]
enum Cas {
    None,
    Current,
    Lower,
    Higher,
}

#[derive(Clone, Debug)]
enum Step {
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
        life: u8,
        cas: Cas,
        invalidate: bool,
        vivify: Option<u8>,
        digits: bool,
    },
    Arith {
        up: bool,
        delta: u64,
        initial: Option<u64>,
        life: Option<u8>,
        cas: Cas,
    },
    Delete {
        stale: bool,
        empty: bool,
        life: Option<u8>,
        cas: Cas,
    },
    Touch {
        life: u8,
    },
    Flush,
    Pass {
        secs: u32,
    },
    Maintain,
}

fn exptime(life: u8) -> Exptime {
    match life {
        0..4 => Exptime::Never,
        4 => Exptime::Expired,
        secs => Exptime::Relative(u32::from(secs)),
    }
}

fn cas() -> impl Strategy<Value = Cas> {
    prop_oneof![6 => Just(Cas::None), 3 => Just(Cas::Current), 1 => Just(Cas::Lower), 1 => Just(Cas::Higher)]
}

fn step() -> impl Strategy<Value = Step> {
    let life = 0u8..30;
    let maybe_life = proptest::option::of(0u8..30);
    let mode = prop_oneof![
        4 => Just(StoreMode::Set), 1 => Just(StoreMode::Add), 1 => Just(StoreMode::Replace),
        1 => Just(StoreMode::Append), 1 => Just(StoreMode::Prepend)
    ];
    let len = prop_oneof![6 => 0usize..60, 2 => 60usize..3_000, 1 => 30_000usize..300_000];
    prop_oneof![
        8 => (maybe_life.clone(), maybe_life.clone(), proptest::option::of(1u32..20), any::<bool>(), any::<bool>())
            .prop_map(|(touch, vivify, recache, meta, no_bump)| Step::Get { touch, vivify, recache, meta, no_bump }),
        10 => (mode, len, prop_oneof![Just(0u32), any::<u32>()], life.clone(), cas(), any::<bool>(), maybe_life.clone(), any::<bool>())
            .prop_map(|(mode, len, flags, life, cas, invalidate, vivify, digits)|
                Step::Store { mode, len, flags, life, cas, invalidate, vivify, digits }),
        4 => (any::<bool>(), prop_oneof![0u64..200, any::<u64>()], proptest::option::of(0u64..1_000), maybe_life.clone(), cas())
            .prop_map(|(up, delta, initial, life, cas)| Step::Arith { up, delta, initial, life, cas }),
        3 => (any::<bool>(), any::<bool>(), maybe_life, cas())
            .prop_map(|(stale, empty, life, cas)| Step::Delete { stale, empty, life, cas }),
        1 => life.prop_map(|life| Step::Touch { life }),
        1 => Just(Step::Flush),
        2 => (1u32..5).prop_map(|secs| Step::Pass { secs }),
        1 => Just(Step::Maintain),
    ]
}

impl Model {
    fn ends(&self, life: u8) -> Option<u64> {
        match exptime(life) {
            Exptime::Never => None,
            Exptime::Relative(secs) => Some(self.time + u64::from(secs)),
            _ => Some(0),
        }
    }

    fn expire(&mut self) {
        let time = self.time;
        self.items
            .retain(|_, entry| entry.ends.is_none_or(|ends| ends > time));
    }

    fn cas(&self, key: u8, cas: &Cas) -> Option<u64> {
        let current = self.items.get(&key).map_or(1_000, |entry| entry.cas);
        match cas {
            Cas::None => None,
            Cas::Current => Some(current),
            Cas::Lower => Some(current - 1),
            Cas::Higher => Some(current + 1),
        }
    }

    /// What a store must answer, `Stored` standing for any unique; the item is changed but for its unique.
    fn store(
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
                    Some(life) => Entry {
                        ends: self.ends(life),
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

fn key_bytes(key: u8) -> Vec<u8> {
    format!("key-{key:0>width$}", width = 1 + usize::from(key)).into_bytes()
}

fn fill(version: usize, len: usize, digits: bool) -> Vec<u8> {
    match digits {
        true => (version as u64 * 7).to_string().into_bytes(),
        false => (0..len).map(|at| (version * 31 + at) as u8).collect(),
    }
}

struct Pair<'w> {
    world: &'w World,
    tenant: Tenant,
    model: Model,
    last_unique: u64,
}

impl Pair<'_> {
    fn step(&mut self, version: usize, key: u8, step: Step) {
        self.model.expire();
        let bytes = key_bytes(key);
        match step {
            Step::Get {
                touch,
                vivify,
                recache,
                meta,
                no_bump,
            } => self.get(key, touch, vivify, recache, meta, no_bump),
            Step::Store {
                mode,
                len,
                flags,
                life,
                cas,
                invalidate,
                vivify,
                digits,
            } => {
                let value = fill(version, len, digits);
                let cas = self.model.cas(key, &cas);
                let new = Entry {
                    value: value.clone(),
                    flags,
                    cas: 0,
                    ends: self.model.ends(life),
                    stale: false,
                    token: false,
                    fetched: false,
                };
                let expected = self.model.store(key, new, mode, cas, invalidate, vivify);
                let request = StoreRequest {
                    mode,
                    flags,
                    exptime: exptime(life),
                    cas,
                    new_cas: None,
                    invalidate,
                    vivify: vivify.map(exptime),
                    value: NewValue::Bytes(&value),
                };
                let hashed = self.tenant.key(&bytes);
                let mut outcome = self.tenant.lock(&hashed).store(&hashed, request);
                if let StoreOutcome::Stored { cas, .. } = &mut outcome {
                    self.new_unique(key, *cas);
                    *cas = 0;
                }
                assert_eq!(outcome, expected);
            }
            Step::Arith {
                up,
                delta,
                initial,
                life,
                cas,
            } => self.arith(key, up, delta, initial, life, &cas),
            Step::Delete {
                stale,
                empty,
                life,
                cas,
            } => self.delete(key, stale, empty, life, &cas),
            Step::Touch { life } => {
                let ends = self.model.ends(life);
                let hashed = self.tenant.key(&bytes);
                let touched = self.tenant.lock(&hashed).touch(&hashed, exptime(life));
                let entry = self.model.items.get_mut(&key);
                assert_eq!(
                    touched.map(|item| (item.flags, item.cas)),
                    entry.as_ref().map(|entry| (entry.flags, entry.cas))
                );
                if let Some(entry) = entry {
                    entry.ends = ends;
                    entry.fetched = true;
                }
            }
            Step::Flush => {
                self.tenant.flush();
                self.model.items.clear();
            }
            Step::Pass { secs } => {
                let _ = (self.world, secs);
            }
            Step::Maintain => {
                self.tenant.maintain(2);
            }
        }
        self.tenant.audit();
    }

    fn new_unique(&mut self, key: u8, cas: u64) {
        assert!(cas > self.last_unique, "uniques rise");
        self.last_unique = cas;
        if let Some(entry) = self.model.items.get_mut(&key) {
            entry.cas = cas;
        }
    }

    fn get(
        &mut self,
        key: u8,
        touch: Option<u8>,
        vivify: Option<u8>,
        recache: Option<u32>,
        meta: bool,
        no_bump: bool,
    ) {
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let options = GetOptions {
            touch: touch.map(exptime),
            vivify: vivify.map(exptime),
            recache_below_secs: recache,
            recaches: meta,
            no_bump,
            uncounted: false,
        };
        let seen = self.tenant.lock(&hashed).get(&hashed, options).map(|item| {
            (
                item.value.as_slice().to_vec(),
                item.flags(),
                item.cas(),
                item.ttl_secs(),
                item.fetched(),
                item.marks,
            )
        });
        let touched = touch.map(|life| self.model.ends(life));
        let made = vivify.map(|life| self.model.ends(life));
        let time = self.model.time;
        let ttl = |ends: Option<u64>| ends.map(|ends| ends.saturating_sub(time) as u32);
        match (self.model.items.get_mut(&key), seen) {
            (Some(entry), Some(seen)) => {
                entry.ends = touched.unwrap_or(entry.ends);
                let runs_out = recache
                    .zip(ttl(entry.ends))
                    .is_some_and(|(below, left)| left < below);
                let won = meta && !entry.token && (entry.stale || runs_out);
                let marks = Marks {
                    won,
                    stale: meta && entry.stale,
                    token_sent: meta && entry.token,
                };
                assert_eq!(
                    seen,
                    (
                        entry.value.clone(),
                        entry.flags,
                        entry.cas,
                        ttl(entry.ends),
                        entry.fetched,
                        marks
                    )
                );
                entry.token |= won;
                entry.fetched |= !no_bump;
            }
            (None, Some(seen)) => {
                let ends = made.expect("only a vivified item comes from nothing");
                let marks = Marks {
                    won: true,
                    stale: false,
                    token_sent: false,
                };
                assert_eq!(
                    (&seen.0[..], seen.1, seen.3, seen.5),
                    (&b""[..], 0, ttl(ends), marks)
                );
                let entry = Entry {
                    value: Vec::new(),
                    flags: 0,
                    cas: 0,
                    ends,
                    stale: false,
                    token: true,
                    fetched: false,
                };
                self.model.items.insert(key, entry);
                self.new_unique(key, seen.2);
            }
            (None, None) => assert!(made.is_none(), "a miss makes an item when told to"),
            (Some(_), None) => panic!("an item is lost"),
        }
    }

    fn arith(
        &mut self,
        key: u8,
        up: bool,
        delta: u64,
        initial: Option<u64>,
        life: Option<u8>,
        cas: &Cas,
    ) {
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let cas = self.model.cas(key, cas);
        let direction = if up {
            ArithDirection::Increment
        } else {
            ArithDirection::Decrement
        };
        let request = ArithRequest {
            direction,
            delta,
            initial: initial.map(|value| (value, Exptime::Never)),
            exptime: life.map(exptime),
            cas,
            new_cas: None,
        };
        let outcome = self.tenant.lock(&hashed).arith(&hashed, request);
        let ends = life.map(|life| self.model.ends(life));
        let Some(entry) = self.model.items.get_mut(&key) else {
            let Some(value) = initial else {
                return assert_eq!(outcome, ArithOutcome::NotFound);
            };
            let made = Entry {
                value: value.to_string().into_bytes(),
                flags: 0,
                cas: 0,
                ends: None,
                stale: false,
                token: false,
                fetched: false,
            };
            self.model.items.insert(key, made);
            return self.arith_done(key, outcome, value);
        };
        if cas.is_some_and(|cas| cas != entry.cas) {
            return assert_eq!(outcome, ArithOutcome::Exists);
        }
        let text = String::from_utf8_lossy(&entry.value)
            .trim_end_matches(' ')
            .to_owned();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(number) = text.parse::<u64>().ok().filter(|_| digits) else {
            return assert_eq!(outcome, ArithOutcome::NonNumeric);
        };
        let value = if up {
            number.wrapping_add(delta)
        } else {
            number.saturating_sub(delta)
        };
        entry.value = format!("{value:<width$}", width = entry.value.len()).into_bytes();
        entry.ends = ends.unwrap_or(entry.ends);
        self.arith_done(key, outcome, value);
    }

    fn arith_done(&mut self, key: u8, outcome: ArithOutcome, expected: u64) {
        let ArithOutcome::Done { value, cas, .. } = outcome else {
            panic!("{outcome:?} instead of {expected}");
        };
        assert_eq!(value, expected);
        self.new_unique(key, cas);
    }

    fn delete(&mut self, key: u8, stale: bool, empty: bool, life: Option<u8>, cas: &Cas) {
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let cas = self.model.cas(key, cas);
        let request = DeleteRequest {
            cas,
            mark_stale: stale,
            empty,
            exptime: life.map(exptime),
            new_cas: None,
        };
        let outcome = self.tenant.lock(&hashed).delete(&hashed, request);
        let ends = life.map(|life| self.model.ends(life));
        let Some(entry) = self.model.items.get_mut(&key) else {
            return assert_eq!(outcome, DeleteOutcome::NotFound);
        };
        if cas.is_some_and(|cas| cas != entry.cas) {
            return assert_eq!(outcome, DeleteOutcome::Exists);
        }
        assert_eq!(outcome, DeleteOutcome::Deleted);
        if !stale && !empty {
            self.model.items.remove(&key);
            return;
        }
        entry.stale = stale;
        entry.token = false;
        if empty {
            (entry.value, entry.flags, entry.ends) = (Vec::new(), 0, None);
        }
        entry.ends = ends.unwrap_or(entry.ends);
        let look = GetOptions {
            no_bump: true,
            ..GetOptions::default()
        };
        let unique = self
            .tenant
            .lock(&hashed)
            .get(&hashed, look)
            .map(|item| item.cas());
        match unique {
            Some(unique) => self.new_unique(key, unique),
            None => self.last_unique += 1,
        }
    }
}

/// A search once met it: `touch` took the win from the readers that could have been told.
#[test]
fn a_touch_takes_no_win() {
    let world = World::new();
    let mut pair = Pair {
        world: &world,
        tenant: world.tenant(64 * MIB),
        model: Model::default(),
        last_unique: 0,
    };
    let store = |cas| Step::Store {
        mode: StoreMode::Set,
        len: 20,
        flags: 7,
        life: 27,
        cas,
        invalidate: true,
        vivify: None,
        digits: true,
    };
    let read = |meta| Step::Get {
        touch: None,
        vivify: None,
        recache: None,
        meta,
        no_bump: true,
    };
    let steps = [
        store(Cas::None),
        store(Cas::Lower),
        Step::Touch { life: 16 },
        read(false),
        read(true),
        read(true),
    ];
    for (version, step) in steps.into_iter().enumerate() {
        pair.step(version, 6, step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_the_models(steps in proptest::collection::vec((0usize..3, 0u8..12, step()), 1..400)) {
        let world = World::new();
        let mut pairs: Vec<Pair<'_>> = (0..3)
            .map(|_| Pair { world: &world, tenant: world.tenant(64 * MIB), model: Model::default(), last_unique: 0 })
            .collect();
        for (version, (number, key, step)) in steps.into_iter().enumerate() {
            if let Step::Pass { secs } = step {
                world.clock.advance(secs);
                for pair in &mut pairs {
                    pair.model.time += u64::from(secs);
                }
            }
            pairs[number].step(version, key, step);
        }
        prop_assert!(pairs.iter().all(|pair| pair.tenant.counters().evictions == 0));
    }
}

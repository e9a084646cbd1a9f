//! Without eviction: every outcome must be that of a simple model.

mod model;

use proptest::prelude::*;

use super::*;
use model::{Cas, Entry, Model, Step, exptime_of, step};

fn key_bytes(key: u8) -> Vec<u8> {
    format!("key-{key:0>width$}", width = 1 + usize::from(key)).into_bytes()
}

fn fill(version: usize, len: usize, digits: bool) -> Vec<u8> {
    match digits {
        true => (version as u64 * 7).to_string().into_bytes(),
        false => (0..len).map(|at| (version * 31 + at) as u8).collect(),
    }
}

/// A tenant and its model.
struct Pair {
    tenant: Tenant,
    model: Model,
    last_cas: u64,
}

impl Pair {
    fn step(&mut self, version: usize, key: u8, step: Step) {
        self.model.expire();
        match step {
            Step::Get {
                touch,
                vivify,
                recache,
                meta,
                no_bump,
            } => self.get(key, touch, vivify, recache, meta, no_bump),
            store @ Step::Store { .. } => self.store(version, key, store),
            Step::Arith {
                up,
                delta,
                initial,
                exptime,
                cas,
            } => self.arith(key, up, delta, initial, exptime, &cas),
            Step::Delete {
                stale,
                empty,
                exptime,
                cas,
            } => self.delete(key, stale, empty, exptime, &cas),
            Step::Touch { exptime } => self.touch(key, exptime),
            Step::Flush => {
                self.tenant.flush();
                self.model.items.clear();
            }
            // The caller moves the clock, which all pairs share.
            Step::Pass { .. } => {}
            Step::Maintain => {
                self.tenant.maintain(2);
            }
        }
        self.tenant.audit();
    }

    fn store(&mut self, version: usize, key: u8, step: Step) {
        let Step::Store {
            mode,
            len,
            flags,
            exptime,
            cas,
            invalidate,
            vivify,
            digits,
        } = step
        else {
            return;
        };
        let value = fill(version, len, digits);
        let cas = self.model.cas(key, &cas);
        let new = Entry {
            value: value.clone(),
            flags,
            cas: 0,
            ends: self.model.ends(exptime),
            stale: false,
            token: false,
            fetched: false,
        };
        let expected = self.model.store(key, new, mode, cas, invalidate, vivify);
        let request = StoreRequest {
            mode,
            flags,
            exptime: exptime_of(exptime),
            cas,
            new_cas: None,
            invalidate,
            vivify: vivify.map(exptime_of),
            removes_old: false,
            value: NewValue::Bytes(&value),
        };
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let mut outcome = self.tenant.lock(&hashed).store(&hashed, request);
        if let StoreOutcome::Stored { cas, .. } = &mut outcome {
            self.check_new_cas(key, *cas);
            *cas = 0;
        }
        assert_eq!(outcome, expected);
    }

    fn touch(&mut self, key: u8, exptime: u8) {
        let ends = self.model.ends(exptime);
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let touched = self
            .tenant
            .lock(&hashed)
            .touch(&hashed, exptime_of(exptime));
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

    fn check_new_cas(&mut self, key: u8, cas: u64) {
        assert!(cas > self.last_cas, "CAS values rise");
        self.last_cas = cas;
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
            touch: touch.map(exptime_of),
            vivify: vivify.map(exptime_of),
            new_cas: None,
            recache_before: recache.map(Exptime::Relative),
            order: FlagOrder {
                touch: 1,
                vivify: 2,
                recache: 3,
                ..FlagOrder::default()
            },
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
        let touched = touch.map(|exptime| self.model.ends(exptime));
        let made = vivify.map(|exptime| self.model.ends(exptime));
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
                let ends = made.expect("only a vivified item is made by a read");
                let marks = Marks {
                    won: true,
                    ..Marks::default()
                };
                assert_eq!(
                    (&seen.0[..], seen.1, seen.3, seen.5),
                    (&b""[..], 0, ttl(ends), marks)
                );
                self.model
                    .items
                    .insert(key, Entry::vivified(ends, !no_bump));
                self.check_new_cas(key, seen.2);
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
        exptime: Option<u8>,
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
            exptime: exptime.map(exptime_of),
            order: FlagOrder {
                touch: 1,
                vivify: 2,
                ..FlagOrder::default()
            },
            cas,
            new_cas: None,
        };
        let outcome = self.tenant.lock(&hashed).arith(&hashed, request);
        let ends = exptime.map(|exptime| self.model.ends(exptime));
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
        if !entry.value.is_empty() && cas.is_some_and(|cas| cas != entry.cas) {
            return assert_eq!(outcome, ArithOutcome::Exists);
        }
        let text = String::from_utf8_lossy(&entry.value)
            .trim_end_matches(|c: char| c.is_ascii_whitespace())
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
        let written = format!("{value:<width$}", width = entry.value.len()).into_bytes();
        if written.len() > entry.value.len() {
            // A longer number is a new item.
            (entry.stale, entry.token, entry.fetched) = (false, false, false);
        }
        entry.value = written;
        entry.ends = ends.unwrap_or(entry.ends);
        self.arith_done(key, outcome, value);
    }

    fn arith_done(&mut self, key: u8, outcome: ArithOutcome, expected: u64) {
        let ArithOutcome::Done { value, cas, .. } = outcome else {
            panic!("{outcome:?} instead of {expected}");
        };
        assert_eq!(value, expected);
        self.check_new_cas(key, cas);
    }

    fn delete(&mut self, key: u8, stale: bool, empty: bool, exptime: Option<u8>, cas: &Cas) {
        let bytes = key_bytes(key);
        let hashed = self.tenant.key(&bytes);
        let cas = self.model.cas(key, cas);
        let request = DeleteRequest {
            cas,
            mismatch_is_miss: true,
            mark_stale: stale,
            empty,
            exptime: exptime.map(exptime_of),
            flags: 0,
            new_cas: None,
        };
        let outcome = self.tenant.lock(&hashed).delete(&hashed, request);
        let ends = exptime.map(|exptime| self.model.ends(exptime));
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
            entry.fetched = false;
        }
        entry.ends = ends.unwrap_or(entry.ends);
        let without_trace = GetOptions {
            no_bump: true,
            ..GetOptions::default()
        };
        let cas = self
            .tenant
            .lock(&hashed)
            .get(&hashed, without_trace)
            .map(|item| item.cas());
        match cas {
            Some(cas) => self.check_new_cas(key, cas),
            None => self.last_cas += 1,
        }
    }
}

/// A generated run once found this: `touch` won the item, and took it from readers whose replies could have said so.
#[test]
fn a_touch_does_not_win() {
    let fixture = StorageFixture::new();
    let mut pair = Pair {
        tenant: fixture.tenant(64 * MIB),
        model: Model::default(),
        last_cas: 0,
    };
    let store = |cas| Step::Store {
        mode: StoreMode::Set,
        len: 20,
        flags: 7,
        exptime: 27,
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
        Step::Touch { exptime: 16 },
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
        let fixture = StorageFixture::new();
        let mut pairs: Vec<Pair> = (0..3)
            .map(|_| Pair { tenant: fixture.tenant(64 * MIB), model: Model::default(), last_cas: 0 })
            .collect();
        for (version, (number, key, step)) in steps.into_iter().enumerate() {
            if let Step::Pass { secs } = step {
                fixture.clock.advance(secs);
                for pair in &mut pairs {
                    pair.model.time += u64::from(secs);
                }
            }
            pairs[number].step(version, key, step);
        }
        prop_assert!(pairs.iter().all(|pair| pair.tenant.counters().evictions == 0));
    }
}

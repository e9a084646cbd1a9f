//! With eviction: a read returns what was stored last, the limit holds, and no store is refused.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Set { key: u16, len: usize, exptime: u8 },
    Get { key: u16 },
    Delete { key: u16 },
    Flush,
    Limit { kib: u64 },
    Pass { secs: u32 },
    Maintain,
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0usize..200, 4 => 200usize..1_800, 2 => 1_800usize..9_000, 1 => 9_000usize..40_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (0u16..700, lens(), 0u8..40).prop_map(|(key, len, exptime)| Step::Set { key, len, exptime }),
        40 => (0u16..700).prop_map(|key| Step::Get { key }),
        6 => (0u16..700).prop_map(|key| Step::Delete { key }),
        1 => Just(Step::Flush),
        1 => (128u64..1_024).prop_map(|kib| Step::Limit { kib }),
        3 => (1u32..8).prop_map(|secs| Step::Pass { secs }),
        4 => Just(Step::Maintain),
    ]
}

/// A value that differs for every tenant, key and version.
fn value(tenant: usize, key: u16, version: usize, len: usize) -> Vec<u8> {
    let seed = (tenant * 7_919 + key as usize * 104_729 + version * 31) as u32;
    (0..len as u32)
        .map(|at| (seed.wrapping_add(at).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn key_of(key: u16) -> Vec<u8> {
    format!("key-{key:0>width$}", width = 3 + key as usize % 40).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_stale_never_foreign_never_over_never_refused(
        steps in proptest::collection::vec((0usize..2, step()), 100..2_500)
    ) {
        let fixture = StorageFixture::new();
        let tenants = [fixture.tenant(512 << 10), fixture.tenant(512 << 10)];
        let mut models: [HashMap<u16, (usize, usize)>; 2] = Default::default();
        let mut lowered = [false; 2];
        for (version, (number, step)) in steps.into_iter().enumerate() {
            let (tenant, model) = (&tenants[number], &mut models[number]);
            match step {
                Step::Set { key, len, exptime } => {
                    let exptime = match exptime {
                        0..20 => Exptime::Never,
                        exptime => Exptime::Relative(u32::from(exptime) - 19),
                    };
                    let outcome = set_for(tenant, &key_of(key), &value(number, key, version, len), exptime);
                    prop_assert!(is_stored(outcome), "{:?}", outcome);
                    model.insert(key, (version, len));
                    if tenant.used_bytes() <= tenant.limit_bytes() {
                        lowered[number] = false;
                    }
                    prop_assert!(lowered[number] || tenant.used_bytes() <= tenant.limit_bytes());
                }
                Step::Get { key } => if let Some(found) = get(tenant, &key_of(key)) {
                    let Some(&(version, len)) = model.get(&key) else {
                        panic!("a key came back");
                    };
                    prop_assert!(found == value(number, key, version, len), "stale or foreign");
                },
                Step::Delete { key } => {
                    let hashed = key_of(key);
                    let hashed = tenant.key(&hashed);
                    tenant.lock(&hashed).delete(&hashed, DeleteRequest::default());
                    model.remove(&key);
                }
                Step::Flush => {
                    let items = tenant.counters().curr_items;
                    prop_assert_eq!(tenant.flush().items, items);
                    model.clear();
                }
                Step::Limit { kib } => {
                    tenant.set_limit(kib << 10);
                    lowered[number] = true;
                }
                Step::Pass { secs } => fixture.clock.advance(secs),
                Step::Maintain => { tenant.maintain(3); }
            }
            tenant.audit();
        }
        drop(tenants);
        prop_assert_eq!(fixture.pool.used_bytes(), 0);
    }
}

/// A small deterministic generator of numbers.
struct Mix(u64);

impl Mix {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn mixed_sets_under_full_eviction_refuse_none() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(4 * MIB);
    let mut mix = Mix(1);
    let filler = vec![7; 300_000];
    for round in 0..300_000_u32 {
        let key = mix.next(200_000).to_string();
        let len = match mix.next(1_000) {
            0 => mix.next(300_000),
            1..50 => mix.next(5_000),
            _ => mix.next(200),
        };
        assert!(
            is_stored(set(&tenant, key.as_bytes(), &filler[..len as usize])),
            "{round}"
        );
        assert!(tenant.used_bytes() <= tenant.limit_bytes(), "{round}");
    }
    tenant.audit();
    assert_eq!(tenant.counters().store_no_memory, 0);
    assert!(tenant.counters().evictions > 200_000);
}

#[test]
fn items_that_are_read_stay_and_others_are_evicted() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(2 * MIB);
    for hot in 0..500_u32 {
        set(&tenant, format!("hot-{hot}").as_bytes(), &[1; 100]);
    }
    for cold in 0..200_000_u32 {
        set(&tenant, format!("cold-{cold}").as_bytes(), &[2; 100]);
        let hot = format!("hot-{}", cold % 500);
        get(&tenant, hot.as_bytes());
    }
    let kept = (0..500_u32).filter(|hot| get(&tenant, format!("hot-{hot}").as_bytes()).is_some());
    assert_eq!(kept.count(), 500);
}

#[test]
fn a_key_that_is_stored_again_soon_is_kept_longer() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(MIB);
    let fill = |from: u32, to: u32| {
        (from..to).for_each(|n| {
            set(&tenant, format!("one-off-{n}").as_bytes(), &[3; 100]);
        })
    };
    fill(0, 40_000);
    set(&tenant, b"returns", &[1; 100]);
    // Until it is evicted from the small chain, but not yet forgotten by the ghost.
    let key = tenant.key(b"returns");
    let without_trace = GetOptions {
        no_bump: true,
        ..GetOptions::default()
    };
    let mut pushed = 40_000;
    while tenant.lock(&key).get(&key, without_trace).is_some() {
        fill(pushed, pushed + 100);
        pushed += 100;
        assert!(pushed < 60_000);
    }
    set(&tenant, b"returns", &[1; 100]);
    fill(pushed, pushed + 2_000);
    assert!(
        get(&tenant, b"returns").is_some(),
        "a returning key goes to the main chain"
    );
}

#[test]
fn a_lowered_limit_is_reached_and_a_raised_one_is_used() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(16 * MIB);
    let fill = || {
        (0..60_000_u32)
            .for_each(|n| assert!(is_stored(set(&tenant, n.to_string().as_bytes(), &[4; 400]))))
    };
    fill();
    assert!(tenant.used_bytes() > 15 * MIB);
    tenant.set_limit(2 * MIB);
    let mut passes = 0;
    while tenant.maintain(16).unfinished {
        passes += 1;
        assert!(passes < 100);
    }
    assert!(tenant.used_bytes() <= 2 * MIB);
    tenant.audit();
    fill();
    assert!(tenant.used_bytes() <= 2 * MIB);
    tenant.set_limit(16 * MIB);
    fill();
    assert!(tenant.used_bytes() > 15 * MIB && tenant.used_bytes() <= 16 * MIB);
    tenant.audit();
}

/// A large value has an allocation of its own, so no segment stands in for it.
#[test]
fn large_values_keep_a_lowered_limit() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(16 * MIB);
    let large = vec![6; 700_000];
    for n in 0..40_u32 {
        assert!(is_stored(set(&tenant, &n.to_be_bytes(), &large)));
        assert!(tenant.used_bytes() <= 16 * MIB);
    }
    assert!(tenant.used_bytes() > 14 * MIB);
    tenant.set_limit(3 * MIB);
    while tenant.maintain(16).unfinished {}
    assert!(tenant.used_bytes() <= 3 * MIB);
    for n in 0..40_u32 {
        assert!(is_stored(set(&tenant, &n.to_be_bytes(), &large)));
        assert!(tenant.used_bytes() <= 3 * MIB, "{}", tenant.used_bytes());
    }
    tenant.audit();
}

/// Each store frees a bounded amount, whatever its shard, and items that are read often survive the change.
#[test]
fn a_limit_lowered_under_stores_refuses_none_and_empties_no_shard_at_once() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(600 * MIB);
    let hot = |n: u32| format!("hot-{n}").into_bytes();
    for n in 0..2_000 {
        set(&tenant, &hot(n), &[1; 1_000]);
    }
    for n in 0..30_000_u32 {
        set(&tenant, &n.to_be_bytes(), &[2; 20_000]);
    }
    for _ in 0..3 {
        (0..2_000).for_each(|n| assert!(get(&tenant, &hot(n)).is_some()));
    }
    tenant.set_limit(60 * MIB);
    let mut stores = 0_u32;
    while tenant.used_bytes() > 60 * MIB {
        let before = tenant.used_bytes();
        let bytes = [1_000, 20_000, 900_000][stores as usize % 3];
        let outcome = set(&tenant, &(1 << 20 | stores).to_be_bytes(), &vec![3; bytes]);
        assert!(is_stored(outcome), "{outcome:?} after {stores} stores");
        let freed = before.saturating_sub(tenant.used_bytes());
        assert!(freed < 8 * MIB, "{freed} bytes by one store");
        if stores.is_multiple_of(8) {
            tenant.maintain(16);
        }
        stores += 1;
    }
    assert!(stores > 20, "{stores}");
    let left = (0..2_000).filter(|&n| get(&tenant, &hot(n)).is_some());
    assert!(left.count() > 1_800);
    tenant.audit();
}

#[test]
fn a_large_item_is_taken_by_a_tenant_of_many_shards_lowered_far() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(2_048 * MIB);
    for n in 0..40_000_u32 {
        set(&tenant, n.to_string().as_bytes(), &[5; 1_000]);
    }
    tenant.set_limit(3 * MIB);
    while tenant.maintain(64).unfinished {}
    for n in 0..50_u32 {
        let outcome = set(
            &tenant,
            format!("large-{n}").as_bytes(),
            &vec![6; 1_000_000],
        );
        assert!(is_stored(outcome), "{outcome:?}");
        assert!(get(&tenant, format!("large-{n}").as_bytes()).is_some());
        tenant.audit();
    }
    assert!(tenant.used_bytes() <= 3 * MIB);
}

/// Making room evicts other items, never the one that was just stored.
#[test]
fn an_item_of_any_size_can_be_read_after_its_store() {
    let fixture = StorageFixture::new();
    for limit in [MIB, 2 * MIB, 5 * MIB] {
        let tenant = fixture.tenant(limit);
        for n in 0..20_000_u32 {
            set(&tenant, &n.to_be_bytes(), &[1; 300]);
        }
        for step in 1..=200_u64 {
            let len = (limit * 9 / 10).min(1_000_000) * step / 200;
            let key = format!("large-{step}");
            let outcome = set(&tenant, key.as_bytes(), &vec![2; len as usize]);
            assert!(is_stored(outcome), "{len} of {limit}: {outcome:?}");
            let found = get(&tenant, key.as_bytes()).map(|value| value.len() as u64);
            assert_eq!(found, Some(len), "of {limit}");
            assert!(tenant.used_bytes() <= limit);
        }
        tenant.audit();
    }
}

/// A cache full of small values does not evict a large value with the next store.
#[test]
fn a_large_value_survives_many_small_stores() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    let mut numbers = 0_u32..;
    let mut small = |count: usize| {
        for n in numbers.by_ref().take(count) {
            set(&tenant, &n.to_be_bytes(), &[1; 500]);
        }
    };
    small(200_000);
    for len in [10_000, 100_000, 700_000, 1_000_000_usize] {
        set(&tenant, b"large", &vec![2; len]);
        small(2_000);
        let found = get(&tenant, b"large").map(|value| value.len());
        assert_eq!(found, Some(len), "after two thousand small ones");
        let key = tenant.key(b"large");
        tenant.lock(&key).delete(&key, DeleteRequest::default());
    }
}

#[test]
fn at_the_ceiling_of_the_process_a_tenant_evicts_its_own_items() {
    let fixture = StorageFixture {
        clock: EngineClock::manual(0),
        pool: Pool::new(8 * MIB),
    };
    let (first, second) = (fixture.tenant(6 * MIB), fixture.tenant(6 * MIB));
    for n in 0..100_000_u32 {
        for tenant in [&first, &second] {
            assert!(is_stored(set(tenant, n.to_string().as_bytes(), &[7; 300])));
        }
        assert!(fixture.pool.used_bytes() <= 8 * MIB + (64 << 10));
    }
}

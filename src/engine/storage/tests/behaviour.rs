//! What each operation promises.

use super::*;

#[test]
fn an_empty_tenant_costs_at_most_a_kibibyte() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    assert_eq!(tenant.used_bytes(), 0);
    let fixed = tenant.fixed_bytes();
    assert!(fixed <= 1_024, "{fixed} bytes");
    assert_eq!(get(&tenant, b"anything"), None);
    assert_eq!(tenant.used_bytes(), 0, "a read allocates nothing");
}

#[test]
fn a_flush_ends_everything_and_the_memory_comes_back_in_slices() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    for n in 0..20_000_u32 {
        set(&tenant, n.to_string().as_bytes(), &[1; 500]);
    }
    set(&tenant, b"large", &vec![1; 500_000]);
    let (before, counters) = (tenant.used_bytes(), tenant.counters());
    let flushed = tenant.flush();
    assert_eq!(
        (flushed.items, flushed.bytes),
        (counters.curr_items, counters.bytes)
    );
    assert_eq!(flushed.items, 20_001);
    assert_eq!(get(&tenant, b"7"), None);
    assert_eq!(tenant.used_bytes(), before, "nothing is freed yet");
    set(&tenant, b"7", b"new");
    while tenant.maintain(8).unfinished {
        tenant.audit();
    }
    assert_eq!(get(&tenant, b"7").as_deref(), Some(&b"new"[..]));
    assert!(tenant.used_bytes() < 200_000, "{}", tenant.used_bytes());
    assert_eq!(tenant.counters().cmd_flush, 1);
}

#[test]
fn flushed_memory_is_used_again_by_stores_alone() {
    let world = World::new();
    let tenant = world.tenant(4 * MIB);
    for round in 0..20_u32 {
        for n in 0..5_000_u32 {
            assert!(
                is_stored(set(&tenant, n.to_string().as_bytes(), &[1; 500])),
                "{round}"
            );
            assert!(tenant.used_bytes() <= 4 * MIB);
        }
        tenant.flush();
        tenant.audit();
    }
}

#[test]
fn a_delayed_flush_takes_effect_at_its_time_and_is_told_once() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    set(&tenant, b"before", b"1");
    tenant.flush_after(10);
    set(&tenant, b"after", b"2");
    world.clock.advance(9);
    assert_eq!(tenant.maintain(1).flushed, None);
    assert!(get(&tenant, b"before").is_some());
    world.clock.advance(1);
    assert_eq!(get(&tenant, b"after"), None);
    set(&tenant, b"later", b"3");
    assert_eq!(
        tenant.maintain(1).flushed.map(|flushed| flushed.items),
        Some(2)
    );
    assert_eq!(tenant.maintain(1).flushed, None);
    assert!(get(&tenant, b"later").is_some());
}

#[test]
fn a_flush_whose_time_has_come_is_not_replaced() {
    let world = World::new();
    let tenant = world.tenant(MIB);
    set(&tenant, b"before", b"v");
    tenant.flush_after(10);
    world.clock.advance(10);
    tenant.flush_after(10);
    assert_eq!(get(&tenant, b"before"), None);
    set(&tenant, b"between", b"v");
    assert!(get(&tenant, b"between").is_some());
    world.clock.advance(10);
    assert_eq!(get(&tenant, b"between"), None);
}

#[test]
fn a_flush_replaces_a_delayed_one() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    tenant.flush_after(10);
    tenant.flush();
    set(&tenant, b"key", b"1");
    world.clock.advance(11);
    assert!(get(&tenant, b"key").is_some());
    assert_eq!(tenant.maintain(1).flushed, None);
}

#[test]
fn the_sweeper_frees_what_nobody_reads() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    for n in 0..30_000_u32 {
        let exptime = match n % 3 {
            0 => Exptime::Relative(5),
            1 => Exptime::Relative(2_000),
            _ => Exptime::Never,
        };
        set_for(&tenant, n.to_string().as_bytes(), &[1; 300], exptime);
    }
    let before = tenant.used_bytes();
    world.clock.advance(6);
    for _ in 0..60 {
        tenant.maintain(32);
        tenant.audit();
        world.clock.advance(1);
    }
    let counters = tenant.counters();
    assert_eq!((counters.expired, counters.curr_items), (10_000, 20_000));
    assert_eq!(counters.expired_unfetched, 10_000);
    assert!(
        tenant.used_bytes() < before * 8 / 10,
        "{} of {before}",
        tenant.used_bytes()
    );
    assert!(get(&tenant, b"4").is_some() && get(&tenant, b"5").is_some());
}

#[test]
fn rewriting_one_key_holds_no_more_than_it_needs() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    for n in 0..400_000_usize {
        set(&tenant, b"counter", &vec![1; 1 + n % 3_000]);
    }
    tenant.audit();
    assert!(
        tenant.used_bytes() < 10 * (64 << 10),
        "{}",
        tenant.used_bytes()
    );
}

#[test]
fn an_upload_is_charged_from_its_beginning_to_the_last_reply() {
    let world = World::new();
    let tenant = world.tenant(4 * MIB);
    let key = tenant.key(b"large");
    assert!(tenant.is_large(5, 900_000) && !tenant.is_large(5, 500));
    let mut upload = tenant.reserve(900_000).expect("room for one");
    assert!(tenant.used_bytes() >= 900_000);
    while !upload.is_complete() {
        upload.extend(&[9; 4_096]);
    }
    let request = StoreRequest::set(3, Exptime::Never, NewValue::Upload(upload));
    assert!(is_stored(tenant.lock(&key).store(&key, request)));
    let reply = {
        let mut shard = tenant.lock(&key);
        match shard
            .get(&key, GetOptions::default())
            .expect("stored")
            .value
        {
            Value::Shared(shared) => shared.clone(),
            Value::Inline(_) => panic!("a large value has its own allocation"),
        }
    };
    tenant.lock(&key).delete(&key, DeleteRequest::default());
    assert!(tenant.used_bytes() >= 900_000, "pinned by the reply");
    assert_eq!(reply.as_slice().len(), 900_000);
    drop(reply);
    assert!(tenant.used_bytes() < 100_000);
    tenant.audit();
}

#[test]
fn uploads_make_room_and_wait_for_one_another() {
    let world = World::new();
    let tenant = world.tenant(4 * MIB);
    for n in 0..20_000_u32 {
        set(&tenant, n.to_string().as_bytes(), &[1; 300]);
    }
    let uploads: Vec<_> = std::iter::from_fn(|| tenant.reserve(900_000).ok()).collect();
    assert_eq!(uploads.len(), 2, "half of the limit");
    assert!(tenant.used_bytes() <= 4 * MIB);
    assert!(is_stored(set(&tenant, b"small", b"goes on")));
    assert!(tenant.used_bytes() <= 4 * MIB);
    drop(uploads);
    assert!(tenant.reserve(900_000).is_ok());
}

#[test]
fn too_large_a_set_removes_the_old_value_and_others_do_not() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    let key = tenant.key(b"key");
    let huge = vec![1; ITEM_BYTES_MAX];
    set(&tenant, b"key", b"old");
    let add = StoreRequest {
        mode: StoreMode::Replace,
        ..StoreRequest::set(0, Exptime::Never, NewValue::Bytes(&huge))
    };
    assert_eq!(tenant.lock(&key).store(&key, add), StoreOutcome::TooLarge);
    assert!(get(&tenant, b"key").is_some());
    assert_eq!(set(&tenant, b"key", &huge), StoreOutcome::TooLarge);
    assert_eq!(get(&tenant, b"key"), None);
    assert!(is_stored(set(&tenant, b"key", &huge[..ITEM_BYTES_MAX - 3])));
    assert_eq!(tenant.counters().store_too_large, 2);
}

#[test]
fn recaching_gives_the_token_to_one_reader() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    let key = tenant.key(b"key");
    let read = |options: GetOptions| {
        let mut shard = tenant.lock(&key);
        shard.get(&key, options).map(|item| item.marks)
    };
    // as `mg` reads: the only command with words for the marks
    let plain = GetOptions {
        recaches: true,
        ..GetOptions::default()
    };
    let marks = |won, stale, token_sent| {
        Some(Marks {
            won,
            stale,
            token_sent,
        })
    };

    let vivify = GetOptions {
        vivify: Some(Exptime::Relative(30)),
        ..plain
    };
    assert_eq!(read(vivify), marks(true, false, false));
    assert_eq!(read(vivify), marks(false, false, true));
    set_for(&tenant, b"key", b"value", Exptime::Relative(100));
    let recache = |secs| GetOptions {
        recache_below_secs: Some(secs),
        ..plain
    };
    assert_eq!(read(recache(50)), marks(false, false, false));
    assert_eq!(read(recache(101)), marks(true, false, false));
    assert_eq!(read(recache(101)), marks(false, false, true));
    let stale = DeleteRequest {
        mark_stale: true,
        ..DeleteRequest::default()
    };
    assert_eq!(
        tenant.lock(&key).delete(&key, stale),
        DeleteOutcome::Deleted
    );
    assert_eq!(read(plain), marks(true, true, false));
    assert_eq!(read(plain), marks(false, true, true));
    set(&tenant, b"key", b"value");
    assert_eq!(
        read(recache(1_000)),
        marks(false, false, false),
        "an endless item is never won"
    );
}

#[test]
fn reads_leave_their_marks_unless_told_not_to() {
    let world = World::new();
    let tenant = world.tenant(25 * MIB);
    let key = tenant.key(b"key");
    set(&tenant, b"key", b"value");
    world.clock.advance(7);
    let read = |no_bump| {
        let mut shard = tenant.lock(&key);
        let options = GetOptions {
            no_bump,
            ..GetOptions::default()
        };
        let item = shard.get(&key, options).expect("stored");
        (item.fetched(), item.last_access_secs())
    };
    assert_eq!(read(true), (false, 7));
    assert_eq!(read(false), (false, 7));
    world.clock.advance(3);
    assert_eq!(read(true), (true, 3));
}

/// A thread may be put to sleep by the system while it holds a shard.
#[test]
fn a_store_that_fits_is_taken_while_every_other_shard_is_held() {
    let world = World::new();
    let tenant = world.tenant(2_048 * MIB);
    for n in 0..40_000_u32 {
        set(&tenant, &n.to_be_bytes(), &[1; 1_000]);
    }
    tenant.set_limit(3 * MIB);
    while tenant.maintain(64).unfinished {}
    let numbers = 0..tenant.shard_count();
    let keys: Vec<_> = numbers
        .map(|number| {
            let mut keys = (0_u32..).map(|n| format!("large-{n}").into_bytes());
            let lies_here = |key: &Vec<u8>| tenant.key(key).shard(tenant.shard_count()) == number;
            keys.find(lies_here).expect("some key lies in each")
        })
        .collect();
    let (mine, others) = keys.split_first().expect("a shard");
    let held: Vec<_> = others
        .iter()
        .map(|other| tenant.lock(&tenant.key(other)))
        .collect();
    assert!(!held.is_empty());

    for bytes in [1_000_000, 100, 1_000_000] {
        assert!(is_stored(set(&tenant, mine, &vec![2; bytes])), "{bytes}");
        assert_eq!(get(&tenant, mine).map(|value| value.len()), Some(bytes));
        let over = tenant.used_bytes().saturating_sub(tenant.limit_bytes());
        assert!(over < 2 * MIB, "{over} bytes over the limit");
    }
    drop(held);
    while tenant.maintain(64).unfinished {}
    assert!(tenant.used_bytes() <= 3 * MIB);
    tenant.audit();
}

#[test]
fn many_threads_on_many_shards_keep_the_accounts() {
    let world = World::new();
    let tenant = world.tenant(1_100 * MIB);
    tenant.set_limit(8 * MIB);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let tenant = &tenant;
            scope.spawn(move || {
                for n in 0..30_000_u32 {
                    let len = if n % 500 == 0 {
                        200_000
                    } else {
                        n as usize % 700
                    };
                    let key = format!("{thread}-{}", n % 9_000);
                    assert!(is_stored(set(tenant, key.as_bytes(), &vec![1; len])));
                    if n % 7_000 == 6_999 {
                        tenant.flush();
                    }
                    if n % 100 == 0 {
                        tenant.maintain(4);
                    }
                }
            });
        }
    });
    while tenant.maintain(16).unfinished {}
    tenant.audit();
    assert!(tenant.used_bytes() <= 8 * MIB);
}

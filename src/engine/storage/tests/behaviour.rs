//! The behaviour of each operation.

use super::*;

#[test]
fn an_empty_tenant_costs_at_most_a_kibibyte() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    assert_eq!(tenant.used_bytes(), 0);
    let fixed = tenant.fixed_bytes();
    assert!(fixed <= 1_024, "{fixed} bytes");
    assert_eq!(get(&tenant, b"anything"), None);
    assert_eq!(tenant.used_bytes(), 0, "a read allocates nothing");
}

#[test]
fn a_flush_removes_all_items_and_the_memory_is_freed_in_slices() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
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
fn stores_alone_reuse_flushed_memory() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(4 * MIB);
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
fn a_delayed_flush_takes_effect_at_its_time_and_is_reported_once() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    set(&tenant, b"before", b"1");
    tenant.flush_after(10);
    set(&tenant, b"after", b"2");
    fixture.clock.advance(9);
    assert_eq!(tenant.take_flushed(), None);
    assert!(get(&tenant, b"before").is_some());
    fixture.clock.advance(1);
    assert_eq!(get(&tenant, b"after"), None);
    set(&tenant, b"later", b"3");
    assert_eq!(tenant.take_flushed().map(|flushed| flushed.items), Some(2));
    assert_eq!(tenant.take_flushed(), None);
    assert!(get(&tenant, b"later").is_some());
}

#[test]
fn housekeeping_carries_out_a_delayed_flush() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    set(&tenant, b"before", b"1");
    tenant.flush_after(10);
    fixture.clock.advance(10);
    tenant.maintain(1);
    assert_eq!(tenant.counters().curr_items, 0);
}

#[test]
fn a_delayed_flush_that_is_due_is_not_replaced() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(MIB);
    set(&tenant, b"before", b"v");
    tenant.flush_after(10);
    fixture.clock.advance(10);
    let due = tenant.flush_after(10);
    assert_eq!(due.map(|flushed| flushed.items), Some(1));
    assert_eq!(get(&tenant, b"before"), None);
    set(&tenant, b"between", b"v");
    assert!(get(&tenant, b"between").is_some());
    fixture.clock.advance(10);
    assert_eq!(get(&tenant, b"between"), None);
}

#[test]
fn a_flush_replaces_a_delayed_one() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    tenant.flush_after(10);
    tenant.flush();
    set(&tenant, b"key", b"1");
    fixture.clock.advance(11);
    assert!(get(&tenant, b"key").is_some());
    assert_eq!(tenant.take_flushed(), None);
}

#[test]
fn a_delayed_flush_can_be_dropped_until_it_is_due() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(MIB);
    assert!(!tenant.drop_delayed());
    set(&tenant, b"key", b"1");
    tenant.flush_after(10);
    fixture.clock.advance(9);
    assert!(tenant.drop_delayed());
    fixture.clock.advance(9);
    assert!(get(&tenant, b"key").is_some());
    tenant.flush_after(10);
    fixture.clock.advance(10);
    assert!(!tenant.drop_delayed());
    assert_eq!(tenant.take_flushed().map(|flushed| flushed.items), Some(1));
}

#[test]
fn the_sweep_frees_expired_items_that_nobody_reads() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    for n in 0..30_000_u32 {
        let exptime = match n % 3 {
            0 => Exptime::Relative(5),
            1 => Exptime::Relative(2_000),
            _ => Exptime::Never,
        };
        set_for(&tenant, n.to_string().as_bytes(), &[1; 300], exptime);
    }
    let before = tenant.used_bytes();
    fixture.clock.advance(6);
    for _ in 0..60 {
        tenant.maintain(32);
        tenant.audit();
        fixture.clock.advance(1);
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
fn rewriting_one_key_keeps_no_dead_memory() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
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
fn an_upload_is_charged_from_its_start_to_the_last_reply() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(4 * MIB);
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
    assert!(tenant.used_bytes() >= 900_000, "the reply still holds it");
    assert_eq!(reply.as_slice().len(), 900_000);
    drop(reply);
    assert!(tenant.used_bytes() < 100_000);
    tenant.audit();
}

#[test]
fn uploads_evict_items_but_not_one_another() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(4 * MIB);
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
fn a_store_that_is_too_large_removes_the_old_item_if_it_is_to() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    let key = tenant.key(b"key");
    let huge = vec![1; ITEM_BYTES_MAX];
    set(&tenant, b"key", b"old");
    let replace = StoreRequest {
        mode: StoreMode::Replace,
        removes_old: false,
        ..StoreRequest::set(0, Exptime::Never, NewValue::Bytes(&huge))
    };
    assert_eq!(
        tenant.lock(&key).store(&key, replace),
        StoreOutcome::TooLarge
    );
    assert!(get(&tenant, b"key").is_some());
    assert_eq!(set(&tenant, b"key", &huge), StoreOutcome::TooLarge);
    assert_eq!(get(&tenant, b"key"), None);
    assert!(is_stored(set(&tenant, b"key", &huge[..ITEM_BYTES_MAX - 3])));
    assert_eq!(tenant.counters().store_too_large, 2);
}

#[test]
fn one_reader_wins_the_recaching() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    let key = tenant.key(b"key");
    let read = |options: GetOptions| {
        let mut shard = tenant.lock(&key);
        shard.get(&key, options).map(|item| item.marks)
    };
    // as `mg` reads: the only command whose reply has the marks
    let meta_read = GetOptions {
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
        ..meta_read
    };
    assert_eq!(read(vivify), marks(true, false, false));
    assert_eq!(read(vivify), marks(false, false, true));
    set_for(&tenant, b"key", b"value", Exptime::Relative(100));
    let recache = |secs| GetOptions {
        recache_before: Some(Exptime::Relative(secs)),
        ..meta_read
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
    assert_eq!(read(meta_read), marks(true, true, false));
    assert_eq!(read(meta_read), marks(false, true, true));
    set(&tenant, b"key", b"value");
    assert_eq!(
        read(recache(1_000)),
        marks(false, false, false),
        "an item that never expires is never won"
    );
}

#[test]
fn reads_record_an_access_unless_told_not_to() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(25 * MIB);
    let key = tenant.key(b"key");
    set(&tenant, b"key", b"value");
    fixture.clock.advance(7);
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
    fixture.clock.advance(3);
    assert_eq!(read(true), (true, 3));
}

/// The kernel may suspend a thread while it holds a shard's lock.
#[test]
fn a_store_that_fits_is_taken_while_every_other_shard_is_held() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(2_048 * MIB);
    for n in 0..40_000_u32 {
        set(&tenant, &n.to_be_bytes(), &[1; 1_000]);
    }
    tenant.set_limit(3 * MIB);
    while tenant.maintain(64).unfinished {}
    let numbers = 0..tenant.shard_count();
    let keys: Vec<_> = numbers
        .map(|number| {
            let mut keys = (0_u32..).map(|n| format!("large-{n}").into_bytes());
            let is_here = |key: &Vec<u8>| tenant.key(key).shard(tenant.shard_count()) == number;
            keys.find(is_here).expect("each shard has some key")
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
fn many_threads_on_many_shards_keep_the_counts_right() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(1_100 * MIB);
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

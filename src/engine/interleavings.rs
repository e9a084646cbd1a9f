//! Tests that run threads in many different orders, with shuttle. They run with
//! `cargo test --lib --features shuttle interleavings`; in that build the engine's locks work only in these tests.

use std::sync::Arc;

use shuttle::thread;

use super::auth::{Account, ConnectionSlot, Proof};
use super::storage::{
    EngineClock, Exptime, GetOptions, NewValue, Pool, StoreOutcome, StoreRequest, Tenant,
};
use super::tenancy::{FlushAuthor, Tenancy};
use super::{Limits, testing};
use crate::domain::secret::Verifier;
use crate::domain::{CacheId, Capabilities, Timestamp};

const ROUNDS: usize = 2_000;

fn tenant(limit_bytes: u64, pool: &Pool, clock: &EngineClock) -> Tenant {
    Tenant::new(limit_bytes, pool, clock)
}

fn account(connections_max: u32) -> Arc<Account> {
    let (pool, clock) = (Pool::new(1 << 30), EngineClock::manual(1_800_000_000));
    account_in(tenant(1 << 20, &pool, &clock), connections_max)
}

fn account_in(items: Tenant, connections_max: u32) -> Arc<Account> {
    let since = Timestamp::from_secs(1_800_000_000);
    let tenancy = Tenancy::new(CacheId(1), items, connections_max, 1, since);
    let verifier = Verifier::from_bytes([0; 32]);
    Arc::new(Account::new(
        None,
        Proof::Password(verifier),
        Capabilities::ALL,
        Arc::new(tenancy),
    ))
}

/// Stores a value of `bytes` bytes under `key`. False when it was refused.
fn set(tenant: &Tenant, key: &[u8], bytes: usize) -> bool {
    let key = tenant.key(key);
    let value = vec![b'v'; bytes];
    let request = StoreRequest::set(0, Exptime::Never, NewValue::Bytes(&value));
    let outcome = tenant.lock(&key).store(&key, request);
    matches!(outcome, StoreOutcome::Stored { .. })
}

fn has(tenant: &Tenant, key: &[u8]) -> bool {
    let key = tenant.key(key);
    let mut shard = tenant.lock(&key);
    shard.get(&key, GetOptions::default()).is_some()
}

/// There are never more connections than allowed, and a slot that becomes free can be taken by the next connection.
#[test]
fn a_free_slot_can_be_taken() {
    shuttle::check_random(
        || {
            let account = account(1);
            let held = ConnectionSlot::take(Arc::clone(&account)).expect("the first");
            let rival = {
                let account = Arc::clone(&account);
                thread::spawn(move || ConnectionSlot::take(account))
            };
            drop(held);
            let again = ConnectionSlot::take(Arc::clone(&account));
            let rival = rival.join().unwrap();
            let taken = u32::from(again.is_some()) + u32::from(rival.is_some());
            assert_eq!(taken, 1, "there is one slot, and one connection has it");
            drop((again, rival));
            assert_eq!(account.tenancy.connections(), 0);
            assert_eq!(account.connections(), 0);
        },
        ROUNDS,
    );
}

/// The capabilities change while the account is revoked: it stays revoked.
#[test]
fn a_revoked_account_stays_revoked() {
    shuttle::check_random(
        || {
            let account = account(1);
            let changing = {
                let account = Arc::clone(&account);
                thread::spawn(move || {
                    account.set_capabilities(Capabilities::NONE);
                    account.set_capabilities(Capabilities::ALL);
                })
            };
            account.revoke();
            assert!(account.is_revoked());
            changing.join().unwrap();
            assert!(account.is_revoked());
        },
        ROUNDS,
    );
}

/// Tenants that store at the same time never exceed the ceiling of the process together, and each stays under its own
/// limit. A store that fits is not refused, and nothing stays charged.
#[test]
fn the_ceiling_holds_for_all_together() {
    const CEILING: u64 = 256 << 10;
    shuttle::check_random(
        || {
            let (pool, clock) = (Pool::new(CEILING), EngineClock::manual(1_800_000_000));
            let tenants: Vec<_> = (0..3)
                .map(|_| Arc::new(tenant(64 << 10, &pool, &clock)))
                .collect();
            let storing: Vec<_> = tenants
                .iter()
                .map(|tenant| {
                    let (tenant, pool) = (Arc::clone(tenant), pool.clone());
                    thread::spawn(move || {
                        for number in 0..3u8 {
                            assert!(set(&tenant, &[b'a' + number], 9_000), "it fits");
                            assert!(tenant.used_bytes() <= tenant.limit_bytes());
                            assert!(pool.used_bytes() <= CEILING);
                        }
                        tenant.flush();
                        tenant.maintain(100);
                    })
                })
                .collect();
            storing
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            drop(tenants);
            assert_eq!(pool.used_bytes(), 0);
        },
        ROUNDS / 10,
    );
}

/// An upload that fits, beside one that is too large: the failed charge of the one must not refuse the other.
#[test]
fn an_upload_that_fits_is_not_refused_for_one_that_does_not() {
    shuttle::check_random(
        || {
            let (pool, clock) = (Pool::new(1 << 20), EngineClock::manual(1_800_000_000));
            let small = tenant(1 << 20, &pool, &clock);
            let large = Arc::new(tenant(8 << 20, &pool, &clock));
            let trying = {
                let large = Arc::clone(&large);
                thread::spawn(move || large.reserve(1 << 20).is_ok())
            };
            assert!(small.reserve(400_000).is_ok());
            assert!(!trying.join().unwrap(), "the process has less memory");
        },
        ROUNDS,
    );
}

/// A delayed flush is requested while an older one takes effect. Both take effect, and no read returns an item from before.
#[test]
fn a_delayed_flush_is_not_lost_behind_another() {
    shuttle::check_random(
        || {
            let (pool, clock) = (Pool::new(1 << 30), EngineClock::manual(1_800_000_000));
            let tenant = Arc::new(tenant(1 << 20, &pool, &clock));
            assert!(set(&tenant, b"before", 10));
            tenant.flush_after(1);
            clock.advance(1);
            let reading = {
                let tenant = Arc::clone(&tenant);
                thread::spawn(move || assert!(!has(&tenant, b"before")))
            };
            tenant.flush_after(10);
            reading.join().unwrap();
            assert!(set(&tenant, b"between", 10));
            clock.advance(10);
            assert!(!has(&tenant, b"between"), "the second flush was lost");
        },
        ROUNDS,
    );
}

/// A client asks for a delayed flush while its right to flush ends. Whichever comes first, the flush does not take place.
#[test]
fn a_delayed_flush_does_not_outlive_its_permission() {
    shuttle::check_random(
        || {
            let engine = testing::engine(Limits::default());
            let account = account_in(tenant(1 << 20, &engine.pool, &engine.engine_clock), 1);
            let tenant = &account.tenancy.items;
            assert!(set(tenant, b"key", 10));
            let asking = {
                let (engine, account) = (Arc::clone(&engine), Arc::clone(&account));
                thread::spawn(move || {
                    engine.flush_for_client(&account, 5, FlushAuthor::default());
                })
            };
            account.set_capabilities(Capabilities::WRITE);
            asking.join().unwrap();
            engine.engine_clock.advance(5);
            assert!(has(tenant, b"key"), "the flush took place");
        },
        ROUNDS,
    );
}

/// Two shards of a tenant whose limit was lowered to about one large value. Each store needs the other shard's memory, even
/// while another thread holds that shard. In the end the tenant is under its limit.
#[test]
fn a_store_that_fits_is_not_refused_for_a_busy_shard() {
    const LIMIT: u64 = 400 << 10;
    shuttle::check_random(
        || {
            let (pool, clock) = (Pool::new(1 << 30), EngineClock::manual(1_800_000_000));
            let tenant = Arc::new(tenant(300 << 20, &pool, &clock));
            tenant.set_limit(LIMIT);
            let storing: Vec<_> = (0..3u8)
                .map(|thread| {
                    let tenant = Arc::clone(&tenant);
                    thread::spawn(move || {
                        for number in 0..4u8 {
                            assert!(set(&tenant, &[thread, number], 200_000), "it fits");
                        }
                    })
                })
                .collect();
            storing
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            while tenant.maintain(100).unfinished {}
            assert!(tenant.used_bytes() <= LIMIT);
        },
        ROUNDS / 10,
    );
}

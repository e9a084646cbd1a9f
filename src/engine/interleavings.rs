//! Orders in which threads may meet, played through by shuttle. These run with
//! `cargo test --lib --features shuttle interleavings`: in that build the engine's locks work only here.

use std::sync::Arc;

use shuttle::thread;

use super::auth::{Account, Proof, Seat};
use super::storage::{
    EngineClock, Exptime, GetOptions, NewValue, Pool, StoreOutcome, StoreRequest, Tenant,
};
use super::tenancy::Tenancy;
use crate::domain::secret::Verifier;
use crate::domain::{CacheId, Capabilities, Timestamp};

const ROUNDS: usize = 2_000;

fn tenant(limit_bytes: u64, pool: &Pool, clock: &EngineClock) -> Tenant {
    Tenant::new(limit_bytes, pool, clock)
}

fn account(connections_max: u32) -> Arc<Account> {
    let (pool, clock) = (Pool::new(1 << 30), EngineClock::manual(1_800_000_000));
    let since = Timestamp::from_secs(1_800_000_000);
    let items = tenant(1 << 20, &pool, &clock);
    let tenancy = Tenancy::new(CacheId(1), items, connections_max, 1, since);
    let verifier = Verifier::from_bytes([0; 32]);
    Arc::new(Account::new(
        None,
        Proof::Password(verifier),
        Capabilities::ALL,
        Arc::new(tenancy),
    ))
}

/// Stores `bytes` under `key` and says whether it was taken.
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

/// Never more seats than allowed, and one that has fallen free is given to whoever asks next.
#[test]
fn a_seat_that_is_free_is_given() {
    shuttle::check_random(
        || {
            let account = account(1);
            let held = Seat::take(Arc::clone(&account)).expect("the first");
            let rival = {
                let account = Arc::clone(&account);
                thread::spawn(move || Seat::take(account))
            };
            drop(held);
            let again = Seat::take(Arc::clone(&account));
            let rival = rival.join().unwrap();
            let seated = u32::from(again.is_some()) + u32::from(rival.is_some());
            assert_eq!(seated, 1, "one place, and one who has it");
            drop((again, rival));
            assert_eq!(account.tenancy.connections(), 0);
            assert_eq!(account.connections(), 0);
        },
        ROUNDS,
    );
}

/// A change of the rights and a revocation at the same time: it stays revoked.
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

/// Tenants that store at the same time never pass the ceiling of the process together, each keeps its own limit,
/// one that has room is not refused, and nothing stays charged.
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

/// Two uploads beside one that is too large: what fits is not refused for a charge that is only being tried.
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
            assert!(!trying.join().unwrap(), "the process has not so much");
        },
        ROUNDS,
    );
}

/// A delayed flush is ordered while an older one takes effect: both take effect, and nobody reads an item of before.
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

/// Two shards whose tenant has come down to what one large value takes: each store has to have the other shard's
/// room, whoever holds it, and the limit holds in the end.
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

//! Tests of the whole storage through its public interface. `audit` compares every count with a full walk.

mod audit;
mod behaviour;
mod eviction;
mod lowered;
mod neighbours;
mod oracle;

use super::*;

const MIB: u64 = 1 << 20;

/// A clock and a pool, for tenants that share them.
struct StorageFixture {
    clock: EngineClock,
    pool: Pool,
}

impl StorageFixture {
    fn new() -> StorageFixture {
        StorageFixture {
            clock: EngineClock::manual(1_800_000_000),
            pool: Pool::new(1 << 32),
        }
    }

    fn tenant(&self, limit_bytes: u64) -> Tenant {
        Tenant::new(limit_bytes, &self.pool, &self.clock)
    }
}

fn set(tenant: &Tenant, key: &[u8], value: &[u8]) -> StoreOutcome {
    set_for(tenant, key, value, Exptime::Never)
}

fn set_for(tenant: &Tenant, key: &[u8], value: &[u8], exptime: Exptime) -> StoreOutcome {
    let key = tenant.key(key);
    let request = StoreRequest::set(0, exptime, NewValue::Bytes(value));
    tenant.lock(&key).store(&key, request)
}

fn get(tenant: &Tenant, key: &[u8]) -> Option<Vec<u8>> {
    let key = tenant.key(key);
    let mut shard = tenant.lock(&key);
    let item = shard.get(&key, GetOptions::default())?;
    Some(item.value.as_slice().to_vec())
}

fn is_stored(outcome: StoreOutcome) -> bool {
    matches!(outcome, StoreOutcome::Stored { .. })
}

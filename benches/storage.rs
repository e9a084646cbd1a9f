//! The cost of storage operations: look-ups with few and many keys, stores, eviction.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use larder::engine::storage::{
    EngineClock, Exptime, GetOptions, NewValue, Pool, StoreRequest, Tenant,
};

fn key_text(number: u64) -> String {
    format!("key-{number:020}")
}

fn filled(limit: u64, keys: u64, value: &[u8]) -> Tenant {
    let tenant = Tenant::new(limit, &Pool::new(1 << 34), &EngineClock::system());
    for number in 0..keys {
        set(&tenant, &key_text(number), value);
    }
    tenant
}

fn set(tenant: &Tenant, key: &str, value: &[u8]) {
    let key = tenant.key(key.as_bytes());
    let request = StoreRequest::set(0, Exptime::Never, NewValue::Bytes(value));
    tenant.lock(&key).store(&key, request);
}

/// The numbers below `keys`, in an order that no prefetcher can predict.
struct Scattered {
    at: u64,
    keys: u64,
}

impl Scattered {
    fn next(&mut self) -> u64 {
        self.at = self
            .at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.at >> 33) % self.keys
    }
}

/// A `get` with all data in the processor's cache, and with none of it there.
fn gets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    for keys in [1_000, 100_000, 2_000_000] {
        let tenant = filled(512 << 20, keys, &[7; 32]);
        let texts: Vec<String> = (0..keys).map(key_text).collect();
        let mut order = Scattered { at: 1, keys };
        group.bench_function(BenchmarkId::new("hit", keys), |bencher| {
            bencher.iter(|| {
                let key = tenant.key(texts[order.next() as usize].as_bytes());
                let mut shard = tenant.lock(&key);
                shard
                    .get(&key, GetOptions::default())
                    .map(|item| item.value.len())
            });
        });
        group.bench_function(BenchmarkId::new("miss", keys), |bencher| {
            let mut number = keys;
            bencher.iter(|| {
                number += 1;
                let bytes = number.to_le_bytes();
                let key = tenant.key(&bytes);
                tenant.lock(&key).get(&key, GetOptions::default()).is_some()
            });
        });
    }
    group.finish();
}

fn sets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set");
    group.throughput(Throughput::Elements(1));
    let texts: Vec<String> = (0..100_000).map(key_text).collect();
    let tenant = filled(256 << 20, 100_000, &[7; 32]);
    let mut order = Scattered {
        at: 1,
        keys: 100_000,
    };
    group.bench_function("over the same size", |bencher| {
        bencher.iter(|| set(&tenant, &texts[order.next() as usize], &[8; 32]));
    });
    let values = [[8; 32].as_slice(), [9; 100].as_slice()];
    let mut sets = 0;
    group.bench_function("over another size", |bencher| {
        bencher.iter(|| {
            sets += 1;
            set(&tenant, &texts[order.next() as usize], values[sets % 2]);
        });
    });
    group.finish();
}

/// Sets of new keys in a full tenant, so that each set evicts other items.
fn evictions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evict");
    group.throughput(Throughput::Elements(1));
    for bytes in [16_usize, 1_000, 20_000] {
        let value = vec![7; bytes];
        let keys = (60 << 20) / (bytes as u64 + 70);
        let tenant = filled(50 << 20, keys, &value);
        let mut number = keys;
        group.bench_function(BenchmarkId::new("new key", bytes), |bencher| {
            bencher.iter(|| {
                number += 1;
                set(&tenant, &key_text(number), &value);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gets, sets, evictions);
criterion_main!(benches);

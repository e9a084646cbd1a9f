//! How many items a tenant with a given limit retains. Sets new keys of 24 bytes until twice the limit was stored, then
//! prints how many items remain and how many bytes of the limit each takes. `cargo bench --bench fill`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::time::Instant;

use larder::engine::storage::{EngineClock, Exptime, NewValue, Pool, StoreRequest, Tenant};

#[expect(clippy::print_stdout, reason = "its output is its purpose")]
fn main() {
    println!("| limit MiB | value | items | limit bytes per item | held | ns per set |");
    println!("|---|---|---|---|---|---|");
    for mib in [25_u64, 256] {
        for value in [16_usize, 100, 500, 1_024] {
            let (limit, value_bytes) = (mib << 20, vec![7; value]);
            let (pool, clock) = (Pool::new(1 << 34), EngineClock::system());
            let tenant = Tenant::new(limit, &pool, &clock);
            let sets = 2 * limit / (value as u64 + 24);
            let started = Instant::now();
            for number in 0..sets {
                let text = format!("key-{number:020}");
                let key = tenant.key(text.as_bytes());
                let request = StoreRequest::set(0, Exptime::Never, NewValue::Bytes(&value_bytes));
                tenant.lock(&key).store(&key, request);
            }
            let nanos = started.elapsed().as_nanos() / u128::from(sets);
            let items = tenant.counters().curr_items;
            println!(
                "| {mib} | {value} | {items} | {:.1} | {:.3} | {nanos} |",
                limit as f64 / items as f64,
                tenant.used_bytes() as f64 / limit as f64,
            );
        }
    }
}

//! The hit ratio of a trace for several limits, and that of a byte-exact LRU beside it.
//!
//! A trace has 24-byte little-endian records (u32 time, u64 key, u32 value bytes, i64 ignored; the load generator's `export`
//! writes them) or u32 keys. Each record is a get, and a set after a miss, with keys of 24 bytes. `cargo bench --bench hit_ratio -- FILE [u32:VALUE_BYTES] MIB...`

use std::collections::{BTreeMap, HashMap};
use std::io::{Error, ErrorKind, Read};

use larder::engine::storage::{
    EngineClock, Exptime, GetOptions, NewValue, Pool, StoreOutcome, StoreRequest, Tenant,
};

struct Access {
    key: u64,
    bytes: usize,
}

#[expect(clippy::print_stdout, reason = "its output is its purpose")]
fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let Some((file, rest)) = arguments.split_first() else {
        return Ok(()); // A plain `cargo bench` has no trace to replay.
    };
    let value_bytes = rest.first().and_then(|first| first.strip_prefix("u32:"));
    let value_bytes = value_bytes.and_then(|bytes| bytes.parse().ok());
    let trace = read_trace(file, value_bytes)?;
    for mib in rest.iter().filter_map(|mib| mib.parse::<u64>().ok()) {
        let (ours, refused) = replay(&trace, mib << 20);
        let lru = replay_lru(&trace, mib << 20);
        println!("{file} {mib} MiB: larder {ours:.4} lru {lru:.4} refused {refused}");
    }
    Ok(())
}

fn read_trace(file: &str, u32_value_bytes: Option<usize>) -> Result<Vec<Access>, Error> {
    let mut all = Vec::new();
    match file {
        "-" => std::io::stdin().read_to_end(&mut all)?,
        path => std::fs::File::open(path)?.read_to_end(&mut all)?,
    };
    let trace: Vec<Access> = match u32_value_bytes {
        Some(bytes) => {
            let (keys, _) = all.as_chunks::<4>();
            keys.iter()
                .map(|key| Access {
                    key: u64::from(u32::from_le_bytes(*key)),
                    bytes,
                })
                .collect()
        }
        None => {
            let (records, _) = all.as_chunks::<24>();
            records.iter().map(access_of).collect()
        }
    };
    if trace.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "the trace is empty"));
    }
    Ok(trace)
}

fn access_of(record: &[u8; 24]) -> Access {
    let (fields, _) = record.as_chunks::<4>();
    let field = |at: usize| u32::from_le_bytes(fields[at]);
    Access {
        key: u64::from(field(1)) | u64::from(field(2)) << 32,
        bytes: field(3) as usize,
    }
}

/// The hit ratio, and the number of refused sets.
fn replay(trace: &[Access], limit: u64) -> (f64, u64) {
    let (pool, clock) = (Pool::new(1 << 34), EngineClock::system());
    let tenant = Tenant::new(limit, &pool, &clock);
    let longest = trace.iter().map(|access| access.bytes).max().unwrap_or(0);
    let filler = vec![7; longest];
    let (mut hits, mut refused) = (0_u64, 0);
    for access in trace {
        let text = format!("t{:0>23x}", access.key);
        let key = tenant.key(text.as_bytes());
        let mut shard = tenant.lock(&key);
        if shard.get(&key, GetOptions::default()).is_some() {
            hits += 1;
            continue;
        }
        let value = NewValue::Bytes(&filler[..access.bytes]);
        match shard.store(&key, StoreRequest::set(0, Exptime::Never, value)) {
            StoreOutcome::Stored { .. } => {}
            _ => refused += 1,
        }
    }
    (hits as f64 / trace.len() as f64, refused)
}

/// An LRU that charges each item 24 bytes for the key and 48 bytes of overhead.
fn replay_lru(trace: &[Access], limit: u64) -> f64 {
    let (mut items, mut order): (HashMap<u64, (u64, u64)>, BTreeMap<u64, u64>) = Default::default();
    let (mut used, mut hits) = (0, 0_u64);
    for (now, access) in trace.iter().enumerate() {
        let now = now as u64;
        if let Some((last, _)) = items.get_mut(&access.key) {
            hits += 1;
            order.remove(last);
            *last = now;
            order.insert(now, access.key);
            continue;
        }
        let bytes = access.bytes as u64 + 72;
        items.insert(access.key, (now, bytes));
        order.insert(now, access.key);
        used += bytes;
        while used > limit {
            let Some((_, oldest)) = order.pop_first() else {
                break;
            };
            used -= items.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
    }
    hits as f64 / trace.len() as f64
}

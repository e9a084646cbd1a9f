//! The replies to `stats`. They describe the client's own cache and nothing else.
//!
//! Numbers of the process and the machine are left out or constant, because they would tell about other tenants.

use super::protocol::{Limits, Stat, VERSION};
use super::storage::Counters;
use super::tenancy::{Tenancy, TrafficSum};
use crate::domain::Timestamp;

/// The name of a counter, and how to read its value.
type Counter<S> = (&'static str, fn(&S) -> u64);

/// Counters that `stats reset` sets to zero, under memcached's names.
const COUNTED: [Counter<Counters>; 28] = [
    ("cmd_get", Counters::cmd_get),
    ("cmd_set", |counters| counters.cmd_set),
    ("cmd_delete", |counters| counters.cmd_delete),
    ("cmd_flush", |counters| counters.cmd_flush),
    ("cmd_touch", Counters::cmd_touch),
    ("get_hits", |counters| counters.get_hits),
    ("get_misses", |counters| counters.get_misses),
    ("get_expired", |counters| counters.get_expired),
    ("delete_hits", |counters| counters.delete_hits),
    ("delete_misses", |counters| counters.delete_misses),
    ("incr_hits", |counters| counters.incr_hits),
    ("incr_misses", |counters| counters.incr_misses),
    ("decr_hits", |counters| counters.decr_hits),
    ("decr_misses", |counters| counters.decr_misses),
    ("cas_hits", |counters| counters.cas_hits),
    ("cas_misses", |counters| counters.cas_misses),
    ("cas_badval", |counters| counters.cas_badval),
    ("touch_hits", |counters| counters.touch_hits),
    ("touch_misses", |counters| counters.touch_misses),
    ("store_too_large", |counters| counters.store_too_large),
    ("store_no_memory", |counters| counters.store_no_memory),
    ("total_items", |counters| counters.total_items),
    ("evictions", |counters| counters.evictions),
    ("evicted_unfetched", |counters| counters.evicted_unfetched),
    ("expired", |counters| counters.expired),
    ("expired_unfetched", |counters| counters.expired_unfetched),
    // memcached counts these apart; here they are the same events.
    ("reclaimed", |counters| counters.expired),
    ("malloc_fails", |counters| counters.store_no_memory),
];

/// Counters of connections that `stats reset` sets to zero.
const TRAFFIC: [Counter<TrafficSum>; 6] = [
    ("total_connections", |traffic| traffic.connections),
    // memcached's are refused for the server's limit, these for the plan's
    ("rejected_connections", |traffic| {
        traffic.connections_refused
    }),
    ("bytes_read", |traffic| traffic.bytes_read),
    ("bytes_written", |traffic| traffic.bytes_written),
    ("auth_cmds", |traffic| traffic.auth_cmds),
    ("auth_errors", |traffic| traffic.auth_errors),
];

/// `stats` without a group.
pub fn general(tenancy: &Tenancy, now: Timestamp) -> Vec<Stat> {
    let (counters, traffic) = (tenancy.items.counters(), tenancy.traffic_sum());
    let base = tenancy.baseline();
    let mut stats: Vec<Stat> = vec![
        ("pid", "1".to_owned()),
        ("uptime", now.since(tenancy.since).as_secs().to_string()),
        ("time", now.secs().to_string()),
        ("version", VERSION.to_owned()),
        ("pointer_size", "64".to_owned()),
        ("max_connections", tenancy.connections_max().to_string()),
        ("curr_connections", tenancy.connections().to_string()),
        ("accepting_conns", "1".to_owned()),
        ("listen_disabled_num", "0".to_owned()),
        ("threads", "1".to_owned()),
        // Of the process, so constant; monitoring pages divide by them or subtract them all the same.
        ("rusage_user", "0.000000".to_owned()),
        ("rusage_system", "0.000000".to_owned()),
        ("connection_structures", tenancy.connections().to_string()),
        ("conn_yields", "0".to_owned()),
        ("direct_reclaims", "0".to_owned()),
    ];
    stats.extend(TRAFFIC.map(|(name, value)| {
        let counted = value(&traffic).saturating_sub(value(&base.traffic));
        (name, counted.to_string())
    }));
    stats.extend(COUNTED.map(|(name, value)| {
        let counted = value(&counters).saturating_sub(value(&base.counters));
        (name, counted.to_string())
    }));
    stats.push(("curr_items", counters.curr_items.to_string()));
    stats.push(("bytes", counters.bytes.to_string()));
    // What exporters compare `bytes` with to know when items are evicted: the cache's own bound, a tenth above its plan.
    stats.push(("limit_maxbytes", tenancy.items.limit_bytes().to_string()));
    stats
}

/// `stats slabs`: its totals. There are no slabs here.
pub fn slabs() -> Vec<Stat> {
    vec![
        ("active_slabs", "0".to_owned()),
        ("total_malloced", "0".to_owned()),
    ]
}

/// `stats settings`: the settings that exporters read. A cache evicts and has CAS values; whether it can be flushed depends
/// on who asks.
pub fn settings(tenancy: &Tenancy, limits: &Limits, may_flush: bool) -> Vec<Stat> {
    let flush_enabled = if may_flush { "yes" } else { "no" };
    vec![
        ("maxbytes", tenancy.items.limit_bytes().to_string()),
        ("maxconns", tenancy.connections_max().to_string()),
        ("item_size_max", limits.item_bytes_max.to_string()),
        ("evictions", "on".to_owned()),
        ("cas_enabled", "yes".to_owned()),
        ("flush_enabled", flush_enabled.to_owned()),
    ]
}

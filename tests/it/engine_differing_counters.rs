//! Counters of `stats` that are not those of a stock memcached, each with its reason. All others must rise alike.

/// Counters of `stats` that both have and that are not compared.
pub const COUNTERS_LEFT_OUT: [(&str, &str); 17] = [
    ("pid", "no counter"),
    ("uptime", "no counter"),
    ("time", "no counter"),
    ("pointer_size", "no counter"),
    ("max_connections", "no counter"),
    ("curr_connections", "stock counts its listeners too"),
    ("total_connections", "as above"),
    ("connection_structures", "a figure of the process"),
    ("threads", "a figure of the process"),
    ("limit_maxbytes", "a setting"),
    ("bytes", "headers are of another size here"),
    ("bytes_read", "the ways to ask for the counters differ"),
    ("bytes_written", "as above, and CAS values have more digits"),
    (
        "get_expired",
        "stock may have removed an expired item in the background",
    ),
    ("reclaimed", "stock counts them when its crawler comes by"),
    ("expired_unfetched", "as above"),
    (
        "curr_items",
        "compared by reading: stock keeps expired items until its crawler comes by",
    ),
];

/// Counters of `stats` that stock alone has, by how their names begin. One that is missing here fails the test: it is to
/// be counted, or to be listed.
pub const COUNTERS_OF_STOCK: [(&str, &str); 16] = [
    (
        "get_flushed",
        "flushed items are gone at once; nobody meets one",
    ),
    (
        "cmd_meta",
        "stock counts `me` there, a command for debugging",
    ),
    (
        "evicted_active",
        "there is one order of eviction, no hot and warm items",
    ),
    ("crawler_", "there is no crawler"),
    ("lru_", "as above, and no segmented LRU"),
    ("lrutail_", "as above"),
    ("moves_", "as above"),
    ("slab", "there are no slabs"),
    ("hash_", "a figure of the process"),
    ("log_", "nobody can watch the log over this port"),
    ("read_buf_", "a figure of the process"),
    ("response_obj_", "a figure of the process"),
    ("reserved_fds", "a figure of the process"),
    ("time_in_listen_disabled_us", "nobody stops listening"),
    ("unexpected_napi_ids", "a figure of the process"),
    ("round_robin_fallback", "a figure of the process"),
];

/// Counters that are compared here, and that count more stores than in stock where a value is too large for these sequences:
/// owners and operators shall see every value that was refused.
pub const COUNTED_FURTHER: [(&str, &str); 2] = [
    (
        "store_too_large",
        "stock counts text and meta stores that announce too much; here binary ones and joined values count too",
    ),
    ("store_no_memory", "the same for want of memory"),
];

#[test]
fn each_has_its_reason() {
    let lists = [&COUNTERS_LEFT_OUT[..], &COUNTERS_OF_STOCK, &COUNTED_FURTHER];
    for (name, reason) in lists.concat() {
        assert!(!reason.is_empty(), "{name}");
    }
}

//! What one tenant does to the items of another: nothing (security.md MC-16).

use super::*;

/// The heavy one stores a hundred times what it may hold, of every size, reads, flushes and has its limit changed. Of the
/// light one's items none is missing, and none costs more.
#[test]
fn a_heavy_neighbour_evicts_nothing_of_mine() {
    let fixture = StorageFixture {
        clock: EngineClock::manual(0),
        pool: Pool::new(12 * MIB),
    };
    let (light, heavy) = (fixture.tenant(4 * MIB), fixture.tenant(6 * MIB));
    let key = |number: u32| format!("mine-{number}").into_bytes();
    for number in 0..5_000_u32 {
        assert!(is_stored(set(&light, &key(number), &[1; 400])));
    }
    let (used, evicted) = (light.used_bytes(), light.counters().evictions);
    assert_eq!(evicted, 0, "they fit");
    for round in 0..20_000_u32 {
        let length = (round as usize * 7_919) % 60_000;
        set(&heavy, &round.to_be_bytes(), &vec![2; length]);
        get(&heavy, &key(round % 5_000));
        match round % 5_000 {
            1_000 => heavy.set_limit(3 * MIB),
            2_000 => heavy.set_limit(6 * MIB),
            3_000 => drop(heavy.flush()),
            _ => {}
        }
    }
    assert!(heavy.counters().evictions > 1_000, "it was full");
    assert_eq!(light.counters().evictions, evicted);
    assert_eq!(light.used_bytes(), used);
    for number in 0..5_000 {
        assert_eq!(get(&light, &key(number)), Some(vec![1; 400]), "{number}");
    }
}

//! Which connection makes room, and for whom.

use super::*;

fn bounds(connections_max: usize, per_address_max: usize, requests_max: usize) -> Connections {
    Connections::new(Bounds {
        connections_max,
        per_address_max,
        requests_max,
        always: &["/healthz"],
    })
}

fn enter(connections: &Connections, peer: &str) -> Slot {
    connections.enter(peer.parse().unwrap())
}

fn closed(slots: &[&Slot]) -> Vec<bool> {
    slots.iter().map(|slot| slot.close.is_cancelled()).collect()
}

#[test]
fn the_one_that_waited_longest_makes_room() {
    let table = bounds(3, 3, 3);
    let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|peer| enter(&table, peer));
    // The first one had a request since, and waits less long than the second.
    assert!(a.begin_request("/", true));
    a.end_request();
    let d = enter(&table, "10.0.0.4");
    assert_eq!(closed(&[&a, &b, &c, &d]), [false, true, false, false]);
    drop(b);
    let e = enter(&table, "10.0.0.5");
    assert_eq!(closed(&[&a, &c, &d, &e]), [false, true, false, false]);
}

#[test]
fn a_request_under_way_is_not_cut() {
    let table = bounds(2, 2, 2);
    let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|peer| enter(&table, peer));
    assert!(a.begin_request("/", true) && b.begin_request("/", true));
    let late = enter(&table, "10.0.0.3");
    assert_eq!(closed(&[&a, &b, &late]), [false, false, true]);
    drop(late);
    a.end_request();
    let next = enter(&table, "10.0.0.3");
    assert_eq!(closed(&[&a, &b, &next]), [true, false, false]);
}

#[test]
fn one_address_takes_the_place_of_its_own_only() {
    let table = bounds(10, 2, 10);
    let other = enter(&table, "10.0.0.1");
    let flood: Vec<Slot> = (0..5).map(|_| enter(&table, "10.0.0.2")).collect();
    let flood: Vec<&Slot> = flood.iter().collect();
    assert_eq!(closed(&flood), [true, true, true, false, false]);
    assert!(!other.close.is_cancelled());
    // Those of one IPv6 network are one; an IPv4 address is the same in either notation.
    let six: Vec<Slot> = (1..=3)
        .map(|host| enter(&table, &format!("2001:db8::{host}")))
        .collect();
    let six: Vec<&Slot> = six.iter().collect();
    assert_eq!(closed(&six), [true, false, false]);
    let [a, b, c] =
        ["::ffff:10.0.0.9", "10.0.0.9", "::ffff:10.0.0.9"].map(|peer| enter(&table, peer));
    assert_eq!(closed(&[&a, &b, &c]), [true, false, false]);
}

#[test]
fn requests_leave_room_for_health() {
    let table = bounds(4, 4, 2);
    let slots: Vec<Slot> = (1..=3)
        .map(|host| enter(&table, &format!("10.0.0.{host}")))
        .collect();
    assert!(slots[0].begin_request("/", true) && slots[1].begin_request("/", true));
    assert!(!slots[2].begin_request("/caches/1", true));
    slots[2].end_request();
    assert!(slots[2].begin_request("/healthz", true));
    slots[2].end_request();
    slots[0].end_request();
    assert!(slots[2].begin_request("/", true));
}

/// Who withholds the body of a request has not begun to use us.
#[test]
fn a_request_whose_body_has_not_come_makes_room_the_oldest_first() {
    let table = bounds(10, 10, 2);
    let [a, b, c, d] =
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|peer| enter(&table, peer));
    assert!(a.begin_request("/", false) && b.begin_request("/", false));
    assert!(c.begin_request("/", false));
    assert_eq!(closed(&[&a, &b, &c]), [true, false, false]);
    // One whose body came is not cut, nor is a whole one; the next that waits goes instead.
    b.body_came();
    assert!(d.begin_request("/", true));
    assert_eq!(closed(&[&a, &b, &c, &d]), [true, false, true, false]);
    // Two are at work, and nobody is left to make room.
    let late = enter(&table, "10.0.0.5");
    assert!(!late.begin_request("/", true));
    late.end_request();
    assert!(!late.begin_request("/", false), "it does not close itself");
    late.end_request();
    b.end_request();
    assert!(late.begin_request("/", true));
    for slot in [a, b, c, d, late] {
        slot.body_came();
        slot.end_request();
    }
    assert_eq!(table.0.table.lock().requests, 0);
}

#[test]
fn a_new_connection_takes_the_place_of_a_request_whose_body_has_not_come() {
    let table = bounds(2, 2, 2);
    let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|peer| enter(&table, peer));
    assert!(a.begin_request("/", false) && b.begin_request("/", true));
    let late = enter(&table, "10.0.0.3");
    assert_eq!(closed(&[&a, &b, &late]), [true, false, false]);
    assert_eq!(table.0.table.lock().requests, 1);
    drop(a);
    assert_eq!(table.0.table.lock().requests, 1);
}

#[tokio::test]
async fn the_next_is_taken_when_the_closed_one_is_gone() {
    let table = bounds(2, 2, 2);
    let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|peer| enter(&table, peer));
    assert_eq!(closed(&[&a, &b, &c]), [true, false, false]);
    let waiting = table.within_bounds();
    tokio::pin!(waiting);
    let is_waiting = is_pending(waiting.as_mut()).await;
    assert!(is_waiting);
    drop(a);
    waiting.await;
}

/// Whether the future is not ready when it is asked once.
async fn is_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    tokio::select! {
        biased;
        () = future => false,
        () = std::future::ready(()) => true,
    }
}

#[test]
fn a_table_that_everybody_left_is_empty() {
    let table = bounds(3, 2, 1);
    for round in 0..100 {
        let slots: Vec<Slot> = (0..9)
            .map(|host| enter(&table, &format!("10.0.{round}.{}", host % 4)))
            .collect();
        for (number, slot) in slots.iter().enumerate() {
            slot.begin_request("/", number % 2 == 0);
            if number % 3 == 0 {
                slot.body_came();
            }
        }
        for slot in slots.iter().skip(3) {
            slot.end_request();
        }
    }
    let table = table.0.table.lock();
    assert_eq!((table.open, table.requests), (0, 0));
    assert!(table.waiting.is_empty() && table.half_sent.is_empty());
    assert!(table.by_address.is_empty());
}

#[test]
fn shares_are_there_under_every_bound() {
    for most in (0..200).chain([4096, u64::MAX]) {
        let bounds = Bounds::within(most);
        assert!(
            bounds.requests_max >= 1 && bounds.requests_max < bounds.connections_max,
            "{bounds:?}"
        );
        assert!(bounds.per_address_max >= 1 && bounds.per_address_max <= bounds.connections_max);
    }
}

use super::*;
use crate::cluster::link::wire::Taken;
use crate::domain::FlushId;

fn flush(second: i64, items: u64) -> FlushEvent {
    let at = Timestamp::from_secs(second);
    FlushEvent {
        id: FlushId::generate(at),
        cache: CacheId(1),
        origin: Origin::MemcacheClient,
        proxy: "p".to_owned(),
        credential: None,
        remote: None,
        reason: None,
        items,
        bytes: items * 10,
        at,
    }
}

fn sums(events: &[NodeEvent]) -> (u64, u64) {
    let flushes = events.iter().filter_map(|event| match event {
        NodeEvent::Flushed { flush, times } => Some((*times, flush.items)),
        _ => None,
    });
    flushes.fold((0, 0), |(times, items), (t, i)| (times + t, items + i))
}

#[test]
fn a_flood_becomes_ten_events_and_one_that_adds_up() {
    let buffer = EventBuffer::default();
    for _ in 0..1_000 {
        buffer.flushed(flush(5, 2));
    }
    let (events, _) = buffer.take_events(Timestamp::from_secs(5));
    assert_eq!(events.len(), 10, "the second is not over");
    let (rest, _) = buffer.take_events(Timestamp::from_secs(6));
    assert_eq!(rest.len(), 1);
    assert_eq!(sums(&rest), (990, 1_980));
    assert!(
        buffer.kept.lock().flushes.is_empty(),
        "no window is left behind"
    );
}

#[test]
fn the_next_second_begins_anew_and_keeps_the_order() {
    let buffer = EventBuffer::default();
    for _ in 0..12 {
        buffer.flushed(flush(5, 1));
    }
    buffer.flushed(flush(6, 1));
    let (events, _) = buffer.take_events(Timestamp::from_secs(6));
    let times: Vec<u64> = events
        .iter()
        .map(|event| match event {
            NodeEvent::Flushed { times, .. } => *times,
            _ => 0,
        })
        .collect();
    assert_eq!(times, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]);
}

#[test]
fn a_full_queue_loses_notices_but_no_flush() {
    let buffer = EventBuffer::default();
    let at = Timestamp::from_secs(5);
    for _ in 0..QUEUE_MAX + 3 {
        let full = Notice::MemoryFull {
            used: 1,
            limit: 1,
            evictions: 1,
            window_secs: 60,
        };
        buffer.noticed(CacheId(2), full, at);
    }
    for second in 5..50 {
        buffer.flushed(flush(second, 1));
    }
    let mut events = Vec::new();
    let mut dropped = 0;
    loop {
        let (batch, lost) = buffer.take_events(Timestamp::from_secs(60));
        dropped += lost;
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= BATCH_MAX);
        events.extend(batch);
    }
    assert_eq!((sums(&events), dropped), ((45, 45), 3));
}

#[test]
fn refusals_are_summed_up_like_flushes() {
    let buffer = EventBuffer::default();
    for _ in 0..25 {
        let refused = Notice::FlushRefused {
            proxy: "p".to_owned(),
            credential: "4F2A90".to_owned(),
            remote: None,
        };
        buffer.flush_refused(CacheId(1), refused, Timestamp::from_secs(5));
    }
    let (events, _) = buffer.take_events(Timestamp::from_secs(6));
    assert_eq!(events.len(), 11);
    let Ok(Taken::Noticed { event, .. }) = events[10].taken() else {
        panic!("a refusal");
    };
    assert!(
        event.line("X").ends_with("repeated=15"),
        "{}",
        event.line("X")
    );
}

#[test]
fn only_the_latest_login_is_kept() {
    let buffer = EventBuffer::default();
    let name: Username = "4F2A90".parse().unwrap();
    for secs in [5, 9, 7] {
        let last = LastUse {
            at: Timestamp::from_secs(secs),
            from: secs.to_string(),
        };
        buffer.logged_in(CacheId(1), name.clone(), last);
    }
    let logins = buffer.take_logins();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0].from, "9");
    assert!(buffer.take_logins().is_empty());
}

/// Whoever ordered a flush waits for its report.
#[tokio::test]
async fn what_the_control_plane_ordered_is_reported_at_once() {
    let is_ready = async |buffer: &EventBuffer| {
        tokio::select! {
            biased;
            () = buffer.ready() => true,
            () = std::future::ready(()) => false,
        }
    };
    let buffer = EventBuffer::default();
    assert!(!is_ready(&buffer).await);
    let ordered = FlushEvent {
        origin: Origin::WebInterface,
        ..flush(5, 1)
    };
    buffer.flushed(ordered);
    assert!(is_ready(&buffer).await);
}

/// Anybody can make user names up.
#[test]
fn unknown_user_names_are_bounded() {
    let buffer = EventBuffer::default();
    for number in 0..REFUSED_MAX + 3 {
        buffer.user_refused(UnknownUser {
            id: number.to_string(),
            username: format!("{number:06X}"),
            remote: None,
            refused: 1,
            window_secs: 60,
        });
        buffer.address_refused(RefusedAddress {
            remote: None,
            username: String::new(),
            certificate: None,
            cache: None,
            refused: 1,
            window_secs: 60,
        });
    }
    assert_eq!(buffer.take_unknown_users().len(), REFUSED_MAX);
    assert_eq!(buffer.take_refused().len(), REFUSED_MAX);
    assert!(buffer.take_unknown_users().is_empty());
}

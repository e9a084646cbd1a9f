use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::domain::CacheId;
use crate::engine::net::listener::{Guests, bind};
use crate::engine::protocol::Limits;
use crate::engine::testing;

const LOUD: CacheId = CacheId(1);
const LIGHT: CacheId = CacheId(2);
const LOUD_ONES: usize = 50;

/// A thread that goes only as far as the test has it go.
struct Stage {
    event_loop: EventLoop,
    events: Events,
    loud: Vec<std::net::TcpStream>,
    light: std::net::TcpStream,
}

impl Stage {
    fn new() -> Stage {
        let node = testing::node(Limits::default());
        let mut addresses = Vec::new();
        let mut entrances = Vec::new();
        for cache in [LOUD, LIGHT] {
            testing::add_cache(&node, cache, 1 << 20);
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let socket = bind(any, 1, Duration::from_secs(60)).unwrap().remove(0);
            addresses.push(socket.local_addr().unwrap());
            entrances.push(Entrance {
                socket,
                guests: Guests::Open(cache),
            });
        }
        let connect = |address| {
            let socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let mut stage = Stage {
            event_loop: EventLoop::new(0, entrances, node).unwrap(),
            events: Events::with_capacity(EVENTS),
            loud: (0..LOUD_ONES).map(|_| connect(addresses[0])).collect(),
            light: connect(addresses[1]),
        };
        while stage.event_loop.connections.len() <= LOUD_ONES {
            stage.round();
        }
        stage
    }

    fn round(&mut self) {
        self.event_loop
            .round(&mut self.events, Duration::ZERO)
            .unwrap();
    }

    /// Gets of the loud ones so far.
    fn loud_gets(&self) -> u64 {
        let tenancy = self.event_loop.node.directory.tenancy(LOUD).unwrap();
        tenancy.items.counters().get_misses
    }

    /// Every loud one asks `gets` times, then the light one asks `batch` times. Answers how often the loud ones were
    /// answered before it was.
    fn gets_before_the_light_one(&mut self, gets: usize, batch: usize) -> u64 {
        let asked = self.loud_gets() + (LOUD_ONES * gets) as u64;
        for socket in &mut self.loud {
            socket.write_all(&b"get k\r\n".repeat(gets)).unwrap();
        }
        self.light.write_all(&b"mn\r\n".repeat(batch)).unwrap();
        let before = self.loud_gets();
        let mut replies = vec![0; b"MN\r\n".len() * batch];
        let mut received = 0;
        while received < replies.len() {
            match self.light.read(&mut replies[received..]) {
                Ok(bytes) => received += bytes,
                Err(_) => self.round(),
            }
        }
        let meanwhile = self.loud_gets() - before;
        while self.loud_gets() < asked {
            self.round();
        }
        for socket in &mut self.loud {
            let mut replies = vec![0; b"END\r\n".len() * gets];
            socket.set_nonblocking(false).unwrap();
            socket.read_exact(&mut replies).unwrap();
            socket.set_nonblocking(true).unwrap();
        }
        meanwhile
    }
}

/// The system may be late to pass a request on, so it is the median that counts.
fn median_of_gets_before(gets: usize, batch: usize) -> u64 {
    let mut stage = Stage::new();
    let mut counts: Vec<u64> = (0..15)
        .map(|_| stage.gets_before_the_light_one(gets, batch))
        .collect();
    counts.sort_unstable();
    counts[counts.len() / 2]
}

#[test]
fn who_asks_for_little_does_not_wait_for_all_news_of_others() {
    let waited = median_of_gets_before(200, 1);
    assert!(waited <= 1024, "waited for {waited} of 10,000");
}

#[test]
fn who_asks_for_little_does_not_wait_for_what_others_have_waiting() {
    let waited = median_of_gets_before(2000, 1);
    assert!(waited <= 1024, "waited for {waited} of 100,000");
}

/// The loud ones are fifty, and the batch takes three turns: through the line it would wait for two hundred of theirs.
#[test]
fn a_batch_now_and_then_does_not_wait_in_the_line() {
    let waited = median_of_gets_before(2000, 600);
    assert!(waited <= 2048, "waited for {waited} of 100,000");
}

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::domain::CacheId;
use crate::engine::net::listener::{ListenerKind, bind};
use crate::engine::protocol::Limits;
use crate::engine::protocol::scan::searched;
use crate::engine::testing;

/// The cache whose clients ask for more than the thread can do.
const HEAVY: CacheId = CacheId(1);
/// The cache whose client asks for little.
const LIGHT: CacheId = CacheId(2);
const HEAVY_CLIENTS: usize = 50;

/// An event loop that the test steps pass by pass, with connected clients of both caches.
struct LoopFixture {
    event_loop: EventLoop,
    events: Events,
    heavy: Vec<std::net::TcpStream>,
    light: std::net::TcpStream,
}

impl LoopFixture {
    fn new() -> LoopFixture {
        let engine = testing::engine(Limits::default());
        let mut addresses = Vec::new();
        let mut sockets = Vec::new();
        for cache in [HEAVY, LIGHT] {
            testing::add_cache(&engine, cache, 16 << 20);
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let socket = bind(any, 1, Duration::from_secs(60)).unwrap().remove(0);
            addresses.push(socket.local_addr().unwrap());
            sockets.push(BoundSocket {
                socket,
                kind: ListenerKind::Open(cache),
            });
        }
        let connect = |address| {
            let socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let mut fixture = LoopFixture {
            event_loop: EventLoop::new(0, sockets, engine).unwrap(),
            events: Events::with_capacity(EVENTS),
            heavy: (0..HEAVY_CLIENTS).map(|_| connect(addresses[0])).collect(),
            light: connect(addresses[1]),
        };
        while fixture.event_loop.connections.len() <= HEAVY_CLIENTS {
            fixture.loop_pass();
        }
        fixture
    }

    fn loop_pass(&mut self) {
        self.event_loop
            .loop_pass(&mut self.events, Duration::ZERO)
            .unwrap();
    }

    /// Gets of the heavy cache so far, those included that touch.
    fn heavy_gets(&self) -> u64 {
        let tenancy = self.event_loop.engine.directory.tenancy(HEAVY).unwrap();
        let counters = tenancy.items.counters();
        counters.get_misses + counters.touch_misses
    }

    /// Every heavy client sends `gets` gets, then the light client sends `batch` commands. Returns how many gets of
    /// the heavy clients were answered before the light client had all its replies.
    fn heavy_gets_before_light_replies(&mut self, gets: usize, batch: usize) -> u64 {
        let asked = self.heavy_gets() + (HEAVY_CLIENTS * gets) as u64;
        for socket in &mut self.heavy {
            socket.write_all(&b"get k\r\n".repeat(gets)).unwrap();
        }
        self.light.write_all(&b"mn\r\n".repeat(batch)).unwrap();
        let before = self.heavy_gets();
        let mut replies = vec![0; b"MN\r\n".len() * batch];
        let mut received = 0;
        while received < replies.len() {
            match self.light.read(&mut replies[received..]) {
                Ok(bytes) => received += bytes,
                Err(_) => self.loop_pass(),
            }
        }
        let meanwhile = self.heavy_gets() - before;
        while self.heavy_gets() < asked {
            self.loop_pass();
        }
        for socket in &mut self.heavy {
            let mut replies = vec![0; b"END\r\n".len() * gets];
            socket.set_nonblocking(false).unwrap();
            socket.read_exact(&mut replies).unwrap();
            socket.set_nonblocking(true).unwrap();
        }
        meanwhile
    }
}

/// The median of several tries, because the kernel may deliver a request late.
fn median_heavy_gets(gets: usize, batch: usize) -> u64 {
    let mut fixture = LoopFixture::new();
    let mut counts: Vec<u64> = (0..15)
        .map(|_| fixture.heavy_gets_before_light_replies(gets, batch))
        .collect();
    counts.sort_unstable();
    counts[counts.len() / 2]
}

#[test]
fn a_light_client_does_not_wait_for_all_readiness_events_of_heavy_ones() {
    let waited = median_heavy_gets(200, 1);
    assert!(waited <= 1024, "waited for {waited} of 10,000");
}

#[test]
fn a_light_client_does_not_wait_for_all_queued_requests_of_heavy_ones() {
    let waited = median_heavy_gets(2000, 1);
    assert!(waited <= 1024, "waited for {waited} of 100,000");
}

/// The batch takes three visits. Through the ready queue it would wait for two hundred visits of the heavy clients.
#[test]
fn a_rare_batch_does_not_wait_in_the_ready_queue() {
    let waited = median_heavy_gets(2000, 600);
    assert!(waited <= 2048, "waited for {waited} of 100,000");
}

/// A line end that is searched anew for each key cost a minute for 4 MiB, and nobody else was served meanwhile.
#[test]
fn a_line_of_many_keys_costs_in_step_with_its_length_and_others_are_served_meanwhile() {
    costs_in_step_with_its_length("get", 500_000);
}

#[test]
fn the_other_commands_with_lists_of_keys_cost_as_get_does() {
    for command in ["gets", "gat 0", "gats 0"] {
        costs_in_step_with_its_length(command, 250_000);
    }
}

fn costs_in_step_with_its_length(command: &str, keys: usize) {
    let mut fixture = LoopFixture::new();
    let line = format!("{command}{}\r\n", " k".repeat(keys));
    let searched_before = searched::bytes();
    let mut sent = 0;
    while sent < line.len() {
        match fixture.heavy[0].write(&line.as_bytes()[sent..]) {
            Ok(bytes) => sent += bytes,
            Err(_) => fixture.loop_pass(),
        }
    }
    let mut waited = Vec::new();
    let most = 8 * line.len() as u64;
    while fixture.heavy_gets() < keys as u64 {
        let before = fixture.heavy_gets();
        fixture.light.write_all(b"mn\r\n").unwrap();
        let mut reply = [0; 4];
        while fixture.light.read_exact(&mut reply).is_err() {
            fixture.loop_pass();
        }
        waited.push(fixture.heavy_gets() - before);
        // At once, since a search that is repeated for each key would take an hour.
        let searched = searched::bytes() - searched_before;
        assert!(searched < most, "{command}: searched again");
    }
    let searched = searched::bytes() - searched_before;
    assert!(
        searched > line.len() as u64 && searched < most,
        "{command}: {searched} bytes searched"
    );
    // The kernel may deliver a request late, so not the longest wait counts.
    waited.sort_unstable();
    let answered = waited.len();
    assert!(answered > 100, "{command}: answered {answered} times");
    let usual = waited[waited.len() / 2];
    assert!(
        usual <= 1024,
        "{command}: waited for {usual} of {keys} keys"
    );
}

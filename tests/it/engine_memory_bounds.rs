//! What clients can make the engine hold (security.md MC-15, MC-17).

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use larder::engine::Limits;
use socket2::{Domain, Socket, Type};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{ALICE, EngineFixture, OWNER};

const CLIENTS: u64 = 12;
/// Replies copy a value of this size. In a cache of 64 MiB they refer to values above 16 KiB, which show no bound: a reply
/// that refers costs a few bytes however large its value is.
const VALUE: usize = 12_000;
/// What one read may bring.
const READ: usize = 64 << 10;
/// Charges change in steps of this size.
const STEP: usize = 16 << 10;

/// A connection whose kernel takes little of what comes.
fn narrow(fixture: &EngineFixture) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket
        .connect(&fixture.addresses.plain.unwrap().into())
        .unwrap();
    let mut stream = TcpStream::from(socket);
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    stream.write_all(login.as_bytes()).unwrap();
    stream
}

/// Each asks for 120 MB and reads nothing.
#[test]
fn who_reads_nothing_makes_the_engine_hold_a_bounded_rest() {
    let fixture = EngineFixture::start();
    let value = "v".repeat(VALUE);
    fixture
        .text(OWNER)
        .talk(&format!("set k 0 0 {VALUE}\r\n{value}\r\n"), "STORED\r\n");
    let used = || fixture.engine.figures(ALICE).unwrap().used_bytes;
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 0);
    let before = used();
    let limits = Limits::default();
    // Unsent replies: up to the bound, and then the one that passed it. Requests that wait: the rest of one read, and one
    // unfinished line.
    let replies = limits.output_bytes_max + VALUE + 64;
    let bound = (replies + READ + limits.line_bytes_max + STEP) as u64;
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| narrow(&fixture)).collect();
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        drop(client.write(&b"get k\r\n".repeat(10_000)));
    }
    wait_until(|| used() - before > (limits.output_bytes_max / 2) as u64);
    // Whoever asks for more while its replies wait is not read: in the end nothing more can be sent.
    let requests = b"get k\r\n".repeat(1_000);
    for client in &mut clients {
        let mut refused = 0;
        while refused < 50 {
            match client.write(&requests) {
                Ok(_) => refused = 0,
                Err(_) => {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            let held = used() - before;
            assert!(held <= CLIENTS * bound, "{} bytes each", held / CLIENTS);
        }
    }
    drop(clients);
    wait_until(|| used() <= before + 4096);
}

/// What a cache held is given back when it is removed (security.md PA-10).
#[test]
fn a_cache_that_is_forgotten_holds_nothing() {
    let fixture = EngineFixture::start();
    let before = fixture.engine.memory_used_bytes();
    let mut client = fixture.text(OWNER);
    let value = "v".repeat(500_000);
    for number in 0..40 {
        client.talk(
            &format!("set k{number} 0 0 500000\r\n{value}\r\n"),
            "STORED\r\n",
        );
    }
    assert!(fixture.engine.memory_used_bytes() > before + 20_000_000);
    assert!(fixture.engine.forget(ALICE));
    assert!(client.rest().is_empty(), "its connections are closed");
    assert!(fixture.engine.figures(ALICE).is_none());
    wait_until(|| fixture.engine.memory_used_bytes() <= before);
}

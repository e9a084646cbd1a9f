//! Every limit that a client can meet, on both sides of its edge: one below it, at it, one beyond, and ten times as
//! much; and the numbers that protocols carry, at the ends of 32 and 64 bits (security.md G-5). Each is answered as
//! documented, and behind it the engine holds no more than before.
//!
//! | file | holds |
//! |---|---|
//! | `text` | the limits of a text or meta client, as a table |
//! | `numbers` | the numbers in its lines |
//! | `binary` | the limits of a binary client, and the numbers in its packets |
//! | `counts` | how many connections there may be |
//! | `http` | heads and bodies |

mod binary;
mod counts;
mod http;
mod numbers;
mod text;

use std::time::Duration;

use larder::engine::{EngineSettings, Limits};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{ALICE, Client, EngineFixture, OWNER, settings};

/// The longest key.
const KEY: usize = 250;
/// An item takes this much more than its key and value at most: it may be the first of its segment.
const SEGMENT: u64 = 256 << 10;
/// What an index may grow by.
const SLACK: u64 = 4096;

/// Below the limit, at it, beyond it, far beyond it.
fn edges(limit: usize) -> [usize; 4] {
    [limit - 1, limit, limit + 1, 10 * limit]
}

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Somebody who has logged in.
    Owner,
    Nobody,
}

/// What becomes of the connection behind the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request is served.
    GoesOn,
    Closes,
    /// What was announced is awaited and dropped: nothing more is answered.
    Drops,
}

/// The usual engine. No deadline passes while a slow machine runs these tests.
fn start(change: impl FnOnce(&mut Limits)) -> EngineFixture {
    let mut settings = EngineSettings {
        threads: 1,
        ..settings()
    };
    settings.limits.login_deadline = Duration::from_secs(600);
    settings.limits.request_deadline = Duration::from_secs(600);
    settings.limits.linger = Duration::from_secs(60);
    change(&mut settings.limits);
    EngineFixture::with(settings)
}

/// What the engine held before a client came.
struct Held<'f> {
    fixture: &'f EngineFixture,
    cache: u64,
    all: u64,
}

impl Held<'_> {
    fn now(fixture: &EngineFixture) -> Held<'_> {
        Held {
            fixture,
            cache: fixture.engine.figures(ALICE).unwrap().used_bytes,
            all: fixture.engine.memory_used_bytes(),
        }
    }

    /// The client has gone. Items of so many bytes may be left of it, and nothing else.
    fn and_no_more_than(&self, item_bytes: u64) {
        let engine = &self.fixture.engine;
        wait_until(|| engine.open_connections() == 0);
        wait_until(|| {
            let figures = engine.figures(ALICE).unwrap();
            assert!(figures.used_bytes <= figures.limit_bytes);
            figures.used_bytes <= self.cache + item_bytes + SLACK
        });
    }

    /// Nor is anything left of the cache once it has gone.
    fn and_nothing_without_the_cache(&self) {
        assert!(self.fixture.engine.forget(ALICE));
        wait_until(|| self.fixture.engine.memory_used_bytes() <= self.all);
    }
}

/// Sends a request of the text protocol, and checks the answer and what becomes of the connection.
fn text_case(fixture: &EngineFixture, who: Who, request: &[u8], (answer, then): (&str, Then)) {
    let held = Held::now(fixture);
    let mut client = match who {
        Who::Owner => fixture.text(OWNER),
        Who::Nobody => fixture.connect(),
    };
    client.send_if_open(request);
    client.expect(answer);
    match (then, who) {
        (Then::GoesOn, Who::Owner) => client.talk("mn\r\n", "MN\r\n"),
        (Then::GoesOn, Who::Nobody) => client.talk("get k\r\n", text::UNAUTHENTICATED),
        _ => says_nothing_more(&mut client, then, b"mn\r\n"),
    }
    drop(client);
    let stored = ["STORED\r\n", "HD\r\n"]
        .iter()
        .any(|line| answer.contains(*line));
    let item_bytes = request.len() as u64 + SEGMENT;
    held.and_no_more_than(if stored { item_bytes } else { 0 });
}

/// The connection is closed, or takes what was announced: `next` is not answered.
fn says_nothing_more(client: &mut Client, then: Then, next: &[u8]) {
    if then == Then::Drops {
        client.send(next);
        client.end_sending();
    }
    assert_eq!(client.rest(), b"");
}

//! One connection, any bytes, any pace: what it makes the engine hold and do.
//!
//! The first byte of an input chooses the client; the rest is steps. The first byte of a step says how many bytes follow,
//! how often they are sent, and how much time passes then. Checked is: what the connection holds is charged to its tenant,
//! or small and fixed before a login; the tenant exceeds its limit by no more than one connection always may; a connection
//! that completes nothing is overdue in time, however it is fed; the bytes that the parsers search stay in proportion to
//! those that were sent; and nothing remains after the connection.

use std::sync::Arc;

use larder::domain::Capabilities;
use larder::engine::net::{Exchange, SWEEP};
use larder::engine::protocol::Output;
use larder::engine::protocol::scan::searched;
use larder::engine::session::{Fed, Next};
use larder::engine::state::EngineState;

use super::fixture::{ALICE, FuzzFixture, OWNER};

const LIMIT_BYTES: u64 = 4 << 20;
/// What a connection may hold in any case, and by that the tenant exceed its limit until the next housekeeping.
const ALWAYS_BYTES: u64 = 128 << 10;
/// What a connection reads at once.
const READ_BYTES: usize = 64 << 10;
/// A longer run would show nothing new.
const SENT_BYTES_MAX: u64 = 6 << 20;
/// How often a byte may be searched: for the end of its line, of its token, for the bytes of a key, and once more for each
/// way to read a line.
const SEARCHED_PER_BYTE: u64 = 16;
/// What a visit may search again: a line that waits for its block, before a login.
const SEARCHED_PER_VISIT: u64 = 16 << 10;

struct Run<'e> {
    engine: &'e Arc<EngineState>,
    exchange: Exchange,
    out: Output,
    /// The client reads its replies only between two steps.
    reads_late: bool,
    sweeps: u32,
    /// The sweep at which the present request began, or the present identity was lost.
    since: u32,
    closed: bool,
    visits: u64,
}

pub fn connection(data: &[u8]) {
    let [mode, steps @ ..] = data else {
        return;
    };
    let fixture = FuzzFixture::new(LIMIT_BYTES, OWNER, Capabilities::ALL);
    let tenancy = fixture.tenancy(ALICE);
    let mut run = Run::begin(&fixture, *mode);
    let mut steps = steps;
    let mut sent = 0;
    let before = searched::bytes();
    while let [step, rest @ ..] = steps
        && !run.closed
        && sent < SENT_BYTES_MAX
    {
        let (piece, rest) = rest.split_at(usize::from(step & 0x1f).min(rest.len()));
        steps = rest;
        // Once, 16, 256 or 4096 times.
        let input = piece.repeat(1 << (4 * (step >> 5 & 3)));
        for read in input.chunks(READ_BYTES) {
            sent += read.len() as u64;
            run.read(read);
            let used = tenancy.items.used_bytes();
            assert!(used <= LIMIT_BYTES + ALWAYS_BYTES, "{used} bytes");
        }
        if step & 0x80 != 0 {
            run.pass(1 << (piece.len() % 8));
            fixture.engine.housekeeping();
        }
    }
    let searched = searched::bytes() - before;
    let most = SEARCHED_PER_BYTE * sent + SEARCHED_PER_VISIT * run.visits;
    assert!(
        searched <= most,
        "{searched} bytes searched for {sent} in {} visits",
        run.visits
    );
    drop(run);
    fixture.engine.housekeeping();
    assert_eq!(tenancy.connections(), 0, "a slot without a client");
    assert!(tenancy.items.used_bytes() <= LIMIT_BYTES);
}

impl<'e> Run<'e> {
    fn begin(fixture: &'e FuzzFixture, mode: u8) -> Run<'e> {
        let client = match mode % 4 {
            0 => fixture.not_logged_in(),
            _ => fixture.open(ALICE),
        };
        Run {
            engine: &fixture.engine,
            exchange: Exchange::new(client.session, 0),
            out: Output::default(),
            reads_late: mode & 4 != 0,
            sweeps: 0,
            since: 0,
            closed: false,
            visits: 0,
        }
    }

    /// The visits that a read leads to.
    fn read(&mut self, input: &[u8]) {
        if self.closed {
            return;
        }
        if self.exchange.has_unsent() {
            self.exchange.note_taken(self.sweeps);
            self.exchange.all_sent();
            self.since = self.sweeps;
        }
        if self.exchange.is_between_requests() {
            self.since = self.sweeps;
        }
        let mut fed = self.exchange.receive(self.engine, input, &mut self.out);
        while self.end_visit(fed) {
            fed = self.exchange.resume(self.engine, &mut self.out);
        }
        self.check();
    }

    /// Whether there is more to do without further input.
    fn end_visit(&mut self, fed: Fed) -> bool {
        self.visits += 1;
        assert!(self.visits < 1_000_000, "it never ends");
        if fed.commands > 0 {
            self.since = self.sweeps;
        }
        if fed.next == Next::Close {
            self.closed = true;
            return false;
        }
        if self.reads_late && fed.next == Next::Read && !self.out.is_empty() {
            let limits = &self.engine.limits;
            let kept = self
                .exchange
                .keep_unsent(limits, &mut self.out, 0, self.sweeps);
            self.closed = !kept;
            return false;
        }
        self.out.clear();
        self.exchange.end_visit(fed.commands > 0, self.sweeps);
        fed.next != Next::Read
    }

    fn check(&self) {
        if self.closed {
            return;
        }
        let (held, charged) = (
            self.exchange.held_bytes() as u64,
            self.exchange.charged_bytes(),
        );
        if self.exchange.is_logged_in() {
            assert!(held <= charged, "{held} bytes held, {charged} charged");
        } else {
            assert!(
                held <= self.engine.limits.anonymous_bytes_max as u64,
                "{held} bytes held"
            );
            assert_eq!(charged, 0);
        }
    }

    /// Time passes, and the sweep looks.
    fn pass(&mut self, sweeps: u32) {
        let limits = &self.engine.limits;
        self.sweeps += sweeps;
        if self.exchange.is_overdue(self.sweeps, limits) {
            self.closed = true;
            return;
        }
        self.exchange.settle();
        let lasted = SWEEP * (self.sweeps - self.since);
        let deadline = match self.exchange.is_logged_in() {
            false => limits.login_deadline,
            true if self.exchange.is_between_requests() => return,
            true => limits.request_deadline,
        };
        // Replies that wait have a deadline of their own, and the request behind them begins anew when they are taken.
        let waits = self.exchange.has_unsent();
        assert!(waits || lasted <= deadline, "open for {lasted:?}");
    }
}

//! Every command with every set of capabilities, in every dialect, quiet and not quiet. A refused command changes nothing,
//! and the connection stays in step.

use std::sync::Arc;

use larder::domain::Capabilities;
use larder::engine::auth::{Account, Standing};
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, Next};
use larder::engine::state::EngineState;

use crate::engine_commands::{KEYS, Needs, binary_commands, refusal, text_commands};
use crate::engine_fixture::{ALICE, EventRecorder, WallClock, alice, key, packet, settings};

/// A cache with two items, and sessions for it.
struct SessionFixture {
    engine: Arc<EngineState>,
    account: Arc<Account>,
}

impl SessionFixture {
    fn new() -> SessionFixture {
        let sink = Arc::new(EventRecorder::default());
        let engine = Arc::new(EngineState::new(
            settings(),
            key(),
            Arc::new(WallClock),
            sink,
        ));
        engine.apply(&alice());
        let account = engine.directory.open_account(ALICE).unwrap();
        SessionFixture { engine, account }
    }

    fn session(&self) -> ClientSession {
        ClientSession::open(
            self.engine.take_slot(Arc::clone(&self.account)).unwrap(),
            None,
            0,
        )
    }

    fn talk(&self, session: &mut ClientSession, bytes: &[u8]) -> Vec<u8> {
        let mut out = Output::default();
        let fed = session.feed(&self.engine, bytes, &mut out);
        assert_eq!((fed.used, fed.next), (bytes.len(), Next::Read));
        out.to_vec()
    }

    /// As `talk`, but the bytes arrive in two parts. A large value is then received as an upload.
    fn talk_with_a_pause(&self, session: &mut ClientSession, bytes: &[u8]) -> Vec<u8> {
        let mut out = Output::default();
        let begin = &bytes[..bytes.len().min(64)];
        let begun = session.feed(&self.engine, begin, &mut out);
        let fed = session.feed(&self.engine, &bytes[begun.used..], &mut out);
        let used = begun.used + fed.used;
        assert_eq!((used, fed.next), (bytes.len(), Next::Read));
        out.to_vec()
    }

    /// Everything that can be read of the items without changing them.
    fn dump(&self) -> Vec<u8> {
        let mut seen = Vec::new();
        for key in KEYS {
            let line = format!("mg {key} v s f c t h u\r\n");
            seen.extend(self.talk(&mut self.session(), line.as_bytes()));
        }
        seen
    }

    fn prepare(&self) {
        self.account.set_capabilities(Capabilities::ALL);
        let items = b"flush_all\r\nset text 3 0 4\r\nword\r\nset number 4 0 2\r\n12\r\n";
        self.talk(&mut self.session(), items);
    }
}

/// Tries one command under one set of capabilities.
fn check(
    fixture: &SessionFixture,
    needs: Needs,
    request: &[u8],
    granted: Capabilities,
    fence: &[u8],
) {
    let shown = request[..request.len().min(60)].escape_ascii();
    fixture.prepare();
    let before = fixture.dump();
    fixture.account.set_capabilities(granted);
    assert_eq!(fixture.account.standing(), Standing::Valid(granted));
    let mut session = fixture.session();
    let first = fixture.talk_with_a_pause(&mut session, request);
    let second = fixture.talk(&mut session, &[request, fence].concat());
    let mark = mark_of(fence);
    assert!(second.ends_with(mark), "{shown}: out of step");
    let permitted = match needs {
        Needs::Nothing => true,
        Needs::Write => granted.allows(Capabilities::WRITE),
        Needs::Flush => granted.allows(Capabilities::FLUSH),
    };
    fixture.account.set_capabilities(Capabilities::ALL);
    if !permitted {
        let refusal = refusal(request);
        assert_eq!(text(&first), text(&refusal), "{shown} with {granted:?}");
        let behind = [&refusal[..], mark].concat();
        assert_eq!(text(&second), text(&behind), "{shown} with {granted:?}");
        assert_eq!(
            text(&fixture.dump()),
            text(&before),
            "{shown} changed something with {granted:?}"
        );
        return;
    }
    if needs == Needs::Flush && !shown.to_string().contains('1') {
        assert_ne!(
            fixture.dump(),
            before,
            "{shown} did nothing with {granted:?}"
        );
    }
    fixture.prepare();
    let of_all = fixture.talk(&mut fixture.session(), request);
    assert_eq!(
        outcome(&first),
        outcome(&of_all),
        "{shown} with {granted:?}"
    );
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The reply to [`fence`].
fn mark_of(fence: &[u8]) -> &'static [u8] {
    if fence[0] == 0x80 {
        &[
            0x81, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0,
        ]
    } else {
        b"MN\r\n"
    }
}

/// The first token of a text reply, or the status of a packet.
fn outcome(reply: &[u8]) -> String {
    let told = match reply {
        [0x81, ..] => &reply[6..8],
        _ => reply.split(u8::is_ascii_whitespace).next().unwrap(),
    };
    text(told)
}

fn sets() -> [Capabilities; 4] {
    let both = Capabilities::WRITE.with(Capabilities::FLUSH, true);
    [
        Capabilities::NONE,
        Capabilities::WRITE,
        Capabilities::FLUSH,
        both,
    ]
}

/// A command that is always answered. Its reply shows that the connection is in step.
fn fences() -> [Vec<u8>; 2] {
    let noop = packet(0x0a, 0x0909_0909, &[], b"", b"", 0);
    [b"mn\r\n".to_vec(), noop]
}

#[test]
fn the_text_dialects_do_what_is_permitted_and_change_nothing_else() {
    let fixture = SessionFixture::new();
    let [fence, _] = fences();
    for (needs, line) in text_commands() {
        for granted in sets() {
            check(&fixture, needs, &line, granted, &fence);
        }
    }
}

#[test]
fn the_binary_dialect_does_what_is_permitted_and_changes_nothing_else() {
    let [_, fence] = fences();
    for (needs, request) in binary_commands() {
        let fixture = SessionFixture::new();
        for granted in sets() {
            check(&fixture, needs, &request, granted, &fence);
        }
    }
}

#[test]
fn no_refusal_is_an_authentication_failure() {
    let fixture = SessionFixture::new();
    for (_, request) in binary_commands() {
        fixture.prepare();
        fixture.account.set_capabilities(Capabilities::NONE);
        let reply = fixture.talk(&mut fixture.session(), &request);
        assert!(reply.is_empty() || reply[6..8] != [0, 0x20], "{reply:?}");
    }
}

#[test]
fn a_thousand_refusals_leave_the_stream_in_step() {
    let fixture = SessionFixture::new();
    fixture.prepare();
    let before = fixture.dump();
    fixture.account.set_capabilities(Capabilities::NONE);
    let dialects = [text_commands(), binary_commands()];
    for (commands, fence) in dialects.iter().zip(fences()) {
        let mut session = fixture.session();
        let refused = commands
            .iter()
            .filter(|(needs, _)| *needs != Needs::Nothing);
        assert!((1..1000).contains(&refused.clone().count()));
        let thousand = refused.map(|(_, request)| &request[..]).cycle().take(1000);
        let thousand: Vec<&[u8]> = thousand.collect();
        for requests in thousand.chunks(20) {
            let reply = fixture.talk(&mut session, &requests.concat());
            let expected = requests.iter().flat_map(|request| refusal(request));
            assert_eq!(text(&reply), text(&expected.collect::<Vec<u8>>()));
        }
        assert_eq!(fixture.talk(&mut session, &fence), mark_of(&fence));
    }
    fixture.account.set_capabilities(Capabilities::ALL);
    assert_eq!(text(&fixture.dump()), text(&before));
}

#[test]
fn a_right_that_is_lost_while_a_value_comes_in_is_lost() {
    let value = vec![b'v'; 100_000];
    let line = b"set text 1 0 100000\r\n";
    let header = packet(0x01, 0, &[0; 8], b"text", &value, 0);
    let requests = [[&line[..], &value, b"\r\n"].concat(), header];
    for (request, fence) in requests.iter().zip(fences()) {
        let fixture = SessionFixture::new();
        fixture.prepare();
        let before = fixture.dump();
        let mut session = fixture.session();
        let (begin, rest) = request.split_at(request.len() - 99_000);
        assert_eq!(text(&fixture.talk(&mut session, begin)), "");
        fixture.account.set_capabilities(Capabilities::NONE);
        let reply = fixture.talk(&mut session, &[rest, &fence].concat());
        let expected = [&refusal(request)[..], mark_of(&fence)].concat();
        assert_eq!(text(&reply), text(&expected));
        fixture.account.set_capabilities(Capabilities::ALL);
        assert_eq!(text(&fixture.dump()), text(&before));
    }
}

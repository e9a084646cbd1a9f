//! Every command, with every set of capabilities, in every dialect and loudness. A command that is not permitted
//! changes nothing, and the stream stays in step.

use std::sync::Arc;

use larder::domain::Capabilities;
use larder::engine::auth::{Account, Standing};
use larder::engine::node::Node;
use larder::engine::protocol::Output;
use larder::engine::session::{Next, Session};

use crate::engine_stage::{ALICE, Diary, WallClock, alice, key, packet, settings};

/// What a command would need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    Nothing,
    Write,
    Flush,
}

const KEYS: [&str; 3] = ["text", "number", "absent"];

/// Text and meta commands, the loud and the silent form of each.
fn text_commands() -> Vec<(Needs, String)> {
    let mut commands = Vec::new();
    let mut add = |needs, line: String| commands.push((needs, line));
    for key in KEYS {
        for verb in ["set", "add", "replace", "append", "prepend"] {
            for noreply in ["", " noreply"] {
                add(
                    Needs::Write,
                    format!("{verb} {key} 1 0 2{noreply}\r\n77\r\n"),
                );
            }
        }
        for noreply in ["", " noreply"] {
            add(
                Needs::Write,
                format!("cas {key} 1 0 2 1{noreply}\r\n77\r\n"),
            );
            for line in ["delete {}", "incr {} 1", "decr {} 1", "touch {} 100"] {
                add(
                    Needs::Write,
                    format!("{}{noreply}\r\n", line.replace("{}", key)),
                );
            }
        }
        for quiet in ["", " q"] {
            for flags in ["", " v", " s f c t h l k O1", " u"] {
                add(Needs::Nothing, format!("mg {key}{flags}{quiet}\r\n"));
            }
            for flags in [" T10", " N10", " R10", " v T0", " N0 R0 T0"] {
                add(Needs::Write, format!("mg {key}{flags}{quiet}\r\n"));
            }
            for flags in [
                "", " ME", " MA", " MP", " MR", " MA N0", " I C1", " C1", " E9",
            ] {
                add(Needs::Write, format!("ms {key} 2{flags}{quiet}\r\n77\r\n"));
            }
            for flags in ["", " I", " I T9", " x", " C1"] {
                add(Needs::Write, format!("md {key}{flags}{quiet}\r\n"));
            }
            for flags in ["", " MD", " N0 J5", " T9", " D7 v"] {
                add(Needs::Write, format!("ma {key}{flags}{quiet}\r\n"));
            }
        }
        add(Needs::Write, format!("gat 10 {key}\r\n"));
        add(Needs::Write, format!("gats 10 {key} text\r\n"));
        add(Needs::Nothing, format!("get {key}\r\n"));
        add(Needs::Nothing, format!("gets {key} text\r\n"));
        add(Needs::Nothing, format!("me {key}\r\n"));
    }
    for noreply in ["", " noreply"] {
        add(Needs::Flush, format!("flush_all{noreply}\r\n"));
        add(Needs::Flush, format!("flush_all 1{noreply}\r\n"));
        add(Needs::Nothing, format!("verbosity 1{noreply}\r\n"));
    }
    for line in [
        "version",
        "mn",
        "stats",
        "stats settings",
        "stats items",
        "nonsense",
    ] {
        add(Needs::Nothing, format!("{line}\r\n"));
    }
    commands
}

fn binary_commands() -> Vec<(Needs, Vec<u8>)> {
    let mut commands = Vec::new();
    for key in KEYS {
        let key = key.as_bytes();
        let mut add = |needs, opcodes: &[u8], extras: &[u8], value: &[u8]| {
            for &opcode in opcodes {
                commands.push((needs, packet(opcode, 0, extras, key, value, 0)));
            }
        };
        add(Needs::Nothing, &[0x00, 0x09, 0x0c, 0x0d], &[], b"");
        add(
            Needs::Write,
            &[0x01, 0x02, 0x03, 0x11, 0x12, 0x13],
            &[0; 8],
            b"77",
        );
        add(Needs::Write, &[0x0e, 0x0f, 0x19, 0x1a], &[], b"77");
        add(Needs::Write, &[0x04, 0x14], &[], b"");
        add(Needs::Write, &[0x05, 0x06, 0x15, 0x16], &[0; 20], b"");
        add(
            Needs::Write,
            &[0x1c, 0x1d, 0x1e, 0x23, 0x24],
            &[0, 0, 0, 9],
            b"",
        );
    }
    for opcode in [0x08, 0x18] {
        commands.push((Needs::Flush, packet(opcode, 0, &[], b"", b"", 0)));
        commands.push((Needs::Flush, packet(opcode, 0, &[0, 0, 0, 1], b"", b"", 0)));
    }
    for opcode in [0x0a, 0x0b, 0x10, 0x1b, 0x50] {
        commands.push((Needs::Nothing, packet(opcode, 0, &[], b"", b"", 0)));
    }
    commands
}

/// A cache with two items, and sessions for it.
struct Kitchen {
    node: Arc<Node>,
    account: Arc<Account>,
}

impl Kitchen {
    fn new() -> Kitchen {
        let sink = Arc::new(Diary::default());
        let node = Arc::new(Node::new(settings(), key(), Arc::new(WallClock), sink));
        node.apply(&alice());
        let account = node.directory.open_account(ALICE).unwrap();
        Kitchen { node, account }
    }

    fn session(&self) -> Session {
        Session::open(self.node.seat(Arc::clone(&self.account)).unwrap(), None, 0)
    }

    fn talk(&self, session: &mut Session, bytes: &[u8]) -> Vec<u8> {
        let mut out = Output::default();
        let fed = session.feed(&self.node, bytes, &mut out);
        assert_eq!((fed.used, fed.next), (bytes.len(), Next::Read));
        out.to_vec()
    }

    /// All that can be seen of the items without touching them.
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

/// Tries one command in one kitchen under one set of capabilities.
fn check(kitchen: &Kitchen, needs: Needs, request: &[u8], granted: Capabilities, fence: &[u8]) {
    let shown = request.escape_ascii();
    kitchen.prepare();
    let before = kitchen.dump();
    kitchen.account.set_capabilities(granted);
    assert_eq!(kitchen.account.standing(), Standing::Valid(granted));
    let mut session = kitchen.session();
    kitchen.talk(&mut session, request);
    let mut twice = request.to_vec();
    twice.extend_from_slice(fence);
    let reply = kitchen.talk(&mut session, &twice);
    let mark: &[u8] = if fence[0] == 0x80 {
        &[
            0x81, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0,
        ]
    } else {
        b"MN\r\n"
    };
    assert!(reply.ends_with(mark), "{shown}: out of step");
    let permitted = match needs {
        Needs::Nothing => true,
        Needs::Write => granted.allows(Capabilities::WRITE),
        Needs::Flush => granted.allows(Capabilities::FLUSH),
    };
    kitchen.account.set_capabilities(Capabilities::ALL);
    if !permitted {
        assert_eq!(
            kitchen.dump().escape_ascii().to_string(),
            before.escape_ascii().to_string(),
            "{shown} changed something with {granted:?}"
        );
    }
    if needs == Needs::Flush && permitted && !shown.to_string().contains('1') {
        assert_ne!(
            kitchen.dump(),
            before,
            "{shown} did nothing with {granted:?}"
        );
    }
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

#[test]
fn the_text_dialects_change_nothing_without_permission() {
    let kitchen = Kitchen::new();
    for (needs, line) in text_commands() {
        for granted in sets() {
            // A read marks its item as read; that is no change, and the dump would show it.
            if needs == Needs::Nothing && !line.contains(" u") {
                continue;
            }
            check(&kitchen, needs, line.as_bytes(), granted, b"mn\r\n");
        }
    }
}

#[test]
fn the_binary_dialect_changes_nothing_without_permission() {
    let fence = packet(0x0a, 0x0909_0909, &[], b"", b"", 0);
    for (needs, request) in binary_commands() {
        let kitchen = Kitchen::new();
        for granted in sets() {
            if needs != Needs::Nothing {
                check(&kitchen, needs, &request, granted, &fence);
            }
        }
    }
}

#[test]
fn no_refusal_is_an_authentication_failure() {
    let kitchen = Kitchen::new();
    for (_, request) in binary_commands() {
        kitchen.prepare();
        kitchen.account.set_capabilities(Capabilities::NONE);
        let reply = kitchen.talk(&mut kitchen.session(), &request);
        assert!(reply.is_empty() || reply[6..8] != [0, 0x20], "{reply:?}");
    }
}

#[test]
fn a_thousand_refusals_leave_the_stream_in_step() {
    let kitchen = Kitchen::new();
    kitchen.account.set_capabilities(Capabilities::NONE);
    let mut session = kitchen.session();
    let line = b"set k 0 0 5\r\nget x\r\nincr k 1\r\nset k 0 0 5 noreply\r\nget x\r\nmn\r\n";
    for _ in 0..1000 {
        let reply = kitchen.talk(&mut session, line);
        assert_eq!(reply, b"NOT_STORED\r\nNOT_STORED\r\nMN\r\n");
    }
}

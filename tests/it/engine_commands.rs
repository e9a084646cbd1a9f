//! Every command, with the capability it needs beyond reading and the reply when that is missing.

use larder::engine::protocol::binary::Opcode;

use crate::engine_fixture::packet;

/// The capability that a command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    Nothing,
    Write,
    Flush,
}

/// Keys of a text, a number, and no item.
pub const KEYS: [&str; 3] = ["text", "number", "absent"];

/// A value that is received as an upload, and one that is too large for any item.
const LARGE: [usize; 2] = [100_000, 1 << 20];

/// Classic and meta commands, each in its usual and its quiet form.
pub fn text_commands() -> Vec<(Needs, Vec<u8>)> {
    [classic_commands(), meta_commands()].concat()
}

fn classic_commands() -> Vec<(Needs, Vec<u8>)> {
    let mut commands = Vec::new();
    let mut add = |needs, line: String| commands.push((needs, line.into_bytes()));
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
        for length in LARGE {
            let value = "v".repeat(length);
            for noreply in ["", " noreply"] {
                let head = format!("set {key} 1 0 {length}{noreply}");
                add(Needs::Write, format!("{head}\r\n{value}\r\n"));
            }
        }
        add(Needs::Write, format!("gat 10 {key}\r\n"));
        add(Needs::Write, format!("gats 10 {key} text\r\n"));
        add(Needs::Nothing, format!("get {key}\r\n"));
        add(Needs::Nothing, format!("gets {key} text\r\n"));
    }
    for noreply in ["", " noreply"] {
        add(Needs::Flush, format!("flush_all{noreply}\r\n"));
        add(Needs::Flush, format!("flush_all 1{noreply}\r\n"));
        add(Needs::Nothing, format!("verbosity 1{noreply}\r\n"));
    }
    for line in [
        "version",
        "stats",
        "stats settings",
        "stats items",
        "nonsense",
    ] {
        add(Needs::Nothing, format!("{line}\r\n"));
    }
    commands
}

fn meta_commands() -> Vec<(Needs, Vec<u8>)> {
    let mut commands = Vec::new();
    let mut add = |needs, line: String| commands.push((needs, line.into_bytes()));
    for key in KEYS {
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
        for length in LARGE {
            let value = "v".repeat(length);
            for quiet in ["", " q"] {
                let head = format!("ms {key} {length}{quiet}");
                add(Needs::Write, format!("{head}\r\n{value}\r\n"));
            }
        }
        add(Needs::Nothing, format!("me {key}\r\n"));
    }
    add(Needs::Nothing, "mn\r\n".to_owned());
    commands
}

pub fn binary_commands() -> Vec<(Needs, Vec<u8>)> {
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
        for length in LARGE {
            add(Needs::Write, &[0x01, 0x11], &[0; 8], &vec![b'v'; length]);
        }
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

/// The reply to a refused command, by the table of the product reference.
pub fn refusal(request: &[u8]) -> Vec<u8> {
    match request {
        [0x80, ..] => binary_refusal(request),
        _ => text_refusal(request).as_bytes().to_vec(),
    }
}

fn text_refusal(request: &[u8]) -> &'static str {
    let line = request.split(|&byte| byte == b'\r').next().unwrap();
    let tokens: Vec<&str> = std::str::from_utf8(line).unwrap().split(' ').collect();
    match tokens[0] {
        "mg" if tokens.contains(&"q") => "",
        "mg" => "EN\r\n",
        "ms" | "ma" => "NS\r\n",
        "md" => "EX\r\n",
        _ if tokens.contains(&"noreply") => "",
        "gat" | "gats" => "END\r\n",
        "flush_all" => "CLIENT_ERROR flush not permitted\r\n",
        _ => "NOT_STORED\r\n",
    }
}

fn binary_refusal(request: &[u8]) -> Vec<u8> {
    let (key, extras) = (usize::from(request[3]), usize::from(request[4]));
    let key = &request[24 + extras..][..key];
    match request[1] {
        0x1e | 0x24 => Vec::new(),
        0x1d => response(0x1d, 1, b"", b"Not found"),
        0x23 => response(0x23, 1, key, b""),
        opcode => response(opcode, 5, b"", b"Not stored."),
    }
}

fn response(opcode: u8, status: u16, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = packet(opcode, 0, &[], key, value, 0);
    bytes[0] = 0x81;
    bytes[6..8].copy_from_slice(&status.to_be_bytes());
    bytes
}

#[test]
fn every_operation_of_the_binary_dialect_is_tried() {
    let tried: Vec<u8> = binary_commands()
        .iter()
        .map(|(_, request)| request[1])
        .collect();
    for byte in 0..=u8::MAX {
        if let Some((opcode, _)) = Opcode::of_byte(byte)
            && !opcode.is_sasl()
            && opcode != Opcode::Quit
        {
            assert!(tried.contains(&byte), "{opcode:?}, {byte:#04x}");
        }
    }
}

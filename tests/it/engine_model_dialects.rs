//! The model's operations as requests, and its answers as replies, in the three dialects.

use crate::engine_fixture::packet;
use crate::engine_model::{Answer, Command, Dialect, Item, Mode, Op};

impl Command {
    /// The request. A store stores `value`.
    pub fn request(&self, dialect: Dialect, value: &[u8]) -> Vec<u8> {
        match dialect {
            Dialect::Text => self.text(value),
            Dialect::Meta => self.meta(value),
            Dialect::Binary => self.binary(value),
        }
    }

    fn text(&self, value: &[u8]) -> Vec<u8> {
        let noreply = if self.quiet { " noreply" } else { "" };
        let line = match &self.op {
            Op::Get(keys) => {
                let keys: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
                format!("get {}", keys.join(" "))
            }
            Op::GetAndTouch(key, exptime) => format!("gat {exptime} k{key}"),
            Op::Store(mode, key, seed, exptime) => {
                let verb = format!("{mode:?}").to_lowercase();
                let length = value.len();
                let head = format!("{verb} k{key} {seed} {exptime} {length}{noreply}\r\n");
                return [head.as_bytes(), value, b"\r\n"].concat();
            }
            Op::Arith { up, key, delta } => {
                let verb = if *up { "incr" } else { "decr" };
                format!("{verb} k{key} {delta}{noreply}")
            }
            Op::Delete(key) => format!("delete k{key}{noreply}"),
            Op::Touch(key, exptime) => format!("touch k{key} {exptime}{noreply}"),
            Op::Flush => format!("flush_all{noreply}"),
        };
        format!("{line}\r\n").into_bytes()
    }

    fn meta(&self, value: &[u8]) -> Vec<u8> {
        let q = if self.quiet { " q" } else { "" };
        let line = match &self.op {
            Op::Get(keys) => {
                let lines = keys.iter().map(|key| format!("mg k{key} f v{q}\r\n"));
                return lines.collect::<String>().into_bytes();
            }
            Op::GetAndTouch(key, exptime) => format!("mg k{key} f v T{exptime}{q}"),
            Op::Store(mode, key, seed, exptime) => {
                let letter = match mode {
                    Mode::Set => 'S',
                    Mode::Add => 'E',
                    Mode::Replace => 'R',
                    Mode::Append => 'A',
                    Mode::Prepend => 'P',
                };
                let length = value.len();
                let head = format!("ms k{key} {length} F{seed} T{exptime} M{letter}{q}\r\n");
                return [head.as_bytes(), value, b"\r\n"].concat();
            }
            Op::Arith { up, key, delta } => {
                let letter = if *up { 'I' } else { 'D' };
                format!("ma k{key} M{letter} D{delta} v{q}")
            }
            Op::Delete(key) => format!("md k{key}{q}"),
            Op::Touch(key, exptime) => format!("mg k{key} T{exptime}"),
            Op::Flush => return self.text(value),
        };
        format!("{line}\r\n").into_bytes()
    }

    fn binary(&self, value: &[u8]) -> Vec<u8> {
        let key_of = |key: u8| format!("k{key}").into_bytes();
        let opcode = self.opcode();
        match &self.op {
            Op::Get(keys) => {
                let packets = keys
                    .iter()
                    .map(|&key| packet(opcode, 0, &[], &key_of(key), b"", 0));
                packets.collect::<Vec<_>>().concat()
            }
            Op::GetAndTouch(key, exptime) | Op::Touch(key, exptime) => {
                packet(opcode, 0, &exptime.to_be_bytes(), &key_of(*key), b"", 0)
            }
            Op::Store(Mode::Append | Mode::Prepend, key, _, _) => {
                packet(opcode, 0, &[], &key_of(*key), value, 0)
            }
            Op::Store(_, key, seed, exptime) => {
                let extras = [u32::from(*seed).to_be_bytes(), exptime.to_be_bytes()].concat();
                packet(opcode, 0, &extras, &key_of(*key), value, 0)
            }
            Op::Arith { key, delta, .. } => {
                // With an exptime of all ones, a missing counter is not created.
                let extras = [&delta.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat();
                packet(opcode, 0, &extras, &key_of(*key), b"", 0)
            }
            Op::Delete(key) => packet(opcode, 0, &[], &key_of(*key), b"", 0),
            Op::Flush => packet(opcode, 0, &[], b"", b"", 0),
        }
    }

    fn opcode(&self) -> u8 {
        let (loud, quiet) = match &self.op {
            Op::Get(_) => (0x00, 0x09),
            Op::GetAndTouch(..) => (0x1d, 0x1e),
            Op::Store(Mode::Set, ..) => (0x01, 0x11),
            Op::Store(Mode::Add, ..) => (0x02, 0x12),
            Op::Store(Mode::Replace, ..) => (0x03, 0x13),
            Op::Store(Mode::Append, ..) => (0x0e, 0x19),
            Op::Store(Mode::Prepend, ..) => (0x0f, 0x1a),
            Op::Arith { up: true, .. } => (0x05, 0x15),
            Op::Arith { up: false, .. } => (0x06, 0x16),
            Op::Delete(_) => (0x04, 0x14),
            Op::Touch(..) => (0x1c, 0x1c),
            Op::Flush => (0x08, 0x18),
        };
        if self.quiet { quiet } else { loud }
    }

    /// The reply; empty if the request was quiet about it. CAS values of the binary dialect are zero.
    pub fn reply(&self, dialect: Dialect, answer: &Answer) -> Vec<u8> {
        match dialect {
            Dialect::Text => self.text_reply(answer),
            Dialect::Meta => self.meta_reply(answer),
            Dialect::Binary => self.binary_reply(answer),
        }
    }

    fn keys(&self) -> Vec<u8> {
        match &self.op {
            Op::Get(keys) => keys.clone(),
            other => vec![other.key()],
        }
    }

    fn text_reply(&self, answer: &Answer) -> Vec<u8> {
        let line: &[u8] = match answer {
            Answer::Items(items) => {
                let mut reply = Vec::new();
                for (key, item) in self.keys().iter().zip(items) {
                    let Some(Item { flags, value, .. }) = item else {
                        continue;
                    };
                    reply.extend(format!("VALUE k{key} {flags} {}\r\n", value.len()).bytes());
                    reply.extend([value, &b"\r\n"[..]].concat());
                }
                return [&reply[..], b"END\r\n"].concat();
            }
            _ if self.quiet => b"",
            Answer::Number(number) => return format!("{number}\r\n").into_bytes(),
            Answer::Stored => b"STORED\r\n",
            Answer::NotStored(_) => b"NOT_STORED\r\n",
            Answer::NonNumeric => {
                b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
            }
            Answer::NotFound => b"NOT_FOUND\r\n",
            Answer::Deleted => b"DELETED\r\n",
            Answer::Touched(_) => b"TOUCHED\r\n",
            Answer::Flushed => b"OK\r\n",
        };
        line.to_vec()
    }

    fn meta_reply(&self, answer: &Answer) -> Vec<u8> {
        let line: &[u8] = match answer {
            Answer::Items(items) => {
                let mut reply = Vec::new();
                for item in items {
                    match item {
                        Some(Item { flags, value, .. }) => {
                            reply.extend(format!("VA {} f{flags}\r\n", value.len()).bytes());
                            reply.extend([value, &b"\r\n"[..]].concat());
                        }
                        None if self.quiet => {}
                        None => reply.extend(b"EN\r\n"),
                    }
                }
                return reply;
            }
            Answer::Flushed => return self.text_reply(answer),
            Answer::NonNumeric => {
                b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
            }
            Answer::NotFound if matches!(self.op, Op::Touch(..)) => b"EN\r\n",
            Answer::NotFound => b"NF\r\n",
            Answer::NotStored(_) => b"NS\r\n",
            Answer::Touched(_) => b"HD\r\n",
            _ if self.quiet => b"",
            Answer::Number(number) => {
                let number = number.to_string();
                return format!("VA {}\r\n{number}\r\n", number.len()).into_bytes();
            }
            Answer::Stored | Answer::Deleted => b"HD\r\n",
        };
        line.to_vec()
    }

    fn binary_reply(&self, answer: &Answer) -> Vec<u8> {
        let respond = |status: u16, extras: &[u8], value: &[u8]| {
            let mut bytes = packet(self.opcode(), 0, extras, b"", value, 0);
            bytes[0] = 0x81;
            bytes[6..8].copy_from_slice(&status.to_be_bytes());
            bytes
        };
        match answer {
            Answer::Items(items) => {
                let replies = items.iter().map(|item| match item {
                    Some(Item { flags, value, .. }) => respond(0, &flags.to_be_bytes(), value),
                    None if self.quiet => Vec::new(),
                    None => respond(1, &[], b"Not found"),
                });
                replies.collect::<Vec<_>>().concat()
            }
            Answer::NotFound | Answer::NotStored(Mode::Replace) => respond(1, &[], b"Not found"),
            Answer::NotStored(Mode::Add) => respond(2, &[], b"Data exists for key."),
            Answer::NotStored(_) => respond(5, &[], b"Not stored."),
            Answer::NonNumeric => {
                respond(6, &[], b"Non-numeric server-side value for incr or decr")
            }
            Answer::Touched(flags) => respond(0, &flags.to_be_bytes(), b""),
            _ if self.quiet => Vec::new(),
            Answer::Number(number) => respond(0, &[], &number.to_be_bytes()),
            Answer::Stored | Answer::Deleted | Answer::Flushed => respond(0, &[], b""),
        }
    }
}

/// Sets the CAS values of whole packets to zero.
pub fn without_cas(packets: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = packets.get_mut(at..at + 24) {
        header[16..24].fill(0);
        let body = [header[8], header[9], header[10], header[11]];
        at += 24 + u32::from_be_bytes(body) as usize;
    }
}

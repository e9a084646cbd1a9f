//! Reads the heads of a connection's requests beside hyper, for what hyper takes and we refuse.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` may end at one place for us and at another for a proxy
//! before us, and what lies between is then somebody's next request (RFC 9112, 6.1; security.md PA-15). hyper drops the one
//! header, serves the request and closes. The requests that hyper hands over show neither that header nor a repeated one, so
//! the bytes themselves are read. Whatever hyper refuses by itself needs no look here.

use std::sync::Arc;

use memchr::memchr;
use parking_lot::Mutex;

/// hyper has refused a head long before.
const HEAD_BYTES_MAX: usize = 64 * 1024;

const TWO_LENGTHS: &str = "more than one Content-Length or Transfer-Encoding\n";
const BARE_LF: &str = "the lines of a head must end with CR LF\n";
const UNSEEN: &str = "the request cannot be told from the one before\n";

/// What was found in the heads of one connection. Its stream writes it, its service asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// Whole heads so far.
    heads: u64,
    /// The number of the first head that is refused, and why.
    refused: Option<(u64, &'static str)>,
}

impl Findings {
    /// Why the connection's request of this number, counted from 1, is refused.
    pub fn fault(&self, number: u64) -> Option<&'static str> {
        let found = self.0.lock();
        match found.refused {
            Some((refused, why)) if refused <= number => Some(why),
            // hyper sees a head where we see none. Neither is to be trusted.
            _ if number > found.heads => Some(UNSEEN),
            _ => None,
        }
    }

    fn record(&self, why: Option<&'static str>) {
        let mut found = self.0.lock();
        found.heads += 1;
        if let (None, Some(why)) = (found.refused, why) {
            found.refused = Some((found.heads, why));
        }
    }
}

/// Follows the bytes of one connection from head to head.
#[derive(Debug)]
pub(super) struct RawHeads {
    findings: Findings,
    at: At,
}

#[derive(Debug)]
enum At {
    Head(Head),
    Body {
        left: u64,
    },
    /// In the line with a chunk's size, of which `digits` are still to come.
    ChunkSize {
        size: u64,
        digits: bool,
    },
    ChunkData {
        left: u64,
    },
    /// At the line end behind a chunk.
    ChunkEnd,
    /// Behind the last chunk; `blank` while nothing is in the line.
    Trailer {
        blank: bool,
    },
    /// hyper refuses what comes, or closes.
    Nothing,
}

#[derive(Debug, Default)]
struct Head {
    /// The line that has not ended.
    line: Vec<u8>,
    bytes: usize,
    has_request_line: bool,
    /// Lines that say how long the body is.
    lengths: u32,
    chunked: bool,
    length: Option<u64>,
    bare_lf: bool,
}

impl RawHeads {
    pub fn new(findings: Findings) -> RawHeads {
        RawHeads {
            findings,
            at: At::Head(Head::default()),
        }
    }

    /// Takes the next bytes that the client sent.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Takes at least one byte, and says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let line_end = memchr(b'\n', bytes);
        let to_line_end = line_end.map_or(bytes.len(), |at| at + 1);
        match &mut self.at {
            At::Head(head) => {
                let part = bytes.get(..to_line_end).unwrap_or_default();
                if let Some(next) = head.take(part, line_end.is_some(), &self.findings) {
                    self.at = next;
                }
                to_line_end
            }
            At::Body { left } => {
                let taken = most(*left, bytes);
                *left -= taken as u64;
                if *left == 0 {
                    self.at = At::Head(Head::default());
                }
                taken
            }
            At::ChunkSize { size, digits } => {
                if let Some(next) = chunk_size(size, digits, bytes.first().copied()) {
                    self.at = next;
                }
                1
            }
            At::ChunkData { left } => {
                let taken = most(*left, bytes);
                *left -= taken as u64;
                if *left == 0 {
                    self.at = At::ChunkEnd;
                }
                taken
            }
            At::ChunkEnd => {
                if line_end.is_some() {
                    self.at = CHUNK;
                }
                to_line_end
            }
            At::Trailer { blank } => {
                let part = bytes.get(..to_line_end).unwrap_or_default();
                *blank &= part.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                if line_end.is_some() {
                    self.at = match *blank {
                        true => At::Head(Head::default()),
                        false => At::Trailer { blank: true },
                    };
                }
                to_line_end
            }
            At::Nothing => bytes.len(),
        }
    }
}

const CHUNK: At = At::ChunkSize {
    size: 0,
    digits: true,
};

/// At most so many of the bytes.
fn most(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// What follows the next byte of a line with a chunk's size, if not more of the line.
fn chunk_size(size: &mut u64, digits: &mut bool, byte: Option<u8>) -> Option<At> {
    let byte = byte?;
    if byte == b'\n' {
        return Some(match *size {
            0 => At::Trailer { blank: true },
            left => At::ChunkData { left },
        });
    }
    match char::from(byte).to_digit(16) {
        Some(digit) if *digits => match size.checked_mul(16) {
            Some(larger) => *size = larger + u64::from(digit),
            None => return Some(At::Nothing),
        },
        _ => *digits = false,
    }
    None
}

impl Head {
    /// Takes bytes up to a line end, or as far as they go. Says what follows the head once it is whole.
    fn take(&mut self, part: &[u8], ended: bool, findings: &Findings) -> Option<At> {
        self.bytes += part.len();
        if self.bytes > HEAD_BYTES_MAX {
            return Some(At::Nothing);
        }
        self.line.extend_from_slice(part);
        if !ended {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None => {
                self.bare_lf = true;
                line
            }
        };
        match (line.is_empty(), self.has_request_line) {
            // Empty lines before a request are passed over (RFC 9112, 2.2).
            (true, false) => None,
            (false, false) => {
                self.has_request_line = true;
                None
            }
            (false, true) => {
                self.header(line);
                None
            }
            (true, true) => Some(self.end(findings)),
        }
    }

    fn header(&mut self, line: &[u8]) {
        let (name, value) = match memchr(b':', line) {
            Some(colon) => line.split_at(colon),
            None => return,
        };
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.lengths += 1;
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            // `parse` would take a sign.
            let text = std::str::from_utf8(digits).ok();
            let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            self.length = text.and_then(|text| text.parse().ok());
        }
    }

    fn end(&self, findings: &Findings) -> At {
        let why = match (self.lengths > 1, self.bare_lf) {
            (true, _) => Some(TWO_LENGTHS),
            (false, true) => Some(BARE_LF),
            (false, false) => None,
        };
        findings.record(why);
        match (why, self.chunked, self.lengths, self.length) {
            (Some(_), ..) => At::Nothing,
            (None, true, ..) => CHUNK,
            (None, false, 0, _) | (None, false, _, Some(0)) => At::Head(Head::default()),
            (None, false, _, Some(left)) => At::Body { left },
            // A length that is no number: hyper refuses it.
            (None, false, _, None) => At::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BARE_LF, Findings, RawHeads, TWO_LENGTHS, UNSEEN};

    const BOTH: &str =
        "POST / HTTP/1.1\r\ncontent-length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    /// Why each of the requests is refused, with the bytes in one piece and one by one.
    fn faults(sent: &str, requests: u64) -> Vec<Option<&'static str>> {
        let read = |size: usize| {
            let findings = Findings::default();
            let mut heads = RawHeads::new(findings.clone());
            sent.as_bytes()
                .chunks(size)
                .for_each(|part| heads.read(part));
            (1..=requests)
                .map(|number| findings.fault(number))
                .collect()
        };
        let whole: Vec<_> = read(sent.len());
        for size in [1, 2, 7] {
            assert_eq!(read(size), whole, "in parts of {size}: {sent:?}");
        }
        whole
    }

    #[test]
    fn heads_are_found_behind_bodies_of_each_kind() {
        for before in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:  5 \r\n\r\nab\r\n\r",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nA;x=\"y\"\r\n\r\n\r\n\r\n0123\r\n0\r\na: b\r\n\r\n",
        ] {
            let sent = format!("{before}{BOTH}");
            assert_eq!(faults(&sent, 2), [None, Some(TWO_LENGTHS)], "{sent:?}");
        }
    }

    #[test]
    fn one_line_says_how_long_a_body_is() {
        for lines in [
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "content-length:3\r\nx: y\r\nTRANSFER-ENCODING:chunked\r\n",
            "content-length: 3\r\ncontent-length: 3\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            let sent = format!("POST / HTTP/1.1\r\n{lines}\r\n");
            assert_eq!(faults(&sent, 1), [Some(TWO_LENGTHS)], "{sent:?}");
        }
        assert_eq!(faults("GET / HTTP/1.1\nhost: a\n\n", 1), [Some(BARE_LF)]);
        assert_eq!(
            faults(
                "POST / HTTP/1.1\r\nx-content-length: 1\r\ncontent-length: 0\r\n\r\n",
                1
            ),
            [None]
        );
    }

    #[test]
    fn nothing_passes_behind_a_refused_request_or_unseen() {
        let behind = format!("{BOTH}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(faults(&behind, 2), [Some(TWO_LENGTHS); 2]);
        let odd = "POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        assert_eq!(faults(odd, 2), [None, Some(UNSEEN)]);
    }
}

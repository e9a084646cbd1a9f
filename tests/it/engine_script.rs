//! Conversations as data: the format of `fixtures/conversations/*.txt`, described in the README there.

use std::collections::HashMap;
use std::path::Path;

use crate::engine_fixture::packet;

/// One conversation.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub name: String,
    /// The client: a credential of the fixture, or `anonymous` for one that has not logged in.
    pub role: String,
    /// Why stock memcached replies differently, if it does.
    pub differs: Option<String>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<Part>),
    Expect(Vec<Part>),
    /// The server closes the connection here.
    Closed,
    /// Time passes.
    Advance(u32),
}

/// Bytes, or a number that is bound where it first occurs.
#[derive(Clone, Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    /// A number in decimal.
    Number(String),
    /// A CAS value in eight bytes.
    Cas(String),
}

/// Numbers bound so far.
pub type Bound = HashMap<String, u64>;

impl Script {
    /// Whether it can be sent in one piece: no request depends on a reply or on time.
    pub fn is_one_piece(&self) -> bool {
        self.steps.iter().all(|step| match step {
            Step::Send(parts) => parts.iter().all(|part| matches!(part, Part::Bytes(_))),
            Step::Expect(_) | Step::Closed => true,
            Step::Advance(_) => false,
        })
    }

    pub fn takes_time(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Advance(_)))
    }
}

/// All conversations of the repository.
pub fn all() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/conversations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    let scripts: Vec<Script> = files.iter().flat_map(|file| parse_file(file)).collect();
    let mut names: Vec<&str> = scripts.iter().map(|script| &*script.name).collect();
    names.sort_unstable();
    let repeated = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(repeated, None, "a conversation's name stands twice");
    scripts
}

fn parse_file(path: &Path) -> Vec<Script> {
    let stem = path.file_stem().unwrap().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap();
    let mut scripts: Vec<Script> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            scripts.push(Script {
                name: format!("{stem}: {name}"),
                role: "owner".to_owned(),
                ..Script::default()
            });
            continue;
        }
        let script = scripts.last_mut().expect("a line before the first name");
        parse_line(script, line)
            .unwrap_or_else(|| panic!("{}:{}: cannot read {line:?}", path.display(), number + 1));
    }
    scripts
}

fn parse_line(script: &mut Script, line: &str) -> Option<()> {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    let step = match mark {
        ">" if rest.starts_with('[') => Step::Send(parse_packet(rest, 0x80)?),
        "<" if rest.starts_with('[') => Step::Expect(parse_packet(rest, 0x81)?),
        ">" => Step::Send(parse_text(rest, "\r\n")?),
        ">>" => Step::Send(parse_text(rest, "")?),
        "<" => Step::Expect(parse_text(rest, "\r\n")?),
        "<<" => Step::Expect(parse_text(rest, "")?),
        "closed" => Step::Closed,
        "@advance" => Step::Advance(rest.parse().ok()?),
        "@as" => {
            script.role = rest.to_owned();
            return Some(());
        }
        "@differs" => {
            script.differs = Some(rest.to_owned());
            return Some(());
        }
        _ => return None,
    };
    script.steps.push(step);
    Some(())
}

/// Parses text with escapes: `\r \n \t \0 \\ \xHH`; `{x*100}` repeats; `{?name}` is a number.
fn parse_text(text: &str, ending: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        bytes.extend(rest[..at].bytes());
        rest = &rest[at..];
        if let Some(escape) = rest.strip_prefix('\\') {
            let (byte, length) = unescape(escape)?;
            bytes.push(byte);
            rest = &escape[length..];
            continue;
        }
        let end = rest.find('}')?;
        let inside = &rest[1..end];
        rest = &rest[end + 1..];
        if let Some(name) = inside.strip_prefix('?') {
            parts.push(Part::Bytes(std::mem::take(&mut bytes)));
            parts.push(Part::Number(name.to_owned()));
        } else {
            let (unit, times) = inside.rsplit_once('*')?;
            bytes.extend(unit.repeat(times.parse().ok()?).bytes());
        }
    }
    bytes.extend(rest.bytes());
    bytes.extend(ending.bytes());
    parts.push(Part::Bytes(bytes));
    Some(parts)
}

fn unescape(escape: &str) -> Option<(u8, usize)> {
    Some(match escape.as_bytes().first()? {
        b'r' => (b'\r', 1),
        b'n' => (b'\n', 1),
        b't' => (b'\t', 1),
        b'0' => (0, 1),
        b'\\' => (b'\\', 1),
        b'{' => (b'{', 1),
        b'x' => (u8::from_str_radix(escape.get(1..3)?, 16).ok()?, 3),
        _ => return None,
    })
}

/// `[get status=0001 opaque=7 extras=00000000 key=k value=v cas=?a]`; what is left out is zero or empty. Extras
/// are hexadecimal.
fn parse_packet(text: &str, magic: u8) -> Option<Vec<Part>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut fields = inside.split(' ');
    let opcode = opcode_of(fields.next()?)?;
    let (mut status, mut opaque, mut cas) = (0u16, 0u32, Part::Bytes(vec![0; 8]));
    let (mut extras, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let (name, content) = field.split_once('=')?;
        match name {
            "status" => status = u16::from_str_radix(content, 16).ok()?,
            "opaque" => opaque = content.parse().ok()?,
            "extras" => extras = hex(content)?,
            "key" => key = literal(content)?,
            "value" => value = literal(content)?,
            "cas" => {
                cas = match content.strip_prefix('?') {
                    Some(name) => Part::Cas(name.to_owned()),
                    None => Part::Bytes(content.parse::<u64>().ok()?.to_be_bytes().to_vec()),
                }
            }
            _ => return None,
        }
    }
    let mut head = packet(opcode, opaque, &extras, &key, &value, 0);
    head[0] = magic;
    head[6..8].copy_from_slice(&status.to_be_bytes());
    let body = head.split_off(24);
    head.truncate(16);
    Some(vec![Part::Bytes(head), cas, Part::Bytes(body)])
}

fn literal(text: &str) -> Option<Vec<u8>> {
    match &parse_text(text, "")?[..] {
        [Part::Bytes(bytes)] => Some(bytes.clone()),
        _ => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

fn opcode_of(name: &str) -> Option<u8> {
    const NAMES: [(&str, u8); 35] = [
        ("get", 0x00),
        ("set", 0x01),
        ("add", 0x02),
        ("replace", 0x03),
        ("delete", 0x04),
        ("incr", 0x05),
        ("decr", 0x06),
        ("quit", 0x07),
        ("flush", 0x08),
        ("getq", 0x09),
        ("noop", 0x0a),
        ("version", 0x0b),
        ("getk", 0x0c),
        ("getkq", 0x0d),
        ("append", 0x0e),
        ("prepend", 0x0f),
        ("stat", 0x10),
        ("setq", 0x11),
        ("addq", 0x12),
        ("replaceq", 0x13),
        ("deleteq", 0x14),
        ("incrq", 0x15),
        ("decrq", 0x16),
        ("quitq", 0x17),
        ("flushq", 0x18),
        ("appendq", 0x19),
        ("prependq", 0x1a),
        ("touch", 0x1c),
        ("gat", 0x1d),
        ("gatq", 0x1e),
        ("sasl_list", 0x20),
        ("sasl_auth", 0x21),
        ("sasl_step", 0x22),
        ("gatk", 0x23),
        ("gatkq", 0x24),
    ];
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, byte)) => Some(*byte),
        None => u8::from_str_radix(name, 16).ok(),
    }
}

/// The bytes to send, with the numbers bound so far.
pub fn fill(parts: &[Part], bound: &Bound) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(plain) => bytes.extend(plain),
            Part::Number(name) => bytes.extend(bound[name].to_string().bytes()),
            Part::Cas(name) => bytes.extend(bound[name].to_be_bytes()),
        }
    }
    bytes
}

/// Compares the start of `got` with what is expected, and binds numbers. Returns how many bytes matched.
///
/// # Errors
/// Where they differ.
pub fn compare(parts: &[Part], got: &[u8], bound: &mut Bound) -> Result<usize, String> {
    let mut at = 0;
    for part in parts {
        let rest = &got[at.min(got.len())..];
        let (number, length) = match part {
            Part::Bytes(plain) => {
                if !rest.starts_with(plain) {
                    let shown = &rest[..rest.len().min(plain.len() + 40)];
                    return Err(format!(
                        "expected {}\n     got {}",
                        show(plain),
                        show(shown)
                    ));
                }
                at += plain.len();
                continue;
            }
            Part::Number(name) => {
                let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let text = std::str::from_utf8(&rest[..length]).unwrap();
                let number = text.parse().map_err(|_| format!("no number {name}"))?;
                ((name, number), length)
            }
            Part::Cas(name) => {
                let cas = rest.first_chunk().ok_or("the packet ends early")?;
                ((name, u64::from_be_bytes(*cas)), 8)
            }
        };
        let (name, number) = number;
        let known = *bound.entry(name.clone()).or_insert(number);
        if known != number {
            return Err(format!("{name} was {known}, now {number}"));
        }
        at += length;
    }
    Ok(at)
}

pub fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(300)];
    format!("({} bytes) \"{}\"", bytes.len(), cut.escape_ascii())
}

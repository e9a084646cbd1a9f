//! `EngineFixture`: a running engine with two caches, and clients for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::domain::secret::VerifierKey;
use larder::domain::{
    CacheId, CacheSpec, Capabilities, Clock, CredentialSpec, FlushOrder, Timestamp,
};
use larder::engine::{
    Addresses, Engine, EngineEvent, EngineSettings, EventSink, Limits, Listeners, OpenListener,
};
use socket2::{Domain, Socket, Type};

pub const ALICE: CacheId = CacheId(1);
pub const BOB: CacheId = CacheId(2);
/// Has all capabilities in Alice's cache.
pub const OWNER: (&str, &str) = ("A11CE0", "0123456789ABCDEF0123456789ABCDEF");
/// May only read in Alice's cache.
pub const READER: (&str, &str) = ("A11CE1", "11111111111111111111111111111111");
/// May write but not flush in Alice's cache.
pub const WRITER: (&str, &str) = ("A11CE2", "22222222222222222222222222222222");
/// May flush but not write in Alice's cache.
pub const FLUSHER: (&str, &str) = ("A11CE3", "33333333333333333333333333333333");
/// Has all capabilities in Bob's cache, and none in Alice's.
pub const OTHER_TENANT: (&str, &str) = ("B0B000", "44444444444444444444444444444444");

/// The machine's clock.
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_micros(since.as_micros() as i64)
    }
}

/// Records the events that the engine reports.
#[derive(Default)]
pub struct EventRecorder(Mutex<Vec<EngineEvent>>);

impl EventSink for EventRecorder {
    fn record(&self, event: EngineEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl EventRecorder {
    pub fn events(&self) -> Vec<EngineEvent> {
        self.0.lock().unwrap().clone()
    }

    pub fn flushes(&self) -> Vec<larder::domain::FlushEvent> {
        let flushed = |event| match event {
            EngineEvent::Flushed(flush) => Some(flush),
            _ => None,
        };
        self.events().into_iter().filter_map(flushed).collect()
    }
}

/// A started engine. Dropping it stops the engine, and fails the test if a visit panicked.
pub struct EngineFixture {
    pub engine: Engine,
    pub recorder: Arc<EventRecorder>,
    pub addresses: Addresses,
}

impl Drop for EngineFixture {
    fn drop(&mut self) {
        self.engine.stop(Duration::ZERO);
        if !std::thread::panicking() {
            assert_eq!(self.engine.panics(), 0, "a visit panicked");
        }
    }
}

pub fn key() -> VerifierKey {
    VerifierKey::from_bytes(&[7; 32])
}

pub fn credential(who: (&str, &str), capabilities: Capabilities) -> CredentialSpec {
    CredentialSpec {
        username: who.0.parse().unwrap(),
        verifier: key().verifier(who.0.as_bytes(), who.1.as_bytes()),
        capabilities,
        certificates: Vec::new(),
    }
}

pub fn alice() -> CacheSpec {
    let read = Capabilities::NONE;
    CacheSpec {
        cache: ALICE,
        label: OWNER.0.to_owned(),
        limit_bytes: 64 << 20,
        connections_max: 1000,
        credentials: vec![
            credential(OWNER, Capabilities::ALL),
            credential(READER, read),
            credential(WRITER, Capabilities::WRITE),
            credential(FLUSHER, Capabilities::FLUSH),
        ],
        flush_orders: Vec::<FlushOrder>::new(),
    }
}

pub fn bob() -> CacheSpec {
    CacheSpec {
        cache: BOB,
        label: OTHER_TENANT.0.to_owned(),
        limit_bytes: 64 << 20,
        connections_max: 1000,
        credentials: vec![credential(OTHER_TENANT, Capabilities::ALL)],
        flush_orders: Vec::new(),
    }
}

pub fn settings() -> EngineSettings {
    EngineSettings {
        threads: 2,
        memory_max_bytes: 1 << 30,
        proxy_hostname: "p1.test".to_owned(),
        limits: Limits::default(),
        engine_clock: None,
    }
}

impl EngineFixture {
    pub fn start() -> EngineFixture {
        EngineFixture::with(settings())
    }

    pub fn with(settings: EngineSettings) -> EngineFixture {
        let listeners = Listeners {
            plain: Some(loopback()),
            open: Some(OpenListener {
                addr: loopback(),
                cache: ALICE,
            }),
            ..Listeners::default()
        };
        EngineFixture::listening(settings, listeners)
    }

    pub fn listening(settings: EngineSettings, listeners: Listeners) -> EngineFixture {
        let recorder = Arc::new(EventRecorder::default());
        let sink = Arc::clone(&recorder);
        let engine = Engine::new(settings, key(), Arc::new(WallClock), sink);
        engine.apply(&alice());
        engine.apply(&bob());
        let addresses = engine.start(listeners).unwrap();
        EngineFixture {
            engine,
            recorder,
            addresses,
        }
    }

    /// A new connection, not logged in.
    pub fn connect(&self) -> Client {
        Client::to(self.addresses.plain.unwrap())
    }

    /// The same from another address of this machine, `127.0.0.host`.
    pub fn connect_from(&self, host: u8) -> Client {
        Client::from_host(host, self.addresses.plain.unwrap())
    }

    /// A new connection to the open listener.
    pub fn open(&self) -> Client {
        Client::to(self.addresses.open.unwrap())
    }

    /// A connection that has logged in by text.
    pub fn text(&self, who: (&str, &str)) -> Client {
        let mut client = self.connect();
        client.text_login(who);
        client
    }

    /// A connection that has logged in by SASL.
    pub fn binary(&self, who: (&str, &str)) -> Client {
        let mut client = self.connect();
        let data = format!("\0{}\0{}", who.0, who.1);
        client.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
        let reply = client.packet();
        assert_eq!(reply.status, 0, "login of {}", who.0);
        client
    }
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A blocking client that sends and receives raw bytes.
pub struct Client {
    stream: TcpStream,
    /// How long [`Client::more`] waits.
    pub patience: Duration,
}

/// A reply packet of the binary dialect.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    pub opcode: u8,
    pub status: u16,
    pub opaque: u32,
    pub cas: u64,
    pub extras: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl Client {
    pub fn to(addr: SocketAddr) -> Client {
        Client::new(TcpStream::connect(addr).unwrap())
    }

    fn from_host(host: u8, addr: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        Client::new(socket.into())
    }

    fn new(stream: TcpStream) -> Client {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            patience: Duration::from_secs(5),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn text_login(&mut self, who: (&str, &str)) {
        let line = format!("set {} 0 0 {}\r\n{}\r\n", who.0, who.1.len(), who.1);
        self.send(line.as_bytes());
        self.expect("STORED\r\n");
    }

    /// Reads as many bytes as `expected` has, and compares them.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        let mut got = 0;
        while got < bytes.len() {
            match self.stream.read(&mut bytes[got..]) {
                Ok(0) | Err(_) => break,
                Ok(read) => got += read,
            }
        }
        bytes.truncate(got);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    /// Sends a request and compares the reply.
    #[track_caller]
    pub fn talk(&mut self, line: &str, expected: &str) {
        self.send(line.as_bytes());
        self.expect(expected);
    }

    /// All bytes until the server closes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let (bytes, closed) = self.until_closed();
        assert!(closed, "the connection stays open");
        bytes
    }

    /// All bytes that still come, and whether the server has closed.
    pub fn until_closed(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        loop {
            match self.more() {
                None => return (bytes, false),
                Some(more) if more.is_empty() => return (bytes, true),
                Some(more) => bytes.extend(more),
            }
        }
    }

    /// As [`Client::send`], but no failure if the server has closed.
    pub fn send_if_open(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn end_sending(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Some more bytes. Empty when the server has closed; `None` when nothing comes for too long.
    pub fn more(&mut self) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(self.patience)).unwrap();
        let mut bytes = vec![0; 65_536];
        let read = self.stream.read(&mut bytes);
        let patience = Some(Duration::from_secs(20));
        self.stream.set_read_timeout(patience).unwrap();
        match read {
            Ok(read) => {
                bytes.truncate(read);
                Some(bytes)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Vec::new()),
        }
    }

    /// What comes before `end`, which must be the last that comes.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let more = self.more().unwrap_or_default();
            assert!(!more.is_empty(), "no end: {}", bytes.escape_ascii());
            bytes.extend(more);
        }
        bytes.truncate(bytes.len() - end.len());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn packet(&mut self) -> Packet {
        let header = self.read_exact(24);
        assert_eq!(header[0], 0x81, "response magic");
        let key = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let extras = usize::from(header[4]);
        let body = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
        let body = self.read_exact(body);
        Packet {
            opcode: header[1],
            status: u16::from_be_bytes([header[6], header[7]]),
            opaque: u32::from_be_bytes(header[12..16].try_into().unwrap()),
            cas: u64::from_be_bytes(header[16..24].try_into().unwrap()),
            extras: body[..extras].to_vec(),
            key: body[extras..extras + key].to_vec(),
            value: body[extras + key..].to_vec(),
        }
    }
}

/// A request packet of the binary dialect.
pub fn packet(
    opcode: u8,
    opaque: u32,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
    cas: u64,
) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend(cas.to_be_bytes());
    bytes.extend(extras);
    bytes.extend(key);
    bytes.extend(value);
    bytes
}

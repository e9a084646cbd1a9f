//! The way of one process to its PostgreSQL server: it can be cut, and what is sent on it is recorded.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What was sent to the server, by connection.
type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

/// A port beside the server's. TLS would hide what is sent, so the server of a test must do without.
pub struct DatabaseWire {
    pub url: String,
    up: watch::Sender<bool>,
    sent: Sent,
}

impl DatabaseWire {
    /// To the server of this URL.
    pub async fn to(url: &str) -> DatabaseWire {
        let (before, rest) = url.split_once('@').expect("a user");
        let (host, path) = rest.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address");
        let (up, state) = watch::channel(true);
        let sent = Sent::default();
        tokio::spawn(carry(listener, host.to_owned(), state, Arc::clone(&sent)));
        let url = format!("{before}@{here}/{path}");
        DatabaseWire { url, up, sent }
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    pub fn mend(&self) {
        self.up.send_replace(true);
    }

    /// All that was sent to the server so far, one entry for each connection: statements and their parameters.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().clone()
    }
}

async fn carry(listener: TcpListener, host: String, state: watch::Receiver<bool>, sent: Sent) {
    while let Ok((near, _)) = listener.accept().await {
        let (host, mut state, sent) = (host.clone(), state.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            if !*state.borrow() {
                return;
            }
            let Ok(far) = TcpStream::connect(host).await else {
                return;
            };
            tokio::select! {
                () = carry_one(near, far, &sent) => {}
                _ = state.wait_for(|&up| !up) => {}
            }
        });
    }
}

/// Until either side ends it.
async fn carry_one(mut near: TcpStream, mut far: TcpStream, sent: &Sent) {
    let number = {
        let mut connections = sent.lock();
        connections.push(Vec::new());
        connections.len() - 1
    };
    let (mut from_us, mut to_us) = near.split();
    let (mut from_server, mut to_server) = far.split();
    let there = async {
        let mut part = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from_us.read(&mut part).await {
            sent.lock()[number].extend_from_slice(&part[..bytes]);
            if to_server.write_all(&part[..bytes]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_server, &mut to_us) => {}
    }
}

//! A memcached client of a few lines, for tests that want to see every byte.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::full_service::PATIENCE;

/// One connection in the text protocol.
pub struct Plain(BufReader<TcpStream>);

impl Plain {
    /// Connects to the first of `servers`, without logging in.
    pub async fn connect(servers: &str) -> Plain {
        let first = servers.split(',').next().expect("a server");
        let stream = TcpStream::connect(first).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Plain(BufReader::new(stream))
    }

    /// Logs in by the text protocol's own form; answers the server's line.
    pub async fn login(&mut self, username: &str, password: &str) -> String {
        let length = password.len();
        self.say(&format!("set {username} 0 0 {length}\r\n{password}\r\n"))
            .await;
        self.line().await
    }

    pub async fn say(&mut self, text: &str) {
        self.0
            .write_all(text.as_bytes())
            .await
            .expect("the server takes it");
    }

    /// The next line, without its end; empty when the server has closed.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
        read.expect("an answer in time").expect("readable");
        line.trim_end().to_owned()
    }

    /// Everything up to the server's end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut text = String::new();
        let read = timeout(PATIENCE, self.0.read_to_string(&mut text)).await;
        read.expect("the end in time").expect("a clean end");
        text
    }
}

//! The network between nodes and a control process: it can be cut both ways or one way, and be healed.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const PART_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Open,
    /// Nothing passes, and every connection ends.
    Cut,
    /// What nodes send is lost. What the control process sends arrives.
    OneWay,
}

/// A port that leads to the node link of a control process.
pub struct LinkProxy {
    /// For `LARDER_CONTROL_URL`.
    pub url: String,
    network: watch::Sender<Network>,
}

impl LinkProxy {
    /// To the control process that listens there.
    pub async fn to(target: SocketAddr) -> LinkProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address");
        let (network, state) = watch::channel(Network::Open);
        tokio::spawn(carry(listener, target, state));
        LinkProxy {
            url: format!("http://{here}"),
            network,
        }
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.network.send_replace(Network::Cut);
    }

    /// From here on what nodes send is lost, on connections that are open and on new ones.
    pub fn cut_one_way(&self) {
        self.network.send_replace(Network::OneWay);
    }

    /// Everything passes again. A connection on which bytes were lost ends, since the rest of its stream means nothing.
    pub fn heal(&self) {
        self.network.send_replace(Network::Open);
    }
}

async fn carry(listener: TcpListener, target: SocketAddr, state: watch::Receiver<Network>) {
    while let Ok((near, _)) = listener.accept().await {
        let (mut cut, network) = (state.clone(), state.clone());
        tokio::spawn(async move {
            if *network.borrow() == Network::Cut {
                return;
            }
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                () = carry_one(near, far, network) => {}
                _ = cut.wait_for(|now| *now == Network::Cut) => {}
            }
        });
    }
}

/// Until either side ends it.
async fn carry_one(mut near: TcpStream, mut far: TcpStream, network: watch::Receiver<Network>) {
    let (from_node, mut to_node) = near.split();
    let (mut from_control, to_control) = far.split();
    tokio::select! {
        () = carry_there(from_node, to_control, network) => {}
        _ = copy(&mut from_control, &mut to_node) => {}
    }
}

/// What the node sends, until it ends the connection, or until the network is healed after bytes were lost.
async fn carry_there(
    mut from_node: ReadHalf<'_>,
    mut to_control: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
) {
    let mut part = vec![0; PART_BYTES];
    let mut lost = false;
    loop {
        tokio::select! {
            changed = network.changed() => {
                if changed.is_err() || (lost && *network.borrow() == Network::Open) {
                    return;
                }
            }
            read = from_node.read(&mut part) => {
                let Ok(bytes @ 1..) = read else {
                    return;
                };
                if lost || *network.borrow() == Network::OneWay {
                    lost = true;
                } else if to_control.write_all(&part[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}

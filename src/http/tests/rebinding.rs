//! A resolver whose answers change from one look-up to the next (DNS rebinding): only what was checked is connected,
//! and nothing that is not public is (security.md OB-2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::{TcpListener, TcpStream};

use crate::http::outbound::builder;

const ATTEMPTS: usize = 10_000;
const HERE: [u8; 4] = [127, 0, 0, 1];
const PUBLIC: [u8; 4] = [8, 8, 8, 8];
/// What the resolver answers by turns. Only the first answer leads nowhere else but to a public address.
const ANSWERS: [&[[u8; 4]]; 4] = [&[PUBLIC], &[HERE], &[PUBLIC, HERE], &[HERE, PUBLIC]];

/// The number of look-ups so far.
#[derive(Clone, Default)]
struct TakesTurns(Arc<AtomicUsize>);

impl Resolve for TakesTurns {
    fn resolve(&self, _: Name) -> Resolving {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let answer = ANSWERS[turn % ANSWERS.len()];
        let found = answer.iter().map(|address| SocketAddr::from((*address, 0)));
        Box::pin(async move { Ok(Box::new(found) as Addrs) })
    }
}

/// From a loopback address the kernel sends nothing out of the machine: a public address is refused at once, and one of
/// this machine is connected.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn alternating_answers_lead_to_no_inner_address() {
    let listener = TcpListener::bind((FROM, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let url = format!("https://rebinding.test:{}/", addr.port());
    let names = TakesTurns::default();
    let http = builder("Larder test", Duration::from_secs(15), false, names.clone())
        .local_address(FROM)
        .build()
        .unwrap();
    let mut refused = 0;
    for attempt in 0..ATTEMPTS {
        let answer = tokio::select! {
            answer = http.get(&url).send() => answer,
            _ = listener.accept() => panic!("attempt {attempt} has connected an inner address"),
        };
        refused += usize::from(answer.unwrap_err().is_dns());
    }
    assert_eq!(
        refused,
        ATTEMPTS / 4 * 3,
        "each answer with an inner address"
    );
    let look_ups = names.0.load(Ordering::Relaxed);
    assert_eq!(
        look_ups, ATTEMPTS,
        "what was checked is not asked for again"
    );
    // The first connection that has arrived is this one.
    let own = TcpStream::connect(addr).await.unwrap();
    let (_, from) = listener.accept().await.unwrap();
    assert_eq!(from, own.local_addr().unwrap());

    // Where nobody checks, the same answers lead here: the listener would have seen it.
    let unchecked = reqwest::Client::builder()
        .dns_resolver(Arc::new(names))
        .local_address(FROM)
        .no_proxy()
        .build()
        .unwrap();
    let attempts = async {
        for _ in ANSWERS {
            drop(unchecked.get(&url).send().await);
        }
    };
    tokio::select! {
        accepted = listener.accept() => drop(accepted.unwrap()),
        () = attempts => panic!("no attempt has connected"),
    }
}

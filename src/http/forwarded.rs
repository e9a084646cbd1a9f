//! Who a request is from, where proxies of ours stand before us.
//!
//! A proxy adds the address of whoever came to it at the end of `X-Forwarded-For`. What stands before was there when the
//! request came, so whoever sends it can write what they like (security.md PA-14).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;

use crate::domain::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies whose word is taken for who came to them. Without any, nobody's is.
pub type Proxies = Arc<[Network]>;

/// A layer: puts the address of the client in the place of that of a proxy.
pub async fn believe(State(proxies): State<Proxies>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .copied()
    {
        let client = client(peer.ip(), request.headers(), &proxies);
        let client = SocketAddr::new(client, peer.port());
        request.extensions_mut().insert(ConnectInfo(client));
    }
    next.run(request).await
}

/// The last address in the chain that is not one of our proxies.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let mut named = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut client = peer;
    while is_proxy(client) {
        // A proxy that names nobody is asked itself, or writes what we do not understand.
        let Some(Ok(before)) = named.next().map(|text| text.trim().parse()) else {
            break;
        };
        client = before;
    }
    client
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(peer: &str, lines: &[&'static str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        headers.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        let proxies: Vec<Network> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn only_a_proxy_of_ours_is_believed() {
        let chain = &["6.6.6.6"];
        assert_eq!(found("198.51.100.1", chain, &[]), "198.51.100.1");
        assert_eq!(
            found("198.51.100.1", chain, &["10.0.0.0/8"]),
            "198.51.100.1"
        );
        assert_eq!(found("10.0.0.1", chain, &["10.0.0.0/8"]), "6.6.6.6");
        assert_eq!(found("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn of_a_chain_what_our_proxies_added_counts() {
        let ours = &["10.0.0.0/8"];
        for (lines, client) in [
            (&["6.6.6.6, 203.0.113.9"][..], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["6.6.6.6, 10.0.0.3,203.0.113.9 , 10.0.0.2"], "203.0.113.9"),
            (&["10.0.0.5"], "10.0.0.5"),
            (&["203.0.113.9, unknown"], "10.0.0.1"),
            (&["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.9:4711"], "10.0.0.1"),
            (&["2a00:1::7"], "2a00:1::7"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", lines, ours), client, "{lines:?}");
        }
    }
}

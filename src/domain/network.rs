//! Networks of addresses: as operators write them, and what counts as one source.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Bits of an IPv6 address that name a network.
const IPV6_NETWORK_BITS: u32 = 64;

/// What counts as one source where callers are bounded or counted: an IPv4 address, or the first address of an IPv6 network
/// of 64 bits. Networks are given out in that size or larger (RFC 6177), so whoever has one address of one has all of them.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

/// An address, or all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network, such as 10.0.0.7 or 10.0.0.0/8")]
pub struct BadNetwork(String);

impl Network {
    /// Whether an address lies in it. An IPv4 address that is written as an IPv6 one is still an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_bits(own.to_bits().into(), other.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                same_bits(own.to_bits(), other.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

fn same_bits(left: u128, right: u128, width: u32, bits: u8) -> bool {
    let others = width.saturating_sub(bits.into());
    (left ^ right).checked_shr(others).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Network, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| bad()))?;
        if bits > width || address.to_canonical() != address {
            return Err(bad());
        }
        Ok(Network { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_it_by_its_first_bits() {
        for (text, inside, outside) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/9", "10.127.0.1", "10.128.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "2a00::1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("2a00:1::/32", "2a00:1:ffff::1", "2a00:2::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2a00::1", "10.0.0.1"),
        ] {
            assert!(
                network(text).contains(inside.parse().unwrap()),
                "{inside} in {text}"
            );
            assert!(
                !network(text).contains(outside.parse().unwrap()),
                "{outside} in {text}"
            );
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let source = |text: &str| network_of(text.parse().unwrap()).to_string();
        for (address, one) in [
            ("2001:db8:0:7:a:b:c:d", "2001:db8:0:7::"),
            ("2001:db8:0:7::1", "2001:db8:0:7::"),
            ("2001:db8:0:8::1", "2001:db8:0:8::"),
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(source(address), one, "{address}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "proxy",
            "10.0.0.0/8/8",
            "::ffff:1.2.3.4",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork(bad.to_owned())));
        }
    }
}

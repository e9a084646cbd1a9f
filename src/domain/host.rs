//! Names of hosts that may be called.

use std::fmt;
use std::str::FromStr;

/// A host that may be called: a name, or `*.` and a name for everything below it. A port in it must fit as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// With the dot in front when `below`.
    name: String,
    below: bool,
    port: Option<u16>,
}

/// Why a text is no pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name or *.name")]
pub struct BadHostPattern(String);

impl FromStr for HostPattern {
    type Err = BadHostPattern;

    fn from_str(text: &str) -> Result<HostPattern, BadHostPattern> {
        let bad = || BadHostPattern(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(bad());
        }
        let below = host.len() != name.len();
        let name = name.to_ascii_lowercase();
        Ok(HostPattern {
            name: if below { format!(".{name}") } else { name },
            below,
            port,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*" } else { "" })?;
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HostPattern {
    /// Whether a host is meant; `port` is only given when it is not the scheme's own.
    pub fn fits(&self, host: &str, port: Option<u16>, any_port: bool) -> bool {
        let named = if self.below {
            host.len() > self.name.len() && host.ends_with(&self.name)
        } else {
            host == self.name
        };
        named && (self.port == port || (self.port.is_none() && (port.is_none() || any_port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked_when_read() {
        for bad in ["", "*", "*.", "a*.b", "a b", "https://a", "a:port", ".a"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "*.Logplex.io".parse::<HostPattern>().unwrap().to_string(),
            "*.logplex.io"
        );
    }
}

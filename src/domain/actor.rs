//! Who acts on a cache. Every change, every event and every audit row names one (P13).

use std::fmt;
use std::net::IpAddr;

use super::credential::Username;
use super::marketplace::Marketplace;

/// Whoever acts on a cache, and the address from which they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub identity: Identity,
    pub remote: Option<IpAddr>,
}

/// Who somebody proved to be. The `Display` form is what timelines, audit and API call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A browser that is signed in to the cache.
    Browser {
        /// E-mail or name of the person, where the marketplace proved it.
        person: Option<String>,
        came_by: CameBy,
    },
    /// A client or program that presented this credential of the cache.
    Credential(Username),
    /// A direct customer, by our own id of the account.
    Account(String),
    /// Whoever runs the service.
    Operator,
    /// The cache's own schedule, which its owner has set.
    Schedule,
    Marketplace(Marketplace),
    /// The service by itself, for what nobody asked for: a limit reached, a provision that came to its end.
    Service,
    /// Somebody whose proof did not hold: a refused call.
    Unproven,
    /// Written by a release that knows more identities than this one. It is shown as it was written.
    Unknown(String),
}

/// How a browser came to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameBy {
    /// By the cache's long-lived dashboard URL: nobody proved who the person is.
    Link,
    /// By this marketplace's single sign-on.
    Marketplace(Marketplace),
}

impl Actor {
    /// Somebody who acts from no address: the service itself, its schedule, an operator at the database.
    pub const fn local(identity: Identity) -> Actor {
        Actor {
            identity,
            remote: None,
        }
    }
}

impl From<Marketplace> for Actor {
    fn from(marketplace: Marketplace) -> Actor {
        Actor::local(Identity::Marketplace(marketplace))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Browser {
                person: Some(person),
                ..
            } => f.write_str(person),
            Identity::Browser {
                came_by: CameBy::Link,
                ..
            } => f.write_str("dashboard"),
            Identity::Browser {
                came_by: CameBy::Marketplace(marketplace),
                ..
            } => write!(f, "{marketplace} sign-on"),
            Identity::Credential(username) => username.fmt(f),
            Identity::Account(id) => write!(f, "account {id}"),
            Identity::Operator => f.write_str("operator"),
            Identity::Schedule => f.write_str("schedule"),
            Identity::Marketplace(marketplace) => marketplace.fmt(f),
            Identity::Service => f.write_str("larder"),
            Identity::Unproven => f.write_str("unproven caller"),
            Identity::Unknown(written) => f.write_str(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_name() {
        let browser = |person: Option<&str>, came_by| Identity::Browser {
            person: person.map(str::to_owned),
            came_by,
        };
        let heroku = CameBy::Marketplace("heroku".parse().unwrap());
        for (identity, name) in [
            (
                browser(Some("ada@example.com"), heroku.clone()),
                "ada@example.com",
            ),
            (browser(None, heroku), "heroku sign-on"),
            (browser(None, CameBy::Link), "dashboard"),
            (Identity::Credential("4F2A90".parse().unwrap()), "4F2A90"),
            (Identity::Marketplace("heroku".parse().unwrap()), "heroku"),
            (Identity::Operator, "operator"),
            (Identity::Service, "larder"),
        ] {
            assert_eq!(identity.to_string(), name);
        }
    }
}

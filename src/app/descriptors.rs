//! Open files: each connection takes a descriptor, and a process without one left can neither accept, look a name up nor
//! open its database. So each kind of use has its share of them, and clients on one port cannot take the share of another.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, NodeConfig};
use crate::engine::Limits;

/// Of no use beyond, and some libraries walk over all possible descriptors.
const FILES_MAX: u64 = 1 << 20;
/// What the process needs beside connections that others open: logs, locks, SQLite with its readers, listeners, and calls
/// to providers.
const OWN_BASE: u64 = 128;
/// epoll, its waker and the listeners of one serving thread.
const PER_ENGINE_THREAD: u64 = 8;
/// Scrapes of `/metrics`.
const METRICS: u64 = 32;
/// HTTP gets this part of the rest: people and marketplaces hold few connections, apps hold many.
const HTTP_PART: u64 = 8;
const HTTP_MAX: u64 = 4096;
/// A node holds two connections of the node link: one waits for changes, one reports.
const LINK_MAX: u64 = 4096;
/// With fewer for memcached the operator is told: fifty caches of two hundred connections each.
const MEMCACHED_ENOUGH: u64 = 10_000;

/// How many descriptors each use may have, so that all together fit into what the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// What the system allows the process.
    pub limit: u64,
    /// Kept free for the database, calls to providers, and the node itself.
    pub own: u64,
    /// Connections on the metrics address.
    pub metrics: u64,
    /// Connections on the HTTP address.
    pub http: u64,
    /// Connections on the address of the node link.
    pub link: u64,
    /// Connections on all memcached addresses.
    pub memcached: u64,
}

/// What a process opens files for. A use that it has not gets no share.
#[derive(Clone, Copy, Debug)]
pub struct Uses {
    database_connections: u64,
    has_http: bool,
    has_link: bool,
    /// `None` without memcached.
    engine_threads: Option<u64>,
}

impl From<&Config> for Uses {
    fn from(config: &Config) -> Uses {
        let node = config.node.as_ref();
        Uses {
            database_connections: config.database_connections.into(),
            has_http: true,
            has_link: config.link.is_some(),
            engine_threads: node.map(|node| node.memcached.threads as u64),
        }
    }
}

impl From<&NodeConfig> for Uses {
    fn from(config: &NodeConfig) -> Uses {
        Uses {
            database_connections: 0,
            has_http: false,
            has_link: false,
            engine_threads: Some(config.node.memcached.threads as u64),
        }
    }
}

impl Descriptors {
    /// The shares under the limit in force.
    pub fn now(uses: impl Into<Uses>) -> Descriptors {
        Descriptors::shared(soft_limit(), uses.into())
    }

    fn shared(limit: u64, uses: Uses) -> Descriptors {
        let engine = uses.engine_threads.unwrap_or(0) * PER_ENGINE_THREAD;
        let needed = OWN_BASE + uses.database_connections + engine;
        let own = needed.min(limit / 2);
        let rest = limit - own;
        let part_of_http = |most: u64, is_used: bool| match is_used {
            true => most.min(rest / HTTP_PART),
            false => 0,
        };
        let metrics = part_of_http(METRICS, true);
        let http = part_of_http(HTTP_MAX, uses.has_http);
        let link = part_of_http(LINK_MAX, uses.has_link);
        let memcached = match uses.engine_threads {
            Some(_) => {
                u64::from(Limits::default().connections_max).min(rest - metrics - http - link)
            }
            None => 0,
        };
        Descriptors {
            limit,
            own,
            metrics,
            http,
            link,
            memcached,
        }
    }

    /// Tells how many connections there may be, and what to do when that is few.
    pub fn tell(&self) {
        tracing::info!(
            memcached = self.memcached,
            http = self.http,
            link = self.link,
            metrics = self.metrics,
            "connections that the limit of open files leaves"
        );
        if let Some(advice) = self.advice() {
            tracing::warn!("{advice}");
        }
    }

    fn advice(&self) -> Option<String> {
        let Descriptors {
            limit, memcached, ..
        } = self;
        // A process without memcached needs none.
        (1..MEMCACHED_ENOUGH).contains(memcached).then(|| {
            format!(
                "{limit} open files leave {memcached} connections for memcached: set LimitNOFILE=65536 in the service's \
                 unit, or `ulimit -Hn 65536` before the start"
            )
        })
    }
}

/// The limit in force: before [`raise`], what the process was started with.
pub fn soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(FILES_MAX)
}

/// Raises the limit of open files as far as the system lets this process, and tells what it was.
pub fn raise() {
    let had = soft_limit();
    match raise_to_hard() {
        Ok(()) if soft_limit() == had => {
            tracing::info!(had, "the limit of open files cannot be higher")
        }
        Ok(()) => tracing::info!(had, now = soft_limit(), "the limit of open files is raised"),
        Err(error) => tracing::warn!(%error, had, "the limit of open files cannot be raised"),
    }
}

fn raise_to_hard() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(FILES_MAX).min(FILES_MAX);
    if current.is_none_or(|current| current >= most) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(most),
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
}

/// What `check-config` says about the limit that a service started like this would have.
pub fn advice(uses: impl Into<Uses>) -> Option<String> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let most = hard.unwrap_or(FILES_MAX).min(FILES_MAX);
    Descriptors::shared(most, uses.into()).advice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(limit: u64, has_link: bool) -> Descriptors {
        let uses = Uses {
            database_connections: 16,
            has_http: true,
            has_link,
            engine_threads: Some(2),
        };
        Descriptors::shared(limit, uses)
    }

    #[test]
    fn the_shares_fit_under_every_limit() {
        for limit in (0..2048).chain([65_536, 1 << 20, u64::MAX]) {
            for has_link in [false, true] {
                let shares = under(limit, has_link);
                let of_http = shares.metrics + shares.http + shares.link;
                assert!(
                    shares.own + of_http + shares.memcached <= limit,
                    "{shares:?}"
                );
                let known = limit < 64 || shares.http > 0 && shares.memcached > shares.http;
                assert!(known, "{shares:?}");
                let is_shared = shares.link > 0 && shares.link == shares.http;
                assert!(limit < 64 || is_shared == has_link, "{shares:?}");
            }
        }
    }

    #[test]
    fn a_use_that_a_process_has_not_gets_no_share() {
        let control = Uses {
            database_connections: 16,
            has_http: true,
            has_link: true,
            engine_threads: None,
        };
        let control = Descriptors::shared(1024, control);
        assert_eq!((control.memcached, control.advice()), (0, None));
        let node = Uses {
            database_connections: 0,
            has_http: false,
            has_link: false,
            engine_threads: Some(2),
        };
        let node = Descriptors::shared(1024, node);
        assert_eq!((node.http, node.link), (0, 0));
        assert!(node.memcached > under(1024, true).memcached);
    }

    #[test]
    fn few_descriptors_are_advised_against_and_many_are_not() {
        let few = under(1024, false).advice().unwrap();
        assert!(
            few.contains("1024 open files") && few.contains("LimitNOFILE"),
            "{few}"
        );
        assert_eq!(under(65_536, false).advice(), None);
    }
}

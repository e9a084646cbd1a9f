//! Open files: each connection takes a descriptor, and a process without one left can neither accept, look a name up nor
//! open its database. So each kind of use has its share of them, and clients on one port cannot take the share of another.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
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
    /// Connections on all memcached addresses.
    pub memcached: u64,
}

impl Descriptors {
    /// The shares under the limit in force.
    pub fn now(config: &Config) -> Descriptors {
        Descriptors::of(soft_limit(), config)
    }

    fn of(limit: u64, config: &Config) -> Descriptors {
        let threads = config.memcached.threads as u64;
        Descriptors::shared(limit, threads, u64::from(config.database_connections))
    }

    fn shared(limit: u64, engine_threads: u64, database_connections: u64) -> Descriptors {
        let needed = OWN_BASE + database_connections + PER_ENGINE_THREAD * engine_threads;
        let own = needed.min(limit / 2);
        let rest = limit - own;
        let metrics = METRICS.min(rest / HTTP_PART);
        let http = HTTP_MAX.min(rest / HTTP_PART);
        let memcached = u64::from(Limits::default().connections_max).min(rest - metrics - http);
        Descriptors {
            limit,
            own,
            metrics,
            http,
            memcached,
        }
    }

    /// Tells how many connections there may be, and what to do when that is few.
    pub fn tell(&self) {
        tracing::info!(
            memcached = self.memcached,
            http = self.http,
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
        (*memcached < MEMCACHED_ENOUGH).then(|| {
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
pub fn advice(config: &Config) -> Option<String> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let most = hard.unwrap_or(FILES_MAX).min(FILES_MAX);
    Descriptors::of(most, config).advice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(limit: u64) -> Descriptors {
        Descriptors::shared(limit, 2, 16)
    }

    #[test]
    fn the_shares_fit_under_every_limit() {
        for limit in (0..2048).chain([65_536, 1 << 20, u64::MAX]) {
            let shares = under(limit);
            let sum = shares.own + shares.metrics + shares.http + shares.memcached;
            assert!(sum <= limit, "{shares:?}");
            let known = limit < 64 || shares.http > 0 && shares.memcached > shares.http;
            assert!(known, "{shares:?}");
        }
    }

    #[test]
    fn few_descriptors_are_advised_against_and_many_are_not() {
        let few = under(1024).advice().unwrap();
        assert!(
            few.contains("1024 open files") && few.contains("LimitNOFILE"),
            "{few}"
        );
        assert_eq!(under(65_536).advice(), None);
    }
}

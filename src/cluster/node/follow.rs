//! Following the control plane: what changes there comes into force here.

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{NodeAgent, RETRY_FIRST, RETRY_LAST};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{self, BadMessage, CacheChange, Changes};
use crate::domain::{Authority, CacheId, CacheSpec, Revision, Username};

/// How long one request for changes may wait for an answer.
const FOLLOW_WAIT: Duration = Duration::from_secs(10);

/// Changes that were read whole: none of them is put in force when one cannot be read.
struct ReadChanges {
    revision: Revision,
    complete: bool,
    serve: Vec<CacheSpec>,
    forget: Vec<CacheId>,
    authorities: Vec<Authority>,
    usernames: Vec<Username>,
}

impl TryFrom<Changes> for ReadChanges {
    type Error = BadMessage;

    fn try_from(changes: Changes) -> Result<ReadChanges, BadMessage> {
        let authorities = changes.authorities.iter().map(Authority::try_from);
        let usernames = changes
            .usernames
            .iter()
            .map(|name| wire::parse("user name", name));
        let mut read = ReadChanges {
            revision: Revision(changes.revision),
            complete: changes.complete,
            serve: Vec::with_capacity(changes.caches.len()),
            forget: Vec::new(),
            authorities: authorities.collect::<Result<_, _>>()?,
            usernames: usernames.collect::<Result<_, _>>()?,
        };
        for change in changes.caches {
            match change {
                CacheChange::Serve(spec) => read.serve.push(spec.try_into()?),
                CacheChange::Forget { cache } => read.forget.push(CacheId(cache)),
            }
        }
        Ok(read)
    }
}

impl NodeAgent {
    pub(super) async fn follow(&self, stop: &CancellationToken) {
        let mut held = HashSet::new();
        let mut pause = RETRY_FIRST;
        loop {
            let known = *self.applied.borrow();
            // The start waits for the first answer, also when there is nothing to know.
            let informed = *self.informed.borrow();
            let wait = if informed {
                FOLLOW_WAIT
            } else {
                Duration::ZERO
            };
            let asked = self.link.changes_since(&self.id, known, wait);
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = asked => answer,
            };
            let read = answer.and_then(|changes| Ok(ReadChanges::try_from(changes)?));
            match read {
                Ok(changes) => {
                    pause = RETRY_FIRST;
                    self.apply(changes, &mut held);
                }
                Err(error) => {
                    self.log_failure(&error);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
        }
    }

    fn log_failure(&self, error: &LinkError) {
        tracing::warn!(
            node = %self.id, %error,
            "cannot follow the control plane; this node serves what it knows and tries again"
        );
    }

    fn apply(&self, changes: ReadChanges, held: &mut HashSet<CacheId>) {
        if !changes.authorities.is_empty() {
            // Before the caches: a certificate is good once its cache's change is in force.
            self.plane.trust(&changes.authorities);
        }
        self.plane.know_usernames(&changes.usernames);
        let listed: HashSet<CacheId> = changes.serve.iter().map(|spec| spec.cache).collect();
        for spec in &changes.serve {
            self.plane.apply(spec);
        }
        for cache in changes.forget {
            if held.remove(&cache) {
                self.plane.forget(cache);
            }
        }
        if changes.complete {
            for gone in held.difference(&listed) {
                self.plane.forget(*gone);
            }
            *held = listed;
        } else {
            held.extend(listed);
        }
        self.applied.send_if_modified(|applied| {
            let moved = *applied != changes.revision;
            *applied = changes.revision;
            moved
        });
        self.informed.send_replace(true);
    }
}

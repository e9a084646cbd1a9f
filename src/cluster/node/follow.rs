//! Following the control plane: what changes there comes into force here. A long list comes in parts, of which each is
//! put in force as it comes, so that a node never holds all of a list beside what it serves.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::retry::{Backoff, Outage};
use super::{NodeAgent, entry};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{self, BadMessage, CacheChange, Changes, ChangesQuery};
use crate::domain::{Authority, CacheId, CacheSpec, Revision, Username};

/// How long one request for changes may wait for an answer.
const FOLLOW_WAIT: Duration = Duration::from_secs(10);

/// A part of a list that was read whole: none of it is put in force when something in it cannot be read.
pub(super) struct ReadChanges {
    revision: Revision,
    complete: bool,
    more_after: Option<i64>,
    plans: u32,
    pub(super) serve: Vec<CacheSpec>,
    pub(super) forget: Vec<CacheId>,
    pub(super) authorities: Vec<Authority>,
    pub(super) usernames: Vec<Username>,
}

impl ReadChanges {
    /// Whether there is nothing to put in force.
    pub(super) fn is_empty(&self) -> bool {
        self.serve.is_empty()
            && self.forget.is_empty()
            && self.authorities.is_empty()
            && self.usernames.is_empty()
    }
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
            more_after: changes.more_after,
            plans: changes.plans,
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
        let (mut backoff, mut outage) = (Backoff::default(), Outage::default());
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.take_list() => followed,
            };
            if matches!(followed, Err(LinkError::Gone(_))) {
                return self.give_up(stop);
            }
            let Err(error) = followed else {
                backoff = Backoff::default();
                if let Some(lasted) = outage.end() {
                    tracing::info!(
                        node = %self.id, after_secs = lasted.as_secs(),
                        "this node follows the control plane again"
                    );
                }
                continue;
            };
            if outage.is_worth_a_line(&error) {
                tracing::warn!(
                    node = %self.id, %error,
                    "cannot follow the control plane; it serves what it knows and tries again"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    /// The caches are elsewhere: nobody logs in here any more, and the node ends.
    fn give_up(&self, stop: &CancellationToken) {
        self.forget_all_but(HashSet::new());
        if let Some(keeper) = &self.keeper {
            entry::drop_snapshot(&self.id, keeper.file());
        }
        self.gone.store(true, Ordering::Relaxed);
        stop.cancel();
    }

    /// Asks what has changed, and puts it in force. When this is cut off or fails, the parts that came stay in force,
    /// and the whole list is asked for again. It is begun anew, too, when it turns out to be of another kind on the
    /// way: a change that this node has not heard of was dropped meanwhile, so that it needs the complete list.
    async fn take_list(&self) -> Result<(), LinkError> {
        let known = *self.applied.borrow();
        // The start waits for the first answer, also when there is nothing to know.
        let wait = match self.heard.load(Ordering::Relaxed) {
            true => FOLLOW_WAIT,
            false => Duration::ZERO,
        };
        let mut query = ChangesQuery {
            known: known.0,
            after: 0,
            plans: self.plans.load(Ordering::Relaxed),
            wait_ms: wait.as_millis() as u64,
        };
        let mut part = self.ask(query).await?;
        let (revision, complete, plans) = (part.revision, part.complete, part.plans);
        if complete {
            // Once the list is begun, only a whole one brings this node back: the revision may pass the old one meanwhile.
            self.applied.send_replace(Revision::default());
        }
        let mut listed = HashSet::new();
        loop {
            let more_after = part.more_after;
            if complete {
                listed.extend(part.serve.iter().map(|spec| spec.cache));
            }
            self.apply(part);
            let Some(after) = more_after else {
                break;
            };
            if after <= query.after {
                return Err(BadMessage("place of the next part").into());
            }
            query = ChangesQuery {
                after,
                wait_ms: 0,
                ..query
            };
            part = self.ask(query).await?;
            if part.complete != complete {
                let why = "its list has changed its kind on the way".to_owned();
                return Err(LinkError::Away(why));
            }
        }
        if complete {
            self.forget_all_but(listed);
        }
        self.plans.store(plans, Ordering::Relaxed);
        self.stand_at(revision);
        self.note_heard();
        Ok(())
    }

    async fn ask(&self, query: ChangesQuery) -> Result<ReadChanges, LinkError> {
        let changes = self.link.changes_since(&self.id, query).await?;
        Ok(ReadChanges::try_from(changes)?)
    }

    fn note_heard(&self) {
        if !self.heard.swap(true, Ordering::Relaxed) && self.restored {
            self.show_on_snapshot();
            tracing::info!(
                node = %self.id,
                "the control plane has told of all caches; this node is on its snapshot no more"
            );
        }
    }

    fn apply(&self, part: ReadChanges) {
        if !part.authorities.is_empty() {
            // Before the caches: a certificate is good once its cache's change is in force.
            self.plane.trust(&part.authorities);
        }
        self.plane.know_usernames(&part.usernames);
        let mut held = self.held.lock();
        for spec in &part.serve {
            self.plane.apply(spec);
            held.insert(spec.cache);
        }
        for cache in &part.forget {
            if held.remove(cache) {
                self.plane.forget(*cache);
            }
        }
        drop(held);
        if let Some(keeper) = &self.keeper {
            keeper.note(part);
        }
    }

    /// At the end of a complete list: what is not on it is gone.
    fn forget_all_but(&self, listed: HashSet<CacheId>) {
        let mut held = self.held.lock();
        let gone: Vec<CacheId> = held.difference(&listed).copied().collect();
        *held = listed;
        drop(held);
        for cache in &gone {
            self.plane.forget(*cache);
        }
        if let Some(keeper) = &self.keeper {
            keeper.forget(&gone);
        }
    }

    fn stand_at(&self, revision: Revision) {
        if let Some(keeper) = &self.keeper {
            keeper.stand_at(revision, self.plans.load(Ordering::Relaxed));
        }
        self.applied.send_if_modified(|applied| {
            let moved = *applied != revision;
            *applied = revision;
            moved
        });
        self.informed.send_replace(true);
    }
}

//! Sessions, credentials and flushes over a store and one node, on both databases.

use std::time::Duration;

use larder::access::{
    Access, AccessError, ConfigState, DONE_WAIT, FlushResult, Owner, Reach, SsoVisit,
};
use larder::domain::secret::BearerSecret;
use larder::domain::{CacheId, CameBy, Capabilities, Identity, Username};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::support::control_plane::{ControlPlane, plans};
use crate::support::db::on_each;

const MINUTE: Duration = Duration::from_secs(60);

async fn cache_with_owner(control: &ControlPlane) -> (CacheId, Owner) {
    let cache = control.provision("r-1").await.resource.cache;
    (cache, control.owner(cache, "proof").await)
}

async fn primary(control: &ControlPlane, owner: &Owner) -> Username {
    let credentials = control.access.credentials(owner).await.expect("a list");
    assert!(credentials[0].primary);
    assert!(credentials[1..].iter().all(|other| !other.primary));
    credentials[0].username.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_of_one_cache_and_ends_in_time() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let other = control.provision("r-2").await.resource.cache;
        let hash = control.store.sso_secret(cache).await.expect("answers");
        let open = async || {
            let hash = hash.as_ref().expect("a hash");
            let session = control.access.open_by_link(hash, |_| None, None).await;
            session.expect("answers").expect("a session")
        };
        let alive = async |cookie: &BearerSecret, cache| {
            let owner = control.access.signed_in(cookie, cache, None).await;
            owner.expect("answers").is_some()
        };

        let session = open().await;
        assert_eq!(session.cache, cache);
        assert!(alive(&session.cookie, cache).await);
        assert!(!alive(&session.cookie, other).await, "another cache");
        assert!(!alive(&BearerSecret::generate(), cache).await);

        control.clock.advance(MINUTE * 29);
        assert!(alive(&session.cookie, cache).await, "used, so it lives on");
        control.clock.advance(MINUTE * 29);
        assert!(alive(&session.cookie, cache).await);
        control.clock.advance(MINUTE * 31);
        assert!(!alive(&session.cookie, cache).await, "idle");

        let session = open().await;
        for _ in 0..35 {
            control.clock.advance(MINUTE * 20);
            assert!(alive(&session.cookie, cache).await);
        }
        control.clock.advance(MINUTE * 20);
        assert!(!alive(&session.cookie, cache).await, "12 hours old");

        let session = open().await;
        let owner = control.access.signed_in(&session.cookie, cache, None).await;
        let owner = owner.expect("answers").expect("alive");
        control.access.close_session(&owner).await.expect("closed");
        assert!(!alive(&session.cookie, cache).await, "logged out");
        control.access.tidy().await.expect("tidied");
    })
    .await;
}

/// Whichever way the machine's clock jumps, no session gets longer (security.md SD-11).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_lengthens_no_session() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let hash = control.store.sso_secret(cache).await.expect("answers");
        let hash = hash.expect("a hash");
        let open = async || {
            let session = control.access.open_by_link(&hash, |_| None, None).await;
            session.expect("answers").expect("a session").cookie
        };
        let alive = async |cookie: &BearerSecret| {
            let owner = control.access.signed_in(cookie, cache, None).await;
            owner.expect("answers").is_some()
        };
        let session = open().await;
        control.clock.set_back(MINUTE / 2);
        assert!(alive(&session).await, "clocks may differ by as much");
        control.clock.set_back(MINUTE * 60);
        assert!(!alive(&session).await, "set back by an hour");
        control.clock.advance(MINUTE * 60);
        assert!(
            alive(&session).await,
            "right again, and thirty minutes are not over"
        );
        control.clock.advance(MINUTE * 60 * 13);
        assert!(!alive(&session).await, "set ahead");

        // Used ahead of the time, then set back: what counts is the later of the two.
        let session = open().await;
        control.clock.advance(MINUTE * 20);
        assert!(alive(&session).await);
        control.clock.set_back(MINUTE * 15);
        assert!(!alive(&session).await, "used in a time to come");
    })
    .await;
}

/// A clock is set ahead, what is old is dropped, and the clock is set right: a proof of before is still a used one
/// (security.md SD-4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_makes_no_proof_new() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let come = async || {
            let visit = SsoVisit {
                cache,
                proof_digest: "digest".to_owned(),
                weaker_digest: None,
                person: None,
                context_app: None,
            };
            control.access.open_by_sso(visit, None).await
        };
        come().await.expect("the first time");
        for hours in [1, 24] {
            control.clock.advance(MINUTE * 60 * hours);
            control.access.tidy().await.expect("tidied");
            control.clock.set_back(MINUTE * 60 * hours);
            let again = come().await;
            assert!(
                matches!(again, Err(AccessError::UsedProof)),
                "{hours} hours ahead"
            );
        }
    })
    .await;
}

/// Also where the same form reaches two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_on_proof_opens_one_session() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let (store, cluster) = (db.opened_again().await, control.cluster.clone());
        let other = Access::new(store.clone(), cluster, plans(), control.clock.clone());
        let visits = (0..20).map(|count| {
            let process = if count % 2 == 0 {
                &control.access
            } else {
                &other
            };
            let access = process.clone();
            let visit = SsoVisit {
                cache,
                proof_digest: "digest".to_owned(),
                weaker_digest: None,
                person: None,
                context_app: None,
            };
            tokio::spawn(async move { access.open_by_sso(visit, None).await })
        });
        let (mut opened, mut refused) = (0, 0);
        for visit in visits.collect::<Vec<_>>() {
            match visit.await.expect("no panic") {
                Ok(_) => opened += 1,
                Err(AccessError::UsedProof) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((opened, refused), (1, 19));
        store.close().await;
    })
    .await;
}

/// Ann and Ben come in the same second. Whoever caught one of their forms gets no login out of its weaker half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_uses_up_its_weaker_proof_too() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let come = async |proof: &str, weaker: Option<&str>| {
            let visit = SsoVisit {
                cache,
                proof_digest: proof.to_owned(),
                weaker_digest: weaker.map(str::to_owned),
                person: None,
                context_app: None,
            };
            control.access.open_by_sso(visit, None).await
        };
        come("ann", Some("second")).await.expect("Ann is in");
        come("ben", Some("second")).await.expect("Ben is in");
        for (proof, weaker) in [("second", None), ("ann", Some("second"))] {
            let again = come(proof, weaker).await;
            assert!(matches!(again, Err(AccessError::UsedProof)), "{proof}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_the_url_ends_every_other_session() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (cache, owner) = cache_with_owner(&control).await;
        let old = control.access.sso_hash(&owner).await.expect("a hash");
        let other = control.access.open_by_link(&old, |_| None, None).await;
        let other = other.expect("answers").expect("a session");

        let new = control.access.rotate_sso(&owner).await.expect("rotated");
        let known = async |hash: &BearerSecret| {
            let session = control.access.open_by_link(hash, |_| None, None).await;
            session.expect("answers").is_some()
        };
        assert!(!known(&old).await);
        assert!(known(&new).await);
        let ended = control.access.signed_in(&other.cookie, cache, None).await;
        assert!(ended.expect("answers").is_none());
        assert!(
            control.access.rotate_sso(&owner).await.is_ok(),
            "its own session lives"
        );
        let kinds = control.history(cache).await;
        assert_eq!(
            kinds,
            ["provisioned", "sso_secret_rotated", "sso_secret_rotated"]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_created_promoted_and_removed() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (cache, owner) = cache_with_owner(&control).await;
        let first = primary(&control, &owner).await;
        let (second, reach) = control.access.create(&owner).await.expect("created");
        assert_eq!(reach, Reach::Everywhere);
        assert!(
            control
                .plane
                .usernames(cache)
                .contains(&second.username.to_string())
        );
        let state = control.access.config_state(&owner).await.expect("a state");
        assert_eq!(state, ConfigState::Applied);

        control
            .access
            .promote(&owner, &second.username)
            .await
            .expect("promoted");
        control
            .access
            .promote(&owner, &second.username)
            .await
            .expect("twice is once");
        assert_eq!(primary(&control, &owner).await, second.username);
        let state = control.access.config_state(&owner).await.expect("a state");
        assert!(
            matches!(
                state,
                ConfigState::Pending {
                    last_error: None,
                    ..
                }
            ),
            "{state:?}"
        );
        assert_eq!(
            control.plane.usernames(cache).len(),
            2,
            "the old one keeps working"
        );

        let refused = control.access.remove(&owner, &second.username).await;
        assert!(matches!(refused, Err(AccessError::PrimaryStays)));
        for click in ["first", "second"] {
            let reach = control.access.remove(&owner, &first).await.expect(click);
            assert_eq!(reach, Reach::Everywhere);
        }
        assert_eq!(
            control.plane.usernames(cache),
            [second.username.to_string()]
        );
        assert!(matches!(
            control.access.reveal(&owner, &first).await,
            Err(AccessError::UnknownCredential(_))
        ));
        let shown = control
            .access
            .reveal(&owner, &second.username)
            .await
            .expect("shown");
        let spec = control.plane.spec(cache).expect("served");
        let verifier = shown.verifier(control.store.verifier_key(), &second.username);
        assert!(spec.credentials[0].verifier.matches(&verifier));

        let kinds = control.history(cache).await;
        assert_eq!(
            kinds,
            [
                "provisioned",
                "credential_added",
                "credentials_promoted",
                "credential_removed"
            ]
        );
        let audit = control.store.audit_of(cache, 100).await.expect("an audit");
        let actions: Vec<&str> = audit
            .iter()
            .rev()
            .map(|row| row.entry.action.as_str())
            .collect();
        assert_eq!(
            actions,
            [
                "resource.provision",
                "session.open.sso",
                "credential.create",
                "credential.promote",
                "credential.remove",
                "credential.reveal",
            ]
        );
        let ann = Identity::Browser {
            person: Some("ann@example.com".to_owned()),
            came_by: CameBy::Marketplace(owner.resource().marketplace),
        };
        let by_ann = audit.iter().filter(|row| row.entry.actor.identity == ann);
        assert_eq!(by_ann.count(), 5, "{audit:?}");
        let events = control.store.events(cache, 10).await.expect("a timeline");
        let actors: Vec<_> = events
            .into_iter()
            .map(|event| event.actor.expect("an actor").identity)
            .collect();
        let heroku = Identity::Marketplace(owner.resource().marketplace);
        assert_eq!(actors, [ann.clone(), ann.clone(), ann, heroku]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_reach_the_node_and_the_plan_bounds_credentials() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (cache, owner) = cache_with_owner(&control).await;
        let name = primary(&control, &owner).await;
        let read_only = Capabilities::NONE;
        for click in ["first", "second"] {
            let reach = control
                .access
                .set_capabilities(&owner, &name, read_only)
                .await;
            assert_eq!(reach.expect(click), Reach::Everywhere);
        }
        let spec = control.plane.spec(cache).expect("served");
        assert_eq!(spec.credentials[0].capabilities, read_only);
        assert_eq!(
            control.history(cache).await,
            ["provisioned", "capabilities_changed"]
        );

        // The plan allows four. Of six that ask at once for a further one, three get it.
        let asks = (0..6).map(|_| {
            let (access, owner) = (control.access.clone(), owner.clone());
            tokio::spawn(async move { access.create(&owner).await })
        });
        let mut refused = 0;
        for ask in asks.collect::<Vec<_>>() {
            match ask.await.expect("no panic") {
                Ok(_) => {}
                Err(AccessError::TooManyCredentials { max: 4 }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(refused, 3);
        assert_eq!(control.plane.usernames(cache).len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_caches_credential_is_unknown() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (_, owner) = cache_with_owner(&control).await;
        let theirs = control.provision("r-2").await.values.username;
        let unknown = |result: Result<(), AccessError>| {
            assert!(
                matches!(result, Err(AccessError::UnknownCredential(_))),
                "{result:?}"
            );
        };
        unknown(control.access.promote(&owner, &theirs).await);
        unknown(control.access.remove(&owner, &theirs).await.map(|_| ()));
        unknown(control.access.reveal(&owner, &theirs).await.map(|_| ()));
        let none = Capabilities::NONE;
        unknown(
            control
                .access
                .set_capabilities(&owner, &theirs, none)
                .await
                .map(|_| ()),
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_done_once_and_told_once() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (cache, owner) = cache_with_owner(&control).await;
        let done = control
            .access
            .flush(&owner, None, DONE_WAIT)
            .await
            .expect("flushed");
        assert_eq!(
            done,
            FlushResult::Done {
                items: 3,
                bytes: 300
            }
        );

        // A double click while the node is slow: both clicks see the one flush.
        control.hang();
        let click = || {
            let (access, owner) = (control.access.clone(), owner.clone());
            tokio::spawn(async move { access.flush(&owner, None, DONE_WAIT).await })
        };
        let clicks = [click(), click()];
        for click in clicks {
            let result = click.await.expect("no panic").expect("ordered");
            assert_eq!(result, FlushResult::Ordered, "the node hangs");
        }
        control.go_on();
        crate::support::control_plane::eventually("the flush is reported", async || {
            control.store.flush_count(cache).await.expect("a count") == 2
        })
        .await;
        assert_eq!(control.plane.flushed.lock().len(), 2);
        assert_eq!(
            control.history(cache).await,
            ["provisioned", "flush", "flush"]
        );
        let events = control.store.events(cache, 1).await.expect("events");
        let expected = "origin=\"web interface\" proxy=p1.example.net items=3 bytes=300";
        assert_eq!(events[0].detail(), expected);
        assert_eq!(events[0].actor.as_ref(), Some(owner.actor()), "who pressed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_a_hanging_node_says_so() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let (_, owner) = cache_with_owner(&control).await;
        control.hang();
        let (_, reach) = control.access.create(&owner).await.expect("created");
        let partial = Reach::Partial {
            applied: 0,
            nodes: 1,
        };
        assert_eq!(reach, partial);
        control.go_on();
    })
    .await;
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Create,
    Promote(prop::sample::Index),
    Remove(prop::sample::Index),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        2 => Just(Deed::Create),
        3 => any::<prop::sample::Index>().prop_map(Deed::Promote),
        2 => any::<prop::sample::Index>().prop_map(Deed::Remove),
    ];
    prop::collection::vec(deed, 8..24)
}

/// P1: whatever owners do at once, everybody who looks sees exactly one primary, and none of the deeds breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_always_exactly_one_primary() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mut runner = TestRunner::deterministic();
        for case in 0..16 {
            let deeds = deeds().new_tree(&mut runner).expect("a case").current();
            let cache = control.provision(&format!("r-{case}")).await.resource.cache;
            let owner = control.owner(cache, &format!("proof-{case}")).await;
            let tasks = deeds.iter().map(|deed| {
                let (access, store) = (control.access.clone(), control.store.clone());
                let (owner, deed) = (owner.clone(), *deed);
                tokio::spawn(async move {
                    let seen = store.credentials(cache).await.expect("a list");
                    let primaries = seen.iter().filter(|one| one.primary).count();
                    assert_eq!(primaries, 1, "seen while others act");
                    let result = match deed {
                        Deed::Create => access.create(&owner).await.map(|_| ()),
                        Deed::Promote(at) => access.promote(&owner, &at.get(&seen).username).await,
                        Deed::Remove(at) => access
                            .remove(&owner, &at.get(&seen).username)
                            .await
                            .map(|_| ()),
                    };
                    match result {
                        Ok(())
                        | Err(
                            AccessError::PrimaryStays
                            | AccessError::TooManyCredentials { .. }
                            | AccessError::UnknownCredential(_),
                        ) => {}
                        Err(other) => panic!("{deed:?}: {other}"),
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("no panic");
            }
            primary(&control, &owner).await;
            let stored = control.store.credentials(cache).await.expect("a list");
            let mut stored: Vec<String> =
                stored.iter().map(|one| one.username.to_string()).collect();
            stored.sort();
            assert_eq!(control.plane.usernames(cache), stored, "{deeds:?}");
        }
    })
    .await;
}

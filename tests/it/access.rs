//! Sessions, credentials and flushes over a store and one node, on both databases.

use std::time::Duration;

use larder::access::{Access, AccessError, ConfigState, FlushResult, Owner, Reach, SsoVisit};
use larder::domain::secret::BearerSecret;
use larder::domain::{CacheId, Capabilities, Username};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::support::db::on_each;
use crate::support::world::{World, plans};

const MINUTE: Duration = Duration::from_secs(60);

async fn cache_with_owner(world: &World) -> (CacheId, Owner) {
    let cache = world.provision("r-1").await.resource.cache;
    (cache, world.owner(cache, "proof").await)
}

async fn primary(world: &World, owner: &Owner) -> Username {
    let credentials = world.access.credentials(owner).await.expect("a list");
    assert!(credentials[0].primary);
    assert!(credentials[1..].iter().all(|other| !other.primary));
    credentials[0].username.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_of_one_cache_and_ends_in_time() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let other = world.provision("r-2").await.resource.cache;
        let hash = world.store.sso_secret(cache).await.expect("answers");
        let open = async || {
            let hash = hash.as_ref().expect("a hash");
            let session = world.access.open_by_link(hash, None).await;
            session.expect("answers").expect("a session")
        };
        let alive = async |cookie: &BearerSecret, cache| {
            let owner = world.access.owner(cookie, cache, None).await;
            owner.expect("answers").is_some()
        };

        let session = open().await;
        assert_eq!(session.cache, cache);
        assert!(alive(&session.cookie, cache).await);
        assert!(!alive(&session.cookie, other).await, "another cache");
        assert!(!alive(&BearerSecret::generate(), cache).await);

        world.clock.advance(MINUTE * 29);
        assert!(alive(&session.cookie, cache).await, "used, so it lives on");
        world.clock.advance(MINUTE * 29);
        assert!(alive(&session.cookie, cache).await);
        world.clock.advance(MINUTE * 31);
        assert!(!alive(&session.cookie, cache).await, "idle");

        let session = open().await;
        for _ in 0..35 {
            world.clock.advance(MINUTE * 20);
            assert!(alive(&session.cookie, cache).await);
        }
        world.clock.advance(MINUTE * 20);
        assert!(!alive(&session.cookie, cache).await, "12 hours old");

        let session = open().await;
        let owner = world.access.owner(&session.cookie, cache, None).await;
        let owner = owner.expect("answers").expect("alive");
        world.access.close_session(&owner).await.expect("closed");
        assert!(!alive(&session.cookie, cache).await, "logged out");
        world.access.tidy().await.expect("tidied");
    })
    .await;
}

/// Also where the same form reaches two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_on_proof_opens_one_session() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let (store, cluster) = (db.opened_again().await, world.cluster.clone());
        let other = Access::new(store.clone(), cluster, plans(), world.clock.clone());
        let visits = (0..20).map(|count| {
            let process = if count % 2 == 0 {
                &world.access
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
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let come = async |proof: &str, weaker: Option<&str>| {
            let visit = SsoVisit {
                cache,
                proof_digest: proof.to_owned(),
                weaker_digest: weaker.map(str::to_owned),
                person: None,
                context_app: None,
            };
            world.access.open_by_sso(visit, None).await
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
        let world = World::start(db).await;
        let (cache, owner) = cache_with_owner(&world).await;
        let old = world.access.sso_hash(&owner).await.expect("a hash");
        let other = world.access.open_by_link(&old, None).await;
        let other = other.expect("answers").expect("a session");

        let new = world.access.rotate_sso(&owner).await.expect("rotated");
        let known = async |hash: &BearerSecret| {
            let session = world.access.open_by_link(hash, None).await;
            session.expect("answers").is_some()
        };
        assert!(!known(&old).await);
        assert!(known(&new).await);
        let ended = world.access.owner(&other.cookie, cache, None).await;
        assert!(ended.expect("answers").is_none());
        assert!(
            world.access.rotate_sso(&owner).await.is_ok(),
            "its own session lives"
        );
        let kinds = world.history(cache).await;
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
        let world = World::start(db).await;
        let (cache, owner) = cache_with_owner(&world).await;
        let first = primary(&world, &owner).await;
        let (second, reach) = world.access.create(&owner).await.expect("created");
        assert_eq!(reach, Reach::Everywhere);
        assert!(
            world
                .plane
                .usernames(cache)
                .contains(&second.username.to_string())
        );
        let state = world.access.config_state(&owner).await.expect("a state");
        assert_eq!(state, ConfigState::Applied);

        world
            .access
            .promote(&owner, &second.username)
            .await
            .expect("promoted");
        world
            .access
            .promote(&owner, &second.username)
            .await
            .expect("twice is once");
        assert_eq!(primary(&world, &owner).await, second.username);
        let state = world.access.config_state(&owner).await.expect("a state");
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
            world.plane.usernames(cache).len(),
            2,
            "the old one keeps working"
        );

        let refused = world.access.remove(&owner, &second.username).await;
        assert!(matches!(refused, Err(AccessError::PrimaryStays)));
        for click in ["first", "second"] {
            let reach = world.access.remove(&owner, &first).await.expect(click);
            assert_eq!(reach, Reach::Everywhere);
        }
        assert_eq!(world.plane.usernames(cache), [second.username.to_string()]);
        assert!(matches!(
            world.access.reveal(&owner, &first).await,
            Err(AccessError::UnknownCredential(_))
        ));
        let shown = world
            .access
            .reveal(&owner, &second.username)
            .await
            .expect("shown");
        let spec = world.plane.spec(cache).expect("served");
        let verifier = shown.verifier(world.store.verifier_key(), &second.username);
        assert!(spec.credentials[0].verifier.matches(&verifier));

        let kinds = world.history(cache).await;
        assert_eq!(
            kinds,
            [
                "provisioned",
                "credentials_created",
                "credentials_promoted",
                "credentials_removed"
            ]
        );
        let audit = world.store.audit_of(cache, 100).await.expect("an audit");
        let actions: Vec<&str> = audit
            .iter()
            .rev()
            .map(|(_, entry)| entry.action.as_str())
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
        assert!(
            audit
                .iter()
                .any(|(_, entry)| entry.actor == "ann@example.com")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_reach_the_node_and_the_plan_bounds_credentials() {
    on_each(async |db| {
        let world = World::start(db).await;
        let (cache, owner) = cache_with_owner(&world).await;
        let name = primary(&world, &owner).await;
        let read_only = Capabilities::NONE;
        for click in ["first", "second"] {
            let reach = world
                .access
                .set_capabilities(&owner, &name, read_only)
                .await;
            assert_eq!(reach.expect(click), Reach::Everywhere);
        }
        let spec = world.plane.spec(cache).expect("served");
        assert_eq!(spec.credentials[0].capabilities, read_only);
        assert_eq!(
            world.history(cache).await,
            ["provisioned", "capabilities_changed"]
        );

        // The plan allows four. Of six that ask at once for a further one, three get it.
        let asks = (0..6).map(|_| {
            let (access, owner) = (world.access.clone(), owner.clone());
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
        assert_eq!(world.plane.usernames(cache).len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_caches_credential_is_unknown() {
    on_each(async |db| {
        let world = World::start(db).await;
        let (_, owner) = cache_with_owner(&world).await;
        let theirs = world.provision("r-2").await.username;
        let unknown = |result: Result<(), AccessError>| {
            assert!(
                matches!(result, Err(AccessError::UnknownCredential(_))),
                "{result:?}"
            );
        };
        unknown(world.access.promote(&owner, &theirs).await);
        unknown(world.access.remove(&owner, &theirs).await.map(|_| ()));
        unknown(world.access.reveal(&owner, &theirs).await.map(|_| ()));
        let none = Capabilities::NONE;
        unknown(
            world
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
        let world = World::start(db).await;
        let (cache, owner) = cache_with_owner(&world).await;
        let done = world.access.flush(&owner).await.expect("flushed");
        assert_eq!(done, FlushResult::Done { items: 3, bytes: 300 });

        // A double click while the node is slow: both clicks see the one flush.
        world.hang();
        let click = || {
            let (access, owner) = (world.access.clone(), owner.clone());
            tokio::spawn(async move { access.flush(&owner).await })
        };
        let clicks = [click(), click()];
        for click in clicks {
            let result = click.await.expect("no panic").expect("ordered");
            assert_eq!(result, FlushResult::Ordered, "the node hangs");
        }
        world.go_on();
        crate::support::world::eventually("the flush is reported", async || {
            world.store.flush_count(cache).await.expect("a count") == 2
        })
        .await;
        assert_eq!(world.plane.flushed.lock().len(), 2);
        assert_eq!(world.history(cache).await, ["provisioned", "flush", "flush"]);
        let line = world.store.events(cache, 1).await.expect("events")[0].line.clone();
        let label = &owner.resource().label;
        let expected = format!(
            "event=flush origin=\"web interface\" proxy=p1.example.net cache={label} items=3 bytes=300"
        );
        assert_eq!(line, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_a_hanging_node_says_so() {
    let db = crate::support::db::sqlite().await;
    let world = World::start(&db).await;
    let (_, owner) = cache_with_owner(&world).await;
    world.hang();
    let (_, reach) = world.access.create(&owner).await.expect("created");
    let partial = Reach::Partial {
        applied: 0,
        nodes: 1,
    };
    assert_eq!(reach, partial);
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
        let world = World::start(db).await;
        let mut runner = TestRunner::deterministic();
        for case in 0..16 {
            let deeds = deeds().new_tree(&mut runner).expect("a case").current();
            let cache = world.provision(&format!("r-{case}")).await.resource.cache;
            let owner = world.owner(cache, &format!("proof-{case}")).await;
            let tasks = deeds.iter().map(|deed| {
                let (access, store) = (world.access.clone(), world.store.clone());
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
            primary(&world, &owner).await;
            let stored = world.store.credentials(cache).await.expect("a list");
            let mut stored: Vec<String> =
                stored.iter().map(|one| one.username.to_string()).collect();
            stored.sort();
            assert_eq!(world.plane.usernames(cache), stored, "{deeds:?}");
        }
    })
    .await;
}

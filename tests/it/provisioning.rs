//! The lifecycle of resources over a store and one node, on both databases.

use std::collections::HashSet;
use std::time::Duration;

use larder::access::SsoVisit;
use larder::domain::{Marketplace, ResourceState};
use larder::provisioning::{GrantCode, ProvisionRequest, ProvisioningError};
use larder::store::outbox::grants::GrantState;

use crate::support::HEROKU;
use crate::support::control_plane::{ControlPlane, ready, request};
use crate::support::db::{START, on_each};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_at_once_make_one_resource() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let asks = (0..64).map(|_| {
            let provisioning = control.provisioning.clone();
            tokio::spawn(async move { provisioning.provision(request("r-1")).await })
        });
        let mut answers = HashSet::new();
        let mut created = 0;
        for ask in asks.collect::<Vec<_>>() {
            let answer = ready(ask.await.expect("no panic").expect("a connection"));
            created += usize::from(answer.created);
            answers.insert((
                answer.resource.id.to_string(),
                answer.resource.cache,
                answer.values.servers,
                answer.values.username.to_string(),
                answer.values.password.expose().to_owned(),
            ));
        }
        assert_eq!((answers.len(), created), (1, 1));
        let (_, cache, servers, username, _) = answers.into_iter().next().expect("one");
        assert_eq!(servers, "p1.example.net:11211");
        assert_eq!(control.plane.usernames(cache), [username]);
        assert_eq!(control.history(cache).await, ["provisioned"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_work_before_the_answer() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let answer = control.provision("r-1").await;
        let spec = control.plane.spec(answer.resource.cache).expect("served");
        let verifier = answer
            .values
            .password
            .verifier(control.store.verifier_key(), &answer.values.username);
        assert!(spec.credentials[0].verifier.matches(&verifier));
        assert_eq!(spec.limit_bytes, 28_835_840);
        assert_eq!(spec.label, answer.values.username.as_str());
        assert!(answer.created);
        assert!(!control.provision("r-1").await.created);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_said_to_and_the_repeat_finds_it_done() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.hang();
        let answer = control.provisioning.provision(request("r-1")).await;
        assert!(matches!(answer, Err(ProvisioningError::NodeBehind)));
        control.go_on();
        let answer = control.provision("r-1").await;
        assert!(!answer.created, "it was made the first time");
        assert_eq!(control.plane.usernames(answer.resource.cache).len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_on_offer_is_refused() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let ask = async |plan: &str, region: &str| {
            let ask = ProvisionRequest {
                plan: plan.to_owned(),
                region: region.to_owned(),
                ..request("r-1")
            };
            control.provisioning.provision(ask).await
        };
        for plan in ["", "DEV", "old", "nothing"] {
            let answer = ask(plan, "us").await;
            assert!(
                matches!(answer, Err(ProvisioningError::UnknownPlan { .. })),
                "{plan}"
            );
        }
        let answer = ask("dev", "eu").await;
        assert!(matches!(
            answer,
            Err(ProvisioningError::UnknownRegion { .. })
        ));
        assert!(ask("dev", "tokyo").await.is_ok(), "the manifest lists it");
        let answer = ask("nothing", "mars").await;
        assert!(answer.is_ok(), "a repeat is answered with what is");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_may_bring_the_grant() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        assert!(control.store.grant(cache).await.expect("answers").is_none());
        let ask = ProvisionRequest {
            grant: Some(GrantCode {
                code: "code-1".to_owned().into(),
                expires_at: START,
            }),
            ..request("r-1")
        };
        control.provisioning.provision(ask).await.expect("the same");
        let grant = control.store.grant(cache).await.expect("answers");
        assert_eq!(grant.expect("a grant").state, GrantState::Pending);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_change_reaches_the_node_before_the_answer() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let id = "r-1".parse().expect("an id");
        let change = async |plan: &str| control.provisioning.change_plan(HEROKU, &id, plan).await;
        let done = change("100").await.expect("changed");
        assert_eq!((done.from.as_str(), done.to.as_str()), ("dev", "100"));
        let limit = control.plane.spec(cache).expect("served").limit_bytes;
        assert_eq!(limit, 115_343_360);

        let done = change("100").await.expect("nothing to do");
        assert_eq!(done.from, done.to);
        assert_eq!(
            control.history(cache).await,
            ["provisioned", "plan_changed"]
        );

        for plan in ["old", "none"] {
            let refused = change(plan).await;
            assert!(matches!(
                refused,
                Err(ProvisioningError::UnknownPlan { .. })
            ));
        }
        let other = control
            .provisioning
            .change_plan(Marketplace::named("manifold"), &id, "100")
            .await;
        assert!(
            matches!(other, Err(ProvisioningError::Unknown)),
            "not theirs"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_is_final() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache;
        let owner = control.owner(cache, "proof").await;
        let hash = control.access.sso_hash(&owner).await.expect("a hash");
        control.access.create(&owner).await.expect("a second one");
        let visit = SsoVisit {
            cache,
            proof_digest: "another proof".to_owned(),
            weaker_digest: None,
            person: None,
            context_app: None,
        };
        let session = control.access.open_by_sso(visit, None).await;
        let cookie = session.expect("a session").cookie;
        let signed_in = async || {
            let found = control.access.signed_in(&cookie, cache, None).await;
            found.expect("answers").is_some()
        };
        assert!(signed_in().await);
        let id = "r-1".parse().expect("an id");
        let end = || control.provisioning.deprovision(HEROKU, &id);
        // A resource is of one marketplace, and unknown to every other.
        let other = Marketplace::named("manifold");
        let foreign = control.provisioning.deprovision(other, &id).await;
        assert!(matches!(foreign, Err(ProvisioningError::Unknown)));
        let seen = control.provisioning.find(other, &id).await;
        assert!(seen.expect("answers").is_none());
        assert!(control.plane.spec(cache).is_some() && signed_in().await);

        let (first, second) = tokio::join!(end(), end());
        assert!(
            first.is_ok() != second.is_ok(),
            "one of two at once does it: {first:?} {second:?}"
        );
        assert!(control.plane.spec(cache).is_none(), "the node forgot it");
        assert!(matches!(end().await, Err(ProvisioningError::Gone)));
        let again = control.provisioning.provision(request("r-1")).await;
        assert!(matches!(again, Err(ProvisioningError::Gone)));
        let change = control.provisioning.change_plan(HEROKU, &id, "100").await;
        assert!(matches!(change, Err(ProvisioningError::Gone)));

        let store = &control.store;
        assert!(store.credentials(cache).await.expect("answers").is_empty());
        assert!(store.primary(cache).await.expect("answers").is_none());
        assert!(store.sso_secret(cache).await.expect("answers").is_none());
        let opened = control.access.open_by_link(&hash, |_| None, None).await;
        assert!(opened.expect("answers").is_none());
        assert!(control.access.create(&owner).await.is_err());
        let tombstone = control.provisioning.find(HEROKU, &id).await;
        let tombstone = tombstone.expect("answers").expect("a tombstone");
        assert!(matches!(
            tombstone.state,
            ResourceState::Deprovisioned { .. }
        ));

        assert!(!signed_in().await, "its sessions ended with it");

        control.clock.advance(Duration::from_secs(400 * 86_400));
        control.cluster.tidy().await.expect("tidied");
        control.provisioning.tidy().await.expect("tidied");
        control.access.tidy().await.expect("tidied");
        let again = control.provisioning.provision(request("r-1")).await;
        assert!(
            matches!(again, Err(ProvisioningError::Gone)),
            "a year later"
        );

        let never = "never".parse().expect("an id");
        let unknown = control.provisioning.deprovision(HEROKU, &never).await;
        assert!(matches!(unknown, Err(ProvisioningError::Unknown)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_comes_first_holds_for_a_day() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let id = "r-1".parse().expect("an id");
        let end = || control.provisioning.deprovision(HEROKU, &id);
        let order = || control.provisioning.provision(request("r-1"));
        for _ in 0..2 {
            assert!(matches!(end().await, Err(ProvisioningError::Unknown)));
            assert!(matches!(order().await, Err(ProvisioningError::Gone)));
        }
        let found = control.provisioning.find(HEROKU, &id).await;
        assert!(found.expect("answers").is_none(), "nothing was made");
        control.provision("r-2").await;

        control.clock.advance(Duration::from_secs(86_400 - 60));
        control.provisioning.tidy().await.expect("tidied");
        assert!(matches!(order().await, Err(ProvisioningError::Gone)));
        control.clock.advance(Duration::from_secs(120));
        control.provisioning.tidy().await.expect("tidied");
        assert!(ready(order().await.expect("a cache")).created);
        assert!(end().await.is_ok());
    })
    .await;
}

/// Whoever is first: never a live cache whose end was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_at_the_moment_of_the_order_leaves_no_cache() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        for number in 0..32 {
            let name = format!("r-{number}");
            let id = name.parse().expect("an id");
            let order = tokio::spawn({
                let (provisioning, order) = (control.provisioning.clone(), request(&name));
                async move { provisioning.provision(order).await }
            });
            // The one or the other is ahead, by a little more each time.
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
            let ended = control.provisioning.deprovision(HEROKU, &id);
            let ended = ended.await;
            let ordered = order.await.expect("no panic");
            let found = control.provisioning.find(HEROKU, &id).await;
            let lives = found
                .expect("answers")
                .is_some_and(|found| found.state.is_live());
            assert!(!lives, "{name}: {ended:?} {ordered:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_does_not_wait_for_ever_for_a_node() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        control.hang();
        let id = "r-1".parse().expect("an id");
        let ended = control.provisioning.deprovision(HEROKU, &id).await;
        assert!(ended.is_ok());
        control.go_on();
        let revision = control.store.last_change(cache).await.expect("answers");
        let follows = control
            .cluster
            .wait_applied(cache, revision, Duration::from_secs(60))
            .await;
        assert!(follows && control.plane.spec(cache).is_none());
    })
    .await;
}

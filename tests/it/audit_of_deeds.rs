//! Each deed that matters for security is one entry of the audit, with who, what, when and from where (security.md OP-2).

use std::net::IpAddr;
use std::time::Duration;

use larder::access::{SignedIn, SsoVisit};
use larder::domain::{CacheId, CameBy, Capabilities, Identity, Username};
use larder::store::service::audit::AuditRecord;

use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
const PERSON: &str = "ann@example.com";

/// A cache, and an owner who came from [`FROM`].
struct World {
    control: ControlPlane,
    cache: CacheId,
    owner: SignedIn,
    /// Entries looked at so far.
    seen: usize,
}

impl World {
    async fn start(db: &crate::support::db::TestDb) -> World {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let visit = SsoVisit {
            cache,
            proof_digest: "visit".to_owned(),
            weaker_digest: None,
            person: Some(PERSON.to_owned()),
            context_app: Some("shop".to_owned()),
        };
        let session = control
            .access
            .open_by_sso(visit, Some(FROM))
            .await
            .expect("a session");
        let owner = control
            .access
            .signed_in(&session.cookie, cache, Some(FROM))
            .await;
        let owner = owner.expect("answers").expect("alive");
        World {
            control,
            cache,
            owner,
            seen: 0,
        }
    }

    /// The one entry that was written since the last question.
    async fn only_new(&mut self, action: &str, detail: &str) -> AuditRecord {
        let mut audit = self
            .control
            .store
            .audit_of(self.cache, 1_000)
            .await
            .expect("an audit");
        audit.reverse();
        let new = audit.split_off(self.seen);
        self.seen += new.len();
        let [record] = new.as_slice() else {
            panic!("{action}: {new:?}");
        };
        let (told, times) = (&record.entry, record.times);
        assert_eq!(
            (told.action.as_str(), told.detail.as_str(), times),
            (action, detail, 1)
        );
        assert_eq!(told.cache, Some(self.cache));
        let (started, now) = (
            crate::support::db::START,
            larder::domain::Clock::now(&*self.control.clock),
        );
        assert!(
            record.at >= started && record.at <= now,
            "{action}: {:?}",
            record.at
        );
        record.clone()
    }

    /// The same of a deed of the person in the browser.
    async fn by_person(&mut self, action: &str, detail: &str) {
        let record = self.only_new(action, detail).await;
        let person = Identity::Browser {
            person: Some(PERSON.to_owned()),
            came_by: CameBy::Marketplace(HEROKU),
        };
        assert_eq!(record.entry.actor.identity, person, "{action}");
        assert_eq!(record.entry.actor.remote, Some(FROM), "{action}");
    }

    /// The same of a call of the marketplace.
    async fn by_marketplace(&mut self, action: &str, detail: &str) {
        let record = self.only_new(action, detail).await;
        assert_eq!(
            record.entry.actor.identity,
            Identity::Marketplace(HEROKU),
            "{action}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_deed_of_an_owner_is_one_entry() {
    on_each(async |db| {
        let mut world = World::start(db).await;
        let access = world.control.access.clone();
        world.seen = 1;
        world.by_person("session.open.sso", "shop").await;
        let primary: Username = access.credentials(&world.owner).await.expect("a list")[0]
            .username
            .clone();
        let (second, _) = access.create(&world.owner).await.expect("created");
        let second = second.username;
        world.by_person("credential.create", second.as_str()).await;
        access
            .reveal(&world.owner, &second)
            .await
            .expect("revealed");
        world.by_person("credential.reveal", second.as_str()).await;
        let capabilities = Capabilities::WRITE;
        access
            .set_capabilities(&world.owner, &second, capabilities)
            .await
            .expect("restricted");
        world
            .by_person("credential.restrict", &format!("{second} {capabilities:?}"))
            .await;
        let (issued, _) = access
            .issue_certificate(&world.owner, &second, None)
            .await
            .expect("answers")
            .expect("a certificate");
        let fingerprint = issued.certificate.fingerprint;
        world
            .by_person("certificate.issue", &format!("{second} {fingerprint}"))
            .await;
        access
            .revoke_certificate(&world.owner, &second, fingerprint)
            .await
            .expect("revoked");
        world
            .by_person("certificate.revoke", &format!("{second} {fingerprint}"))
            .await;
        access
            .promote(&world.owner, &second)
            .await
            .expect("promoted");
        world.by_person("credential.promote", second.as_str()).await;
        access
            .remove(&world.owner, &primary)
            .await
            .expect("removed");
        world.by_person("credential.remove", primary.as_str()).await;
        let third = access.rotate(&world.owner, &second).await.expect("rotated");
        world
            .by_person("credential.rotate", &format!("{second} by {third}"))
            .await;
        let period = larder::domain::RotationPeriod::from_days(30).ok();
        access
            .set_rotation(&world.owner, period)
            .await
            .expect("scheduled");
        world.by_person("rotation.schedule", "every 30 days").await;
        access
            .flush(&world.owner, None, Duration::from_secs(5))
            .await
            .expect("flushed");
        world.by_person("cache.flush", "").await;
        access.push_again(&world.owner).await.expect("pushed");
        world.by_person("config.push", "").await;
        access.rotate_sso(&world.owner).await.expect("rotated");
        world
            .by_person("sso.rotate", "0 other sessions ended")
            .await;
        access.close_session(&world.owner).await.expect("closed");
        world.by_person("session.close", "").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_deed_of_a_marketplace_is_one_entry() {
    on_each(async |db| {
        let mut world = World::start(db).await;
        world.seen = 0;
        let audit = world
            .control
            .store
            .audit_of(world.cache, 10)
            .await
            .expect("an audit");
        let first = audit.last().expect("an entry");
        assert_eq!(first.entry.action, "resource.provision");
        assert_eq!(first.entry.detail, "r-1 on plan dev");
        assert_eq!(first.entry.actor.identity, Identity::Marketplace(HEROKU));
        world.seen = audit.len();
        let id = "r-1".parse().expect("an id");
        let provisioning = world.control.provisioning.clone();
        provisioning
            .change_plan(HEROKU, &id, "100")
            .await
            .expect("changed");
        world
            .by_marketplace("resource.change_plan", "dev to 100")
            .await;
        provisioning.deprovision(HEROKU, &id).await.expect("ended");
        world.by_marketplace("resource.deprovision", "r-1").await;
    })
    .await;
}

/// Two clicks at the same instant are one deed (security.md SD-18).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clicks_at_once_are_one_entry() {
    on_each(async |db| {
        let mut world = World::start(db).await;
        let access = world.control.access.clone();
        let (second, _) = access.create(&world.owner).await.expect("created");
        let second = second.username;
        let first: Username = access.credentials(&world.owner).await.expect("a list")[0]
            .username
            .clone();
        world.seen = world
            .control
            .store
            .audit_of(world.cache, 100)
            .await
            .expect("an audit")
            .len();

        let (one, other) = tokio::join!(
            access.promote(&world.owner, &second),
            access.promote(&world.owner, &second)
        );
        one.and(other).expect("promoted");
        world.by_person("credential.promote", second.as_str()).await;
        let (one, other) = tokio::join!(
            access.remove(&world.owner, &first),
            access.remove(&world.owner, &first)
        );
        one.and(other).expect("removed");
        world.by_person("credential.remove", first.as_str()).await;
        let history = world.control.history(world.cache).await;
        for kind in ["credentials_promoted", "credential_removed"] {
            assert_eq!(
                history.iter().filter(|told| *told == kind).count(),
                1,
                "{kind} in {history:?}"
            );
        }
        // Until a node has reported the first flush, another one joins it.
        world.control.hang();
        let flush = || access.flush(&world.owner, None, Duration::ZERO);
        let (one, other) = tokio::join!(flush(), flush());
        one.and(other).expect("ordered");
        world.by_person("cache.flush", "").await;
    })
    .await;
}

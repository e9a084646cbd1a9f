//! The control plane with the real engine behind the node's loops, and a client on a socket.

use std::sync::Arc;
use std::time::Duration;

use larder::access::{Access, DONE_WAIT, FlushResult, Reach, SsoVisit};
use larder::cluster::{Cluster, ClusterSettings, EventBuffer, LocalLink};
use larder::domain::{Capabilities, RecordedEvent};
use larder::engine::{Engine, EngineSettings, Limits, Listeners};
use larder::provisioning::Provisioning;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::HEROKU;
use crate::support::control_plane::{
    TestClock, eventually, join_by, node_settings, plans, ready, request,
};
use crate::support::db::on_each;

struct Client(TcpStream);

impl Client {
    /// Logs in with the text protocol's first `set`.
    async fn login(port: u16, username: &str, password: &str) -> (Client, String) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let mut client = Client(stream.expect("the engine listens"));
        let length = password.len();
        let reply = client
            .say(&format!("set {username} 0 0 {length}\r\n{password}\r\n"))
            .await;
        (client, reply)
    }

    /// One command and its reply, which is a single line; empty when the connection has ended.
    async fn say(&mut self, command: &str) -> String {
        if self.0.write_all(command.as_bytes()).await.is_err() {
            return String::new();
        }
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => reply.push(byte),
                Err(_) => return String::new(),
            }
        }
        String::from_utf8(reply)
            .expect("text")
            .trim_end()
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cache_from_end_to_end() {
    on_each(async |db| {
        let (store, clock, plans) = (db.store.clone(), TestClock::new(), plans());
        let settings = ClusterSettings::default();
        let cluster = Cluster::new(store.clone(), plans.clone(), clock.clone(), settings);
        let event_buffer = Arc::new(EventBuffer::default());
        let settings = EngineSettings {
            threads: 2,
            memory_max_bytes: 256 << 20,
            proxy_hostname: "p1.example.net".to_owned(),
            limits: Limits::default(),
            engine_clock: None,
        };
        let key = store.verifier_key().clone();
        let engine = Engine::new(settings, key, clock.clone(), event_buffer.clone());
        let listeners = Listeners {
            plain: Some(([127, 0, 0, 1], 0).into()),
            ..Listeners::default()
        };
        let addresses = engine.start(listeners).expect("the engine starts");
        let port = addresses.plain.expect("plain").port();
        let dir = tempfile::tempdir().expect("a directory");
        let link = Arc::new(LocalLink(cluster.clone()));
        let plane = Arc::new(engine.clone());
        let settings = node_settings(dir.path());
        let node = join_by(&settings, link, plane, event_buffer, clock.clone());
        let node = Arc::new(node.await.expect("joined"));
        cluster.attach(&node);
        node.open().await.expect("the node serves");
        let stop = CancellationToken::new();
        let following = tokio::spawn({
            let (node, stop) = (node.clone(), stop.clone());
            async move { node.run(stop).await }
        });
        let access = Access::new(store.clone(), cluster.clone(), plans.clone(), clock.clone());
        let provisioning = Provisioning::new(store.clone(), cluster.clone(), plans, clock);

        // The credentials of the answer work at once.
        let made = ready(provisioning.provision(request("r-1")).await.expect("made"));
        let cache = made.resource.cache;
        let (mut app, reply) = Client::login(
            port,
            made.values.username.as_str(),
            made.values.password.expose(),
        )
        .await;
        assert_eq!(reply, "STORED");
        assert_eq!(app.say("set k 0 0 1\r\nv\r\n").await, "STORED");

        let visit = SsoVisit {
            cache,
            proof_digest: "proof".to_owned(),
            weaker_digest: None,
            person: None,
            context_app: None,
        };
        let session = access.open_by_sso(visit, None).await.expect("signed in");
        let owner = access.signed_in(&session.cookie, cache, None).await;
        let owner = owner.expect("answers").expect("an owner");
        let figures = access.figures(&owner).await.expect("an answer");
        let figures = figures.here().expect("figures");
        assert_eq!((figures.items, figures.connections), (1, 1));
        assert_eq!(figures.limit_bytes, 28_835_840);

        // A second credential works beside the first; its rights and its end reach the open connection.
        let (second, reach) = access.create(&owner).await.expect("created");
        assert_eq!(reach, Reach::Everywhere);
        let password = access
            .reveal(&owner, &second.username)
            .await
            .expect("shown");
        let (mut other, reply) =
            Client::login(port, second.username.as_str(), password.expose()).await;
        assert_eq!(reply, "STORED");
        assert_eq!(other.say("set k 0 0 1\r\nw\r\n").await, "STORED");
        let no_write = Capabilities::ALL.with(Capabilities::WRITE, false);
        let reach = access
            .set_capabilities(&owner, &second.username, no_write)
            .await;
        assert_eq!(reach.expect("restricted"), Reach::Everywhere);
        assert_eq!(other.say("set k 0 0 1\r\nx\r\n").await, "NOT_STORED");

        // Flushes of the owner and of a client, each told once.
        let flushed = access
            .flush(&owner, None, DONE_WAIT)
            .await
            .expect("flushed");
        assert!(
            matches!(flushed, FlushResult::Done { items: 1, .. }),
            "{flushed:?}"
        );
        assert_eq!(app.say("delete k\r\n").await, "NOT_FOUND");
        assert_eq!(app.say("set k 0 0 1\r\nv\r\n").await, "STORED");
        assert_eq!(app.say("flush_all\r\n").await, "OK");
        eventually("both flushes are in the history", async || {
            store.flush_count(cache).await.expect("a count") == 2
        })
        .await;
        let events = store.events(cache, 100).await.expect("events");
        let lines: Vec<String> = events
            .iter()
            .filter(|event| event.kind == "flush")
            .map(RecordedEvent::detail)
            .collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains("\"web interface\" proxy=p1.example.net"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("\"memcache client\" proxy=p1.example.net"))
        );

        access
            .remove(&owner, &second.username)
            .await
            .expect("removed");
        eventually("the connection is closed", async || {
            other.say("version\r\n").await.is_empty()
        })
        .await;
        let (_, reply) = Client::login(port, second.username.as_str(), password.expose()).await;
        assert_ne!(reply, "STORED");

        let id = "r-1".parse().expect("an id");
        provisioning.deprovision(HEROKU, &id).await.expect("ended");
        let (_, reply) = Client::login(
            port,
            made.values.username.as_str(),
            made.values.password.expose(),
        )
        .await;
        assert_ne!(reply, "STORED");
        eventually("the last connection is closed", async || {
            app.say("version\r\n").await.is_empty()
        })
        .await;

        stop.cancel();
        following.await.expect("the node stops");
        let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5)));
        stopping.await.expect("the engine stops");
    })
    .await;
}

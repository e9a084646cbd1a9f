//! An app that uses a cache, in the text protocol: what it knows of the cache, and its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::sandbox::{AppId, Sandbox};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control_plane::eventually;
use super::plain::Plain;

/// What the text protocol answers to a login with a wrong password.
pub const REFUSED: &str = "CLIENT_ERROR authentication failure";

/// A cache as the app that uses it knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    pub servers: String,
    pub username: String,
    pub password: String,
}

impl Values {
    /// As the app finds them in its environment.
    pub fn of_app(sandbox: &Sandbox, app: AppId) -> Values {
        Values::read(&sandbox.config_vars(app), |vars, name| {
            vars.get(name).cloned()
        })
    }

    /// As the answer to an order has them.
    pub fn of_answer(body: &str) -> Values {
        let body: Value = serde_json::from_str(body).expect("JSON");
        Values::read(&body["config"], |config, name| {
            config[name].as_str().map(str::to_owned)
        })
    }

    fn read<T>(from: &T, value: impl Fn(&T, &str) -> Option<String>) -> Values {
        let value = |name: &str| value(from, &format!("MEMCACHIER_{name}")).expect(name);
        Values {
            servers: value("SERVERS"),
            username: value("USERNAME"),
            password: value("PASSWORD"),
        }
    }

    /// The same cache with another of its credentials.
    pub fn with(&self, username: &str, password: &str) -> Values {
        Values {
            servers: self.servers.clone(),
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    /// A connection and what a login on it is answered.
    pub async fn try_login(&self) -> (Plain, String) {
        let mut client = Plain::connect(&self.servers).await;
        let answer = client.login(&self.username, &self.password).await;
        (client, answer)
    }

    /// A connection that is logged in.
    pub async fn login(&self) -> Plain {
        let (client, answer) = self.try_login().await;
        assert_eq!(answer, "STORED", "{} at {}", self.username, self.servers);
        client
    }

    /// Waits until the node takes this credential.
    pub async fn works(&self) {
        eventually("the node takes the credential", async || {
            self.try_login().await.1 == "STORED"
        })
        .await;
    }

    /// Waits until the node takes it no more.
    pub async fn is_refused(&self) {
        eventually("the node refuses the credential", async || {
            self.try_login().await.1 == REFUSED
        })
        .await;
    }
}

/// Stores a value under a key; answers the server's line.
pub async fn set(client: &mut Plain, key: &str, value: &str) -> String {
    let length = value.len();
    client
        .say(&format!("set {key} 0 0 {length}\r\n{value}\r\n"))
        .await;
    client.line().await
}

/// What stands under a key.
pub async fn get(client: &mut Plain, key: &str) -> Option<String> {
    client.say(&format!("get {key}\r\n")).await;
    if client.line().await == "END" {
        return None;
    }
    let value = client.line().await;
    assert_eq!(client.line().await, "END");
    Some(value)
}

/// An app at work: in every round it sets and gets on one connection, and logs in, sets and gets on a new one. Whatever
/// is not as it must be ends it, and fails the test.
pub struct App {
    rounds: Arc<AtomicU64>,
    over: CancellationToken,
    task: JoinHandle<()>,
}

impl App {
    /// So many further rounds tell that commands and logins go on.
    const ROUNDS: u64 = 100;
    /// Between two rounds, so that the app does not take the machine from those that it is to observe.
    const PAUSE: Duration = Duration::from_millis(5);

    pub fn start(values: &Values) -> App {
        let (rounds, over) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let task = tokio::spawn(App::run(values.clone(), Arc::clone(&rounds), over.clone()));
        App { rounds, over, task }
    }

    async fn run(values: Values, rounds: Arc<AtomicU64>, over: CancellationToken) {
        let mut steady = values.login().await;
        while !over.is_cancelled() {
            let round = rounds.load(Ordering::Relaxed).to_string();
            assert_eq!(set(&mut steady, "steady", &round).await, "STORED");
            let mut fresh = values.login().await;
            assert_eq!(set(&mut fresh, "fresh", &round).await, "STORED");
            assert_eq!(get(&mut steady, "fresh").await.as_deref(), Some(&*round));
            assert_eq!(get(&mut fresh, "steady").await.as_deref(), Some(&*round));
            fresh.say("quit\r\n").await;
            assert_eq!(fresh.rest().await, "");
            rounds.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(App::PAUSE).await;
        }
    }

    /// Waits until the app has made [`App::ROUNDS`] more rounds.
    pub async fn goes_on(&self) {
        let enough = self.rounds.load(Ordering::Relaxed) + App::ROUNDS;
        eventually("the app goes on", async || {
            assert!(!self.task.is_finished(), "the app met an error");
            self.rounds.load(Ordering::Relaxed) >= enough
        })
        .await;
    }

    /// Ends it between two rounds.
    pub async fn stop(self) {
        self.over.cancel();
        self.task.await.expect("the app met no error");
    }
}

//! `larder serve` as a machine of an installation: a folder, a host name and addresses, which it keeps over restarts.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::db::Database;
use super::full_service::{PASSWORD, free_port, setting, settings};
use super::process::{Ended, Process, larder};

/// One machine: its folder, its host name, and its addresses, which it keeps over restarts.
pub struct Machine {
    pub folder: TempDir,
    pub settings: Vec<(String, String)>,
    pub base: String,
    /// As in SERVERS.
    pub server: String,
}

impl Machine {
    /// Nothing of a machine answers for the marketplace: calls out go nowhere.
    pub fn new(database: &Database, host: &str) -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        let base = format!("http://127.0.0.1:{}", free_port());
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let settings = settings(&base, &nowhere, database, &folder);
        let settings = setting(&settings, "LARDER_PROXY_HOSTNAME", host);
        let addr = settings
            .iter()
            .find(|(name, _)| name == "LARDER_MEMCACHED_ADDR");
        let port = addr
            .expect("an address")
            .1
            .rsplit_once(':')
            .expect("a port")
            .1;
        let server = format!("{host}:{port}");
        Machine {
            folder,
            settings,
            base,
            server,
        }
    }

    pub async fn start(&self) -> Process {
        Process::start(&self.base, &self.settings).await
    }

    /// The same machine with other addresses and another host name, started from another folder.
    pub fn elsewhere(&self, folder: TempDir, host: &str) -> Machine {
        let base = format!("http://127.0.0.1:{}", free_port());
        let port = free_port();
        let mut settings = self.settings.clone();
        for (name, value) in [
            ("LARDER_DATA_DIR", folder.path().display().to_string()),
            (
                "LARDER_HTTP_ADDR",
                base.trim_start_matches("http://").to_owned(),
            ),
            ("LARDER_PUBLIC_URL", base.clone()),
            ("LARDER_MEMCACHED_ADDR", format!("127.0.0.1:{port}")),
            ("LARDER_PROXY_HOSTNAME", host.to_owned()),
        ] {
            settings = setting(&settings, name, &value);
        }
        Machine {
            folder,
            settings,
            base,
            server: format!("{host}:{port}"),
        }
    }

    /// The id that its folder keeps.
    pub fn node_id(&self) -> String {
        let id = std::fs::read_to_string(self.folder.path().join("node-id"));
        id.expect("it has joined").trim().to_owned()
    }

    /// What it says when it is started and ends by itself.
    pub async fn start_in_vain(&self) -> Ended {
        let ended = larder("serve", &self.settings, self.folder.path()).await;
        assert!(!ended.success, "{}", ended.stdout);
        ended
    }

    pub async fn order(&self, id: &str, grant: bool) -> Answer {
        self.order_in(id, "amazon-web-services::us-east-1", grant)
            .await
    }

    pub async fn order_in(&self, id: &str, region: &str, grant: bool) -> Answer {
        let mut body = json!({
            "uuid": uuid_of(id), "name": format!("acme-{id}"), "plan": "dev", "region": region,
            "callback_url": "https://api.heroku.com/addons/x",
        });
        if grant {
            body["oauth_grant"] = json!({
                "code": "c-1", "type": "authorization_code", "expires_at": "2099-01-01T00:00:00Z",
            });
        }
        self.call(Method::POST, "/heroku/resources", &body).await
    }

    pub async fn change_plan(&self, id: &str, plan: &str) -> Answer {
        let path = format!("/heroku/resources/{}", uuid_of(id));
        self.call(Method::PUT, &path, &json!({"plan": plan})).await
    }

    /// Deprovisions it.
    pub async fn end(&self, id: &str) -> StatusCode {
        let answer = reqwest::Client::new()
            .delete(format!("{}/heroku/resources/{}", self.base, uuid_of(id)))
            .basic_auth("larder", Some(PASSWORD))
            .header("accept", "application/vnd.heroku-addons+json; version=3")
            .send()
            .await;
        answer.expect("an answer").status()
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let answer = reqwest::Client::new()
            .request(method, format!("{}{path}", self.base))
            .basic_auth("larder", Some(PASSWORD))
            .header("accept", "application/vnd.heroku-addons+json; version=3")
            .json(body)
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let retry_after = answer.headers().contains_key("retry-after");
        let body: Value = answer.json().await.expect("JSON");
        let value = |name: &str| {
            let value = body["config"][format!("MEMCACHIER_{name}")].as_str();
            value.unwrap_or_default().to_owned()
        };
        Answer {
            status,
            retry_after,
            message: body["message"].as_str().unwrap_or_default().to_owned(),
            servers: value("SERVERS"),
            username: value("USERNAME"),
            password: value("PASSWORD"),
        }
    }

    pub async fn admin(&self, verb: &str) -> String {
        let ended = larder(&format!("admin {verb}"), &self.settings, self.folder.path()).await;
        assert!(ended.success, "{verb}: {}", ended.stderr);
        ended.stdout
    }

    pub async fn refused(&self, verb: &str) -> String {
        let ended = larder(&format!("admin {verb}"), &self.settings, self.folder.path()).await;
        assert!(!ended.success, "{verb}: {}", ended.stdout);
        ended.stderr
    }

    /// The state that `admin nodes` shows for a host name.
    pub async fn state_of(&self, server: &str) -> String {
        let list = self.admin("nodes").await;
        let row = list.lines().find(|line| line.contains(server));
        let row = row.unwrap_or_else(|| panic!("{server} is not in\n{list}"));
        row.split_whitespace().nth(1).expect("a state").to_owned()
    }
}

/// A uuid for a test's short name.
fn uuid_of(name: &str) -> String {
    let number: u32 = name.bytes().map(u32::from).sum();
    format!("01234567-89ab-4cde-8f01-{number:012}")
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: bool,
    pub message: String,
    pub servers: String,
    pub username: String,
    pub password: String,
}

impl Answer {
    pub fn is_on(&self, machine: &Machine) {
        assert_eq!(self.status, StatusCode::CREATED, "{self:?}");
        assert_eq!(self.servers, machine.server);
    }
}

/// A scenario on a fresh database of each kind.
pub async fn on_both(scenario: impl AsyncFn(Database)) {
    scenario(Database::sqlite()).await;
    if let Some(database) = Database::postgres().await {
        scenario(database).await;
    }
}

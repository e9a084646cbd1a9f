//! Apps that a resource is attached to, each with the log input its lines go to. The input's URL is a secret.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::secret::same_secret;
use crate::domain::{AttachmentId, CacheId, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::seal::Place;
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// The attachment that came with the provision request: it names the owning app's log input, not the app.
pub const OWNING_APP: &str = "owner";

/// An app that the provider says a resource is attached to.
#[derive(Clone, Copy, Debug)]
pub struct AppNow<'a> {
    pub app: &'a str,
    /// Whether the app owns the resource.
    pub owns: bool,
    pub log_url: Option<&'a SecretString>,
}

/// Where an attachment's lines go.
#[derive(Clone, Debug)]
pub struct LogInput {
    pub app: String,
    /// `None` when the app takes no lines (Fir apps), or the resource is gone.
    pub url: Option<SecretString>,
    /// Since when the input refuses our token.
    pub dead_at: Option<Timestamp>,
}

fn place(id: &str) -> Place<'_> {
    Place {
        table: "attachments",
        column: "log_url_sealed",
        row: id,
    }
}

fn same_url(left: &SecretString, right: &SecretString) -> bool {
    same_secret(
        left.expose_secret().as_bytes(),
        right.expose_secret().as_bytes(),
    )
}

/// The host in a URL, to tell destinations apart; never the token before it. PostgreSQL takes no NUL in a text, and no
/// host has a control character.
fn destination(url: &str) -> String {
    host_of(url).chars().filter(|c| !c.is_control()).collect()
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "attachments",
    AtEnd::Run(&["UPDATE attachments SET log_url_sealed = NULL WHERE cache_id = $1"]),
)];

impl Tx {
    /// Attaches an app, or gives an attached one a new log input. Lines flow from here on.
    pub async fn insert_attachment(
        &mut self,
        cache: CacheId,
        app: &str,
        log_url: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let fresh = AttachmentId::generate(now).to_string();
        // The id is needed before the URL can be sealed for its row.
        let id: String = run!(self, c => sqlx::query_scalar(
                "INSERT INTO attachments (id, cache_id, app, created_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (cache_id, app) DO UPDATE SET app = excluded.app RETURNING id")
            .bind(&fresh).bind(cache.0).bind(app).bind(now.micros()).fetch_one(c))?;
        match log_url {
            Some(url) => self.set_log_input(cache, &id, url).await,
            None => Ok(()),
        }
    }

    /// Makes the attached apps those of the list: new ones get lines from here on, missing ones none any more, and
    /// a log input is replaced when it differs. The app that came with the provision request keeps its lane when
    /// the list gives it a name. Tells how many came and went.
    pub async fn set_attachments(
        &mut self,
        cache: CacheId,
        apps: &[AppNow<'_>],
        now: Timestamp,
    ) -> Result<(usize, usize), StoreError> {
        self.name_owner(cache, apps).await?;
        let known: Vec<(String, String, Option<Vec<u8>>)> = run!(self, c => sqlx::query_as(
                "SELECT id, app, log_url_sealed FROM attachments WHERE cache_id = $1 ORDER BY id")
            .bind(cache.0).fetch_all(c))?;
        let mut added = 0;
        for (at, now_app) in apps.iter().enumerate() {
            // An app may use a resource under several names; it has one log.
            if apps[..at].iter().any(|earlier| earlier.app == now_app.app) {
                continue;
            }
            let Some((id, _, sealed)) = known.iter().find(|(_, app, _)| app == now_app.app) else {
                self.insert_attachment(cache, now_app.app, now_app.log_url, now)
                    .await?;
                added += 1;
                continue;
            };
            let held = sealed
                .as_ref()
                .and_then(|sealed| self.keys.open_text(place(id), sealed).ok());
            match (now_app.log_url, held) {
                (Some(url), Some(held)) if same_url(url, &held) => {}
                (Some(url), _) => self.set_log_input(cache, id, url).await?,
                (None, _) if sealed.is_some() => {
                    exec!(
                        self,
                        sqlx::query("UPDATE attachments SET log_url_sealed = NULL WHERE id = $1")
                            .bind(id)
                    )?;
                }
                (None, _) => {}
            }
        }
        let mut removed = 0;
        for (id, _, _) in known
            .iter()
            .filter(|(_, app, _)| !apps.iter().any(|now| now.app == app))
        {
            self.cancel_lane(id).await?;
            exec!(
                self,
                sqlx::query("DELETE FROM attachments WHERE id = $1").bind(id)
            )?;
            removed += 1;
        }
        Ok((added, removed))
    }

    /// Gives the attachment of the provision request the name that the provider gives its app.
    async fn name_owner(&mut self, cache: CacheId, apps: &[AppNow<'_>]) -> Result<(), StoreError> {
        let Some(owner) = apps.iter().find(|app| app.owns || apps.len() == 1) else {
            return Ok(());
        };
        exec!(
            self,
            sqlx::query(
                "UPDATE attachments SET app = $2 WHERE cache_id = $1 AND app = $3
                 AND NOT EXISTS (SELECT 1 FROM attachments o WHERE o.cache_id = $1 AND o.app = $2)"
            )
            .bind(cache.0)
            .bind(owner.app)
            .bind(OWNING_APP)
        )?;
        Ok(())
    }

    /// Stores a log input for an attachment and opens its lane.
    pub async fn set_log_input(
        &mut self,
        cache: CacheId,
        attachment: &str,
        url: &SecretString,
    ) -> Result<(), StoreError> {
        let host = destination(url.expose_secret());
        exec!(self, sqlx::query(
                "INSERT INTO lanes (order_key, cache_id, destination, scheduled_at, attempt, fence, dropped, window_at,
                    window_lines) VALUES ($1, $2, $3, 0, 0, 0, 0, 0, 0)
                 ON CONFLICT (order_key) DO UPDATE SET destination = excluded.destination, attempt = 0")
            .bind(attachment).bind(cache.0).bind(host))?;
        let sealed = self
            .keys
            .seal(place(attachment), url.expose_secret().as_bytes())?;
        exec!(
            self,
            sqlx::query(
                "UPDATE attachments SET log_url_sealed = $2, log_dead_at = NULL WHERE id = $1"
            )
            .bind(attachment)
            .bind(sealed)
        )?;
        Ok(())
    }

    /// Notes that the input refuses our token: no line is promised to it any more.
    pub async fn mark_log_input_dead(
        &mut self,
        attachment: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE attachments SET log_dead_at = $2 WHERE id = $1")
                .bind(attachment)
                .bind(now.micros())
        )?;
        Ok(())
    }

    /// Attachments of a cache that take lines.
    pub(in crate::store) async fn open_log_inputs(
        &mut self,
        cache: CacheId,
    ) -> Result<Vec<String>, StoreError> {
        Ok(run!(self, c => sqlx::query_scalar(
                "SELECT id FROM attachments
                 WHERE cache_id = $1 AND log_url_sealed IS NOT NULL AND log_dead_at IS NULL ORDER BY id")
            .bind(cache.0).fetch_all(c))?)
    }
}

impl Store {
    /// The apps of a cache, by the provider's id or [`OWNING_APP`].
    pub async fn attached_apps(&self, cache: CacheId) -> Result<Vec<String>, StoreError> {
        Ok(read!(self, c => sqlx::query_scalar(
                "SELECT app FROM attachments WHERE cache_id = $1 ORDER BY app")
            .bind(cache.0).fetch_all(c))?)
    }

    /// The log input of an attachment; `None` when the attachment is gone.
    pub async fn log_input(&self, attachment: &str) -> Result<Option<LogInput>, StoreError> {
        let row: Option<(String, Option<Vec<u8>>, Option<i64>)> = read!(self, c => sqlx::query_as(
                "SELECT app, log_url_sealed, log_dead_at FROM attachments WHERE id = $1")
            .bind(attachment).fetch_optional(c))?;
        let Some((app, sealed, dead_at)) = row else {
            return Ok(None);
        };
        let open = |sealed: Vec<u8>| self.keys.open_text(place(attachment), &sealed);
        Ok(Some(LogInput {
            app,
            url: sealed.map(open).transpose()?,
            dead_at: dead_at.map(Timestamp::from_micros),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn a_destination_is_the_host_without_its_token() {
        for (url, host) in [
            (
                "https://token:t.0123@1.us.logplex.io/logs",
                "1.us.logplex.io",
            ),
            ("http://token:t.0@127.0.0.1:8090/logs", "127.0.0.1:8090"),
            ("https://a:b@c@logs.example?x", "logs.example"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}

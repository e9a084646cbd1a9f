//! Keys under which the tokens of nodes are signed: one for each day, sealed, the same in every control process.

use secrecy::SecretString;

use crate::domain::Timestamp;
use crate::store::db::dialect::exec;
use crate::store::{OpenError, Store, StoreError, Tx};

impl Store {
    /// The key of a day, which is counted from the Unix epoch: 64 hexadecimal characters, made when first asked for.
    pub async fn link_key(&self, day: i64, now: Timestamp) -> Result<SecretString, OpenError> {
        self.installation_secret(&format!("link_key_{day}"), now)
            .await
    }
}

impl Tx {
    /// Drops the keys made before a time. Gives their number.
    pub async fn prune_link_keys(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM settings WHERE name LIKE 'link_key_%' AND created_at < $1")
                .bind(before.micros())
        )?)
    }
}

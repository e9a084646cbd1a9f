//! What the engine knows of one cache, for dashboards and monitors.

use std::sync::Arc;

use super::auth::Account;
use super::storage::Counters;
use super::tenancy::{Tenancy, TrafficSum};
use crate::domain::credential::LastUse;
use crate::domain::{Fingerprint, Username};

/// Figures of one cache on this node. The counters only rise; `stats reset` does not touch them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFigures {
    pub counters: Counters,
    pub traffic: TrafficSum,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub connections: u32,
    pub connections_max: u32,
    pub credentials: Vec<CredentialFigures>,
    /// Open connections by client certificate. Those of its credential include them.
    pub certificates: Vec<(Fingerprint, u32)>,
}

/// Figures of one credential: its connections by password and by client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFigures {
    pub username: Username,
    pub connections: u32,
    pub last_login: Option<LastUse>,
}

impl EngineFigures {
    pub(super) fn of(tenancy: &Tenancy, accounts: &[Arc<Account>]) -> EngineFigures {
        let by_certificate =
            |account: &Arc<Account>| Some((account.fingerprint()?, account.connections()));
        EngineFigures {
            counters: tenancy.items.counters(),
            traffic: tenancy.traffic_sum(),
            used_bytes: tenancy.items.used_bytes(),
            limit_bytes: tenancy.items.limit_bytes(),
            connections: tenancy.connections(),
            connections_max: tenancy.connections_max(),
            credentials: by_credential(accounts),
            certificates: accounts.iter().filter_map(by_certificate).collect(),
        }
    }
}

/// Sums the accounts of each credential: one for its password and one for each of its certificates.
fn by_credential(accounts: &[Arc<Account>]) -> Vec<CredentialFigures> {
    let mut credentials: Vec<CredentialFigures> = Vec::new();
    for account in accounts {
        let Some(username) = &account.username else {
            continue;
        };
        let (connections, last_login) = (account.connections(), account.last_login());
        match credentials
            .iter_mut()
            .find(|credential| credential.username == *username)
        {
            Some(credential) => {
                credential.connections += connections;
                let later = credential.last_login.take().into_iter().chain(last_login);
                credential.last_login = later.max_by_key(|login| login.at);
            }
            None => credentials.push(CredentialFigures {
                username: username.clone(),
                connections,
                last_login,
            }),
        }
    }
    credentials
}

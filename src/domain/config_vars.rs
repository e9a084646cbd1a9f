//! The config vars of an app: what they are called, and what they hold.

use super::credential::Username;
use super::secret::Password;

/// What the variables are called for one add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVarNames {
    pub servers: String,
    pub username: String,
    pub password: String,
}

impl ConfigVarNames {
    /// `PREFIX_SERVERS` and its sisters.
    pub fn with_prefix(prefix: &str) -> ConfigVarNames {
        ConfigVarNames {
            servers: format!("{prefix}_SERVERS"),
            username: format!("{prefix}_USERNAME"),
            password: format!("{prefix}_PASSWORD"),
        }
    }
}

/// What an app needs to reach its cache. Answers to marketplaces and later pushes carry the same values.
#[derive(Clone, Debug)]
pub struct ConfigValues {
    /// `host:port` of each server, separated by commas.
    pub servers: String,
    pub username: Username,
    pub password: Password,
}

impl ConfigValues {
    /// Each variable with its value. The last holds a secret.
    pub fn named<'a>(&'a self, names: &'a ConfigVarNames) -> [(&'a str, &'a str); 3] {
        [
            (&names.servers, self.servers.as_str()),
            (&names.username, self.username.as_str()),
            (&names.password, self.password.expose()),
        ]
        .map(|(name, value)| (name.as_str(), value))
    }
}

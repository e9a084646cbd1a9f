//! The config vars of an app, by their full names.

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

//! JSON in text columns: actors and the fields of events. What another release wrote is read as far as it goes and
//! never fails.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::domain::event::{Fields, Value};
use crate::domain::{CameBy, Identity};

/// An actor's identity as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StoredIdentity {
    Browser {
        #[serde(skip_serializing_if = "Option::is_none")]
        person: Option<String>,
        /// `link`, or the marketplace.
        came_by: String,
    },
    Credential {
        username: String,
    },
    Account {
        id: String,
    },
    Marketplace {
        name: String,
    },
    Operator,
    Schedule,
    Service,
    Unproven,
}

const LINK: &str = "link";

impl StoredIdentity {
    fn from_domain(identity: &Identity) -> Option<StoredIdentity> {
        Some(match identity {
            Identity::Browser { person, came_by } => StoredIdentity::Browser {
                person: person.clone(),
                came_by: match came_by {
                    CameBy::Link => LINK.to_owned(),
                    CameBy::Marketplace(marketplace) => marketplace.to_string(),
                },
            },
            Identity::Credential(username) => StoredIdentity::Credential {
                username: username.to_string(),
            },
            Identity::Account(id) => StoredIdentity::Account { id: id.clone() },
            Identity::Marketplace(marketplace) => StoredIdentity::Marketplace {
                name: marketplace.to_string(),
            },
            Identity::Operator => StoredIdentity::Operator,
            Identity::Schedule => StoredIdentity::Schedule,
            Identity::Service => StoredIdentity::Service,
            Identity::Unproven => StoredIdentity::Unproven,
            Identity::Unknown(_) => return None,
        })
    }

    /// `None` for a value that this release cannot name.
    fn into_domain(self) -> Option<Identity> {
        Some(match self {
            StoredIdentity::Browser { person, came_by } => Identity::Browser {
                person,
                came_by: match came_by.as_str() {
                    LINK => CameBy::Link,
                    marketplace => CameBy::Marketplace(marketplace.parse().ok()?),
                },
            },
            StoredIdentity::Credential { username } => Identity::Credential(username.parse().ok()?),
            StoredIdentity::Account { id } => Identity::Account(id),
            StoredIdentity::Marketplace { name } => Identity::Marketplace(name.parse().ok()?),
            StoredIdentity::Operator => Identity::Operator,
            StoredIdentity::Schedule => Identity::Schedule,
            StoredIdentity::Service => Identity::Service,
            StoredIdentity::Unproven => Identity::Unproven,
        })
    }
}

pub(in crate::store) fn identity_to_json(identity: &Identity) -> String {
    let stored =
        StoredIdentity::from_domain(identity).and_then(|it| serde_json::to_string(&it).ok());
    // What another release wrote goes back as it came.
    stored.unwrap_or_else(|| identity.to_string())
}

pub(in crate::store) fn identity_from_json(text: &str) -> Identity {
    serde_json::from_str(text)
        .ok()
        .and_then(StoredIdentity::into_domain)
        .unwrap_or_else(|| Identity::Unknown(text.to_owned()))
}

pub(in crate::store) fn fields_to_json(fields: &Fields) -> String {
    let json = |value: &Value| match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Number(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
    };
    let object: Map<String, Json> = fields
        .iter()
        .map(|(name, value)| (name.to_owned(), json(value)))
        .collect();
    Json::Object(object).to_string()
}

/// A value that is neither text nor a natural number nor a flag is kept as its JSON text.
pub(in crate::store) fn fields_from_json(text: &str) -> Fields {
    let mut fields = Fields::default();
    let Ok(Json::Object(object)) = serde_json::from_str(text) else {
        fields.push("unreadable".to_owned(), Value::Text(text.to_owned()));
        return fields;
    };
    for (name, json) in object {
        let value = match json {
            Json::String(text) => Value::Text(text),
            Json::Bool(flag) => Value::Flag(flag),
            other => match other.as_u64() {
                Some(number) => Value::Number(number),
                None => Value::Text(other.to_string()),
            },
        };
        fields.push(name, value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Event;

    #[test]
    fn every_identity_reads_back() {
        let browser = |person: Option<&str>, came_by| Identity::Browser {
            person: person.map(str::to_owned),
            came_by,
        };
        for identity in [
            browser(Some("a\"da\\@example.com"), CameBy::Link),
            browser(None, CameBy::Marketplace("heroku".parse().unwrap())),
            Identity::Credential("4F2A90".parse().unwrap()),
            Identity::Account("acc_1".to_owned()),
            Identity::Marketplace("manifold".parse().unwrap()),
            Identity::Operator,
            Identity::Schedule,
            Identity::Service,
        ] {
            assert_eq!(identity_from_json(&identity_to_json(&identity)), identity);
        }
    }

    #[test]
    fn an_identity_of_another_release_is_kept_as_it_was_written() {
        for written in [
            r#"{"kind":"robot","model":7}"#,
            r#"{"kind":"marketplace","name":"The Bazaar"}"#,
            "not json",
        ] {
            let identity = identity_from_json(written);
            assert_eq!(identity, Identity::Unknown(written.to_owned()));
            assert_eq!(identity_to_json(&identity), written);
        }
    }

    #[test]
    fn fields_read_back_in_their_order() {
        let event = Event::MemoryFull {
            used: 7,
            limit: u64::MAX,
            evictions: 0,
            window_secs: 60,
        };
        let fields = event.fields();
        assert_eq!(fields_from_json(&fields_to_json(&fields)), fields);
    }

    #[test]
    fn fields_of_another_release_are_shown_as_they_are() {
        let fields = fields_from_json(r#"{"zeal":-1,"apps":["a","b"],"note":"x y"}"#);
        assert_eq!(fields.to_string(), r#"zeal=-1 apps="['a','b']" note="x y""#);
        assert_eq!(fields_from_json("7").to_string(), "unreadable=7");
    }
}

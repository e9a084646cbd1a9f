//! Nodes of other processes: what one is given when it joins, and the token that it shows from then on. A token names
//! its node and ends after an hour; before that the node asks for another one. It is signed with the key of its day,
//! which all control processes share, since it is sealed in the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{Cluster, DAY, RETIRED, TAKEN_OVER, link_error, not_its_node};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{Introduction, NodeToken, Welcome, WireSecret};
use crate::domain::{NodeId, NodeStanding, Timestamp};
use crate::store::OpenError;

const AUDIENCE: &str = "larder-node";
/// A token is not taken back, so it is short.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// How far the clocks of two control processes may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// What a process is told whose node is not in the database.
const UNKNOWN: &str = "is not known here; restart it, and it joins again";

/// The keys of the days around today, as far as they were needed: checking a token reads nothing.
#[derive(Default)]
pub(super) struct LinkKeys(Mutex<BTreeMap<i64, Arc<LinkKey>>>);

impl LinkKeys {
    /// A key may be made on the day before its own, and is good on the day after it.
    pub(super) const KEPT: Duration = DAY.saturating_mul(4);
}

/// The key of one day.
struct LinkKey {
    sign: EncodingKey,
    check: DecodingKey,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// The node's id.
    sub: String,
    /// Seconds since the Unix epoch.
    exp: i64,
}

/// Days since the Unix epoch.
fn day_of(now: Timestamp) -> i64 {
    // a day has 86,400 seconds in Unix time
    now.secs().div_euclid(86_400)
}

impl LinkKey {
    fn from_secret(secret: &[u8]) -> LinkKey {
        LinkKey {
            sign: EncodingKey::from_secret(secret),
            check: DecodingKey::from_secret(secret),
        }
    }

    fn sign(&self, node: &NodeId, now: Timestamp) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(day_of(now).to_string());
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: node.to_string(),
            exp: now.plus(LIFETIME).secs(),
        };
        jsonwebtoken::encode(&header, &claims, &self.sign)
    }

    /// The node that a token names, or why it is not good.
    fn check(&self, token: &str, now: Timestamp) -> Result<NodeId, &'static str> {
        // Never the algorithm that the token names.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "sub", "exp"]);
        // The crate asks the system for the time; our Clock is asked below.
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Claims>(token, &self.check, &validation);
        let claims = read.map_err(|error| reason(error.kind()))?.claims;
        if now >= Timestamp::from_secs(claims.exp).plus(LEEWAY) {
            return Err("it has ended");
        }
        claims.sub.parse().map_err(|_| "it names no node")
    }
}

/// In our own words: the crate's may repeat a part of the token.
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is not this installation's",
        ErrorKind::InvalidAlgorithm => "it is not signed with HS256",
        ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => {
            "it was not made for the node link"
        }
        _ => "it cannot be read",
    }
}

/// The day whose key a token says that it is signed with. Nothing is proven by that.
fn day_of_token(token: &str, today: i64) -> Result<i64, &'static str> {
    let header = jsonwebtoken::decode_header(token);
    let header = header.map_err(|_| "it cannot be read")?;
    let day = header.kid.and_then(|kid| kid.parse::<i64>().ok());
    day.filter(|day| day.abs_diff(today) <= 1)
        .ok_or("its key is not in use")
}

fn refused(why: &'static str) -> LinkError {
    LinkError::NotAdmitted(format!("its token is refused: {why}"))
}

fn key_error(error: OpenError) -> LinkError {
    match error {
        // Whoever asks has proven nothing yet, so the database's own words are not for them.
        OpenError::Store(_) => LinkError::Away("its database does not answer".to_owned()),
        // Another control process may have the right master key.
        other => LinkError::Away(format!("it cannot open its key for node tokens: {other}")),
    }
}

impl Cluster {
    /// Registers a node of another process, and gives it what it needs there: its id, the key that it checks passwords
    /// with, and its first token. The caller has checked that it may join.
    pub async fn admit(&self, node: Introduction) -> Result<Welcome, LinkError> {
        let welcome = self.join(node).await?;
        let token = self.issue_token(&welcome.node()?).await?;
        let key = self.0.store.verifier_key();
        Ok(Welcome {
            verifier_key: Some(WireSecret::of_bytes(key.expose_bytes())),
            token: Some(token),
            ..welcome
        })
    }

    /// A token for a node. The caller has checked that it is that node's process who asks.
    pub async fn issue_token(&self, node: &NodeId) -> Result<NodeToken, LinkError> {
        let now = self.0.clock.now();
        let key = self.link_key(day_of(now), now).await?;
        let token = key
            .sign(node, now)
            .map_err(|_| LinkError::Away("it cannot sign a node's token".to_owned()))?;
        Ok(NodeToken {
            token: WireSecret::new(token),
            lifetime_secs: LIFETIME.as_secs(),
        })
    }

    /// The node whose token this is; `NotAdmitted` with the reason when it is not good.
    pub async fn node_of_token(&self, token: &str) -> Result<NodeId, LinkError> {
        let now = self.0.clock.now();
        let day = day_of_token(token, day_of(now)).map_err(refused)?;
        let key = self.link_key(day, now).await?;
        key.check(token, now).map_err(refused)
    }

    /// Another token for a node that runs from the data folder `home`; `Gone` when it was retired or runs from
    /// another one. The caller has checked that the process may speak for the node, or join.
    pub async fn renew_token(&self, node: &NodeId, home: &str) -> Result<NodeToken, LinkError> {
        let Some(run) = self.0.store.node_run(node).await.map_err(link_error)? else {
            return Err(LinkError::Refused(format!("node {node} {UNKNOWN}")));
        };
        if run.status.standing == NodeStanding::Retired {
            return Err(not_its_node(node, RETIRED));
        }
        if run.home.is_none_or(|(id, _)| id != home) {
            return Err(not_its_node(node, TAKEN_OVER));
        }
        self.issue_token(node).await
    }

    async fn link_key(&self, day: i64, now: Timestamp) -> Result<Arc<LinkKey>, LinkError> {
        let known = self.0.link_keys.0.lock().get(&day).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let secret = self.0.store.link_key(day, now).await.map_err(key_error)?;
        let key = Arc::new(LinkKey::from_secret(secret.expose_secret().as_bytes()));
        let mut keys = self.0.link_keys.0.lock();
        keys.retain(|other, _| other.abs_diff(day_of(now)) <= 1);
        keys.insert(day, Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_372_200);

    fn node() -> NodeId {
        "node_1".parse().unwrap()
    }

    fn key() -> LinkKey {
        LinkKey::from_secret(&[7; 64])
    }

    fn claims() -> Claims {
        Claims {
            aud: AUDIENCE.to_owned(),
            sub: "node_1".to_owned(),
            exp: NOW.plus(LIFETIME).secs(),
        }
    }

    fn signed(algorithm: Algorithm, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key().sign).unwrap()
    }

    #[test]
    fn a_token_names_its_node_for_an_hour() {
        let token = key().sign(&node(), NOW).unwrap();
        assert_eq!(key().check(&token, NOW), Ok(node()));
        let last = NOW
            .plus(LIFETIME)
            .plus(LEEWAY)
            .minus(Duration::from_secs(1));
        assert_eq!(key().check(&token, last), Ok(node()));
        let ended = last.plus(Duration::from_secs(1));
        assert_eq!(key().check(&token, ended), Err("it has ended"));
    }

    #[test]
    fn a_token_of_another_key_or_for_another_use_is_refused() {
        let token = key().sign(&node(), NOW).unwrap();
        let other = LinkKey::from_secret(&[8; 64]);
        assert_eq!(
            other.check(&token, NOW),
            Err("its signature is not this installation's")
        );
        let elsewhere = Claims {
            aud: "larder-browser".to_owned(),
            ..claims()
        };
        let elsewhere = signed(Algorithm::HS256, &elsewhere);
        assert_eq!(
            key().check(&elsewhere, NOW),
            Err("it was not made for the node link")
        );
        let stronger = signed(Algorithm::HS512, &claims());
        assert_eq!(
            key().check(&stronger, NOW),
            Err("it is not signed with HS256")
        );
        for (missing, rest) in [
            ("aud", r#"{"sub":"node_1","exp":9999999999}"#),
            ("sub", r#"{"aud":"larder-node","exp":9999999999}"#),
            ("exp", r#"{"aud":"larder-node","sub":"node_1"}"#),
        ] {
            let rest: serde_json::Value = serde_json::from_str(rest).unwrap();
            let token = signed(Algorithm::HS256, &rest);
            assert!(key().check(&token, NOW).is_err(), "without {missing}");
        }
    }

    /// What is signed with nothing says so in its header, and is read by nobody.
    #[test]
    fn garbage_is_refused() {
        let unsigned = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJsYXJkZXItbm9kZSIsInN1YiI6Im5vZGVfMSJ9.";
        for token in ["", "a", "a.b.c", "....", unsigned] {
            assert!(key().check(token, NOW).is_err(), "{token}");
            let today = day_of(NOW);
            assert!(day_of_token(token, today).is_err(), "{token}");
        }
    }

    #[test]
    fn keys_of_yesterday_today_and_tomorrow_are_in_use() {
        let today = day_of(NOW);
        for (ahead, good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some((today + ahead).to_string());
            let token = jsonwebtoken::encode(&header, &claims(), &key().sign).unwrap();
            assert_eq!(day_of_token(&token, today).is_ok(), good, "{ahead}");
        }
        let nameless = signed(Algorithm::HS256, &claims());
        assert!(day_of_token(&nameless, today).is_err());
    }
}

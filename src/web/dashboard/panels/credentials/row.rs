//! One credential as shown, and what to do with a former primary.

use super::Facts;
use crate::access::ConfigState;
use crate::domain::{Capabilities, Certificate, Credential, Timestamp, Username};
use crate::format;
use crate::web::dashboard::context::connections_of;
use crate::web::dashboard::shown::{Moment, Tone};

pub struct CredentialRow {
    pub username: String,
    pub primary: bool,
    /// Only in the answer to its own reveal.
    pub password: Option<String>,
    pub write: bool,
    pub flush: bool,
    pub last_used: Option<Moment>,
    pub last_used_from: String,
    /// Live connections; `None` while no node answers.
    pub connections: Option<String>,
    pub created: Moment,
    /// How many of its certificates are good.
    pub certificates: usize,
    /// For a former primary.
    pub advice: Option<Advice>,
}

/// Whether a former primary may go.
pub struct Advice {
    pub tone: Tone,
    pub text: String,
}

impl CredentialRow {
    /// `overlap_ends` is of a former primary.
    pub fn new(
        facts: &Facts<'_>,
        credential: &Credential,
        overlap_ends: Option<Timestamp>,
    ) -> CredentialRow {
        let username = &credential.username;
        let revealed = facts.revealed.filter(|(name, _)| *name == username);
        let may = |right| credential.capabilities.allows(right);
        let last_used = credential.last_used.as_ref();
        CredentialRow {
            username: username.to_string(),
            primary: credential.primary,
            password: revealed.map(|(_, password)| password.expose().to_owned()),
            write: may(Capabilities::WRITE),
            flush: may(Capabilities::FLUSH),
            last_used: last_used.map(|used| Moment::past(used.at, facts.now)),
            last_used_from: last_used.map_or_else(String::new, |used| used.from.clone()),
            connections: facts
                .figures
                .map(|figures| format::count(connections_of(figures, username))),
            created: Moment::past(credential.created_at, facts.now),
            certificates: good_certificates(facts, username),
            advice: overlap_ends.map(|ends| advice(facts, username, ends)),
        }
    }
}

fn good_certificates(facts: &Facts<'_>, username: &Username) -> usize {
    let good = |certificate: &&Certificate| {
        certificate.username == *username && certificate.expires_at > facts.now
    };
    facts.certificates.iter().filter(good).count()
}

fn advice(facts: &Facts<'_>, username: &Username, overlap_ends: Timestamp) -> Advice {
    if let Some(text) = needed_still(&facts.config, facts.provider, overlap_ends, facts.now) {
        return Advice {
            tone: Tone::Fair,
            text,
        };
    }
    let live = facts
        .figures
        .map(|figures| connections_of(figures, username));
    let (tone, text) = match live {
        Some(0) => (Tone::Good, "Safe to delete.".to_owned()),
        Some(live) => {
            let live = format::counted(live, "connection", "connections");
            (Tone::Fair, format!("Still used by {live}."))
        }
        None => (
            Tone::Plain,
            "Whether it is still used is not known.".to_owned(),
        ),
    };
    Advice { tone, text }
}

/// Why apps may still run with the values of a former primary, whose overlap with its successor ends at `ends`.
pub fn needed_still(
    config: &ConfigState,
    provider: &str,
    ends: Timestamp,
    now: Timestamp,
) -> Option<String> {
    if *config == ConfigState::NotPushed {
        return Some("Keep it until your app has the values of the primary credential.".to_owned());
    }
    if *config != ConfigState::Applied {
        return Some(format!(
            "Keep it: {provider} has not taken the new values yet."
        ));
    }
    (ends > now).then(|| format!("Safe to delete from {}.", format::clock(ends, now)))
}

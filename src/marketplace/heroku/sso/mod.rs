//! Single sign-on: who proves to come from Heroku. Pure; the session is opened elsewhere.
//!
//! The tokens are hashes over joined fields with the salt in the middle, not HMACs: a token can be stretched
//! into a valid one for the same fields plus extra bytes. The grammar of every field is therefore checked
//! before any hash (security.md SD-2), and no stretched field passes it.

use aws_lc_rs::digest::{self, Algorithm};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::domain::secret::{digest_hex, hex_lower, same_secret};
use crate::domain::{ExternalId, Timestamp};
use crate::marketplace::heroku::auth::good_at;

/// A token is refused when older than this; exactly this old still passes.
const OLDEST_SECS: i64 = 300;
/// A token is refused when it is from further ahead than this.
const AHEAD_SECS: i64 = 60;

/// Longest text of a form that is shown.
const SHOWN_CHARS_MAX: usize = 254;

/// What a sign-on is checked against.
#[derive(Clone, Debug)]
pub struct SsoSettings {
    /// The current salt, and the previous one during a rotation.
    pub salts: Vec<SecretString>,
    /// When the previous ones end by themselves.
    pub previous_until: Option<Timestamp>,
    /// Whether the retired v1 form (`id`, `token`) is taken.
    pub legacy: bool,
}

/// A visit that Heroku vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoProof {
    pub external_id: ExternalId,
    /// Only when the token binds them; otherwise they are text that anybody may have put there.
    pub person: Option<Person>,
    /// The app from which the visitor came; shown, never trusted.
    pub context_app: Option<String>,
    /// Good for one login. Names the person where the token binds one: two people may come in one second.
    pub digest: String,
    /// The digest of the weaker token for the same resource and second, where the stronger one was shown: it is
    /// used up with it, or dropping the stronger one from the form would give a second login.
    pub weaker_digest: Option<String>,
    /// With the v1 form: what its senders expect back in a cookie. Opaque.
    pub nav_data: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Heroku's uuid of the user; stays when the e-mail changes.
    pub user_id: String,
    pub email: String,
}

/// The visit proves nothing. Deliberately without a reason: every refusal looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sign-on proves nothing")]
pub struct Refused;

/// Checks a posted form, as decoded name and value pairs.
pub fn verify(
    settings: &SsoSettings,
    fields: &[(String, String)],
    now: Timestamp,
) -> Result<SsoProof, Refused> {
    let form = Form(fields);
    let salts = good_at(&settings.salts, settings.previous_until, now);
    let timestamp = form.required("timestamp", is_timestamp)?;
    let (external_id, person) = match form.optional("resource_id", is_uuid)? {
        Some(id) => {
            in_window(timestamp, now)?;
            let person = verify_v3(salts, &form, id, timestamp)?;
            (id.to_lowercase(), person)
        }
        None if settings.legacy => {
            let id = form.required("id", is_plain)?;
            let token = form.required("token", is_hex)?;
            in_window(timestamp, now)?;
            proves(salts, &digest::SHA1_FOR_LEGACY_USE_ONLY, token, |salt| {
                format!("{id}:{salt}:{timestamp}")
            })?;
            (id.to_owned(), None)
        }
        None => return Err(Refused),
    };
    let of_resource = format!("heroku sso {external_id} {timestamp}");
    let weaker = digest_hex(of_resource.as_bytes());
    let (digest, weaker_digest) = match &person {
        Some(Person { user_id, email }) => {
            let of_person = format!("{of_resource} {} {email}", user_id.to_lowercase());
            (digest_hex(of_person.as_bytes()), Some(weaker))
        }
        None => (weaker, None),
    };
    let nav_data = match form.optional("resource_id", is_uuid)? {
        None => form.optional("nav-data", is_nav_data).unwrap_or(None),
        Some(_) => None,
    };
    Ok(SsoProof {
        nav_data: nav_data.map(str::to_owned),
        digest,
        weaker_digest,
        external_id: external_id.parse().map_err(|_| Refused)?,
        person,
        context_app: form.shown("context_app"),
    })
}

/// The user-scoped token, when present, must prove; there is no falling back to the weaker one.
fn verify_v3(
    salts: &[SecretString],
    form: &Form<'_>,
    id: &str,
    timestamp: &str,
) -> Result<Option<Person>, Refused> {
    if let Some(token) = form.optional("user_scoped_resource_token", is_hex)? {
        let user_id = form.required("user_id", is_uuid)?;
        let email = form.required("email", is_plain)?;
        proves(salts, &digest::SHA256, token, |salt| {
            format!("{id}:{salt}:{timestamp}:{user_id}:{email}")
        })?;
        return Ok(Some(Person {
            user_id: user_id.to_owned(),
            email: email.to_owned(),
        }));
    }
    let token = form.required("resource_token", is_hex)?;
    proves(salts, &digest::SHA1_FOR_LEGACY_USE_ONLY, token, |salt| {
        format!("{id}:{salt}:{timestamp}")
    })?;
    Ok(None)
}

/// Compares with every salt, whichever fits, in constant time.
fn proves(
    salts: &[SecretString],
    algorithm: &'static Algorithm,
    token: &str,
    joined: impl Fn(&str) -> String,
) -> Result<(), Refused> {
    let fits = |salt: &SecretString| {
        let expected = digest::digest(algorithm, joined(salt.expose_secret()).as_bytes());
        same_secret(hex_lower(expected.as_ref()).as_bytes(), token.as_bytes())
    };
    let proven = salts.iter().fold(false, |proven, salt| fits(salt) | proven);
    if proven { Ok(()) } else { Err(Refused) }
}

fn in_window(timestamp: &str, now: Timestamp) -> Result<(), Refused> {
    let stamped: i64 = timestamp.parse().map_err(|_| Refused)?;
    let age = now.secs() - stamped;
    if (-AHEAD_SECS..=OLDEST_SECS).contains(&age) {
        Ok(())
    } else {
        Err(Refused)
    }
}

struct Form<'a>(&'a [(String, String)]);

impl<'a> Form<'a> {
    /// The one value of this name; refused when it is given twice or does not have its grammar.
    fn optional(&self, name: &str, grammar: fn(&str) -> bool) -> Result<Option<&'a str>, Refused> {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) if grammar(value) => Ok(Some(value)),
            _ => Err(Refused),
        }
    }

    /// A value that is only shown: the first of this name, one line without control characters. No token covers it, so
    /// it never refuses a visit.
    fn shown(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(field, _)| field == name)?;
        let kept = value.chars().filter(|c| !c.is_control());
        let kept: String = kept.take(SHOWN_CHARS_MAX).collect();
        let kept = kept.trim();
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    fn required(&self, name: &str, grammar: fn(&str) -> bool) -> Result<&'a str, Refused> {
        self.optional(name, grammar)?.ok_or(Refused)
    }
}

fn is_timestamp(text: &str) -> bool {
    (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn is_hex(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What fits into a cookie as it is.
fn is_nav_data(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=3_000).contains(&text.len()) && text.bytes().all(base64url)
}

/// An id or an e-mail: printable, without blanks.
fn is_plain(text: &str) -> bool {
    (1..=254).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;

//! How the texts of settings are read. Each parser says what it wants, without repeating the text: it may be a secret.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::{machine, manifest};
use crate::domain::{HostPattern, Network, Timestamp};
use crate::http::outbound::Url;
use crate::store::db::seal::MasterKey;
use crate::telemetry::LogFormat;

/// With fewer it could be guessed by trying.
const NODE_TOKEN_CHARS_MIN: usize = 32;

pub(super) fn any<T>(text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A comma-separated list of names, none of them empty.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(|name| name.trim().to_owned());
    let names: Vec<String> = names.collect();
    match names.iter().any(String::is_empty) {
        true => Err("a name between two commas is missing".to_owned()),
        false => Ok(names),
    }
}

/// What an environment variable may begin with.
pub(super) fn variables_prefix(text: &str) -> Result<String, String> {
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let begins_with_letter = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_uppercase());
    if begins_with_letter && text.bytes().all(is_capital) {
        Ok(text.to_owned())
    } else {
        Err("capital letters, digits and underscores are expected, a letter first".to_owned())
    }
}

pub(super) fn secret(text: &str) -> Result<SecretString, String> {
    Ok(text.to_owned().into())
}

/// A secret that Heroku and we share. The manifest's stand-in for one is public, so it is no value, wherever it was copied
/// to: with it anybody could order caches.
pub(super) fn shared_secret(text: &str) -> Result<SecretString, String> {
    let shared = secret(text)?;
    if manifest::is_placeholder(&shared) {
        let wanted = "is a placeholder, which everybody can read in the committed manifest: `larder admin manifest` makes \
                      password and salt, and the partner portal shows the client secret";
        return Err(wanted.to_owned());
    }
    Ok(shared)
}

/// What a node enrols with. It stands in a header, and whoever guesses it gets customers' verifiers.
pub(super) fn node_token(text: &str) -> Result<SecretString, String> {
    let token = secret(text)?;
    let why = if manifest::is_placeholder(&token) {
        "is a placeholder"
    } else if text.len() < NODE_TOKEN_CHARS_MIN {
        "is shorter than 32 characters"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "may hold visible ASCII characters only"
    } else {
        return Ok(token);
    };
    Err(format!("{why}: make one with `openssl rand -hex 32`"))
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080";
    text.parse().map_err(|_| wanted.to_owned())
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".to_owned()),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.map_err(|_| "must be a whole number of seconds".to_owned())
}

/// For what is done again and again: without a pause it would be done without end.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("must be at least 1 second".to_owned()),
        interval => Ok(interval),
    }
}

/// How long something is kept, at least a day.
pub(super) fn days(text: &str) -> Result<Duration, String> {
    let days: u16 = count(text)?;
    Ok(Duration::from_secs(u64::from(days) * 86_400))
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let instant = text.parse::<jiff::Timestamp>();
    let wanted = "must be a time with its zone, such as 2026-12-24T18:00:00Z";
    instant
        .map(|instant| Timestamp::from_micros(instant.as_microsecond()))
        .map_err(|_| wanted.to_owned())
}

pub(super) fn count<T: FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    let count = text.parse().ok().filter(|count| *count != T::default());
    count.ok_or_else(|| "must be a whole number of at least 1".to_owned())
}

pub(super) fn memory(text: &str) -> Result<u64, String> {
    let bytes = machine::parse_bytes(text).filter(|bytes| *bytes >= 1 << 20);
    let wanted = "must be at least 1 MiB, as bytes or such as 512MiB or 4GiB";
    bytes.ok_or_else(|| wanted.to_owned())
}

/// The size of something that a caller sends or leaves unread.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wanted = "must be from 1KiB to 1GiB, as bytes or such as 64KiB";
    bytes_between(text, 1 << 10, 1 << 30).ok_or_else(|| wanted.to_owned())
}

/// The length of a line, which somebody who has not logged in may make us hold.
pub(super) fn line_size(text: &str) -> Result<usize, String> {
    let wanted = "must be from 1KiB to 8KiB, as bytes or such as 2KiB";
    bytes_between(text, 1 << 10, 8 << 10).ok_or_else(|| wanted.to_owned())
}

fn bytes_between(text: &str, least: u64, most: u64) -> Option<usize> {
    let bytes = machine::parse_bytes(text).filter(|bytes| (least..=most).contains(bytes));
    usize::try_from(bytes?).ok()
}

pub(super) fn database_url(text: &str) -> Result<SecretString, String> {
    let schemes = ["sqlite:", "postgres://", "postgresql://"];
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        Ok(text.to_owned().into())
    } else {
        Err("must start with sqlite: or postgres://".to_owned())
    }
}

/// The base of a provider's API, without a slash at the end.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "https" | "http") => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must be an https address".to_owned()),
    }
}

/// Where control processes serve the node link: scheme, host and port, and nothing behind them.
pub(super) fn control_urls(text: &str) -> Result<Vec<Url>, String> {
    let wanted = "must be an https address without a path, such as https://control.example.com:7000, or several with \
                  commas between them";
    let parsed = items(text).map(|item| match Url::parse(item) {
        Ok(url) if is_origin(&url) => Ok(url),
        _ => Err(wanted.to_owned()),
    });
    let urls = parsed.collect::<Result<Vec<Url>, String>>()?;
    match urls.is_empty() {
        true => Err(wanted.to_owned()),
        false => Ok(urls),
    }
}

fn is_origin(url: &Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && !has_user
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

pub(super) fn host_name(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.bytes().all(known) {
        Ok(text.to_owned())
    } else {
        Err("must be a host name".to_owned())
    }
}

/// The items of a list separated by commas, without blanks around them and without empty ones.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let items = text.split(',').map(str::trim);
    items.filter(|item| !item.is_empty())
}

pub(super) fn host_patterns(text: &str) -> Result<Vec<HostPattern>, String> {
    items(text).map(any).collect()
}

pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    items(text).map(any).collect()
}

pub(super) fn master_key(text: &str) -> Result<MasterKey, String> {
    MasterKey::from_base64(text).map_err(|error| error.to_string())
}

pub(super) fn master_keys(text: &str) -> Result<Vec<MasterKey>, String> {
    items(text).map(master_key).collect()
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let wanted = "is not a filter such as info or larder=debug,warn";
    let filter = tracing_subscriber::EnvFilter::try_new(text);
    filter
        .map(|_| text.to_owned())
        .map_err(|_| wanted.to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be json or text".to_owned()),
    }
}

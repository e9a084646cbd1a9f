//! The one client for calls to the outside. Every call to a marketplace goes through it. Addresses that the operator
//! named are called with that of [`internal`](super::internal).
//!
//! A URL that came from outside is hostile until checked (security.md §5): https only, known hosts, public
//! addresses, no redirects, no proxy from the environment, bounded time and size.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::{HeaderMap, RETRY_AFTER};
/// Parts of requests and answers: no other room uses the client's crate by itself.
pub use reqwest::{Client, Error as ClientError, Method, RequestBuilder, StatusCode, Url, header};
use reqwest::{ClientBuilder, Request, Response};
use tokio::time::Instant;

use crate::domain::HostPattern;
use crate::http::public_only::{PublicOnly, SystemNames, is_public};
use crate::http::{CallError, CallErrorKind};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one call may take in all.
pub const CALL_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after a 429 that does not say.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    #[error("the HTTP client could not be built")]
    Build(#[from] reqwest::Error),
    #[error("there is no certificate among the authorities that it is to believe")]
    NoAuthority,
}

/// Builds the client. `allow_http` lets plain http and addresses that are not public through: for tests and
/// development.
pub fn client(user_agent: &str, call_max: Duration, allow_http: bool) -> Result<Client, NoClient> {
    let builder = builder(user_agent, call_max, allow_http, SystemNames);
    Ok(builder.build()?)
}

/// The same with another resolver: `names` is asked for addresses.
pub(super) fn builder(
    user_agent: &str,
    call_max: Duration,
    allow_http: bool,
    names: impl Resolve + 'static,
) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_MAX)
        .timeout(call_max)
        .https_only(!allow_http);
    if allow_http {
        builder
    } else {
        builder.dns_resolver(Arc::new(PublicOnly(names)))
    }
}

/// A URL from outside that may be called, or why not.
pub fn checked_url(
    text: &str,
    hosts: &[HostPattern],
    allow_http: bool,
) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        _ => return Err("not https"),
    }
    let host = url.host_str().ok_or("no host")?;
    if !hosts
        .iter()
        .any(|pattern| pattern.fits(host, url.port(), allow_http))
    {
        return Err("a host that is not on the list");
    }
    if url.fragment().is_some() {
        return Err("a fragment");
    }
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match literal {
        // The resolver is never asked about a literal.
        Some(address) if !allow_http && !is_public(address) => Err("an address that is not public"),
        _ => Ok(url),
    }
}

/// An answer. Of a call to the outside it has the first 64 KiB of the body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Sends, and reads the answer. `what` names the call in errors; a URL never stands in one.
pub async fn send(what: &str, request: RequestBuilder) -> Result<Answer, CallError> {
    match call(what, request).await? {
        (answer, None) => Ok(answer),
        (_, Some(broken)) => Err(broken),
    }
}

/// The same for a call that must not be made twice: what the status says has happened, even when the body breaks off. The
/// answer then has as much of it as came.
pub async fn send_once(what: &str, request: RequestBuilder) -> Result<Answer, CallError> {
    let (answer, _) = call(what, request).await?;
    Ok(answer)
}

/// The answer, and why its body is not whole, if it is not.
async fn call(
    what: &str,
    request: RequestBuilder,
) -> Result<(Answer, Option<CallError>), CallError> {
    let trouble = |error: reqwest::Error| {
        let why = if error.is_timeout() {
            "no answer in time"
        } else if error.is_connect() {
            "cannot connect"
        } else {
            "the connection broke"
        };
        CallError::new(
            CallErrorKind::Retry { after: None },
            format!("{what}: {why}"),
        )
    };
    let (client, request) = request.build_split();
    let request = request.map_err(trouble)?;
    let told = Told::of(&request);
    let begun = Instant::now();
    let response = client.execute(request).await;
    told.log(what, response.as_ref().ok().map(Response::status), begun);
    let mut response = response.map_err(trouble)?;
    let mut body = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = ANSWER_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == ANSWER_BYTES_MAX {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(trouble(error)),
        }
    };
    let answer = Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    };
    Ok((answer, broken))
}

/// What the log is told of a call: never a query or a body, and no part of a path that may be a secret.
struct Told {
    host: String,
    path: String,
}

impl Told {
    fn of(request: &Request) -> Told {
        let url = request.url();
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        // A uuid has 36 characters.
        let shown = |part: &str| match part.len() {
            0..=36 => part.to_owned(),
            _ => "***".to_owned(),
        };
        Told {
            host: format!("{}{port}", url.host_str().unwrap_or_default()),
            path: url
                .path()
                .split('/')
                .map(shown)
                .collect::<Vec<_>>()
                .join("/"),
        }
    }

    fn log(&self, what: &str, status: Option<StatusCode>, begun: Instant) {
        let Told { host, path } = self;
        let status = status.map(|status| status.as_u16());
        let elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(%host, %path, status, elapsed_us, "called: {what}");
    }
}

impl Answer {
    /// The failures that mean the same at every provider: a rate limit, or trouble on its side.
    pub fn passing_trouble(&self, what: &str) -> Option<CallError> {
        let after = match self.status.as_u16() {
            429 => Some(self.retry_after().unwrap_or(RATE_LIMIT_WAIT)),
            300..=399 | 408 | 500..=599 => self.retry_after(),
            _ => return None,
        };
        Some(CallError::new(
            CallErrorKind::Retry { after },
            format!("{what}: {}", self.status),
        ))
    }

    /// `Retry-After`, in seconds or as a date.
    #[expect(
        clippy::disallowed_methods,
        reason = "a date on the wire is measured against the machine's clock the moment it arrives"
    )]
    fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(secs) = text.parse() {
            return Some(Duration::from_secs(secs));
        }
        let date = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()?;
        let wait = date.duration_since(jiff::Timestamp::now());
        Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<HostPattern> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_listed_https_hosts_pass() {
        let hosts = patterns(&["*.logplex.io", "api.example.com", "log.example.com:8443"]);
        for good in [
            "https://token:t.1@1.us.logplex.io/logs",
            "https://A.LOGPLEX.IO/logs",
            "https://a.b.logplex.io:443/logs",
            "https://api.example.com/",
            "https://log.example.com:8443/x?y=z",
        ] {
            assert!(checked_url(good, &hosts, false).is_ok(), "{good}");
        }
        for bad in [
            "http://1.us.logplex.io/logs",
            "ftp://1.us.logplex.io/logs",
            "https://logplex.io/logs",
            "https://evillogplex.io/logs",
            "https://1.logplex.io.evil.example/logs",
            "https://1.logplex.io@evil.example/logs",
            "https://evil.example/1.logplex.io",
            "https://evil.example\\@1.logplex.io/",
            "https://evil.example#.logplex.io",
            "https://1.us.logplex.io./logs",
            "https://1.us.logplex.io:444/logs",
            "https://1.us.logplex.io/logs#x",
            "https://1.us.lоgplex.io/logs",
            "https://api.example.com.:443/",
            "https://log.example.com/",
            "https://127.0.0.1/logs",
            "https://[::1]/logs",
            "https:///logs",
            "//1.us.logplex.io/logs",
            "1.us.logplex.io",
            "",
        ] {
            assert!(checked_url(bad, &hosts, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn literals_must_be_public_even_when_listed() {
        let hosts = patterns(&["127.0.0.1", "10.0.0.8"]);
        for literal in ["127.0.0.1", "10.0.0.8", "0x7f.1", "2130706433"] {
            let url = format!("https://{literal}/logs");
            assert_eq!(
                checked_url(&url, &hosts, false),
                Err("an address that is not public"),
                "{url}"
            );
        }
        assert!(checked_url("http://127.0.0.1:9/logs", &hosts, true).is_ok());
    }
}

//! The client for addresses that the operator named, such as the control plane's. Nobody else can choose them, so they
//! may be in a private network. Redirects and a proxy from the environment are not followed here, either.
//!
//! Its calls come every few seconds for as long as a process lives, so they have no lines of their own in the log.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder};

use super::outbound::{Answer, NoClient};

const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Below the 75 seconds after which our servers close an idle connection: a call into one that is just closing is lost.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Why a call has no answer. It never shows an address.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("cannot connect ({0})")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection broke ({0})")]
    Broken(String),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> NoAnswer {
        if error.is_timeout() {
            NoAnswer::Timeout
        } else if error.is_connect() {
            NoAnswer::Connect(root_cause(error))
        } else {
            NoAnswer::Broken(root_cause(error))
        }
    }
}

/// What the operator can mend is at the root: a refused connection, a certificate that is not believed.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let Some(mut cause) = error.source() else {
        return error.to_string();
    };
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Builds the client. Where `ca_pem` has certificates, they are the only authorities that are believed, and else the
/// system's are. `allow_http` lets plain http through.
///
/// # Errors
/// When `ca_pem` cannot be read or has no certificate in it.
pub fn internal_client(
    user_agent: &str,
    ca_pem: Option<&[u8]>,
    allow_http: bool,
) -> Result<Client, NoClient> {
    let builder = Client::builder()
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_MAX)
        .pool_idle_timeout(IDLE_MAX)
        // A machine without power sends no end: a long poll would wait for it in vain.
        .tcp_keepalive(Duration::from_secs(2))
        .tcp_keepalive_interval(Duration::from_secs(1))
        .tcp_keepalive_retries(3)
        .https_only(!allow_http);
    let builder = match ca_pem.map(Certificate::from_pem_bundle).transpose()? {
        Some(authorities) if authorities.is_empty() => return Err(NoClient::NoAuthority),
        Some(authorities) => builder.tls_certs_only(authorities),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Sends, and reads the answer, whose body may have `body_bytes_max` bytes.
pub async fn exchange(request: RequestBuilder, body_bytes_max: usize) -> Result<Answer, NoAnswer> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > body_bytes_max - body.len() {
            return Err(NoAnswer::TooLarge(body_bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

//! The node's side: calls whichever control process answers, and sees to the node's token.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::Instant;

use super::{
    ANSWER_BYTES_MAX, CHANGES, ErrorBody, JOIN, PART_BYTES_MAX, REPORT, ReportStored, TOKEN,
    WAIT_MAX, path_of_node,
};
use crate::cluster::link::wire::{
    BadMessage, Changes, ChangesQuery, Introduction, NodeToken, Report, TokenQuery, Welcome,
};
use crate::cluster::link::{ControlLink, LinkError};
use crate::domain::printable::printable;
use crate::domain::{BoxFuture, NodeId};
use crate::http::internal::{exchange, internal_client};
use crate::http::outbound::header::CONTENT_TYPE;
use crate::http::outbound::{Answer, CALL_MAX, Client, NoClient, StatusCode, Url};

/// How long an answer may take beyond the time for which it may wait.
const WORK_MAX: Duration = Duration::from_secs(10);
/// How long one control process may take to store a report of nothing but figures, or to give a token before one. The next one hears of the
/// node before it counts as away.
const REPORT_MAX: Duration = Duration::from_secs(4);
/// A renewal that failed is not tried again within this time, as long as the old token is good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);
/// A longer lifetime counts as this one.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// So much of a control process's reason is told.
const REASON_CHARS_MAX: usize = 300;

/// Where a node finds its control plane, and what it joins with.
#[derive(Clone, Debug)]
pub struct HttpLinkSettings {
    /// Scheme, host and port of each control process's link, in the order in which they are called.
    pub control_urls: Vec<Url>,
    /// The only authorities that are believed, in PEM, where they are named.
    pub ca_pem: Option<Vec<u8>>,
    /// The present token of enrolment, then the one before.
    pub enrolment: Vec<SecretString>,
    /// Plain http is allowed to other machines, too.
    pub allow_http: bool,
}

/// Why there is no link with these settings.
#[derive(Debug, thiserror::Error)]
pub enum HttpLinkError {
    #[error("no control process is named; set LARDER_CONTROL_URL")]
    NoControlUrl,
    #[error(
        "{0} in LARDER_CONTROL_URL would carry tokens in plain text to another machine; use https"
    )]
    PlainHttp(String),
    #[error("the node link's client cannot be made; check LARDER_LINK_CA")]
    Client(#[from] NoClient),
}

/// The link of one node.
pub struct HttpLink {
    http: Client,
    control_urls: Vec<Url>,
    /// Which of them answered last.
    current: AtomicUsize,
    enrolment: Vec<SecretString>,
    /// `None` before the node has joined.
    session: Mutex<Option<Session>>,
}

/// Whom the control plane takes this process for, and what the process shows.
#[derive(Clone)]
struct Session {
    node: NodeId,
    /// The id of the data folder.
    home: String,
    token: SecretString,
    /// Half of the lifetime is over, or a renewal failed a while ago.
    renew_at: Instant,
    ends_at: Instant,
}

/// One call, as each control process gets it.
struct Call {
    path: String,
    body: Vec<u8>,
    /// From connecting to the last byte of the answer, at one control process.
    time_max: Duration,
    answer_bytes_max: usize,
}

/// Why a call did not work.
enum Failure {
    /// This control process does not answer. Another one may.
    Away(String),
    /// The token is refused. Another one may be good.
    Token(String),
    /// Every control process would say so.
    Final(LinkError),
}

impl From<Failure> for LinkError {
    fn from(failure: Failure) -> LinkError {
        match failure {
            Failure::Away(why) => LinkError::Away(why),
            Failure::Token(why) => LinkError::NotAdmitted(why),
            Failure::Final(error) => error,
        }
    }
}

impl Session {
    /// `asked_at` is when the token was asked for: its lifetime began later.
    fn new(node: NodeId, home: String, given: &NodeToken, asked_at: Instant) -> Session {
        let lifetime = Duration::from_secs(given.lifetime_secs).min(LIFETIME_MAX);
        Session {
            node,
            home,
            token: given.token.expose().into(),
            renew_at: asked_at + lifetime / 2,
            ends_at: asked_at + lifetime,
        }
    }
}

impl Call {
    fn new(path: String, message: &impl Serialize) -> Result<Call, LinkError> {
        let body = serde_json::to_vec(message);
        let body = body.map_err(|_| LinkError::from(BadMessage("content")))?;
        Ok(Call {
            path,
            body,
            time_max: CALL_MAX,
            answer_bytes_max: ANSWER_BYTES_MAX,
        })
    }
}

impl HttpLink {
    /// A link of a node that has not joined yet.
    ///
    /// # Errors
    /// When no control process is named, when one would be called in plain http that must not be, or when the
    /// authorities cannot be read.
    pub fn new(settings: HttpLinkSettings) -> Result<HttpLink, HttpLinkError> {
        let HttpLinkSettings {
            control_urls,
            ca_pem,
            enrolment,
            allow_http,
        } = settings;
        if control_urls.is_empty() {
            return Err(HttpLinkError::NoControlUrl);
        }
        let plain = control_urls.iter().filter(|url| url.scheme() != "https");
        let plain: Vec<&Url> = plain.collect();
        if let Some(url) = plain.iter().find(|url| !allow_http && !is_loopback(url)) {
            return Err(HttpLinkError::PlainHttp(place(url)));
        }
        let is_any_plain = !plain.is_empty();
        let user_agent = concat!("larder/", env!("CARGO_PKG_VERSION"));
        Ok(HttpLink {
            http: internal_client(user_agent, ca_pem.as_deref(), is_any_plain)?,
            control_urls,
            current: AtomicUsize::new(0),
            enrolment,
            session: Mutex::new(None),
        })
    }

    async fn enter(&self, node: Introduction) -> Result<Welcome, LinkError> {
        let call = Call::new(JOIN.to_owned(), &node)?;
        let asked_at = Instant::now();
        let welcome: Welcome = self.call_to_enrol(&call).await?;
        let token = welcome.token.as_ref().ok_or(BadMessage("token"))?;
        let session = Session::new(welcome.node()?, node.home.id, token, asked_at);
        *self.session.lock() = Some(session);
        Ok(welcome)
    }

    async fn ask(&self, node: &NodeId, query: ChangesQuery) -> Result<Changes, LinkError> {
        let wait = Duration::from_millis(query.wait_ms).min(WAIT_MAX);
        let call = Call {
            time_max: wait + WORK_MAX,
            answer_bytes_max: PART_BYTES_MAX,
            ..Call::new(path_of_node(node, CHANGES), &query)?
        };
        self.call_as_node(node, &call).await
    }

    async fn tell(&self, node: &NodeId, report: &Report) -> Result<(), LinkError> {
        let call = Call {
            time_max: match report.events.is_empty() && report.logins.is_empty() {
                true => REPORT_MAX,
                false => CALL_MAX,
            },
            ..Call::new(path_of_node(node, REPORT), report)?
        };
        let ReportStored {} = self.call_as_node(node, &call).await?;
        Ok(())
    }

    /// Calls with the node's own token. If that is refused, it is replaced once.
    async fn call_as_node<A: DeserializeOwned>(
        &self,
        node: &NodeId,
        call: &Call,
    ) -> Result<A, LinkError> {
        let session = self.present_session(node).await?;
        let answered: Result<A, Failure> = self.call(call, &session.token).await;
        let Err(Failure::Token(_)) = answered else {
            return Ok(answered?);
        };
        let session = self.renew(&session).await?;
        Ok(self.call(call, &session.token).await?)
    }

    /// The session of the node. After half of its token's lifetime one caller renews the token; until that works, the
    /// old one stays in use.
    async fn present_session(&self, node: &NodeId) -> Result<Session, LinkError> {
        let (session, is_due) = self.session_of(node)?;
        if !is_due {
            return Ok(session);
        }
        match self.renew(&session).await {
            Err(LinkError::Away(_) | LinkError::NotAdmitted(_))
                if Instant::now() < session.ends_at =>
            {
                Ok(session)
            }
            renewed => renewed,
        }
    }

    /// The session of the node, and whether the caller has to renew it now. Others need not for a while.
    fn session_of(&self, node: &NodeId) -> Result<(Session, bool), LinkError> {
        let mut session = self.session.lock();
        let session = session.as_mut().filter(|session| session.node == *node);
        let session = session
            .ok_or_else(|| LinkError::NotAdmitted("this node has not joined it yet".to_owned()))?;
        let now = Instant::now();
        let is_due = now >= session.renew_at || now >= session.ends_at;
        if is_due {
            session.renew_at = now + RENEWAL_PAUSE;
        }
        Ok((session.clone(), is_due))
    }

    /// Another token in the place of that one: the node asks with its own token, or with that of enrolment when its own
    /// has ended.
    async fn renew(&self, old: &Session) -> Result<Session, LinkError> {
        let (known, _) = self.session_of(&old.node)?;
        if known.ends_at > old.ends_at {
            // Another call has renewed it meanwhile.
            return Ok(known);
        }
        let home = old.home.clone();
        let call = Call {
            time_max: REPORT_MAX,
            ..Call::new(path_of_node(&old.node, TOKEN), &TokenQuery { home })?
        };
        let asked_at = Instant::now();
        let given: Result<NodeToken, Failure> = match asked_at < old.ends_at {
            true => self.call(&call, &old.token).await,
            false => Err(Failure::Token("its token has ended".to_owned())),
        };
        let given = match given {
            Err(Failure::Token(_)) => self.call_to_enrol(&call).await?,
            given => given?,
        };
        let session = Session::new(old.node.clone(), old.home.clone(), &given, asked_at);
        *self.session.lock() = Some(session.clone());
        Ok(session)
    }

    /// Calls with the present token of enrolment, and with the one before if that is refused.
    async fn call_to_enrol<A: DeserializeOwned>(&self, call: &Call) -> Result<A, Failure> {
        let mut refused = "this node has no token of enrolment".to_owned();
        for token in &self.enrolment {
            match self.call(call, token).await {
                Err(Failure::Token(why)) => refused = why,
                answered => return answered,
            }
        }
        Err(Failure::Token(refused))
    }

    /// Calls one control process after the other until one answers, beginning with the one that answered last.
    async fn call<A: DeserializeOwned>(
        &self,
        call: &Call,
        token: &SecretString,
    ) -> Result<A, Failure> {
        let urls = self.control_urls.iter().enumerate().cycle();
        let first = self.current.load(Ordering::Relaxed);
        let mut last = String::new();
        for (at, url) in urls.skip(first).take(self.control_urls.len()) {
            match self.call_one(url, call, token).await {
                Err(Failure::Away(why)) => last = format!("{}: {why}", place(url)),
                answered => {
                    self.current.store(at, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(Failure::Away(last))
    }

    async fn call_one<A: DeserializeOwned>(
        &self,
        url: &Url,
        call: &Call,
        token: &SecretString,
    ) -> Result<A, Failure> {
        let mut url = url.clone();
        url.set_path(&call.path);
        let request = self
            .http
            .post(url)
            .bearer_auth(token.expose_secret())
            .header(CONTENT_TYPE, "application/json")
            .timeout(call.time_max)
            .body(call.body.clone());
        let answer = exchange(request, call.answer_bytes_max).await;
        read(&answer.map_err(|error| Failure::Away(error.to_string()))?)
    }
}

/// What a control process answered.
fn read<A: DeserializeOwned>(answer: &Answer) -> Result<A, Failure> {
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map_err(unreadable),
        StatusCode::UNAUTHORIZED => Err(Failure::Token(reason(answer))),
        StatusCode::FORBIDDEN => Err(Failure::Final(LinkError::NotAdmitted(reason(answer)))),
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Failure::Final(LinkError::Refused(reason(answer))))
        }
        StatusCode::GONE => Err(Failure::Final(LinkError::Gone(reason(answer)))),
        _ => Err(Failure::Away(reason(answer))),
    }
}

/// The library's words are not told: they quote what could not be read, and that may be a secret.
fn unreadable(error: serde_json::Error) -> Failure {
    match error.classify() {
        Category::Data => Failure::Final(LinkError::Refused(format!(
            "its answer cannot be read at column {}; run the same larder on both",
            error.column()
        ))),
        // A proxy may have answered in its place.
        _ => Failure::Away("what answers is not the node link".to_owned()),
    }
}

/// Why a control process did not carry out a call, in its words where it has any.
fn reason(answer: &Answer) -> String {
    match serde_json::from_slice::<ErrorBody>(&answer.body) {
        Ok(body) => printable(&body.error, REASON_CHARS_MAX),
        Err(_) => answer.status.to_string(),
    }
}

/// Host and port: what tells an operator which control process is meant.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether nobody outside this machine can listen on the way.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl ControlLink for HttpLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        Box::pin(self.enter(node))
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(self.ask(node, query))
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.tell(node, report))
    }
}

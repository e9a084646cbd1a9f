//! What the templates are given: texts, numbers and choices already made. No domain types, no `Debug`: some of
//! these hold a form token or a revealed password.

use askama::Template;

use super::snippets::Snippet;
use super::words;
use crate::domain::Username;
use crate::domain::secret::{BearerSecret, Password};

/// The secret, if any, that this one answer shows.
pub enum Revealed {
    Nothing,
    Password(Username, Password),
    DashboardUrl(BearerSecret),
}

/// Colour and icon of a statement. Its words are always there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Fair,
    Bad,
    Plain,
}

impl Tone {
    /// The class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Fair => "fair",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        }
    }
}

/// What surrounds every page of a dashboard.
pub struct Frame {
    pub product: String,
    /// Who is signed in, where the marketplace proved it.
    pub person: Option<String>,
    pub cache: i64,
    pub cache_name: String,
    pub csrf: String,
    /// The place for the header of a marketplace of the first generation.
    pub legacy_header: bool,
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
pub struct Dashboard {
    pub frame: Frame,
    pub header: Header,
    pub notice: Option<NoticeBox>,
    /// `None` while no node answers.
    pub storage: Option<Storage>,
    pub hit_rate: HitRate,
    pub connections: Connections,
    pub config: ConfigPush,
    /// What it means that there is none.
    pub no_token: Option<String>,
    pub credentials: Vec<CredentialRow>,
    pub credentials_max: u32,
    pub rotation: RotationPanel,
    /// Whether certificates can be issued.
    pub has_tls: bool,
    pub counters: Option<Counters>,
    pub settings: Settings,
    pub events: Vec<EventRow>,
}

impl Dashboard {
    pub fn is_full(&self) -> bool {
        self.credentials.len() >= self.credentials_max as usize
    }
}

pub struct Header {
    pub state: &'static str,
    pub state_tone: Tone,
    pub plan: String,
    pub plan_memory: String,
    pub provider: &'static str,
    pub cluster: String,
    pub region: String,
    /// The app from which the person came.
    pub app: Option<String>,
}

/// The message after an action.
pub struct NoticeBox {
    pub tone: Tone,
    pub title: String,
    pub text: String,
    /// A credential whose password may be wanted now.
    pub offer_password_of: Option<String>,
}

pub struct Storage {
    pub percent: u64,
    pub used: String,
    pub limit: String,
    pub items: String,
    pub evictions: String,
}

pub struct HitRate {
    pub tone: Tone,
    /// `93.4 %` or `Unavailable`.
    pub figure: String,
    pub word: &'static str,
    pub detail: String,
    pub percent: u64,
}

pub struct Connections {
    pub tone: Tone,
    /// `12` or `Unavailable`.
    pub figure: String,
    pub max: String,
    pub word: &'static str,
    pub percent: u64,
}

/// How far the provider's config vars are.
pub struct ConfigPush {
    pub tone: Tone,
    pub title: &'static str,
    pub text: String,
    /// Whether the next try may be had at once.
    pub can_hurry: bool,
}

/// The schedule of rotations.
pub struct RotationPanel {
    pub choices: Vec<PeriodChoice>,
    /// How long a former primary stays, as in `2 hours`.
    pub overlap: String,
    /// When it is on, as in `in 12 days`.
    pub next: Option<String>,
    pub put_off: Option<String>,
}

pub struct PeriodChoice {
    pub days: u16,
    pub text: String,
    pub chosen: bool,
}

pub struct CredentialRow {
    pub username: String,
    pub primary: bool,
    /// Only in the answer to its own reveal.
    pub password: Option<String>,
    pub write: bool,
    pub flush: bool,
    pub api: bool,
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

/// A point in time, for machines, for people, and as a distance.
pub struct Moment {
    pub machine: String,
    pub exact: String,
    pub distance: String,
}

pub struct Counters {
    pub rows: Vec<CounterRow>,
    pub sets: String,
    pub flushes: String,
}

pub struct CounterRow {
    pub command: &'static str,
    pub hits: String,
    pub misses: String,
}

pub struct Settings {
    pub servers: Vec<String>,
    /// The same by TLS, where that is offered.
    pub tls_servers: Vec<String>,
    pub servers_variable: String,
    pub username_variable: String,
    pub password_variable: String,
    pub snippets: Vec<Snippet>,
    /// Only in the answer to its own reveal.
    pub dashboard_url: Option<String>,
}

pub struct EventRow {
    pub tone: Tone,
    pub title: String,
    pub detail: String,
    pub at: Moment,
}

#[derive(Template)]
#[template(path = "dashboard/confirm_flush.html")]
pub struct ConfirmFlush {
    pub frame: Frame,
    /// What would be lost, as in `18,233 items (7.0 MiB)`; `None` while no node answers.
    pub contents: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/confirm_delete.html")]
pub struct ConfirmDelete {
    pub frame: Frame,
    pub username: String,
    pub primary: bool,
    /// `None` while no node answers.
    pub connections: Option<u64>,
    /// Why apps may still need it.
    pub early: Option<String>,
}

impl ConfirmDelete {
    fn live(&self) -> String {
        let number = self.connections.unwrap_or(0);
        words::counted(number, "live connection", "live connections")
    }
}

#[derive(Template)]
#[template(path = "dashboard/certificates.html")]
pub struct CertificatesPage {
    pub frame: Frame,
    pub username: String,
    /// Only in the answer to the form that asked for it.
    pub issued: Option<Issued>,
    pub certificates: Vec<CertificateRow>,
    /// How many of them are good.
    pub good: usize,
    pub certificates_max: u32,
    /// The newest one's fingerprint; empty without one.
    pub after: String,
    /// Empty where there is no TLS listener: nothing can be issued then.
    pub tls_servers: Vec<String>,
    pub snippets: Vec<Snippet>,
}

impl CertificatesPage {
    pub fn is_full(&self) -> bool {
        self.good >= self.certificates_max as usize
    }
}

/// A certificate just made.
pub struct Issued {
    pub tone: Tone,
    pub text: String,
    pub file_name: String,
    /// With its private key.
    pub pem: String,
}

pub struct CertificateRow {
    pub fingerprint: String,
    pub short: String,
    /// Live connections; `None` while no node answers.
    pub connections: Option<String>,
    pub issued: Moment,
    pub expires: Moment,
    pub expired: bool,
}

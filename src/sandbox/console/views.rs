//! What the pages show: plain texts and numbers made from the market, for the templates.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use jiff::Timestamp;

use crate::sandbox::platform::faults::{CallFaults, EndpointGroup, Fault};
use crate::sandbox::platform::hub::{Hub, Notice};
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::market::{Addon, AddonState, App, Market, ProcessState};
use crate::sandbox::platform::recorder::{Direction, RecordedRequest};

/// Around every page.
pub(in crate::sandbox) struct Layout {
    pub title: String,
    pub product: String,
    pub notice: Option<Notice>,
    pub faults_on: bool,
}

impl Layout {
    /// Takes the notice, which is shown once.
    pub fn new(hub: &Hub, title: &str) -> Layout {
        Layout {
            title: title.to_owned(),
            product: hub.settings.manifest.name.clone(),
            notice: hub.notice.lock().take(),
            faults_on: hub.read(|market| market.faults().any()),
        }
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

fn day_and_clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub(in crate::sandbox) struct AddonView {
    pub id: String,
    pub name: String,
    pub plan: String,
    pub region: String,
    pub state: &'static str,
    pub provisioned: bool,
    pub gone: bool,
    pub message: String,
    pub created: String,
    /// The owner's first.
    pub attachments: Vec<AttachmentView>,
    /// Names only; the values are shown with the apps.
    pub config_names: Vec<String>,
}

pub(in crate::sandbox) struct AttachmentView {
    pub app_id: String,
    pub app: String,
    pub name: String,
    pub owner: bool,
}

impl AddonView {
    fn new(market: &Market, addon: &Addon) -> AddonView {
        let attachments = addon.attachments.iter().map(|attachment| AttachmentView {
            app_id: attachment.app.to_string(),
            app: app_name(market, attachment.app),
            name: attachment.name.clone(),
            owner: attachment.app == addon.owner,
        });
        AddonView {
            id: addon.id.to_string(),
            name: addon.name.clone(),
            plan: addon.plan.clone(),
            region: addon.region.clone(),
            state: addon.state.as_str(),
            provisioned: addon.state == AddonState::Provisioned,
            gone: addon.state == AddonState::Deprovisioned,
            message: addon.message.clone().unwrap_or_default(),
            created: day_and_clock(addon.created_at),
            attachments: attachments.collect(),
            config_names: addon.config.keys().cloned().collect(),
        }
    }
}

fn app_name(market: &Market, id: AppId) -> String {
    let app = market.app(id);
    app.map(|app| app.name.clone()).unwrap_or_default()
}

pub(in crate::sandbox) struct AppView {
    pub id: String,
    pub name: String,
    pub release: u32,
    pub vars: usize,
    pub restarts: u64,
    pub process: String,
    pub process_kind: &'static str,
    pub last_line: String,
}

impl AppView {
    fn new(hub: &Hub, market: &Market, app: &App) -> AppView {
        let (process, process_kind) = match app.process {
            ProcessState::None => ("no process".to_owned(), "idle"),
            ProcessState::Up { release, pid } => (format!("v{release} up, pid {pid}"), "good"),
            ProcessState::Crashed { release } => (format!("v{release} crashed"), "bad"),
            ProcessState::Stopped => ("stopped".to_owned(), "idle"),
        };
        let last_line = app.log.back().map(|line| line.text.clone());
        AppView {
            id: app.id.to_string(),
            name: app.name.clone(),
            release: app.releases.last().map_or(0, |release| release.version),
            vars: market.config_vars(app.id, &hub.prefix).len(),
            restarts: app.restarts,
            process,
            process_kind,
            last_line: last_line.unwrap_or_default(),
        }
    }
}

pub(in crate::sandbox) struct CallView {
    pub time: String,
    pub outgoing: bool,
    pub method: String,
    pub path: String,
    pub status: String,
    pub kind: &'static str,
    pub fault: &'static str,
}

impl CallView {
    fn new(request: &RecordedRequest) -> CallView {
        let kind = match request.status {
            Some(200..=399) => "good",
            Some(_) => "bad",
            None => "lost",
        };
        let status = request.status.map(|status| status.to_string());
        CallView {
            time: clock(request.at),
            outgoing: request.direction == Direction::ToProvider,
            method: request.method.clone(),
            path: request.path.clone(),
            status: status.unwrap_or_else(|| "none".to_owned()),
            kind,
            fault: match request.fault {
                // The status beside it says which one.
                Some("401" | "429" | "500") => "by fault",
                Some(name) => name,
                None => "",
            },
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct OverviewPage {
    layout: Layout,
    provider: String,
    addons: Vec<AddonView>,
    apps: Vec<AppView>,
    plans: Vec<String>,
    regions: Vec<String>,
    calls: Vec<CallView>,
}

impl OverviewPage {
    pub fn new(hub: &Hub, market: &Market, layout: Layout) -> OverviewPage {
        let addons = market.addons().into_iter();
        let apps = market.apps().into_iter();
        OverviewPage {
            layout,
            provider: hub.provider().base,
            addons: addons.map(|addon| AddonView::new(market, addon)).collect(),
            apps: apps.map(|app| AppView::new(hub, market, app)).collect(),
            plans: hub.settings.plans.clone(),
            regions: hub.settings.manifest.api.regions.clone(),
            calls: recent_calls(market, |_| true),
        }
    }
}

/// Newest first, as many as fit a page.
fn recent_calls(market: &Market, fits: impl Fn(&RecordedRequest) -> bool) -> Vec<CallView> {
    let newest_first = market.requests().iter().rev();
    let fitting = newest_first.filter(|request| fits(request));
    fitting.take(20).map(CallView::new).collect()
}

pub(in crate::sandbox) struct VarView {
    pub name: String,
    pub value: String,
    pub secret: bool,
}

pub(in crate::sandbox) struct ReleaseView {
    pub version: u32,
    pub at: String,
    pub description: String,
    pub changed: Vec<String>,
}

pub(in crate::sandbox) struct LineView {
    pub time: String,
    pub label: String,
    pub kind: &'static str,
    pub text: String,
}

#[derive(Template)]
#[template(path = "app.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct AppPage {
    layout: Layout,
    app: AppView,
    vars: Vec<VarView>,
    addons: Vec<AddonView>,
    releases: Vec<ReleaseView>,
    lines: Vec<LineView>,
    last_seq: u64,
}

impl AppPage {
    pub fn new(hub: &Hub, market: &Market, id: AppId, layout: Layout) -> Option<AppPage> {
        let app = market.app(id)?;
        let vars = market.config_vars(id, &hub.prefix).into_iter();
        let vars = vars.map(|(name, value)| VarView {
            secret: name.ends_with("PASSWORD"),
            name,
            value,
        });
        let releases = app.releases.iter().rev().map(|release| ReleaseView {
            version: release.version,
            at: day_and_clock(release.at),
            description: release.description.clone(),
            changed: release.changed.clone(),
        });
        let lines = app.log.iter().map(|line| LineView {
            time: clock(line.at),
            label: format!("{}[{}]", line.source, line.process),
            kind: line.writer(),
            text: line.text.clone(),
        });
        let mut addons: Vec<&Addon> = Vec::new();
        for (addon, _) in market.attached_to(id) {
            if !addons.iter().any(|known| known.id == addon.id) {
                addons.push(addon);
            }
        }
        let addons = addons.into_iter();
        Some(AppPage {
            layout,
            app: AppView::new(hub, market, app),
            vars: vars.collect(),
            addons: addons.map(|addon| AddonView::new(market, addon)).collect(),
            releases: releases.collect(),
            lines: lines.collect(),
            last_seq: app.log.back().map_or(0, |line| line.seq),
        })
    }
}

#[derive(Template)]
#[template(path = "addon.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct AddonPage {
    layout: Layout,
    addon: AddonView,
    plans: Vec<String>,
    /// Apps it is not attached to.
    other_apps: Vec<AppView>,
    calls: Vec<CallView>,
}

impl AddonPage {
    pub fn new(hub: &Hub, market: &Market, id: AddonId, layout: Layout) -> Option<AddonPage> {
        let addon = market.addon(id)?;
        let mut plans = hub.settings.plans.clone();
        if !plans.contains(&addon.plan) {
            plans.push(addon.plan.clone());
        }
        let attached = |app: &App| addon.attachments.iter().any(|known| known.app == app.id);
        let others = market.apps().into_iter().filter(|app| !attached(app));
        let id = id.to_string();
        Some(AddonPage {
            layout,
            addon: AddonView::new(market, addon),
            plans,
            other_apps: others.map(|app| AppView::new(hub, market, app)).collect(),
            calls: recent_calls(market, |request| request.path.contains(&id)),
        })
    }
}

pub(in crate::sandbox) struct GroupView {
    pub key: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    pub standing: &'static str,
    pub seconds: u64,
    pub queued: usize,
}

impl GroupView {
    fn new(market: &Market, group: EndpointGroup) -> GroupView {
        let (key, title, what) = group_texts(group);
        let standing = market.faults().standing(group);
        let seconds = match standing {
            Some(Fault::Slow(delay)) => delay.as_secs(),
            Some(Fault::TooManyRequests { retry_after_secs }) => u64::from(retry_after_secs),
            _ => 5,
        };
        GroupView {
            key,
            title,
            what,
            standing: standing.map_or("", Fault::name),
            seconds,
            queued: market.faults().queued(group),
        }
    }
}

fn group_texts(group: EndpointGroup) -> (&'static str, &'static str, &'static str) {
    match group {
        EndpointGroup::Config => ("config", "Config API", "PATCH /addons/…/config"),
        EndpointGroup::Token => ("token", "Token endpoint", "POST /oauth/token"),
        EndpointGroup::Logs => ("logs", "Log input", "POST /logs"),
        EndpointGroup::Webhooks => ("webhooks", "Webhook subscriptions", "/addons/…/webhooks"),
        EndpointGroup::Actions => ("actions", "Completion actions", "POST /addons/…/actions/…"),
        EndpointGroup::Api => ("api", "Rest of the platform API", "/addons, /apps"),
    }
}

/// The group a form names.
pub(in crate::sandbox) fn fault_group(key: &str) -> Option<EndpointGroup> {
    let named = |group: &EndpointGroup| group_texts(*group).0 == key;
    EndpointGroup::ALL.into_iter().find(named)
}

#[derive(Template)]
#[template(path = "faults.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct FaultsPage {
    layout: Layout,
    groups: Vec<GroupView>,
    choices: [(&'static str, &'static str); 8],
    calls: CallFaults,
    slow_secs: u64,
    recent: Vec<CallView>,
}

impl FaultsPage {
    pub fn new(market: &Market, layout: Layout) -> FaultsPage {
        let calls = market.faults().calls;
        FaultsPage {
            layout,
            groups: EndpointGroup::ALL
                .map(|group| GroupView::new(market, group))
                .into(),
            choices: [
                ("", "Works"),
                ("slow", "Answers late"),
                ("500", "500 server error"),
                ("429", "429 with Retry-After"),
                ("hang", "Hangs"),
                ("lost reply", "Done, reply lost"),
                ("401", "401 unauthorized"),
                ("403", "403 forbidden"),
            ],
            calls,
            slow_secs: calls.slow.map_or(0, |delay| delay.as_secs()),
            recent: recent_calls(market, |request| request.fault.is_some()),
        }
    }
}

#[derive(Template)]
#[template(path = "sso.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct SsoPage {
    pub layout: Layout,
    pub action: String,
    pub fields: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "message.html", config = "src/sandbox/askama.toml")]
pub(in crate::sandbox) struct MessagePage {
    pub layout: Layout,
    pub text: String,
}

/// The page as an answer.
pub(super) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a console page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

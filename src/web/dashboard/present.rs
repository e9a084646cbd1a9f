//! Domain types to views: the one conversion.

mod certificates;

use std::time::Duration;

use super::rotation;
use super::snippets;
use super::views::{
    Advice, ConfigPush, Connections, CounterRow, Counters, CredentialRow, Dashboard, EventRow,
    Frame, Header, HitRate, Moment, NoticeBox, Revealed, Settings, Storage, Tone,
};
use super::words;
use crate::access::{ConfigState, HistoryEntry, Reach, Rotation, Session};
use crate::cluster::Figures;
use crate::domain::{
    Capabilities, Certificate, Credential, Marketplace, Plan, Resource, ResourceState, Timestamp,
    Username,
};
use crate::web::notice::Notice;
use crate::web::settings::WebSettings;
pub use certificates::{CertificateFacts, certificates_page, pem_file_name};

/// Everything the page is made of.
pub struct Facts<'a> {
    pub resource: &'a Resource,
    pub session: &'a Session,
    pub plan: &'a Plan,
    pub credentials: Vec<Credential>,
    pub certificates: Vec<Certificate>,
    /// How long a former primary should stay.
    pub overlap: Duration,
    /// For each credential when its overlap with its successor ends, if it was the primary.
    pub overlap_ends: Vec<Option<Timestamp>>,
    pub config: ConfigState,
    /// Whether the provider can be called about the cache.
    pub has_token: bool,
    pub rotation: Option<Rotation>,
    pub history: Vec<HistoryEntry>,
    pub servers: String,
    /// Empty where there is no TLS listener.
    pub tls_servers: Vec<String>,
    pub figures: Option<Figures>,
    pub now: Timestamp,
}

pub fn dashboard(
    settings: &WebSettings,
    facts: Facts<'_>,
    notice: Option<Notice>,
    revealed: Revealed,
) -> Dashboard {
    let provider = provider(facts.resource.marketplace);
    let figures = facts.figures.as_ref();
    let row = |(credential, ends): (&Credential, &Option<Timestamp>)| {
        let advice = ends.map(|ends| advice(&facts, credential, ends));
        CredentialRow {
            advice,
            certificates: good_certificates(&facts, &credential.username),
            ..credential_row(credential, figures, &revealed, facts.now)
        }
    };
    Dashboard {
        frame: frame(settings, facts.resource, facts.session),
        header: header(&facts),
        notice: notice.map(|notice| notice_box(notice, provider)),
        storage: figures.map(storage),
        hit_rate: hit_rate(figures),
        connections: connections(figures, facts.plan),
        config: match facts.resource.state {
            ResourceState::Provisioning => setting_up(provider),
            _ => config_push(&facts.config, provider, facts.now),
        },
        no_token: (!facts.has_token).then(|| no_token(provider)),
        credentials: facts
            .credentials
            .iter()
            .zip(&facts.overlap_ends)
            .map(row)
            .collect(),
        credentials_max: facts.plan.credentials_max,
        rotation: rotation::panel(facts.rotation.as_ref(), facts.overlap, facts.now),
        has_tls: !facts.tls_servers.is_empty(),
        counters: figures.map(counters),
        settings: settings_panel(settings, &facts, &revealed),
        events: facts
            .history
            .iter()
            .map(|entry| event_row(entry, facts.now))
            .collect(),
    }
}

pub fn frame(settings: &WebSettings, resource: &Resource, session: &Session) -> Frame {
    Frame {
        product: settings.product_name.clone(),
        person: session.person.clone(),
        cache: resource.cache.0,
        cache_name: resource.name.clone(),
        csrf: session.csrf.expose().to_owned(),
        legacy_header: settings.legacy_header,
    }
}

/// Live connections of one credential; a credential that no node mentions has none.
pub fn connections_of(figures: &Figures, username: &Username) -> u64 {
    figures
        .connections_by_credential
        .iter()
        .find(|(name, _)| name == username)
        .map_or(0, |(_, number)| *number)
}

fn provider(marketplace: Marketplace) -> &'static str {
    match marketplace {
        Marketplace::Heroku => "Heroku",
        Marketplace::Manifold => "Manifold",
        Marketplace::Direct => "Direct",
    }
}

fn header(facts: &Facts<'_>) -> Header {
    let resource = facts.resource;
    let (state, state_tone) = match resource.state {
        ResourceState::Provisioned => ("Enabled", Tone::Good),
        ResourceState::Provisioning => ("Being set up", Tone::Fair),
        ResourceState::Deprovisioned { .. } => ("Deprovisioned", Tone::Bad),
    };
    Header {
        state,
        state_tone,
        plan: resource.plan.to_string(),
        plan_memory: words::bytes(facts.plan.memory_bytes),
        provider: provider(resource.marketplace),
        cluster: resource.cluster.to_string(),
        region: resource.region.clone(),
        app: facts.session.context_app.clone(),
    }
}

fn notice_box(notice: Notice, provider: &str) -> NoticeBox {
    let tone = match notice {
        Notice::FlushOrdered => Tone::Fair,
        Notice::Created(_, reach)
        | Notice::Saved(_, reach)
        | Notice::Removed(_, reach)
        | Notice::Revoked(_, reach)
            if reach != Reach::Everywhere =>
        {
            Tone::Fair
        }
        _ => Tone::Good,
    };
    let (title, text, offer) = match notice {
        Notice::Created(name, reach) => (
            format!("Credential {name} was added"),
            format!("It works now, with every capability. {}", landed(reach)),
            Some(name.to_string()),
        ),
        Notice::Promoted(name) => (
            format!("{name} is now the primary"),
            format!(
                "{provider} is being given its values and restarts your app with them. The former primary \
                 goes on working."
            ),
            None,
        ),
        Notice::Rotated(name) => (
            format!("{name} is the new primary"),
            format!(
                "{provider} is being given its values and restarts your app with them. Keep the former primary \
                 until its row says that it is safe to delete."
            ),
            Some(name.to_string()),
        ),
        Notice::Saved(name, reach) => (
            format!("Capabilities of {name} were saved"),
            format!("They hold for open connections too. {}", landed(reach)),
            None,
        ),
        Notice::Removed(name, reach) => (
            format!("Credential {name} was deleted"),
            format!("It is refused from now on. {}", landed(reach)),
            None,
        ),
        Notice::Revoked(name, reach) => (
            format!("A certificate of {name} was revoked"),
            format!("It is refused from now on, and its connections are closed. {}", landed(reach)),
            None,
        ),
        Notice::Flushed { items, bytes } => (
            "The cache was flushed".to_owned(),
            format!(
                "{} gone, {} free again.",
                words::counted(items, "item is", "items are"),
                words::bytes(bytes)
            ),
            None,
        ),
        Notice::FlushOrdered => (
            "The flush is on its way".to_owned(),
            "It is certain to happen, but the cache's node has not reported it done yet.".to_owned(),
            None,
        ),
        Notice::RotationSet(None) => (
            "Scheduled rotation is off".to_owned(),
            "Credentials stay as they are until you change them.".to_owned(),
            None,
        ),
        Notice::RotationSet(Some(period)) => (
            "Scheduled rotation is on".to_owned(),
            format!("The primary is replaced {}.", words::every(period.days())),
            None,
        ),
        Notice::PushAsked => (
            "The config vars are being pushed".to_owned(),
            format!("{provider} is asked now, without waiting for the next turn."),
            None,
        ),
        Notice::SsoRotated => (
            "The SSO secret was rotated".to_owned(),
            "This dashboard has a new address. The old one and all other sign-ins to this cache have ended."
                .to_owned(),
            None,
        ),
    };
    NoticeBox {
        tone,
        title,
        text,
        offer_password_of: offer,
    }
}

fn landed(reach: Reach) -> String {
    match reach {
        Reach::Everywhere => String::new(),
        Reach::Partial { applied, nodes } => {
            format!("Applied on {applied} of {nodes} nodes so far; the rest follow by themselves.")
        }
    }
}

fn storage(figures: &Figures) -> Storage {
    Storage {
        percent: words::percent(figures.used_bytes, figures.limit_bytes),
        used: words::bytes(figures.used_bytes),
        limit: words::bytes(figures.limit_bytes),
        items: words::count(figures.items),
        evictions: words::count(figures.evictions),
    }
}

/// Thresholds: product reference, section 6.
fn hit_rate(figures: Option<&Figures>) -> HitRate {
    let (hits, misses) = figures.map_or((0, 0), |figures| (figures.get_hits, figures.get_misses));
    let asked = u128::from(hits) + u128::from(misses);
    if asked == 0 {
        let detail = match figures {
            Some(_) => "Nothing has been read yet",
            None => "The cache's node does not answer at the moment",
        };
        return HitRate {
            tone: Tone::Plain,
            figure: "Unavailable".to_owned(),
            word: "No data",
            detail: detail.to_owned(),
            percent: 0,
        };
    }
    // Rounded down, so that the figure never claims a threshold that was not reached.
    let thousandths = u128::from(hits) * 1_000 / asked;
    let (tone, word) = match thousandths {
        800.. => (Tone::Good, "Good"),
        500..800 => (Tone::Fair, "Fair"),
        _ => (Tone::Bad, "Low"),
    };
    HitRate {
        tone,
        figure: format!("{}.{} %", thousandths / 10, thousandths % 10),
        word,
        detail: format!(
            "{}, {}",
            words::counted(hits, "hit", "hits"),
            words::counted(misses, "miss", "misses")
        ),
        percent: u64::try_from(thousandths / 10).unwrap_or(100),
    }
}

fn connections(figures: Option<&Figures>, plan: &Plan) -> Connections {
    let max = u64::from(plan.connections_max);
    let Some(figures) = figures else {
        return Connections {
            tone: Tone::Plain,
            figure: "Unavailable".to_owned(),
            max: words::count(max),
            word: "No data",
            percent: 0,
        };
    };
    let percent = words::percent(figures.connections, max);
    let (tone, word) = match percent {
        100.. => (Tone::Bad, "At the limit"),
        80..100 => (Tone::Fair, "Nearly full"),
        _ => (Tone::Good, "Room to spare"),
    };
    Connections {
        tone,
        figure: words::count(figures.connections),
        max: words::count(max),
        word,
        percent,
    }
}

/// While the marketplace waits for our word, pushes are not what the owner should look at.
fn setting_up(provider: &str) -> ConfigPush {
    ConfigPush {
        tone: Tone::Fair,
        title: "Being set up",
        text: format!(
            "{provider} gives your app its config vars, in one release, when the cache is ready. There is nothing to \
             do for you."
        ),
        can_hurry: false,
    }
}

fn config_push(state: &ConfigState, provider: &str, now: Timestamp) -> ConfigPush {
    match state {
        ConfigState::Applied => ConfigPush {
            tone: Tone::Good,
            title: "Applied",
            text: format!("{provider} has the values of the primary credential."),
            can_hurry: false,
        },
        ConfigState::Pending {
            since,
            last_error,
            next_attempt,
        } => {
            let due = words::ago(*since, now);
            let next = words::ahead(*next_attempt, now);
            let text = match last_error {
                Some(error) => format!(
                    "{provider} has not taken the new values yet; they were due {due}. Reason: {error}. Next try \
                     {next}."
                ),
                None => format!("{provider} is being given the new values, due {due}."),
            };
            ConfigPush {
                tone: Tone::Fair,
                title: "Pending",
                text,
                can_hurry: last_error.is_some(),
            }
        }
        ConfigState::Refused { last_error, since } => ConfigPush {
            tone: Tone::Bad,
            title: "Refused",
            text: format!(
                "{provider} refused the new values {}: {last_error}. Every credential below works all the \
                 same; please write to support.",
                words::ago(*since, now)
            ),
            can_hurry: true,
        },
    }
}

/// Said before a push is wanted: when one fails, it is late.
fn no_token(provider: &str) -> String {
    format!(
        "{provider} has given us no token for this cache. The cache works, but your app is not given the values of a \
         new primary, and apps that you attach get no log lines. Please write to support; where that does not help, \
         add a new cache and remove this one."
    )
}

fn credential_row(
    credential: &Credential,
    figures: Option<&Figures>,
    revealed: &Revealed,
    now: Timestamp,
) -> CredentialRow {
    let password = match revealed {
        Revealed::Password(username, password) if *username == credential.username => {
            Some(password.expose().to_owned())
        }
        _ => None,
    };
    let may = |right| credential.capabilities.allows(right);
    let last_used = credential.last_used.as_ref();
    CredentialRow {
        username: credential.username.to_string(),
        primary: credential.primary,
        password,
        write: may(Capabilities::WRITE),
        flush: may(Capabilities::FLUSH),
        api: may(Capabilities::API),
        last_used: last_used.map(|used| moment(used.at, now)),
        last_used_from: last_used.map_or_else(String::new, |used| used.from.clone()),
        connections: figures
            .map(|figures| words::count(connections_of(figures, &credential.username))),
        created: moment(credential.created_at, now),
        certificates: 0,
        advice: None,
    }
}

fn good_certificates(facts: &Facts<'_>, username: &Username) -> usize {
    let good = |certificate: &&Certificate| {
        certificate.username == *username && certificate.expires_at > facts.now
    };
    facts.certificates.iter().filter(good).count()
}

/// What to do with a former primary.
fn advice(facts: &Facts<'_>, credential: &Credential, ends: Timestamp) -> Advice {
    let marketplace = facts.resource.marketplace;
    if let Some(text) = needed_still(&facts.config, marketplace, ends, facts.now) {
        return Advice {
            tone: Tone::Fair,
            text,
        };
    }
    let live = facts
        .figures
        .as_ref()
        .map(|figures| connections_of(figures, &credential.username));
    let (tone, text) = match live {
        Some(0) => (Tone::Good, "Safe to delete.".to_owned()),
        Some(live) => {
            let live = words::counted(live, "connection", "connections");
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
    marketplace: Marketplace,
    ends: Timestamp,
    now: Timestamp,
) -> Option<String> {
    if *config != ConfigState::Applied {
        let provider = provider(marketplace);
        return Some(format!(
            "Keep it: {provider} has not taken the new values yet."
        ));
    }
    (ends > now).then(|| format!("Safe to delete from {}.", words::clock(ends, now)))
}

fn counters(figures: &Figures) -> Counters {
    let counter = |name: &str| {
        figures
            .counters
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(|| "–".to_owned(), |(_, number)| words::count(*number))
    };
    let row = |command: &'static str| CounterRow {
        command,
        hits: counter(&format!("{command}_hits")),
        misses: counter(&format!("{command}_misses")),
    };
    let get = CounterRow {
        command: "get",
        hits: words::count(figures.get_hits),
        misses: words::count(figures.get_misses),
    };
    let others = ["delete", "incr", "decr", "cas", "touch"];
    Counters {
        rows: std::iter::once(get)
            .chain(others.into_iter().map(row))
            .collect(),
        sets: words::count(figures.sets),
        flushes: words::count(figures.flushes),
    }
}

fn settings_panel(settings: &WebSettings, facts: &Facts<'_>, revealed: &Revealed) -> Settings {
    let names = &settings.variables;
    let dashboard_url = match revealed {
        Revealed::DashboardUrl(hash) => {
            Some(settings.public_url.join(&format!("/d/{}", hash.expose())))
        }
        _ => None,
    };
    Settings {
        servers: facts
            .servers
            .split(',')
            .filter(|server| !server.is_empty())
            .map(str::to_owned)
            .collect(),
        tls_servers: facts.tls_servers.clone(),
        servers_variable: names.servers.clone(),
        username_variable: names.username.clone(),
        password_variable: names.password.clone(),
        snippets: snippets::all(names),
        dashboard_url,
    }
}

fn event_row(entry: &HistoryEntry, now: Timestamp) -> EventRow {
    let (tone, title) = match entry.kind.as_str() {
        "flush" => (Tone::Plain, "Flushed"),
        "flush_refused" => (Tone::Fair, "Flush refused"),
        "credentials_created" => (Tone::Plain, "Credential added"),
        "credentials_promoted" => (Tone::Plain, "Credential promoted"),
        "credentials_removed" => (Tone::Plain, "Credential deleted"),
        "capabilities_changed" => (Tone::Plain, "Capabilities changed"),
        "certificate_issued" => (Tone::Plain, "Certificate issued"),
        "certificate_revoked" => (Tone::Plain, "Certificate revoked"),
        "sso_secret_rotated" => (Tone::Plain, "SSO secret rotated"),
        "rotation_scheduled" => (Tone::Plain, "Rotation scheduled"),
        "rotation_put_off" => (Tone::Fair, "Rotation put off"),
        "setup_began" => (Tone::Plain, "Ordered"),
        "provisioned" => (Tone::Good, "Provisioned"),
        "plan_changed" => (Tone::Plain, "Plan changed"),
        "deprovisioned" => (Tone::Bad, "Deprovisioned"),
        "connections_over_limit" => (Tone::Fair, "Connections over the limit"),
        "memory_full" => (Tone::Fair, "Memory full"),
        other => (Tone::Plain, other),
    };
    let head = format!("event={} ", entry.kind);
    EventRow {
        tone,
        title: title.to_owned(),
        detail: entry
            .line
            .strip_prefix(&head)
            .unwrap_or(&entry.line)
            .to_owned(),
        at: moment(entry.at, now),
    }
}

fn moment(at: Timestamp, now: Timestamp) -> Moment {
    Moment {
        machine: at.to_string(),
        exact: words::instant(at),
        distance: words::ago(at, now),
    }
}

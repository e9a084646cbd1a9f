//! The page as text, and what must never be in it.

use std::time::Duration;

use askama::Template;

use super::context::{figures_as_of, why_no_figures};
use super::frame::{Forms, Frame};
use super::header::Header;
use super::page::{self, Page};
use super::panels::connections::ConnectionsPanel;
use super::panels::counters::CountersPanel;
use super::panels::credentials::{self, CredentialsPanel};
use super::panels::events::EventsPanel;
use super::panels::hit_rate::HitRatePanel;
use super::panels::rotation::RotationPanel;
use super::panels::settings::SettingsPanel;
use super::panels::storage::StoragePanel;
use super::samples::{
    NOW, PASSWORD, before, certificates, credential, credentials, figures, name, plan, resource,
    session, settings, without_digests,
};
use crate::access::{BrowserSession, ConfigState};
use crate::cluster::{CacheFigures, FiguresSource};
use crate::domain::secret::Password;
use crate::domain::{
    Actor, CacheId, CameBy, Certificate, Credential, Event, EventId, FlushEvent, FlushId, Identity,
    Marketplace, Origin, RecordedEvent, Resource, Timestamp,
};
use crate::web::flash::Flash;

fn entry(secs: u64, actor: Identity, event: &Event) -> RecordedEvent {
    RecordedEvent {
        id: EventId::generate(before(secs)).to_string(),
        at: before(secs),
        kind: event.kind().to_string(),
        fields: event.fields(),
        line: None,
        actor: Some(Actor::local(actor)),
    }
}

fn by_client(secs: u64, event: &Event) -> RecordedEvent {
    RecordedEvent {
        actor: Some(event.actor_on_node()),
        ..entry(secs, Identity::Service, event)
    }
}

fn history() -> Vec<RecordedEvent> {
    let proxy = "p3.us-east.example.net".to_owned();
    let remote = Some([10, 0, 4, 17].into());
    let flush = Event::Flushed(FlushEvent {
        id: FlushId::generate(before(40)),
        cache: CacheId(7),
        origin: Origin::MemcacheClient,
        proxy: proxy.clone(),
        credential: Some(name("4F2A90")),
        remote,
        reason: None,
        items: 18_233,
        bytes: 7_340_032,
        at: before(40),
    });
    let refused = Event::FlushRefused {
        proxy,
        credential: name("91BC07"),
        remote,
    };
    let full = Event::MemoryFull {
        used: 115_343_360,
        limit: 115_343_360,
        evictions: 912,
        window_secs: 60,
    };
    let wrong = Event::LoginsRefused {
        credential: name("91BC07"),
        remote,
        refused: 105_345,
        window_secs: 600,
    };
    let added = Event::CredentialAdded {
        credential: name("91BC07"),
    };
    let provisioned = Event::Provisioned {
        plan: "100".to_owned(),
    };
    let heroku = || "heroku".parse::<Marketplace>().unwrap();
    let ada = Identity::Browser {
        person: Some("ada@example.com".to_owned()),
        came_by: CameBy::Marketplace(heroku()),
    };
    vec![
        by_client(40, &flush),
        by_client(900, &refused),
        entry(7_200, ada, &added),
        entry(90_000, Identity::Service, &full),
        entry(100_000, Identity::Service, &wrong),
        RecordedEvent {
            kind: "levitated".to_owned(),
            ..entry(200_000, Identity::Unknown("robot".to_owned()), &added)
        },
        entry(900_000, Identity::Marketplace(heroku()), &provisioned),
        RecordedEvent {
            line: Some("event=plan_changed cache=4F2A90 from=dev to=100".to_owned()),
            kind: "plan_changed".to_owned(),
            actor: None,
            ..entry(900_001, Identity::Service, &Event::Deprovisioned)
        },
    ]
}

/// Everything that panels load.
struct Facts {
    resource: Resource,
    session: BrowserSession,
    credentials: Vec<Credential>,
    certificates: Vec<Certificate>,
    overlap_ends: Vec<Option<Timestamp>>,
    config: ConfigState,
    has_token: bool,
    history: Vec<RecordedEvent>,
    servers: String,
    tls_servers: Vec<String>,
    figures: Option<CacheFigures>,
    figures_as_of: Option<String>,
    password: Option<Password>,
    dashboard_url: Option<String>,
}

/// A cache in use.
fn busy() -> Facts {
    Facts {
        resource: resource(),
        session: session(),
        credentials: credentials(),
        certificates: certificates(),
        overlap_ends: vec![None, None, None],
        config: ConfigState::Applied,
        has_token: true,
        history: history(),
        servers: "p1.us-east.example.net:11211".to_owned(),
        tls_servers: vec!["p1.us-east.example.net:11219".to_owned()],
        figures: Some(figures()),
        figures_as_of: None,
        password: None,
        dashboard_url: None,
    }
}

/// All panels in the order of the page, of which a busy cache's password is of its secondary.
fn render(change: impl FnOnce(&mut Facts), flash: Option<&str>) -> String {
    let mut facts = busy();
    change(&mut facts);
    let (settings, plan) = (settings(), plan());
    let provider = settings.shown_as(&facts.resource.marketplace);
    let forms = || Forms::new(&facts.resource, &facts.session);
    let figures = facts.figures.as_ref();
    let figures_or_why = || figures.ok_or_else(|| why_no_figures(&FiguresSource::Nowhere, NOW));
    let revealed = name("91BC07");
    let credentials = credentials::Facts {
        provider,
        is_provisioning: false,
        credentials: &facts.credentials,
        credentials_max: plan.credentials_max,
        certificates: &facts.certificates,
        overlap_ends: facts.overlap_ends.clone(),
        config: facts.config.clone(),
        has_token: facts.has_token,
        has_tls: !facts.tls_servers.is_empty(),
        figures,
        revealed: facts
            .password
            .as_ref()
            .map(|password| (&revealed, password)),
        now: NOW,
    };
    let overlap = Duration::from_secs(2 * 3_600);
    let variables = &settings.variables;
    let tls_servers = facts.tls_servers.clone();
    let dashboard_url = facts.dashboard_url.clone();
    let panels = [
        StoragePanel::new(7, &plan, figures_or_why()).render(),
        HitRatePanel::new(figures_or_why()).render(),
        ConnectionsPanel::new(figures, &plan).render(),
        CredentialsPanel::new(forms(), &credentials).render(),
        RotationPanel::new(forms(), None, overlap, NOW).render(),
        EventsPanel::new(&facts.history, NOW).render(),
        CountersPanel::new(figures_or_why()).render(),
        SettingsPanel::new(
            forms(),
            &facts.servers,
            tls_servers,
            variables,
            dashboard_url,
        )
        .render(),
    ];
    let panels = panels.into_iter().map(Result::unwrap).collect();
    let page = Page {
        frame: Frame::new(&settings, &facts.resource, &facts.session),
        header: Header::new(&facts.resource, &facts.session, &plan, provider)
            .with_figures_as_of(facts.figures_as_of.clone()),
        flash: flash.map(|text| page::told(&Flash::presented(text), provider).unwrap()),
        rows: page::in_rows(panels),
    };
    page.render().unwrap()
}

fn golden(file: &str, page: &str) {
    insta::assert_snapshot!(file, without_digests(page));
}

#[test]
fn a_cache_in_use() {
    let page = render(|_| (), Some("credentials.created.C0FFEE.all"));
    golden("in_use", &page);
}

#[test]
fn a_push_that_is_still_on_its_way() {
    let waiting = ConfigState::Pending {
        since: before(95),
        last_error: Some("the provider answered 500".to_owned()),
        next_attempt: NOW.plus(Duration::from_secs(30)),
    };
    let page = render(
        |facts| facts.config = waiting,
        Some("credentials.removed.0DDBA1.1-2"),
    );
    golden("push_pending", &page);
}

#[test]
fn nothing_known_and_no_room_left() {
    let page = render(
        |facts| {
            facts.figures = None;
            facts.certificates = vec![];
            facts.tls_servers = vec![];
            facts.history = vec![];
            facts.credentials = (0..10)
                .map(|at| credential(&format!("4F2A9{at}"), at == 0))
                .collect();
            facts.overlap_ends = vec![None; 10];
            facts.config = ConfigState::Refused {
                last_error: "the provider answered 403".to_owned(),
                since: before(4_000),
            };
        },
        None,
    );
    assert!(page.contains("<button class=\"primary\" disabled"));
    golden("nothing_known", &page);
}

#[test]
fn a_password_is_shown_once() {
    let password = Password::from_stored(PASSWORD.to_owned());
    let page = render(|facts| facts.password = Some(password), None);
    assert_eq!(page.matches(PASSWORD).count(), 1);
    let row = page.split("id=\"credential-91BC07\"").nth(1).unwrap();
    assert!(row.split("</tr>").next().unwrap().contains(PASSWORD));
}

#[test]
fn the_long_lived_address_is_shown_only_when_asked_for() {
    let address = "https://cache.example.com/d/q8Yk3Zr0pX5t7vN1m2B4c6D8e0F2g4H6j8K0l2M4n6P";
    let shown = render(|facts| facts.dashboard_url = Some(address.to_owned()), None);
    assert_eq!(shown.matches(address).count(), 1);
    assert!(!render(|_| (), None).contains("/d/"));
}

#[test]
fn a_cache_that_stands_elsewhere_is_said_to() {
    let shown = render(|facts| facts.resource.region = "eu".to_owned(), None);
    let region = "<dd>us <small>ordered: eu</small></dd>";
    assert!(shown.contains(region), "{shown}");
    let ordered = "amazon-web-services::us-east-1";
    let shown = render(|facts| facts.resource.region = ordered.to_owned(), None);
    assert!(shown.contains(&format!("<dd>{ordered}</dd>")), "{shown}");
    assert!(!shown.contains("ordered:"));
}

#[test]
fn figures_that_were_reported_are_said_to_be() {
    let source = FiguresSource::Reported {
        figures: Box::new(figures()),
        node: "p1.us-east.example.net:11211".to_owned(),
        at: before(40),
    };
    let as_of = figures_as_of(&source, NOW);
    let shown = render(|facts| facts.figures_as_of = as_of, None);
    let said = "node reported these figures 40 seconds ago";
    assert!(shown.contains(said), "{shown}");
    let of_now = FiguresSource::Here(Box::new(figures()));
    assert_eq!(figures_as_of(&of_now, NOW), None);
}

/// Everything that others can put words into, with the words of somebody who means ill.
#[test]
fn whatever_is_shown_is_escaped() {
    for sly in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' autofocus onfocus='alert(1)",
        "</title><svg onload=alert(1)>",
        "{{ 7 * 7 }}",
        "javascript:alert(1)//&lt;b&gt;",
    ] {
        let page = render(
            |facts| {
                facts.resource.name = sly.to_owned();
                facts.resource.region = sly.to_owned();
                facts.session.person = Some(sly.to_owned());
                facts.session.context_app = Some(sly.to_owned());
                facts.servers = sly.to_owned();
                facts.config = ConfigState::Pending {
                    since: NOW,
                    last_error: Some(sly.to_owned()),
                    next_attempt: NOW,
                };
                let event = Event::RotationPutOff {
                    reason: sly.to_owned(),
                };
                facts.history = vec![RecordedEvent {
                    kind: sly.to_owned(),
                    ..entry(1, Identity::Unknown(sly.to_owned()), &event)
                }];
                if let Some(used) = &mut facts.credentials[0].last_used {
                    used.from = sly.to_owned();
                }
            },
            None,
        );
        // The marks that end a text or an attribute; without them the rest is only words.
        if sly.contains(['<', '"', '\'']) {
            assert!(!page.contains(sly), "{sly}");
        }
        assert_eq!(
            page.matches("<script").count(),
            1,
            "only our own script: {sly}"
        );
        assert!(!page.contains("<img") && !page.contains("<svg onload"));
        let text = page
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#38;", "&");
        assert!(
            text.matches(sly).count() >= 8,
            "it reads back exactly: {sly}"
        );
    }
}

#[test]
fn every_form_posts_a_token_to_this_cache() {
    let page = render(|_| (), None);
    let forms: Vec<&str> = page.split("<form ").skip(1).collect();
    assert!(forms.len() > 10);
    for form in forms {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains("method=\"post\""), "{form}");
        assert!(
            form.contains("action=\"/caches/7/") || form.contains("action=\"/logout\""),
            "{form}"
        );
        assert!(
            form.contains("name=\"csrf\" value=\"csrf-of-this-session\""),
            "{form}"
        );
    }
}

#[test]
fn nothing_on_the_page_needs_an_inline_exception_or_another_host() {
    let page = render(|_| (), None);
    for forbidden in [
        " style=",
        "<style",
        " onclick=",
        "javascript:",
        "src=\"http",
        "href=\"http",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

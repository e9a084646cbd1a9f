//! The pages as text, and what must never be in them.

use std::time::Duration;

use askama::Template;

use super::present::{self, CertificateFacts, Facts, dashboard};
use super::views::{ConfirmDelete, ConfirmFlush, Revealed};
use crate::access::{ConfigState, HistoryEntry, IssuedCertificate, Reach, Session};
use crate::cluster::Figures;
use crate::domain::ConfigVarNames;
use crate::domain::credential::LastUse;
use crate::domain::secret::{BearerSecret, Password};
use crate::domain::{
    CacheId, Capabilities, Certificate, Credential, CredentialId, Fingerprint, Marketplace, Plan,
    Resource, ResourceId, ResourceState, Timestamp, Username,
};
use crate::web::WebSettings;
use crate::web::assets;
use crate::web::notice::Notice;

const NOW: Timestamp = Timestamp::from_secs(1_795_372_200);
const PASSWORD: &str = "00112233445566778899AABBCCDDEEFF";

fn before(secs: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(secs))
}

fn settings() -> WebSettings {
    WebSettings::new(
        "https://cache.example.com".parse().unwrap(),
        true,
        "Larder".to_owned(),
        ConfigVarNames::with_prefix("MEMCACHIER"),
    )
}

fn resource() -> Resource {
    Resource {
        id: ResourceId::generate(before(900_000)),
        cache: CacheId(7),
        marketplace: Marketplace::Heroku,
        external_id: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
        name: "larder-curved-41822".to_owned(),
        label: "4F2A90".to_owned(),
        plan: "100".parse().unwrap(),
        region: "us".to_owned(),
        state: ResourceState::Provisioned,
        cluster: "c1".parse().unwrap(),
        created_at: before(900_000),
    }
}

fn session() -> Session {
    Session {
        csrf: BearerSecret::presented("csrf-of-this-session"),
        person: Some("ada@example.com".to_owned()),
        context_app: Some("quiet-harbour".to_owned()),
        opened_at: before(30),
    }
}

fn plan() -> Plan {
    Plan {
        slug: "100".parse().unwrap(),
        memory_bytes: 100 << 20,
        connections_max: 250,
        credentials_max: 10,
        sample_grain: Duration::from_secs(60),
        history: Duration::from_secs(90 * 86_400),
        sleeps_after: None,
        price_cents: 1_500,
        hidden: false,
        asynchronous: false,
    }
}

fn credential(name: &str, primary: bool) -> Credential {
    Credential {
        id: CredentialId::generate(NOW),
        cache: CacheId(7),
        username: name.parse().unwrap(),
        capabilities: Capabilities::ALL,
        primary,
        created_at: before(900_000),
        last_used: None,
        retired_at: None,
    }
}

/// Issued so many seconds ago, good for `life`.
fn certificate(of: &str, issued: u64, life: u64) -> Certificate {
    let created_at = before(issued);
    Certificate {
        fingerprint: Fingerprint::of(&issued.to_be_bytes()),
        username: name(of),
        created_at,
        expires_at: created_at.plus(Duration::from_secs(life)),
    }
}

fn figures() -> Figures {
    Figures {
        items: 18_233,
        used_bytes: 44_040_192,
        limit_bytes: 115_343_360,
        evictions: 912,
        get_hits: 934_120,
        get_misses: 65_880,
        sets: 70_412,
        flushes: 2,
        connections: 37,
        connections_max: 250,
        counters: vec![
            ("delete_hits", 1_204),
            ("delete_misses", 87),
            ("incr_hits", 20_551),
            ("incr_misses", 3),
            ("touch_hits", 0),
            ("touch_misses", 0),
        ],
        connections_by_credential: vec![(name("4F2A90"), 36), (name("91BC07"), 1)],
        connections_by_certificate: vec![(Fingerprint::of(&7_000_u64.to_be_bytes()), 1)],
    }
}

fn name(text: &str) -> Username {
    text.parse().unwrap()
}

fn entry(secs: u64, kind: &str, rest: &str) -> HistoryEntry {
    HistoryEntry {
        at: before(secs),
        kind: kind.to_owned(),
        line: format!("event={kind} {rest}"),
    }
}

fn history() -> Vec<HistoryEntry> {
    vec![
        entry(
            40,
            "flush",
            "origin=\"memcache client\" proxy=p3.us-east.example.net cache=4F2A90 credential=4F2A90 \
             remote=10.0.4.17 items=18233 bytes=7340032",
        ),
        entry(
            900,
            "flush_refused",
            "origin=\"memcache client\" proxy=p3.us-east.example.net cache=4F2A90 credential=91BC07 \
             remote=10.0.4.17",
        ),
        entry(
            7_200,
            "credentials_created",
            "cache=4F2A90 credential=91BC07",
        ),
        entry(
            90_000,
            "memory_full",
            "cache=4F2A90 used=115343360 limit=115343360 evictions=912 window=60s",
        ),
        entry(900_000, "provisioned", "cache=4F2A90 plan=100"),
    ]
}

/// A cache in use: a busy primary, a restricted secondary, one never used.
fn busy<'a>(resource: &'a Resource, session: &'a Session, plan: &'a Plan) -> Facts<'a> {
    let used = |secs| {
        Some(LastUse {
            at: before(secs),
            from: "10.0.4.17".to_owned(),
        })
    };
    Facts {
        resource,
        session,
        plan,
        credentials: vec![
            Credential {
                last_used: used(4),
                ..credential("4F2A90", true)
            },
            Credential {
                capabilities: Capabilities::WRITE,
                created_at: before(7_200),
                last_used: used(3_700),
                ..credential("91BC07", false)
            },
            Credential {
                created_at: before(60),
                ..credential("C0FFEE", false)
            },
        ],
        certificates: vec![
            certificate("91BC07", 7_000, 365 * 86_400),
            certificate("91BC07", 370 * 86_400, 365 * 86_400),
        ],
        overlap: Duration::from_secs(2 * 3_600),
        overlap_ends: vec![None, None, None],
        config: ConfigState::Applied,
        has_token: true,
        rotation: None,
        history: history(),
        servers: "p1.us-east.example.net:11211".to_owned(),
        tls_servers: vec!["p1.us-east.example.net:11219".to_owned()],
        figures: Some(figures()),
        now: NOW,
    }
}

fn render(change: impl FnOnce(&mut Facts<'_>), notice: Option<Notice>, shown: Revealed) -> String {
    let (resource, session, plan) = (resource(), session(), plan());
    let mut facts = busy(&resource, &session, &plan);
    change(&mut facts);
    dashboard(&settings(), facts, notice, shown)
        .render()
        .unwrap()
}

/// Compares with the page on file. The digests in the assets' names are left out: they change with every touch
/// of the style sheet.
fn golden(file: &str, page: &str) {
    let page = page
        .replace(assets::style(), "/assets/larder.css")
        .replace(assets::script(), "/assets/larder.js")
        .replace(assets::icon(), "/assets/icon.svg");
    insta::assert_snapshot!(file, page);
}

#[test]
fn a_cache_in_use() {
    let notice = Notice::Created(name("C0FFEE"), Reach::Everywhere);
    golden("in_use", &render(|_| (), Some(notice), Revealed::Nothing));
}

#[test]
fn a_push_that_is_still_on_its_way() {
    let waiting = ConfigState::Pending {
        since: before(95),
        last_error: Some("the provider answered 500".to_owned()),
        next_attempt: NOW.plus(Duration::from_secs(30)),
    };
    let notice = Notice::Removed(
        name("0DDBA1"),
        Reach::Partial {
            applied: 1,
            nodes: 2,
        },
    );
    let page = render(
        |facts| facts.config = waiting,
        Some(notice),
        Revealed::Nothing,
    );
    golden("push_pending", &page);
}

#[test]
fn a_cache_without_a_token_says_so_and_no_other() {
    let told = "Heroku has given us no token for this cache.";
    let page = render(|facts| facts.has_token = false, None, Revealed::Nothing);
    assert!(page.contains(told) && page.contains("Config vars: Applied"));
    let page = render(|_| (), None, Revealed::Nothing);
    assert!(!page.contains(told));
}

#[test]
fn a_former_primary_says_when_it_may_go() {
    let told = |change: fn(&mut Facts<'_>)| {
        let page = render(change, None, Revealed::Nothing);
        let row = page.split("id=\"credential-91BC07\"").nth(1).unwrap();
        row.split("</tr>").next().unwrap().to_owned()
    };
    let never_primary = told(|_| ());
    assert!(!never_primary.contains("delete from") && !never_primary.contains("Still used"));
    let in_overlap = told(|facts| {
        facts.overlap_ends[1] = Some(NOW.plus(Duration::from_secs(3_600)));
    });
    assert!(in_overlap.contains("Safe to delete from 19:30 UTC."));
    let not_pushed = told(|facts| {
        facts.overlap_ends[1] = Some(before(1));
        facts.config = ConfigState::Pending {
            since: before(95),
            last_error: None,
            next_attempt: NOW,
        };
    });
    assert!(not_pushed.contains("Keep it: Heroku has not taken the new values yet."));
    let in_use = told(|facts| facts.overlap_ends[1] = Some(before(1)));
    assert!(in_use.contains("Still used by 1 connection."));
    let idle = told(|facts| {
        facts.overlap_ends[1] = Some(before(1));
        facts.figures.as_mut().unwrap().connections_by_credential = vec![];
    });
    assert!(idle.contains("Safe to delete."));
    let unknown = told(|facts| {
        facts.overlap_ends[1] = Some(before(1));
        facts.figures = None;
    });
    assert!(unknown.contains("is not known."));
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
        Revealed::Nothing,
    );
    assert!(page.contains("<button class=\"primary\" disabled"));
    golden("nothing_known", &page);
}

#[test]
fn a_password_is_shown_once_and_alone() {
    let password = || Password::from_stored(PASSWORD.to_owned());
    let page = render(|_| (), None, Revealed::Password(name("91BC07"), password()));
    assert_eq!(page.matches(PASSWORD).count(), 1);
    let row = page.split("id=\"credential-91BC07\"").nth(1).unwrap();
    assert!(row.split("</tr>").next().unwrap().contains(PASSWORD));

    let of_another_cache = Revealed::Password(name("ABCDEF"), password());
    assert!(!render(|_| (), None, of_another_cache).contains(PASSWORD));
}

#[test]
fn the_long_lived_address_is_shown_only_when_asked_for() {
    let hash = "q8Yk3Zr0pX5t7vN1m2B4c6D8e0F2g4H6j8K0l2M4n6P";
    let shown = render(
        |_| (),
        None,
        Revealed::DashboardUrl(BearerSecret::presented(hash)),
    );
    let address = format!("https://cache.example.com/d/{hash}");
    assert_eq!(shown.matches(&address).count(), 1);
    assert!(!render(|_| (), None, Revealed::Nothing).contains("/d/"));
}

#[test]
fn the_hit_rate_never_claims_a_threshold_it_missed() {
    for (hits, misses, figure, tone) in [
        (0, 0, "Unavailable", "plain"),
        (80, 20, "80.0 %", "good"),
        (79_999, 20_001, "79.9 %", "fair"),
        (1, 1, "50.0 %", "fair"),
        (49_999, 50_001, "49.9 %", "bad"),
        (0, 9, "0.0 %", "bad"),
    ] {
        let page = render(
            |facts| {
                facts.figures = Some(Figures {
                    get_hits: hits,
                    get_misses: misses,
                    ..figures()
                });
            },
            None,
            Revealed::Nothing,
        );
        let expected = format!("<p class=\"big {tone}\">{figure}</p>");
        assert!(page.contains(&expected), "{hits}/{misses}: {expected}");
    }
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
        let resource = Resource {
            name: sly.to_owned(),
            region: sly.to_owned(),
            ..resource()
        };
        let session = Session {
            person: Some(sly.to_owned()),
            context_app: Some(sly.to_owned()),
            ..session()
        };
        let plan = plan();
        let mut facts = busy(&resource, &session, &plan);
        facts.servers = sly.to_owned();
        facts.config = ConfigState::Pending {
            since: NOW,
            last_error: Some(sly.to_owned()),
            next_attempt: NOW,
        };
        facts.history = vec![entry(1, sly, sly)];
        if let Some(used) = &mut facts.credentials[0].last_used {
            used.from = sly.to_owned();
        }
        let page = dashboard(&settings(), facts, None, Revealed::Nothing)
            .render()
            .unwrap();
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
    let page = render(|_| (), None, Revealed::Nothing);
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
    let page = render(|_| (), None, Revealed::Nothing);
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

#[test]
fn questions_before_what_cannot_be_undone() {
    let frame = || present::frame(&settings(), &resource(), &session());
    let flush = ConfirmFlush {
        frame: frame(),
        contents: Some("18,233 items (42.0 MiB)".to_owned()),
    };
    golden("confirm_flush", &flush.render().unwrap());
    let delete = |primary, connections| ConfirmDelete {
        frame: frame(),
        username: "91BC07".to_owned(),
        primary,
        connections,
        early: None,
    };
    golden("confirm_delete", &delete(false, Some(12)).render().unwrap());
    let text = |primary, connections| delete(primary, connections).render().unwrap();
    assert!(text(false, Some(1)).contains("1 live connection<"));
    assert!(text(false, None).contains("is not known"));
    assert!(!text(true, Some(1)).contains("name=\"confirmed\""));
}

fn certificates_page(issued: bool, change: impl FnOnce(&mut CertificateFacts<'_>)) -> String {
    let (resource, session) = (resource(), session());
    let good = certificate("91BC07", 7_000, 365 * 86_400);
    let mut facts = CertificateFacts {
        resource: &resource,
        session: &session,
        username: name("91BC07"),
        issued: issued.then(|| {
            let issued = IssuedCertificate {
                certificate: good.clone(),
                pem: "-----BEGIN CERTIFICATE-----\nAbc+/=\n".to_owned().into(),
            };
            (issued, Reach::Everywhere)
        }),
        certificates: vec![
            good,
            certificate("4F2A90", 7_100, 365 * 86_400),
            certificate("91BC07", 370 * 86_400, 365 * 86_400),
        ],
        tls_servers: vec!["p1.us-east.example.net:11219".to_owned()],
        figures: Some(figures()),
        now: NOW,
    };
    change(&mut facts);
    present::certificates_page(&settings(), facts)
        .render()
        .unwrap()
}

#[test]
fn certificates_of_one_credential() {
    golden("certificates", &certificates_page(true, |_| ()));
    let page = certificates_page(false, |_| ());
    assert!(!page.contains("BEGIN CERTIFICATE"));
    assert!(page.contains("1 of 5 in use."));
    let unknown = certificates_page(false, |facts| facts.figures = None);
    assert_eq!(unknown.matches(">unknown<").count(), 2);
    for form in page.split("<form ").skip(1) {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains("name=\"csrf\" value=\"csrf-of-this-session\""));
    }
    let full = certificates_page(false, |facts| {
        facts.certificates = (0..5).map(|at| certificate("91BC07", at, 9)).collect();
    });
    assert!(full.contains("Revoke one to issue another."));
    assert_eq!(full.matches(" disabled ").count(), 2, "both ways to issue");
    let without_tls = certificates_page(false, |facts| facts.tls_servers.clear());
    assert!(without_tls.contains("No TLS address"));
    assert!(!without_tls.contains("Issue certificate"));
    assert!(
        without_tls.contains("Revoke certificate"),
        "what is there can go"
    );
}

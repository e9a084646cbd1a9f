//! What a marketplace's calls may hold and must not reach: columns of ours, statements of a database, and any bytes.

use axum::Router;
use axum::http::Method;
use larder::domain::Resource;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::heroku_routes::{COLLECTION, app, ask, one, sample};
use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::{TestDb, on_each};

/// Generated calls for each kind of database.
const CASES: usize = 400;

fn uuid(number: usize) -> String {
    format!("01234567-89ab-cdef-0123-4567{number:08}")
}

async fn stored(control: &ControlPlane, uuid: &str) -> Resource {
    let id = uuid.parse().expect("an id");
    let stored = control.provisioning.find(HEROKU, &id).await;
    stored.expect("read").expect("a resource")
}

/// Members that are named as our columns are read by nobody (security.md PA-6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_member_sets_a_column_of_ours() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let columns = crate::store_tables::schema(db).await;
        let read = [
            "uuid",
            "plan",
            "region",
            "name",
            "heroku_id",
            "callback_url",
            "oauth_grant",
            "log_input_url",
        ];
        let columns = columns.into_values().flatten();
        let mut extra: Vec<String> = columns
            .filter(|name| !read.contains(&name.as_str()))
            .collect();
        extra.extend(["enabled", "is_admin", "memory_limit", "provider"].map(str::to_owned));
        let with = |body: Value, value: &Value| {
            let mut body = body;
            let members = body.as_object_mut().expect("an object");
            for name in &extra {
                members.insert(name.clone(), value.clone());
            }
            body.to_string()
        };
        let order = |uuid: &str| sample(&[("uuid", Some(json!(uuid)))]);
        let order = |uuid: &str| serde_json::from_str(&order(uuid)).expect("JSON");
        let plain: Value = order(&uuid(0));
        let made = ask(&app, Method::POST, COLLECTION, plain.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let usual = stored(&control, &uuid(0)).await;
        let values = [
            json!("EVILMARKER"),
            json!(987_654_321),
            json!(true),
            json!({"a": ["EVILMARKER"]}),
            Value::Null,
        ];
        for (number, value) in (1..).zip(&values) {
            let id = uuid(number);
            let made = ask(&app, Method::POST, COLLECTION, with(order(&id), value)).await;
            assert_eq!(made.status, 201, "{}", made.text());
            let put = with(json!({"plan": "100"}), value);
            assert_eq!(ask(&app, Method::PUT, &one(&id), put).await.status, 200);
            let put = with(json!({"plan": "dev"}), value);
            assert_eq!(ask(&app, Method::PUT, &one(&id), put).await.status, 200);
            let got = stored(&control, &id).await;
            let expected = Resource {
                id: got.id,
                cache: got.cache,
                external_id: id.parse().expect("an id"),
                label: got.label.clone(),
                created_at: got.created_at,
                ..usual.clone()
            };
            assert_eq!(got, expected, "{value}");
            assert_ne!(got.cache.0, 987_654_321);
            assert!(!got.label.contains("EVIL"));
        }
        control.store.close().await;
        let holds = |(place, bytes): (String, Vec<u8>)| {
            let found = bytes.windows(10).any(|part| part == b"EVILMARKER");
            found.then_some(place)
        };
        let found: Vec<String> = db.contents().await.into_iter().filter_map(holds).collect();
        assert_eq!(found, Vec::<String>::new(), "and it is kept nowhere");
    })
    .await;
}

/// Texts that would be a statement of their own if one were made of them (security.md ST-6).
const INJECTIONS: [&str; 6] = [
    "'; DROP TABLE resources; --",
    "x' OR '1'='1",
    "\"; DELETE FROM credentials; --",
    "$1); UPDATE resources SET plan = '100'; --",
    "\\'; SELECT pg_sleep(20); --",
    "?1%00'||(SELECT sso_digest FROM resources)||'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_in_a_member_is_a_text() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let mut number = 0;
        for text in INJECTIONS {
            for member in [
                "name",
                "callback_url",
                "uuid",
                "region",
                "plan",
                "heroku_id",
                "log_input_url",
                "oauth_grant",
            ] {
                number += 1;
                let id = uuid(number);
                let value = match member {
                    "oauth_grant" => json!({"code": text, "expires_at": text}),
                    _ => json!(text),
                };
                let mut changes = vec![("uuid", Some(json!(id)))];
                changes.push((member, Some(value)));
                let made = ask(&app, Method::POST, COLLECTION, sample(&changes)).await;
                let taken = !["uuid", "region", "plan"].contains(&member);
                assert_eq!(
                    made.status,
                    if taken { 201 } else { 422 },
                    "{member}: {}",
                    made.text()
                );
                if !taken {
                    continue;
                }
                let resource = stored(&control, &id).await;
                assert_eq!(resource.plan.as_str(), "dev");
                if member == "name" {
                    assert_eq!(resource.name, text);
                }
                ask(
                    &app,
                    Method::PUT,
                    &one(&id),
                    json!({"plan": text}).to_string(),
                )
                .await
                .refused(422);
                let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let path = one(&encoded);
                ask(&app, Method::DELETE, &path, "").await.refused(404);
                let credentials = control.store.credentials(resource.cache).await;
                assert_eq!(credentials.expect("read").len(), 1);
                assert_eq!(ask(&app, Method::DELETE, &one(&id), "").await.status, 204);
            }
        }
    })
    .await;
}

/// Values of a member as they stand in a body: of every type, too large, too deep, broken.
fn raw_value() -> impl Strategy<Value = Vec<u8>> {
    let fixed: Vec<Vec<u8>> = [
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "-1e-400",
        "18446744073709551616",
        "1.5",
        "\"\"",
        "\"dev\"",
        "\"100\"",
        "[]",
        "{}",
        "{\"code\":7}",
        "{\"code\":\"c\",\"code\":\"d\"}",
        "{\"code\":\"c\",\"expires_at\":{}}",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\uFEFF\\u202e\"",
        "\"us\"",
        "\"tokyo\"",
        "\"EU\"",
        "nul",
        "\"",
        "[[",
        "{\"a\"",
        "01",
        "+1",
        "NaN",
        "\"\\x\"",
        "'dev'",
        "/* */ 1",
        "\"01234567-89AB-CDEF-0123-456789ABCDEF\"",
        "\"9999-12-31T23:59:60Z\"",
        "\"https://[::1]:0/\"",
        "\"http://\\u0000\"",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    let bytes = |length| {
        vec(any::<u8>(), 0..length).prop_map(|bytes| [b"\"".as_slice(), &bytes, b"\""].concat())
    };
    let deep = (1..200_usize, any::<bool>()).prop_map(|(depth, list)| {
        let (open, close) = if list { ("[", "]") } else { ("{\"a\":", "}") };
        let middle = if list { "" } else { "1" };
        [open.repeat(depth), middle.to_owned(), close.repeat(depth)]
            .concat()
            .into_bytes()
    });
    let long =
        (1..70_000_usize).prop_map(|length| format!("\"{}\"", "é".repeat(length)).into_bytes());
    let odd = vec(
        select(vec![
            "\\u0000", "\\u0001", "\\n", "a", "\\u200b", "\\u{7f}", "-", "/",
        ]),
        0..6,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()).into_bytes());
    prop_oneof![6 => select(fixed), 6 => odd, 2 => bytes(40), 2 => deep, 1 => long]
}

/// A call's body: members of an order, some of them again, with values of their own or odd ones.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let names = select(vec![
        "uuid",
        "plan",
        "region",
        "name",
        "heroku_id",
        "callback_url",
        "oauth_grant",
        "log_input_url",
        "options",
        "id",
        "\\u0000",
        "",
    ]);
    let changes = vec((names, raw_value()), 0..4);
    (changes, 0..20_u8, any::<prop::sample::Index>()).prop_map(|(changes, cut, at)| {
        let usual: Value = serde_json::from_str(&sample(&[("uuid", None)])).expect("JSON");
        let members = usual.as_object().expect("an object").iter();
        let kept = members.filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let mut parts: Vec<Vec<u8>> = kept
            .map(|(name, value)| format!("\"{name}\":{value}").into_bytes())
            .collect();
        parts.extend(
            changes
                .iter()
                .map(|(name, value)| [format!("\"{name}\":").as_bytes(), value].concat()),
        );
        parts.push(b"\"uuid\":\"UUID\"".to_vec());
        if changes.iter().any(|(name, _)| *name == "uuid") {
            parts.pop();
        }
        let mut body = [b"{".as_slice(), &parts.join(&b','), b"}"].concat();
        match cut {
            0 => body.truncate(at.index(body.len())),
            1 => {
                let at = at.index(body.len());
                body[at] ^= 0xff;
            }
            2 => body = [body.clone(), body].concat(),
            _ => {}
        }
        body
    })
}

/// How many bodies are drawn: `LARDER_TEST_BODIES` says more, for a run by hand.
fn bodies_drawn() -> usize {
    let more = std::env::var("LARDER_TEST_BODIES").ok();
    more.map_or(CASES, |text| text.parse().expect("a number"))
}

/// Whatever is sent, nothing of it is a fault of ours (security.md PA-7).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_a_fault_of_ours() {
    on_each(async |db: &TestDb| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let (mut runner, bodies) = (TestRunner::default(), body());
        let (mut taken, mut refused, cases) = (0, 0, bodies_drawn());
        for number in 0..cases {
            let drawn = bodies.new_tree(&mut runner).expect("a body").current();
            let id = uuid(number);
            let drawn = with_uuid(&drawn, &id);
            let shown = drawn.escape_ascii().to_string();
            let posted = ask(&app, Method::POST, COLLECTION, drawn.clone()).await;
            assert!(posted.status.as_u16() < 500, "{} to {shown}", posted.status);
            if posted.status.is_success() {
                taken += 1;
                let id = posted.json()["id"].as_str().expect("an id").to_owned();
                let put = ask(&app, Method::PUT, &one(&id), drawn).await;
                assert!(put.status.as_u16() < 500, "{} to {shown}", put.status);
                // The node has room for a few only.
                assert_eq!(ask(&app, Method::DELETE, &one(&id), "").await.status, 204);
            } else {
                refused += 1;
                posted.refused(posted.status.as_u16());
            }
        }
        assert!(
            taken > cases / 20 && refused > cases / 20,
            "{taken} taken, {refused} refused"
        );
        usable(&app).await;
    })
    .await;
}

/// The sample's resource id in its place.
fn with_uuid(body: &[u8], uuid: &str) -> Vec<u8> {
    let place = b"\"UUID\"";
    match body.windows(place.len()).position(|part| part == place) {
        None => body.to_vec(),
        Some(at) => [
            &body[..at],
            format!("\"{uuid}\"").as_bytes(),
            &body[at + place.len()..],
        ]
        .concat(),
    }
}

/// An ordinary order is served as before.
async fn usable(app: &Router) {
    let made = ask(
        app,
        Method::POST,
        COLLECTION,
        sample(&[("uuid", Some(json!(uuid(99_999_999))))]),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.text());
}

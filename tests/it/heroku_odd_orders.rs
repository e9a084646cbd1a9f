//! Orders whose form is not as Heroku's: a list for an object, and names that are none.

use axum::http::{Method, StatusCode};
use larder::domain::Resource;
use serde_json::{Value, json};

use crate::heroku_routes::{COLLECTION, UUID, app, ask, one, sample};
use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// A resource's id other than the sample's.
fn uuid(number: usize) -> String {
    format!("01234567-89ab-cdef-0123-456789abcd{number:02}")
}

async fn stored(control: &ControlPlane, uuid: &str) -> Option<Resource> {
    let id = uuid.parse().expect("an id");
    let stored = control.provisioning.find(HEROKU, &id).await;
    stored.expect("read")
}

/// The members of a call in a list, in the order in which they are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_no_object() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let order = json!([UUID, null, "dev", "us", "acme", null, null, null]);
        let refused = ask(&app, Method::POST, COLLECTION, order.to_string()).await;
        refused.refused(400);
        assert!(stored(&control, UUID).await.is_none());
        let made = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let refused = ask(&app, Method::PUT, &one(UUID), "[\"100\"]").await;
        refused.refused(400);
        let resource = stored(&control, UUID).await.expect("a resource");
        assert_eq!(resource.plan.as_str(), "dev");
    })
    .await;
}

/// The name stands in the head of the dashboard and in the operator's lists, where an empty one is a hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_name_counts_as_none() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let names = [
            None,
            Some(Value::Null),
            Some(json!("")),
            Some(json!(" \t")),
            Some(json!("\0")),
            Some(json!("\u{3000}")),
        ];
        for (number, name) in names.into_iter().enumerate() {
            let id = uuid(number);
            let order = sample(&[("uuid", Some(json!(id))), ("name", name)]);
            let made = ask(&app, Method::POST, COLLECTION, order).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
            let resource = stored(&control, &id).await.expect("a resource");
            assert_eq!(resource.name, id, "{number}");
        }
    })
    .await;
}

//! Calls to the provider: provision, plan change, removal, sign-on.

use axum::http::Method;
use serde_json::{Value, json};

use super::support::*;
use crate::sandbox::*;

#[tokio::test]
async fn a_provisioned_addon_reaches_its_app_in_one_release() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;

    let [call] = fixture.provider.seen().try_into().unwrap();
    assert_eq!(
        (call.method, call.path.as_str()),
        (Method::POST, "/heroku/resources")
    );
    let accept = call.headers["accept"].to_str().unwrap();
    assert_eq!(accept, "application/vnd.heroku-addons+json; version=3");
    let authorization = call.headers["authorization"].to_str().unwrap();
    assert!(
        authorization.starts_with("Basic bGFyZGVyOl"),
        "{authorization}"
    );
    let callback = format!("{}/addons/{}", fixture.sandbox.url(), addon.id);
    assert_eq!(call.body["callback_url"], json!(callback));
    assert_eq!(call.body["plan"], "dev");
    assert_eq!(call.body["region"], "amazon-web-services::us-east-1");
    assert_eq!(call.body["oauth_grant"]["type"], "authorization_code");

    assert_eq!(addon.state, AddonState::Provisioned);
    assert_eq!(addon.message.as_deref(), Some("Your cache is ready."));
    let vars = fixture.sandbox.config_vars(app);
    assert_eq!(vars["MEMCACHIER_PASSWORD"], "first");
    let releases = fixture.sandbox.releases(app);
    assert_eq!(releases.len(), 1);
    assert_eq!(releases[0].changed.len(), 3);
}

#[tokio::test]
async fn a_refusal_reaches_the_customer_and_leaves_nothing() {
    let fixture = SandboxFixture::new().await;
    fixture
        .provider
        .answers(422, json!({ "message": "There is no such plan." }));
    let app = fixture.sandbox.create_app("shop").unwrap();
    let refused = fixture
        .sandbox
        .provision(app, "huge", Default::default())
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(422));
    assert!(refused.body().contains("There is no such plan."));
    assert!(fixture.sandbox.addons().is_empty());
    assert!(fixture.sandbox.releases(app).is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_refused() {
    let fixture = SandboxFixture::new().await;
    let app = fixture.sandbox.create_app("shop").unwrap();
    for body in [
        json!({ "id": "x", "config": { "OTHER_URL": "x" } }),
        json!([]),
        Value::Null,
    ] {
        fixture.provider.answers(201, body);
        let error = fixture
            .sandbox
            .provision(app, "dev", Default::default())
            .await
            .unwrap_err();
        assert!(
            matches!(error, ProviderError::BrokenContract { status: 201, .. }),
            "{error}"
        );
    }
    assert!(fixture.sandbox.addons().is_empty());
}

#[tokio::test]
async fn options_shape_the_call() {
    let fixture = SandboxFixture::new().await;
    let app = fixture.sandbox.create_app("shop").unwrap();
    let options = ProvisionOptions {
        region: Some("eu".to_owned()),
        name: Some("larder-own-1".to_owned()),
        attach_as: Some("PRIMARY".to_owned()),
        options: [("flag".to_owned(), "true".to_owned())].into(),
        without_grant: true,
        without_log_input: true,
    };
    fixture
        .sandbox
        .provision(app, "dev", options)
        .await
        .unwrap();
    let body = fixture.provider.seen().remove(0).body;
    assert_eq!(body["region"], "amazon-web-services::eu-west-1");
    assert_eq!(body["name"], "larder-own-1");
    assert_eq!(body["options"], json!({ "flag": "true" }));
    assert_eq!(body["oauth_grant"], Value::Null);
    assert_eq!(body.get("log_input_url"), None);
    assert!(
        fixture
            .sandbox
            .config_vars(app)
            .contains_key("PRIMARY_PASSWORD")
    );
}

#[tokio::test]
async fn one_order_sent_by_many_at_once_is_one_release() {
    let fixture = SandboxFixture::new().await;
    let app = fixture.sandbox.create_app("shop").unwrap();
    let options = ProvisionOptions::default();
    let id = fixture
        .sandbox
        .prepare_provision(app, "dev", options)
        .unwrap();
    let send = || fixture.sandbox.repeat_provision(id);
    let replies = tokio::join!(send(), send(), send());
    let replies = [replies.0, replies.1, replies.2].map(Result::unwrap);
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    let bodies: Vec<_> = fixture
        .provider
        .seen()
        .into_iter()
        .map(|seen| seen.body)
        .collect();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(fixture.sandbox.releases(app).len(), 1);

    fixture
        .provider
        .answers(503, json!({ "message": "Later." }));
    assert_eq!(send().await.unwrap().status, 503);
    assert_eq!(fixture.sandbox.addons().len(), 1);
}

#[tokio::test]
async fn a_plan_change_cuts_a_release_only_with_new_config() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let changed = fixture.sandbox.change_plan(addon.id, "100").await.unwrap();
    assert_eq!(changed.plan, "100");
    assert_eq!(changed.message.as_deref(), Some("Plan changed."));
    assert_eq!(fixture.sandbox.releases(app).len(), 1);
    let call = fixture.provider.seen().remove(1);
    assert_eq!(call.method, Method::PUT);
    assert_eq!(call.path, format!("/heroku/resources/{}", addon.id));
    assert_eq!(call.body, json!({ "plan": "100" }));

    fixture
        .provider
        .answers(200, json!({ "config": full_config("second") }));
    fixture.sandbox.change_plan(addon.id, "dev").await.unwrap();
    assert_eq!(fixture.sandbox.releases(app).len(), 2);

    fixture.provider.answers(422, json!({ "message": "No." }));
    let refused = fixture
        .sandbox
        .change_plan(addon.id, "huge")
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(422));
}

#[tokio::test]
async fn removal_takes_the_variables_away_and_can_be_repeated() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    fixture.provider.answers(500, json!({}));
    assert!(fixture.sandbox.deprovision(addon.id).await.is_err());
    assert_eq!(fixture.sandbox.addons().len(), 1);

    fixture.provider.answers(204, Value::Null);
    assert_eq!(
        fixture.sandbox.deprovision(addon.id).await.unwrap().status,
        204
    );
    assert!(fixture.sandbox.config_vars(app).is_empty());
    assert_eq!(fixture.sandbox.releases(app).len(), 2);

    fixture.provider.answers(410, json!({ "message": "Gone." }));
    assert_eq!(
        fixture.sandbox.deprovision(addon.id).await.unwrap().status,
        410
    );
    let late = fixture.sandbox.repeat_provision(addon.id).await.unwrap();
    assert_eq!(late.status, 410);
    let seen = fixture.provider.seen();
    assert_eq!(
        seen[0].body, seen[4].body,
        "a repeated call has the same body"
    );
    assert_eq!(fixture.sandbox.releases(app).len(), 2);
}

#[tokio::test]
async fn the_sign_on_form_names_resource_user_and_both_apps() {
    let fixture = SandboxFixture::new().await;
    let (_, addon) = fixture.ready_addon("shop").await;
    let jobs = fixture.sandbox.create_app("jobs").unwrap();
    fixture.sandbox.attach(addon.id, jobs).unwrap();
    let user = User::default();
    let (url, fields) = fixture
        .sandbox
        .sso_form_from(addon.id, &user, Some(jobs))
        .unwrap();
    assert!(url.ends_with("/heroku/sso"));
    let field = |name: &str| {
        fields
            .iter()
            .find(|field| field.0 == name)
            .unwrap()
            .1
            .as_str()
    };
    assert_eq!(field("resource_id"), addon.id.to_string());
    assert_eq!((field("app"), field("context_app")), ("shop", "jobs"));
    assert_eq!(field("email"), user.email);
    let unknown = fixture.sandbox.sso_form(AddonId::generate(), &user);
    assert_eq!(unknown.unwrap_err(), NotPossible::NoSuchAddon);
}

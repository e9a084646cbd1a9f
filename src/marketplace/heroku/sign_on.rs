//! Single sign-on: the routes by which Heroku sends its customers' browsers to us. Source: heroku.md §8.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Router};

use super::settings::{HerokuSettings, NAME};
use super::sso;
use crate::domain::Clock;
use crate::web::error::PageError;
use crate::web::{RefusedCall, SignOn, Visitor, Web};

/// The cookie in which marketplaces of the first generation look for their navigation data.
const NAV_DATA_COOKIE: &str = "heroku-nav-data";

#[derive(Clone)]
pub(super) struct SignOnRoutes {
    pub settings: Arc<HerokuSettings>,
    pub web: Web,
    pub clock: Arc<dyn Clock>,
}

/// `/heroku/sso`; with the v1 shapes also the address that Heroku's own calls use for one resource.
pub(super) fn router(routes: SignOnRoutes) -> Router {
    let router = Router::new().route(
        "/heroku/sso",
        post(by_form).fallback(async || PageError::MethodNotAllowed),
    );
    let router = match routes.settings.legacy {
        // A HEAD would use up the proof in the address and open a session.
        true => {
            let by_get = get(by_old_address).head(async || PageError::MethodNotAllowed);
            router.route("/heroku/resources/{id}", by_get)
        }
        false => router,
    };
    router.with_state(routes)
}

/// `POST /heroku/sso`: the signed form, brought by the customer's browser from another site.
async fn by_form(
    State(routes): State<SignOnRoutes>,
    visitor: Visitor,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response, PageError> {
    let remote = visitor.remote();
    let answer = match form {
        Ok(Form(fields)) => routes.sign_on(visitor, &fields).await,
        Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(PageError::TooLarge)
        }
        Err(_) => Err(PageError::SignOnRefused),
    };
    routes.noted(answer, remote)
}

/// `GET /heroku/resources/{id}`: the same in the shape of the first generation.
async fn by_old_address(
    State(routes): State<SignOnRoutes>,
    visitor: Visitor,
    id: Result<Path<String>, PathRejection>,
    fields: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, PageError> {
    let remote = visitor.remote();
    let answer = match (id, fields) {
        (Ok(Path(id)), Ok(Query(mut fields))) => {
            fields.push(("id".to_owned(), id));
            routes.sign_on(visitor, &fields).await
        }
        _ => Err(PageError::SignOnRefused),
    };
    routes.noted(answer, remote)
}

impl SignOnRoutes {
    /// The answer, after a refused proof was noted.
    fn noted(
        &self,
        answer: Result<Response, PageError>,
        remote: Option<IpAddr>,
    ) -> Result<Response, PageError> {
        if matches!(answer, Err(PageError::SignOnRefused)) {
            let refused = self.web.access.refused_calls();
            refused.note(RefusedCall::SignOn, Some(NAME), remote, self.clock.now());
        }
        answer
    }

    async fn sign_on(
        &self,
        visitor: Visitor,
        fields: &[(String, String)],
    ) -> Result<Response, PageError> {
        let now = self.clock.now();
        let proof =
            sso::verify(&self.settings.sso, fields, now).map_err(|_| PageError::SignOnRefused)?;
        let visitor = match proof.nav_data {
            Some(nav_data) => visitor.give_cookie(&self.web, NAV_DATA_COOKIE, nav_data),
            None => visitor,
        };
        let sign_on = SignOn {
            marketplace: NAME,
            external_id: proof.external_id,
            proof_digest: proof.digest,
            weaker_digest: proof.weaker_digest,
            person: proof.person.map(|person| person.email),
            context_app: proof.context_app,
        };
        self.web.enter(visitor, sign_on).await
    }
}

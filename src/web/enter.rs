//! How a marketplace's sign-on becomes a session on the dashboard.
//!
//! The marketplace's own routes prove that a visitor comes from it, in whatever way it signs people on. With that proof
//! they call [`Web::enter`]; the session, its cookie and the way to the page are the same for all.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::error::PageError;
use super::guard::Remote;
use super::{Web, cookies};
use crate::access::{NewSession, SsoVisit};
use crate::domain::{ExternalId, Marketplace};

/// The browser that asks: what it holds already, and where it is.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub(super) jar: CookieJar,
    pub(super) remote: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Visitor, Self::Rejection> {
        let Remote(remote) = Remote::from_request_parts(parts, state).await?;
        let jar = CookieJar::from_headers(&parts.headers);
        Ok(Visitor { jar, remote })
    }
}

impl Visitor {
    /// Where it is.
    pub fn remote(&self) -> Option<IpAddr> {
        self.remote
    }

    /// Gives the browser a cookie of the marketplace's, with the guards of our own and until the browser closes.
    pub fn give_cookie(self, web: &Web, name: &str, value: String) -> Visitor {
        let cookie = cookies::cookie(&web.settings, name.to_owned(), value);
        Visitor {
            jar: self.jar.add(cookie),
            ..self
        }
    }
}

/// A sign-on that a marketplace has proved.
#[derive(Clone, Debug)]
pub struct SignOn {
    pub marketplace: Marketplace,
    /// The marketplace's id of the resource.
    pub external_id: ExternalId,
    /// Names the proof, which is good for one login.
    pub proof_digest: String,
    /// Names a weaker proof that came with it and is used up as well.
    pub weaker_digest: Option<String>,
    /// Who it is, where the marketplace proves that too.
    pub person: Option<String>,
    /// The app from which the person came; shown, never trusted.
    pub context_app: Option<String>,
}

impl Web {
    /// Opens a session for the one resource of the sign-on and leads to its page. That a resource is gone is said only
    /// here, behind a valid proof (security.md SD-5).
    pub async fn enter(&self, visitor: Visitor, sign_on: SignOn) -> Result<Response, PageError> {
        let resource = self
            .provisioning
            .find(sign_on.marketplace, &sign_on.external_id)
            .await?
            .filter(|resource| resource.state.is_live())
            .ok_or(PageError::NotFound)?;
        let visit = SsoVisit {
            cache: resource.cache,
            proof_digest: sign_on.proof_digest,
            weaker_digest: sign_on.weaker_digest,
            person: sign_on.person,
            context_app: sign_on.context_app,
        };
        let opened = self.access.open_by_sso(visit, visitor.remote).await?;
        self.hand_over(visitor, &opened).await
    }

    /// Gives the browser the cookie of a new session and leads to the page. A session that it already had for the same
    /// cache ends: a new login never joins an older one.
    pub(super) async fn hand_over(
        &self,
        Visitor { jar, remote }: Visitor,
        opened: &NewSession,
    ) -> Result<Response, PageError> {
        if let Some(former) = cookies::session(&jar, &self.settings, opened.cache)
            && let Some(owner) = self.access.signed_in(&former, opened.cache, remote).await?
        {
            self.access.close_session(&owner).await?;
        }
        let jar = cookies::sign_in(jar, &self.settings, opened.cache, &opened.cookie);
        let page = format!("/caches/{}", opened.cache);
        Ok((jar, Redirect::to(&page)).into_response())
    }
}

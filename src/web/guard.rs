//! Who is there, and did they mean it: extractors that hand a handler its
//! [`Owner`](crate::access::Owner).

use std::net::{IpAddr, SocketAddr};

use axum::Form;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::Web;
use super::cookies;
use super::error::PageError;
use super::form::{Envelope, comes_from_us};
use crate::access::{RefusedCall, SignedIn};
use crate::domain::secret::{BearerSecret, same_secret};
use crate::domain::{CacheId, Username};

/// A browser that is signed in to the cache named by `{id}` in the path, by the session cookie of that cache.
///
/// Without a session the answer is the same for every id; with a session of another cache only, a cache that
/// exists looks like one that does not (security.md SD-12).
impl FromRequestParts<Web> for SignedIn {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<SignedIn, PageError> {
        let cache: CacheId = path_part(parts, web, "id")
            .await
            .and_then(|id| id.parse().ok())
            .ok_or(PageError::NotFound)?;
        let jar = CookieJar::from_headers(&parts.headers);
        let Some(cookie) = cookies::session(&jar, &web.settings, cache) else {
            if cookies::sessions(&jar, &web.settings).is_empty() {
                return Err(PageError::LoginNeeded);
            }
            note_refused(web, RefusedCall::Session, remote(parts));
            return Err(PageError::NotFound);
        };
        let owner = web.access.signed_in(&cookie, cache, remote(parts)).await?;
        // Of one that has our form nobody knows whether it was a session's: sessions that have ended are forgotten.
        if owner.is_none() && !cookie.has_issued_form() {
            note_refused(web, RefusedCall::Session, remote(parts));
        }
        owner.ok_or(PageError::LoginEnded)
    }
}

/// The credential named by `{username}` in the path.
pub struct Named(pub Username);

impl FromRequestParts<Web> for Named {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Named, PageError> {
        path_part(parts, web, "username")
            .await
            .and_then(|name| name.parse().ok())
            .map(Named)
            .ok_or(PageError::UnknownCredential)
    }
}

/// A form that the owner sent from one of our pages. Every handler that changes something takes one.
pub struct Signed<F> {
    pub owner: SignedIn,
    pub fields: F,
}

impl<F: DeserializeOwned> FromRequest<Web> for Signed<F> {
    type Rejection = PageError;

    async fn from_request(request: Request, web: &Web) -> Result<Signed<F>, PageError> {
        let (mut parts, body) = request.into_parts();
        let owner = SignedIn::from_request_parts(&mut parts, web).await?;
        let remote = remote(&parts);
        let form = match read_form(Request::from_parts(parts, body), web).await {
            Ok(form) if !is_token_of(&form.csrf, &owner.session().csrf) => Err(PageError::Forged),
            read => read,
        };
        if matches!(form, Err(PageError::Forged)) {
            note_refused(web, RefusedCall::Form, remote);
        }
        Ok(Signed {
            owner,
            fields: form?.fields,
        })
    }
}

pub fn note_refused(web: &Web, call: RefusedCall, remote: Option<IpAddr>) {
    let refused = web.access.refused_calls();
    refused.note(call, None, remote, web.clock.now());
}

/// The form of a request that comes from our own pages. Its token is still to be compared with a session's.
pub async fn read_form<F: DeserializeOwned>(
    request: Request,
    web: &Web,
) -> Result<Envelope<F>, PageError> {
    if !comes_from_us(request.headers(), &web.settings.public_url) {
        return Err(PageError::Forged);
    }
    match Form::<Envelope<F>>::from_request(request, web).await {
        Ok(Form(form)) => Ok(form),
        Err(refused) if refused.status() == PageError::TooLarge.status() => {
            Err(PageError::TooLarge)
        }
        Err(_) => Err(PageError::Forged),
    }
}

pub fn is_token_of(presented: &secrecy::SecretString, token: &BearerSecret) -> bool {
    same_secret(
        presented.expose_secret().as_bytes(),
        token.expose().as_bytes(),
    )
}

/// Where a request comes from: the peer of the connection, or whom a proxy of ours names in its place
/// ([`crate::http::forwarded`]). Nobody else's forwarding header is believed (security.md PA-14).
pub struct Remote(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Remote {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Remote, Self::Rejection> {
        Ok(Remote(remote(parts)))
    }
}

fn remote(parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

async fn path_part(parts: &mut Parts, web: &Web, name: &str) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, web).await.ok()?;
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

//! Who is there, and did they mean it: extractors that hand a handler its [`Owner`].

use std::net::{IpAddr, SocketAddr};

use axum::Form;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::Web;
use super::cookies;
use super::error::Fault;
use super::form::{Envelope, comes_from_us};
use crate::access::Owner;
use crate::domain::secret::{BearerSecret, same_secret};
use crate::domain::{CacheId, Username};

/// The owner of the cache named by `{id}` in the path, by the session cookie of that cache.
///
/// Without a session the answer is the same for every id; with a session of another cache only, a cache that
/// exists looks like one that does not (security.md SD-12).
impl FromRequestParts<Web> for Owner {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Owner, Fault> {
        let cache: CacheId = path_part(parts, web, "id")
            .await
            .and_then(|id| id.parse().ok())
            .ok_or(Fault::NotFound)?;
        let jar = CookieJar::from_headers(&parts.headers);
        let Some(cookie) = cookies::session(&jar, &web.settings, cache) else {
            return Err(if cookies::sessions(&jar, &web.settings).is_empty() {
                Fault::LoginNeeded
            } else {
                Fault::NotFound
            });
        };
        let owner = web.access.owner(&cookie, cache, remote(parts)).await?;
        owner.ok_or(Fault::LoginNeeded)
    }
}

/// The credential named by `{username}` in the path.
pub struct Named(pub Username);

impl FromRequestParts<Web> for Named {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Named, Fault> {
        path_part(parts, web, "username")
            .await
            .and_then(|name| name.parse().ok())
            .map(Named)
            .ok_or(Fault::UnknownCredential)
    }
}

/// A form that the owner sent from one of our pages. Every handler that changes something takes one.
pub struct Signed<F> {
    pub owner: Owner,
    pub fields: F,
}

impl<F: DeserializeOwned> FromRequest<Web> for Signed<F> {
    type Rejection = Fault;

    async fn from_request(request: Request, web: &Web) -> Result<Signed<F>, Fault> {
        let (mut parts, body) = request.into_parts();
        let owner = Owner::from_request_parts(&mut parts, web).await?;
        let form = read_form(Request::from_parts(parts, body), web).await?;
        if !is_token_of(&form.csrf, &owner.session().csrf) {
            return Err(Fault::Forged);
        }
        Ok(Signed {
            owner,
            fields: form.fields,
        })
    }
}

/// The form of a request that comes from our own pages. Its token is still to be compared with a session's.
pub async fn read_form<F: DeserializeOwned>(
    request: Request,
    web: &Web,
) -> Result<Envelope<F>, Fault> {
    if !comes_from_us(request.headers(), &web.settings.public_url) {
        return Err(Fault::Forged);
    }
    match Form::<Envelope<F>>::from_request(request, web).await {
        Ok(Form(form)) => Ok(form),
        Err(refused) if refused.status() == Fault::TooLarge.status() => Err(Fault::TooLarge),
        Err(_) => Err(Fault::Forged),
    }
}

pub fn is_token_of(presented: &secrecy::SecretString, token: &BearerSecret) -> bool {
    same_secret(
        presented.expose_secret().as_bytes(),
        token.expose().as_bytes(),
    )
}

/// Where a request comes from: the peer of the connection. No forwarding header is believed (security.md
/// PA-14).
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

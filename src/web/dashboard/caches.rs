//! `/caches/{id}`: the page.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;

use super::present::{Facts, dashboard};
use super::views::Revealed;
use crate::access::Owner;
use crate::web::Web;
use crate::web::cookies;
use crate::web::error::{Fault, html};
use crate::web::notice::Notice;

/// `GET /caches/{id}`
pub async fn show(State(web): State<Web>, owner: Owner, jar: CookieJar) -> Result<Response, Fault> {
    let (jar, notice) = cookies::take_notice(jar, &web.settings, owner.cache());
    let page = page(&web, &owner, notice, Revealed::Nothing).await?;
    Ok((jar, page).into_response())
}

/// The page, with at most one secret revealed in it.
pub async fn page(
    web: &Web,
    owner: &Owner,
    notice: Option<Notice>,
    revealed: Revealed,
) -> Result<Response, Fault> {
    let access = &web.access;
    let figures = async { Ok(access.figures(owner).await) };
    let (credentials, certificates, config, has_token, rotation, history, servers, figures) = tokio::try_join!(
        access.credentials(owner),
        access.certificates(owner),
        access.config_state(owner),
        access.has_token(owner),
        access.rotation(owner),
        access.history(owner, web.settings.history_rows_max),
        access.servers(owner),
        figures,
    )?;
    let overlap_ends = |credential| access.overlap_ends(credential);
    let facts = Facts {
        resource: owner.resource(),
        session: owner.session(),
        plan: web.plans.find_or_smallest(&owner.resource().plan),
        overlap: access.overlap(),
        overlap_ends: credentials.iter().map(overlap_ends).collect(),
        credentials,
        certificates,
        config,
        has_token,
        rotation,
        history,
        tls_servers: tls_servers(web, &servers),
        servers,
        figures,
        now: web.clock.now(),
    };
    Ok(html(&dashboard(&web.settings, facts, notice, revealed)))
}

/// Where the servers of a SERVERS value take TLS; empty when they do not.
pub fn tls_servers(web: &Web, servers: &str) -> Vec<String> {
    let Some(port) = web.settings.tls_port else {
        return Vec::new();
    };
    let host = |server: &str| Some(format!("{}:{port}", server.rsplit_once(':')?.0));
    servers.split(',').filter_map(host).collect()
}

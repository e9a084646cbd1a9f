//! Every route of this room, grouped by who uses it. Those of the dashboard stand in its panels.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use tower_http::compression::CompressionLayer;

use super::error::PageError;
use super::{Web, assets, dashboard, health, home, layers, signin};

/// Who may use a route, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Load balancers and browsers; nothing of a customer is shown.
    Anyone,
    /// Somebody who brings a proof and gets, or ends, a session.
    Visitor,
    /// The owner of the cache in the path, looking.
    OwnerLooks,
    /// The owner of the cache in the path, changing or revealing something: a signed form.
    OwnerActs,
}

/// One row of the table.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub who: Who,
    handler: MethodRouter<Web>,
}

/// All routes but the marketplaces' own, which [`app`] is given. Tests walk this table, so that a route added
/// here is held to the rules of its kind.
pub fn table() -> Vec<Route> {
    use Who::{Anyone, Visitor};
    let mut routes = vec![
        // Load balancers
        on_get(Anyone, "/healthz", health::alive),
        on_get(Anyone, "/readyz", health::ready),
        // Browsers
        on_get(Visitor, "/", home::show),
        asset("/assets/{file}"),
        // Ways in and out
        on_get(Visitor, "/d/{sso_hash}", signin::by_link),
        on_post(Visitor, "/logout", signin::leave),
    ];
    // Owners: each panel of the dashboard has its own
    routes.extend(dashboard::routes());
    routes
}

/// The program's HTTP face. `marketplaces` are the marketplaces' routes, with their state inside and without a fallback
/// of their own; they share the layers around everything.
pub fn app(web: Web, marketplaces: Router) -> Router {
    let routes = table()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .method_not_allowed_fallback(async || PageError::MethodNotAllowed)
        .with_state(web.clone())
        .merge(marketplaces)
        .fallback(async || PageError::NotFound);
    layers::around(routes, &web.settings)
}

pub(super) fn on_get<T: 'static>(
    who: Who,
    path: &'static str,
    handler: impl Handler<T, Web>,
) -> Route {
    Route {
        method: Method::GET,
        path,
        who,
        handler: get(handler),
    }
}

pub(super) fn on_post<T: 'static>(
    who: Who,
    path: &'static str,
    handler: impl Handler<T, Web>,
) -> Route {
    Route {
        method: Method::POST,
        path,
        who,
        handler: post(handler),
    }
}

/// Only files are compressed: a compressed page that holds a secret beside text of the caller's choosing would
/// tell about it by its length.
fn asset(path: &'static str) -> Route {
    Route {
        method: Method::GET,
        path,
        who: Who::Anyone,
        handler: get(assets::serve).layer(CompressionLayer::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_keeps_its_own_rules() {
        let mut seen = HashSet::new();
        for route in table() {
            let Route {
                method, path, who, ..
            } = &route;
            assert!(
                seen.insert((method.clone(), *path)),
                "{method} {path} twice"
            );
            let behind_login = path.starts_with("/caches/{id}");
            let expected = match (behind_login, method) {
                (true, &Method::GET) => vec![Who::OwnerLooks],
                (true, &Method::POST) => vec![Who::OwnerActs],
                _ => vec![Who::Anyone, Who::Visitor],
            };
            assert!(expected.contains(who), "{method} {path} is for {who:?}");
        }
    }
}

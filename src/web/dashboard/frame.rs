//! What surrounds every page of a dashboard.

use crate::access::{BrowserSession, SignedIn};
use crate::domain::Resource;
use crate::web::settings::WebSettings;

/// The bar at the top, and where forms go. No `Debug`: it holds a form token.
pub struct Frame {
    pub product: String,
    /// Who is signed in, where the marketplace proved it.
    pub person: Option<String>,
    pub cache_name: String,
    pub forms: Forms,
    /// HTML that the marketplace wants at the top.
    pub header: Option<&'static str>,
}

/// Where the forms of a page go, and the token of its session.
#[derive(Clone)]
pub struct Forms {
    pub cache: i64,
    pub csrf: String,
}

impl Frame {
    pub fn of(settings: &WebSettings, owner: &SignedIn) -> Frame {
        Frame::new(settings, owner.resource(), owner.session())
    }

    pub(super) fn new(
        settings: &WebSettings,
        resource: &Resource,
        session: &BrowserSession,
    ) -> Frame {
        Frame {
            product: settings.product_name.clone(),
            person: session.person.clone(),
            cache_name: resource.name.clone(),
            forms: Forms::new(resource, session),
            header: settings.header(resource.marketplace),
        }
    }
}

impl Forms {
    pub fn of(owner: &SignedIn) -> Forms {
        Forms::new(owner.resource(), owner.session())
    }

    pub(super) fn new(resource: &Resource, session: &BrowserSession) -> Forms {
        Forms {
            cache: resource.cache.0,
            csrf: session.csrf.expose().to_owned(),
        }
    }
}

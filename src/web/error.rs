//! The one place where errors of other rooms become answers for people.
//!
//! A [`PageError`] holds what the reader may know and no more. The cause goes to the log, here, where it is turned
//! into a fault; both carry the same request id. Providers get their errors in their own wire formats.

mod texts;

use std::error::Error;

use askama::Template;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::settings::{Console, WebSettings};
use crate::access::AccessError;
use crate::domain::{CacheId, Timestamp};
use crate::provisioning::ProvisioningError;
use crate::store::StoreError;

/// Why a page was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// No such page, or none that this reader may know of: the two look the same.
    NotFound,
    LoginNeeded,
    /// There was a sign-in to this cache, and it is over.
    LoginEnded,
    /// A sign-on whose proof does not hold, for whatever reason.
    SignOnRefused,
    /// A form that did not come from one of our pages, or from an older login.
    Forged,
    MethodNotAllowed,
    TooLarge,
    UnknownCredential,
    PrimaryStays,
    TooManyCredentials {
        max: u32,
    },
    /// As many were made within a day as may be.
    TooManyCredentialsToday {
        max: u32,
        again_at: Timestamp,
    },
    TooManyCertificates {
        max: u32,
    },
    /// There is no TLS listener, so a certificate would be of no use.
    NoTls,
    Unavailable,
    TooSlow,
    Internal,
}

impl PageError {
    pub const fn status(self) -> StatusCode {
        match self {
            PageError::NotFound | PageError::UnknownCredential => StatusCode::NOT_FOUND,
            PageError::LoginNeeded | PageError::LoginEnded => StatusCode::UNAUTHORIZED,
            PageError::SignOnRefused | PageError::Forged => StatusCode::FORBIDDEN,
            PageError::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            PageError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            PageError::PrimaryStays | PageError::TooManyCertificates { .. } | PageError::NoTls => {
                StatusCode::CONFLICT
            }
            // What partners of the marketplace use for an action over the plan (product reference, section 2).
            PageError::TooManyCredentials { .. } => StatusCode::PAYMENT_REQUIRED,
            PageError::TooManyCredentialsToday { .. } => StatusCode::TOO_MANY_REQUESTS,
            PageError::Unavailable | PageError::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
            PageError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether a way back to the dashboard helps: the reader was on it when this happened. To the others it is said
    /// where dashboards are opened.
    const fn leads_back(self) -> bool {
        !matches!(
            self,
            PageError::NotFound
                | PageError::LoginNeeded
                | PageError::LoginEnded
                | PageError::SignOnRefused
        )
    }

    /// The page. `dashboard` is the cache in whose dashboard it happened.
    pub fn page(self, settings: &WebSettings, dashboard: Option<CacheId>) -> Response {
        let page = MessagePage {
            product: &settings.product_name,
            status: self.status().as_u16(),
            title: self.title(),
            text: self.text(settings),
            links: match self.leads_back() {
                true => dashboard.map(Link::back_to).into_iter().collect(),
                false => settings.consoles.iter().map(Link::to_console).collect(),
            },
        };
        let mut response = (self.status(), html(&page)).into_response();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// Leaves the fault for [`layers`](super::layers), which knows the settings and makes the page.
impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for PageError {
    fn from(error: AccessError) -> PageError {
        match error {
            AccessError::UnknownCredential(_) => PageError::UnknownCredential,
            AccessError::PrimaryStays => PageError::PrimaryStays,
            AccessError::TooManyCredentials { max } => PageError::TooManyCredentials { max },
            AccessError::TooManyCredentialsToday { max, again_at } => {
                PageError::TooManyCredentialsToday { max, again_at }
            }
            AccessError::TooManyCertificates { max } => PageError::TooManyCertificates { max },
            AccessError::Signing(error) => internal(&error),
            AccessError::UsedProof => PageError::SignOnRefused,
            AccessError::Gone => PageError::NotFound,
            AccessError::Store(error) => PageError::from(error),
        }
    }
}

impl From<ProvisioningError> for PageError {
    fn from(error: ProvisioningError) -> PageError {
        match error {
            ProvisioningError::Store(error) => PageError::from(error),
            ProvisioningError::Unknown | ProvisioningError::Gone => PageError::NotFound,
            other => internal(&other),
        }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> PageError {
        match error {
            StoreError::Unavailable(_) => {
                tracing::error!(%error, "page not given");
                PageError::Unavailable
            }
            other => internal(&other),
        }
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> PageError {
        internal(&error)
    }
}

fn internal(error: &(dyn Error + 'static)) -> PageError {
    tracing::error!(error = %error, "page not given");
    PageError::Internal
}

/// A page with a title and a sentence or two.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    product: &'a str,
    status: u16,
    title: &'static str,
    text: String,
    /// Where to go on.
    links: Vec<Link>,
}

/// A button that leads on.
pub struct Link {
    pub href: String,
    pub text: String,
}

impl Link {
    fn back_to(cache: CacheId) -> Link {
        Link {
            href: format!("/caches/{cache}"),
            text: "Back to the dashboard".to_owned(),
        }
    }

    pub fn to_console(console: &Console) -> Link {
        Link {
            href: console.url.clone(),
            text: format!("Go to {}", console.name),
        }
    }
}

/// The page after signing out.
pub fn signed_out(settings: &WebSettings) -> Response {
    html(&MessagePage {
        product: &settings.product_name,
        status: 200,
        title: "You are signed out",
        text: "You signed out, and with that all dashboards that were open in this browser are closed. Open them \
               again from your provider's console, or with your cache's own dashboard address."
            .to_owned(),
        links: settings.consoles.iter().map(Link::to_console).collect(),
    })
}

/// A rendered template, or the fault that kept it from being one.
pub fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => axum::response::Html(text).into_response(),
        Err(error) => PageError::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::domain::ConfigVarNames;
    use crate::web::assets;

    const ALL: [PageError; 16] = [
        PageError::NotFound,
        PageError::LoginNeeded,
        PageError::LoginEnded,
        PageError::SignOnRefused,
        PageError::Forged,
        PageError::MethodNotAllowed,
        PageError::TooLarge,
        PageError::UnknownCredential,
        PageError::PrimaryStays,
        PageError::TooManyCredentials { max: 10 },
        PageError::TooManyCredentialsToday {
            max: 100,
            again_at: Timestamp::from_secs(1_795_372_200),
        },
        PageError::TooManyCertificates { max: 5 },
        PageError::NoTls,
        PageError::Unavailable,
        PageError::TooSlow,
        PageError::Internal,
    ];

    fn settings() -> WebSettings {
        WebSettings::new(
            "https://cache.example.com".parse().unwrap(),
            true,
            "Larder".to_owned(),
            ConfigVarNames::with_prefix("MEMCACHIER"),
        )
    }

    async fn page(fault: PageError, dashboard: Option<CacheId>) -> String {
        let response = fault.page(&settings(), dashboard);
        assert_eq!(response.status(), fault.status());
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// A rule that forbids is told as the rule, not as a fault of ours.
    #[test]
    fn refusals_of_access_keep_their_meaning() {
        let told = |error: AccessError| PageError::from(error).title();
        let (too_many, certificates) = (
            told(AccessError::TooManyCredentials { max: 3 }),
            told(AccessError::TooManyCertificates { max: 5 }),
        );
        assert_eq!(too_many, PageError::TooManyCredentials { max: 3 }.title());
        assert_eq!(
            certificates,
            PageError::TooManyCertificates { max: 5 }.title()
        );
        assert_eq!(
            told(AccessError::PrimaryStays),
            PageError::PrimaryStays.title()
        );
        assert_eq!(
            told(AccessError::UsedProof),
            PageError::SignOnRefused.title()
        );
        assert_eq!(told(AccessError::Gone), PageError::NotFound.title());
    }

    #[tokio::test]
    async fn what_people_read() {
        let mut texts = String::new();
        for fault in ALL {
            let (status, text) = (fault.status().as_u16(), fault.text(&settings()));
            texts += &format!("{status} {}\n    {text}\n", fault.title());
        }
        insta::assert_snapshot!("texts", texts);
        let not_found = page(PageError::NotFound, None)
            .await
            .replace(assets::style(), "/assets/larder.css")
            .replace(assets::script(), "/assets/larder.js")
            .replace(assets::icon(), "/assets/icon.svg");
        insta::assert_snapshot!("not_found", not_found);
    }

    #[test]
    fn the_end_of_a_sign_in_is_told_as_it_is_set() {
        let set = WebSettings {
            session_age: std::time::Duration::from_secs(3_600),
            session_idle: std::time::Duration::from_secs(300),
            ..settings()
        };
        let text = PageError::LoginEnded.text(&set);
        assert!(
            text.contains("lasts 1 hour at most and ends after 5 minutes without use"),
            "{text}"
        );
    }

    /// The page must not tell which address was asked for, or a cache that exists would differ from one that does
    /// not.
    #[tokio::test]
    async fn what_is_hidden_does_not_depend_on_the_address() {
        for fault in [
            PageError::NotFound,
            PageError::LoginNeeded,
            PageError::SignOnRefused,
        ] {
            assert_eq!(page(fault, None).await, page(fault, Some(CacheId(7))).await);
        }
        assert!(
            page(PageError::Forged, Some(CacheId(7)))
                .await
                .contains("/caches/7")
        );
    }

    #[tokio::test]
    async fn causes_stay_in_the_log() {
        let inner = std::io::Error::other("host=db.internal password=hunter2");
        for (error, fault) in [
            (
                StoreError::Unavailable(inner.into()),
                PageError::Unavailable,
            ),
            (
                StoreError::BadRow("hunter2".to_owned()),
                PageError::Internal,
            ),
            (StoreError::Taken("hunter2".to_owned()), PageError::Internal),
        ] {
            let made = PageError::from(AccessError::Store(error));
            assert_eq!(made, fault);
            assert!(!page(made, Some(CacheId(7))).await.contains("hunter2"));
        }
    }
}

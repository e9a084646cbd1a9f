//! The one place where errors of other rooms become answers for people.
//!
//! A [`Fault`] holds what the reader may know and no more. The cause goes to the log, here, where it is turned
//! into a fault; both carry the same request id. Providers get their errors in their own wire formats.

use std::error::Error;

use askama::Template;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::settings::WebSettings;
use crate::access::AccessError;
use crate::domain::CacheId;
use crate::provisioning::ProvisioningError;
use crate::store::StoreError;

/// Why a page was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No such page, or none that this reader may know of: the two look the same.
    NotFound,
    LoginNeeded,
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
    TooManyCertificates {
        max: u32,
    },
    /// There is no TLS listener, so a certificate would be of no use.
    NoTls,
    Unavailable,
    TooSlow,
    Internal,
}

impl Fault {
    pub const fn status(self) -> StatusCode {
        match self {
            Fault::NotFound | Fault::UnknownCredential => StatusCode::NOT_FOUND,
            Fault::LoginNeeded => StatusCode::UNAUTHORIZED,
            Fault::SignOnRefused | Fault::Forged => StatusCode::FORBIDDEN,
            Fault::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::PrimaryStays | Fault::TooManyCertificates { .. } | Fault::NoTls => {
                StatusCode::CONFLICT
            }
            // What partners of the marketplace use for an action over the plan (product reference, section 2).
            Fault::TooManyCredentials { .. } => StatusCode::PAYMENT_REQUIRED,
            Fault::Unavailable | Fault::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Fault::NotFound => "There is nothing here",
            Fault::LoginNeeded => "Please sign in",
            Fault::SignOnRefused => "This sign-on was not accepted",
            Fault::Forged => "This form has gone stale",
            Fault::MethodNotAllowed => "This address takes a form",
            Fault::TooLarge => "That was too much",
            Fault::UnknownCredential => "No such credential",
            Fault::PrimaryStays => "The primary credential stays",
            Fault::TooManyCredentials { .. } => "Your plan's credentials are all in use",
            Fault::TooManyCertificates { .. } => "This credential has all its certificates",
            Fault::NoTls => "There is no TLS address",
            Fault::Unavailable | Fault::TooSlow => "We cannot answer right now",
            Fault::Internal => "Something went wrong on our side",
        }
    }

    fn text(self) -> String {
        let text = match self {
            Fault::NotFound => {
                "The address may be mistyped or out of date. If you are looking for your cache, open its \
                 dashboard from your provider's console."
            }
            Fault::LoginNeeded => {
                "You are not signed in to this cache, or your sign-in has ended. Open the dashboard from your \
                 provider's console, or with your cache's own dashboard address."
            }
            Fault::SignOnRefused => {
                "A sign-on works once and only for a few minutes. Go back to your provider's console and open \
                 the dashboard again."
            }
            Fault::Forged => {
                "It belongs to an earlier sign-in or did not come from this site, so nothing was changed. \
                 Reload the dashboard and try again."
            }
            Fault::MethodNotAllowed => {
                "It cannot be opened like a page. Use the buttons on the dashboard instead."
            }
            Fault::TooLarge => "The request was larger than we accept. Nothing was changed.",
            Fault::UnknownCredential => {
                "This cache has no credential of that name; perhaps it was deleted a moment ago. Nothing was \
                 changed."
            }
            Fault::PrimaryStays => {
                "Your app is using it. Promote another credential first, then delete this one."
            }
            Fault::TooManyCredentials { max } => {
                return format!(
                    "It has room for {max}. Delete one that is no longer used, or move to a larger plan."
                );
            }
            Fault::TooManyCertificates { max } => {
                return format!(
                    "It may have {max}. Revoke one that is no longer used, then issue another."
                );
            }
            Fault::NoTls => {
                "A client certificate is of use only on a TLS address, which this service does not offer. Nothing \
                 was issued."
            }
            Fault::Unavailable | Fault::TooSlow => {
                "Your cache itself goes on working. Please try again in a few seconds."
            }
            Fault::Internal => {
                "It has been written down. Your cache itself goes on working. If it happens again, please tell \
                 us when it was."
            }
        };
        text.to_owned()
    }

    /// Whether a way back to the dashboard helps: the reader was on it when this happened.
    const fn leads_back(self) -> bool {
        !matches!(
            self,
            Fault::NotFound | Fault::LoginNeeded | Fault::SignOnRefused
        )
    }

    /// The page. `dashboard` is the cache in whose dashboard it happened.
    pub fn page(self, settings: &WebSettings, dashboard: Option<CacheId>) -> Response {
        let page = MessagePage {
            product: &settings.product_name,
            status: self.status().as_u16(),
            title: self.title(),
            text: self.text(),
            back: dashboard.filter(|_| self.leads_back()),
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
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Fault {
        match error {
            AccessError::UnknownCredential(_) => Fault::UnknownCredential,
            AccessError::PrimaryStays => Fault::PrimaryStays,
            AccessError::TooManyCredentials { max } => Fault::TooManyCredentials { max },
            AccessError::TooManyCertificates { max } => Fault::TooManyCertificates { max },
            AccessError::Signing(error) => internal(&error),
            AccessError::UsedProof => Fault::SignOnRefused,
            AccessError::Gone => Fault::NotFound,
            AccessError::Store(error) => Fault::from(error),
        }
    }
}

impl From<ProvisioningError> for Fault {
    fn from(error: ProvisioningError) -> Fault {
        match error {
            ProvisioningError::Store(error) => Fault::from(error),
            ProvisioningError::Unknown | ProvisioningError::Gone => Fault::NotFound,
            other => internal(&other),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        match error {
            StoreError::Unavailable(_) => {
                tracing::error!(%error, "page not given");
                Fault::Unavailable
            }
            other => internal(&other),
        }
    }
}

impl From<askama::Error> for Fault {
    fn from(error: askama::Error) -> Fault {
        internal(&error)
    }
}

fn internal(error: &(dyn Error + 'static)) -> Fault {
    tracing::error!(error = %error, "page not given");
    Fault::Internal
}

/// A page with a title and a sentence or two.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    product: &'a str,
    status: u16,
    title: &'static str,
    text: String,
    back: Option<CacheId>,
}

/// The page after signing out.
pub fn signed_out(settings: &WebSettings) -> Response {
    html(&MessagePage {
        product: &settings.product_name,
        status: 200,
        title: "You are signed out",
        text: "All dashboards that were open in this browser are closed. Open them again from your provider's \
               console."
            .to_owned(),
        back: None,
    })
}

/// A rendered template, or the fault that kept it from being one.
pub fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => axum::response::Html(text).into_response(),
        Err(error) => Fault::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::domain::ConfigVarNames;
    use crate::web::assets;

    const ALL: [Fault; 14] = [
        Fault::NotFound,
        Fault::LoginNeeded,
        Fault::SignOnRefused,
        Fault::Forged,
        Fault::MethodNotAllowed,
        Fault::TooLarge,
        Fault::UnknownCredential,
        Fault::PrimaryStays,
        Fault::TooManyCredentials { max: 10 },
        Fault::TooManyCertificates { max: 5 },
        Fault::NoTls,
        Fault::Unavailable,
        Fault::TooSlow,
        Fault::Internal,
    ];

    async fn page(fault: Fault, dashboard: Option<CacheId>) -> String {
        let settings = WebSettings::new(
            "https://cache.example.com".parse().unwrap(),
            true,
            "Larder".to_owned(),
            ConfigVarNames::with_prefix("MEMCACHIER"),
        );
        let response = fault.page(&settings, dashboard);
        assert_eq!(response.status(), fault.status());
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_people_read() {
        let mut texts = String::new();
        for fault in ALL {
            let status = fault.status().as_u16();
            texts += &format!("{status} {}\n    {}\n", fault.title(), fault.text());
        }
        insta::assert_snapshot!("texts", texts);
        let not_found = page(Fault::NotFound, None)
            .await
            .replace(assets::style(), "/assets/larder.css")
            .replace(assets::script(), "/assets/larder.js")
            .replace(assets::icon(), "/assets/icon.svg");
        insta::assert_snapshot!("not_found", not_found);
    }

    /// The page must not tell which address was asked for, or a cache that exists would differ from one that does
    /// not.
    #[tokio::test]
    async fn what_is_hidden_does_not_depend_on_the_address() {
        for fault in [Fault::NotFound, Fault::LoginNeeded, Fault::SignOnRefused] {
            assert_eq!(page(fault, None).await, page(fault, Some(CacheId(7))).await);
        }
        assert!(
            page(Fault::Forged, Some(CacheId(7)))
                .await
                .contains("/caches/7")
        );
    }

    #[tokio::test]
    async fn causes_stay_in_the_log() {
        let inner = std::io::Error::other("host=db.internal password=hunter2");
        for (error, fault) in [
            (StoreError::Unavailable(inner.into()), Fault::Unavailable),
            (StoreError::BadRow("hunter2".to_owned()), Fault::Internal),
            (StoreError::Taken("hunter2".to_owned()), Fault::Internal),
        ] {
            let made = Fault::from(AccessError::Store(error));
            assert_eq!(made, fault);
            assert!(!page(made, Some(CacheId(7))).await.contains("hunter2"));
        }
    }
}

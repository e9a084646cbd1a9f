//! What people read of each fault: a title and a sentence or two.

use super::PageError;
use crate::format;
use crate::web::settings::WebSettings;

impl PageError {
    pub(super) const fn title(self) -> &'static str {
        match self {
            PageError::NotFound => "There is nothing here",
            PageError::LoginNeeded => "Please sign in",
            PageError::LoginEnded => "Your sign-in has ended",
            PageError::SignOnRefused => "This sign-on was not accepted",
            PageError::Forged => "This form has gone stale",
            PageError::MethodNotAllowed => "This address takes a form",
            PageError::TooLarge => "That was too much",
            PageError::UnknownCredential => "No such credential",
            PageError::PrimaryStays => "The primary credential stays",
            PageError::TooManyCredentials { .. } => "Your plan's credentials are all in use",
            PageError::TooManyCredentialsToday { .. } => "No more new credentials today",
            PageError::TooManyCertificates { .. } => "This credential has all its certificates",
            PageError::NoTls => "There is no TLS address",
            PageError::Unavailable | PageError::TooSlow => "We cannot answer right now",
            PageError::Internal => "Something went wrong on our side",
        }
    }

    pub(super) fn text(self, settings: &WebSettings) -> String {
        let text = match self {
            PageError::NotFound => {
                "The address may be mistyped or out of date. If you are looking for your cache, open its \
                 dashboard from your provider's console."
            }
            PageError::LoginNeeded => {
                "This browser is not signed in to a cache here. Open the dashboard from your provider's console, or \
                 with your cache's own dashboard address."
            }
            PageError::LoginEnded => {
                let age = format::lasting(settings.session_age);
                let idle = format::lasting(settings.session_idle);
                return format!(
                    "A sign-in lasts {age} at most and ends after {idle} without use, when you sign out, and for \
                     everybody else when somebody rotates the cache's SSO secret. Open the dashboard again from your \
                     provider's console, or with your cache's own dashboard address."
                );
            }
            PageError::SignOnRefused => {
                "A sign-on works once and only for a few minutes. Go back to your provider's console and open \
                 the dashboard again."
            }
            PageError::Forged => {
                "It belongs to an earlier sign-in or did not come from this site, so nothing was changed. \
                 Reload the dashboard and try again."
            }
            PageError::MethodNotAllowed => {
                "It cannot be opened like a page. Use the buttons on the dashboard instead."
            }
            PageError::TooLarge => "The request was larger than we accept. Nothing was changed.",
            PageError::UnknownCredential => {
                "This cache has no credential of that name; perhaps it was deleted a moment ago. Nothing was \
                 changed."
            }
            PageError::PrimaryStays => {
                "Your app is using it. Promote another credential first, then delete this one."
            }
            PageError::TooManyCredentials { max } => {
                return format!(
                    "It has room for {max}. Delete one that is no longer used, or move to a larger plan."
                );
            }
            PageError::TooManyCredentialsToday { max, again_at } => {
                let again_at = format::instant(again_at);
                return format!(
                    "This cache got {max} within 24 hours, those that were deleted since included, and that is as many as \
                     we make: each takes a user name that is never given again. Nothing was changed. Try again at \
                     {again_at} or later."
                );
            }
            PageError::TooManyCertificates { max } => {
                return format!(
                    "It may have {max}. Revoke one that is no longer used, then issue another."
                );
            }
            PageError::NoTls => {
                "A client certificate is of use only on a TLS address, which this service does not offer. Nothing \
                 was issued."
            }
            PageError::Unavailable | PageError::TooSlow => {
                "Your cache itself goes on working. Please try again in a few seconds."
            }
            PageError::Internal => {
                "It has been written down. Your cache itself goes on working. If it happens again, please tell \
                 us when it was."
            }
        };
        text.to_owned()
    }
}

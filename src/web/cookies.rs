//! Cookies: one per signed-in cache, and one for the message after an action.
//!
//! A session is bound to one cache, and a person may well have two caches open side by side. So each cache has
//! a cookie of its own, named after it, and a page only ever looks at the cookie of the cache in its address:
//! opening a second dashboard neither ends nor widens the first.

use std::collections::BTreeMap;

use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};

use super::flash::Flash;
use super::settings::WebSettings;
use crate::domain::CacheId;
use crate::domain::secret::BearerSecret;

/// Session cookies that are looked up beyond those that a browser should have: two sign-ons at the same moment each keep the
/// cookies of before and add their own, so a browser may have a few more until it signs on again.
const SPARE: usize = 12;

/// The `__Host-` prefix makes the browser insist on Secure, this exact host and `Path=/`.
fn prefix(settings: &WebSettings) -> &'static str {
    if settings.secure_cookies {
        "__Host-larder-"
    } else {
        "larder-"
    }
}

/// A cookie with every guard, until the browser closes.
pub fn cookie(settings: &WebSettings, name: String, value: String) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(settings.secure_cookies)
        // Strict would drop the cookie on the redirect that follows the marketplace's cross-site post.
        .same_site(SameSite::Lax)
        .build()
}

fn session_name(settings: &WebSettings, cache: CacheId) -> String {
    format!("{}{cache}", prefix(settings))
}

/// The session cookie of this cache, if the browser sent one.
pub fn session(jar: &CookieJar, settings: &WebSettings, cache: CacheId) -> Option<BearerSecret> {
    let cookie = jar.get(&session_name(settings, cache))?;
    Some(BearerSecret::presented(cookie.value()))
}

/// Every session cookie the browser sent, by the cache's number.
pub fn sessions(jar: &CookieJar, settings: &WebSettings) -> BTreeMap<CacheId, BearerSecret> {
    jar.iter()
        .filter_map(|cookie| {
            let cache = cookie.name().strip_prefix(prefix(settings))?.parse().ok()?;
            Some((cache, BearerSecret::presented(cookie.value())))
        })
        .collect()
}

/// Those of them that may be looked up, which costs a read of the database each: the head of a request has room for hundreds,
/// and a browser has no more from us than it may be signed in to, and a few. The highest numbers, since a sign-in over the
/// limit takes the lowest away.
pub fn sessions_to_look_up(
    jar: &CookieJar,
    settings: &WebSettings,
) -> BTreeMap<CacheId, BearerSecret> {
    let most = settings.sessions_per_browser_max.saturating_add(SPARE);
    let newest = sessions(jar, settings).into_iter().rev();
    newest.take(most).collect()
}

/// Signs the browser in to one more cache, replacing whatever cookie it had for it. Over the limit, those of
/// the oldest caches give way, so that the request header stays small.
pub fn sign_in(
    jar: CookieJar,
    settings: &WebSettings,
    cache: CacheId,
    secret: &BearerSecret,
) -> CookieJar {
    let others: Vec<CacheId> = sessions(&jar, settings)
        .into_keys()
        .filter(|other| *other != cache)
        .collect();
    let keep = settings.sessions_per_browser_max.saturating_sub(1);
    let too_many = others.len().saturating_sub(keep);
    let jar = others
        .into_iter()
        .take(too_many)
        .fold(jar, |jar, other| sign_out(jar, settings, other));
    jar.add(cookie(
        settings,
        session_name(settings, cache),
        secret.expose().to_owned(),
    ))
}

pub fn sign_out(jar: CookieJar, settings: &WebSettings, cache: CacheId) -> CookieJar {
    jar.remove(cookie(
        settings,
        session_name(settings, cache),
        String::new(),
    ))
}

fn flash_name(settings: &WebSettings) -> String {
    format!("{}flash", prefix(settings))
}

/// Leaves a message for the page behind the redirect.
pub fn leave_flash(
    jar: CookieJar,
    settings: &WebSettings,
    cache: CacheId,
    flash: &Flash,
) -> CookieJar {
    let value = format!("{cache}:{flash}");
    jar.add(cookie(settings, flash_name(settings), value))
}

/// The message left for this cache's page, taken away with it.
pub fn take_flash(
    jar: CookieJar,
    settings: &WebSettings,
    cache: CacheId,
) -> (CookieJar, Option<Flash>) {
    let name = flash_name(settings);
    let Some(value) = jar.get(&name).map(|cookie| cookie.value().to_owned()) else {
        return (jar, None);
    };
    let flash = value
        .split_once(':')
        .filter(|(owner, _)| owner.parse() == Ok(cache))
        .map(|(_, text)| Flash::presented(text));
    (jar.remove(cookie(settings, name, String::new())), flash)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{COOKIE, SET_COOKIE};
    use axum::http::{HeaderMap, HeaderValue};
    use axum::response::IntoResponse;

    use super::*;
    use crate::domain::ConfigVarNames;

    fn settings(secure: bool) -> WebSettings {
        let url = "https://cache.example.com".parse().unwrap();
        let names = ConfigVarNames::with_prefix("MEMCACHIER");
        WebSettings::new(url, secure, "Larder".to_owned(), names)
    }

    fn browser(cookies: &str) -> CookieJar {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookies).unwrap());
        CookieJar::from_headers(&headers)
    }

    fn set_cookies(jar: CookieJar) -> Vec<String> {
        let response = jar.into_response();
        let all = response.headers().get_all(SET_COOKIE);
        all.iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_session_cookie_has_every_guard() {
        let secret = BearerSecret::generate();
        let jar = sign_in(CookieJar::new(), &settings(true), CacheId(7), &secret);
        let cookies = set_cookies(jar);
        assert_eq!(
            cookies,
            [format!(
                "__Host-larder-7={}; HttpOnly; SameSite=Lax; Secure; Path=/",
                secret.expose()
            )]
        );
    }

    #[test]
    fn plain_http_gets_a_cookie_that_comes_back() {
        let jar = sign_in(
            CookieJar::new(),
            &settings(false),
            CacheId(7),
            &BearerSecret::presented("x"),
        );
        assert_eq!(
            set_cookies(jar),
            ["larder-7=x; HttpOnly; SameSite=Lax; Path=/"]
        );
    }

    #[test]
    fn each_cache_has_its_own_and_sees_no_other() {
        let settings = settings(true);
        let jar = browser("__Host-larder-7=seven; __Host-larder-8=eight; larder-9=x");
        assert_eq!(
            session(&jar, &settings, CacheId(7)).unwrap().expose(),
            "seven"
        );
        assert!(session(&jar, &settings, CacheId(9)).is_none());
        let held: Vec<CacheId> = sessions(&jar, &settings).into_keys().collect();
        assert_eq!(held, [CacheId(7), CacheId(8)]);
    }

    #[test]
    fn the_oldest_cache_gives_way_when_there_are_too_many() {
        let settings = WebSettings {
            sessions_per_browser_max: 2,
            ..settings(true)
        };
        let jar = browser("__Host-larder-7=seven; __Host-larder-8=eight");
        let jar = sign_in(jar, &settings, CacheId(9), &BearerSecret::presented("nine"));
        let held: Vec<CacheId> = sessions(&jar, &settings).into_keys().collect();
        assert_eq!(held, [CacheId(8), CacheId(9)]);
        let removal = set_cookies(jar)
            .into_iter()
            .find(|cookie| cookie.starts_with("__Host-larder-7="))
            .unwrap();
        assert!(removal.contains("Max-Age=0") && removal.contains("Secure"));
    }

    #[test]
    fn of_hundreds_of_session_cookies_a_few_are_looked_up() {
        let settings = settings(true);
        let held = |count: usize| {
            let cookies: Vec<String> = (1..=count)
                .map(|number| format!("__Host-larder-{number}=x"))
                .collect();
            let jar = browser(&cookies.join("; "));
            let held = sessions_to_look_up(&jar, &settings);
            held.into_keys().map(|cache| cache.0).collect::<Vec<_>>()
        };
        assert_eq!(held(20), (1..=20).collect::<Vec<_>>());
        assert_eq!(held(32), (1..=32).collect::<Vec<_>>());
        assert_eq!(held(700), (669..=700).collect::<Vec<_>>());
    }

    #[test]
    fn a_notice_is_shown_once_and_only_by_its_cache() {
        let settings = settings(true);
        let flash = Flash::new("settings", &["sso-rotated"]);
        let left = leave_flash(browser("a=b"), &settings, CacheId(7), &flash);
        assert!(take_flash(left.clone(), &settings, CacheId(8)).1.is_none());
        let (jar, taken) = take_flash(left, &settings, CacheId(7));
        assert_eq!(taken, Some(flash));
        assert!(take_flash(jar, &settings, CacheId(7)).1.is_none());
    }
}

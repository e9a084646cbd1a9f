//! A browser without script.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use tower::ServiceExt;

use super::fixture::{self, WebFixture};
use crate::domain::{CacheId, Resource};

pub const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone)]
pub struct Browser {
    app: Router,
    pub cookies: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.headers[LOCATION].to_str().unwrap()
    }
}

impl Browser {
    pub fn new(app: &Router) -> Browser {
        Browser {
            app: app.clone(),
            cookies: BTreeMap::new(),
        }
    }

    /// A browser that came in by the marketplace's sign-on.
    pub async fn signed_in(fixture: &WebFixture, resource: &Resource) -> Browser {
        let mut browser = Browser::new(&fixture.app);
        browser.sign_in(fixture, resource).await;
        browser
    }

    pub async fn sign_in(&mut self, fixture: &WebFixture, resource: &Resource) {
        let form = fixture.sso_form(&resource.external_id);
        let answer = self.sign_on(&form).await;
        assert_eq!(answer.location(), format!("/caches/{}", resource.cache));
    }

    /// Brings a marketplace's form.
    pub async fn sign_on(&mut self, form: &str) -> Answer {
        let from = [
            ("origin", "https://market.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        self.post("/market/sso", form, &from).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, Body::empty(), &[]).await
    }

    /// Posts a form with these headers beside the usual ones.
    pub async fn post(&mut self, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let body = Body::from(form.to_owned());
        let mut all = vec![(CONTENT_TYPE.as_str(), FORM)];
        all.extend(headers);
        self.send(Method::POST, path, body, &all).await
    }

    /// Sends a form of the page it is on, as a browser would.
    pub async fn act(&mut self, cache: CacheId, action: &str, fields: &str) -> Answer {
        let form = format!("csrf={}&{fields}", self.token(cache).await);
        let headers = [
            (ORIGIN.as_str(), fixture::ORIGIN),
            ("sec-fetch-site", "same-origin"),
        ];
        let path = format!("/caches/{cache}/{action}");
        self.post(&path, &form, &headers).await
    }

    /// The token in the forms of this cache's dashboard.
    pub async fn token(&mut self, cache: CacheId) -> String {
        let page = self.page(cache).await;
        between(&page, "name=\"csrf\" value=\"", "\"").to_owned()
    }

    pub async fn page(&mut self, cache: CacheId) -> String {
        let answer = self.get(&format!("/caches/{cache}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// User names in the order of the table.
    pub async fn usernames(&mut self, cache: CacheId) -> Vec<String> {
        let page = self.page(cache).await;
        let rows = page.split("<tr id=\"credential-").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned())
            .collect()
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Body,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !self.cookies.is_empty() {
            let held = self.cookies.iter();
            let held: Vec<String> = held
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, held.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            self.keep(cookie.to_str().unwrap());
        }
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    fn keep(&mut self, cookie: &str) {
        let (name, rest) = cookie.split_once('=').unwrap();
        if rest.contains("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

pub fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split(start).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("{start} is not in {text}"));
    rest.split(end).next().unwrap()
}

//! A cache owner at the dashboard: a browser without script, that keeps cookies and sends the forms it was shown.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::sandbox::{AddonId, Sandbox, User};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

/// One browser window on one cache's dashboard. A clone is another window of the same browser.
#[derive(Clone)]
pub struct Dashboard {
    http: Client,
    base: String,
    cookies: BTreeMap<String, String>,
    /// `/caches/7`
    pub path: String,
}

/// What came back for a request.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: String,
}

impl Dashboard {
    /// Comes in by the marketplace's single sign-on.
    pub async fn open(sandbox: &Sandbox, addon: AddonId, base: &str) -> Dashboard {
        if let Ok(dashboard) = Dashboard::try_open(sandbox, addon, base).await {
            return dashboard;
        }
        // A proof names the cache and the second, and is good once: who comes in twice must wait for the next.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let opened = Dashboard::try_open(sandbox, addon, base).await;
        opened.unwrap_or_else(|page| panic!("the sign-on is refused: {}", page.body))
    }

    /// The same where a refusal may be in order: a sign-on is good once per cache and second.
    pub async fn try_open(
        sandbox: &Sandbox,
        addon: AddonId,
        base: &str,
    ) -> Result<Dashboard, Page> {
        let form = sandbox.sso_form(addon, &User::default());
        let (url, form) = form.expect("a form to post");
        Dashboard::enter(base, &url, &form).await
    }

    /// Comes in by the sign-on of any marketplace: posts its form.
    pub async fn enter(
        base: &str,
        url: &str,
        form: &[(String, String)],
    ) -> Result<Dashboard, Page> {
        let http = Client::builder().redirect(Policy::none()).no_proxy();
        Dashboard::enter_with(http.build().expect("a client"), base, url, form).await
    }

    /// The same with a client of one's own, which follows no redirects.
    pub async fn enter_with(
        http: Client,
        base: &str,
        url: &str,
        form: &[(String, String)],
    ) -> Result<Dashboard, Page> {
        let mut dashboard = Dashboard {
            http,
            base: base.to_owned(),
            cookies: BTreeMap::new(),
            path: String::new(),
        };
        let page = dashboard.send(dashboard.http.post(url).form(form)).await;
        if page.status != StatusCode::SEE_OTHER {
            return Err(page);
        }
        dashboard.path = page.location.expect("an address to go on to");
        Ok(dashboard)
    }

    /// The dashboard page itself.
    pub async fn page(&mut self) -> String {
        let path = self.path.clone();
        let page = self.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        page.body
    }

    pub async fn get(&mut self, path: &str) -> Page {
        self.send(self.http.get(format!("{}{path}", self.base)))
            .await
    }

    /// Sends a form of this dashboard: the session's token and the fields given.
    pub async fn act(&mut self, action: &str, fields: &[(&str, &str)]) -> Page {
        let token = csrf_token(&self.page().await);
        let mut form = vec![("csrf", token.as_str())];
        form.extend(fields);
        let url = format!("{}{}/{action}", self.base, self.path);
        self.send(self.http.post(url).form(&form)).await
    }

    /// What the browser holds for this site.
    pub fn cookies(&self) -> &BTreeMap<String, String> {
        &self.cookies
    }

    /// The token of this session's forms.
    pub async fn csrf_token(&mut self) -> String {
        csrf_token(&self.page().await)
    }

    /// User names in the order of the table, the primary first.
    pub async fn usernames(&mut self) -> Vec<String> {
        usernames(&self.page().await)
    }

    /// *Add new credentials*; answers the user name that was not there before.
    pub async fn add_credentials(&mut self) -> String {
        let before = self.usernames().await;
        let page = self.act("credentials", &[]).await;
        assert!(
            page.status.is_redirection() || page.status.is_success(),
            "{}",
            page.body
        );
        let after = self.usernames().await;
        after
            .into_iter()
            .find(|name| !before.contains(name))
            .expect("a new credential in the table")
    }

    /// The password of a credential, by the reveal button.
    pub async fn reveal(&mut self, username: &str) -> String {
        let page = self
            .act(&format!("credentials/{username}/reveal"), &[])
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let words = page.body.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .filter(|word| {
                word.len() == 32
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
            })
            .map(str::to_owned)
            .next()
            .expect("the password on the page")
    }

    pub async fn promote(&mut self, username: &str) -> Page {
        self.act(&format!("credentials/{username}/promote"), &[])
            .await
    }

    /// Deletes, and says yes when asked whether that is meant.
    pub async fn delete(&mut self, username: &str) -> Page {
        let action = format!("credentials/{username}/delete");
        let page = self.act(&action, &[]).await;
        match &page.location {
            Some(question) if question.ends_with("/delete") => {
                self.act(&action, &[("confirmed", "yes")]).await
            }
            _ => page,
        }
    }

    /// The page of a credential's certificates.
    pub async fn certificates_page(&mut self, username: &str) -> String {
        let path = format!("{}/credentials/{username}/certificates", self.path);
        let page = self.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        page.body
    }

    /// *Issue certificate*; answers certificate and key as the page shows them.
    pub async fn issue_certificate(&mut self, username: &str) -> String {
        let list = self.certificates_page(username).await;
        let after = value_of(&list, "after");
        let action = format!("credentials/{username}/certificates");
        let page = self.act(&action, &[("after", &after)]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let start = page.body.find("-----BEGIN CERTIFICATE").expect("PEM");
        let end = page.body.find("</code></pre>").expect("its end");
        page.body[start..end].to_owned()
    }

    pub async fn flush(&mut self) -> Page {
        self.act("flush", &[]).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let held: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = if held.is_empty() {
            request
        } else {
            request.header(COOKIE, held.join("; "))
        };
        let response = request.send().await.expect("an answer");
        for cookie in response.headers().get_all(SET_COOKIE) {
            let text = cookie.to_str().expect("ASCII");
            let (name, rest) = text.split_once('=').expect("name=value");
            let value = rest.split(';').next().unwrap_or_default();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            status: response.status(),
            location: response
                .headers()
                .get(LOCATION)
                .map(|at| at.to_str().expect("ASCII").to_owned()),
            body: response.text().await.expect("a body"),
        }
    }
}

fn csrf_token(page: &str) -> String {
    value_of(page, "csrf")
}

/// What the first hidden field of this name holds.
fn value_of(page: &str, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let start = page.find(&field).expect("a form with the field") + field.len();
    page[start..]
        .split('"')
        .next()
        .expect("a closing quote")
        .to_owned()
}

/// The rows of the credentials table carry their user name as an id.
fn usernames(page: &str) -> Vec<String> {
    const ROW: &str = "id=\"credential-";
    let name = |at: usize| {
        page[at + ROW.len()..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect()
    };
    page.match_indices(ROW).map(|(at, _)| name(at)).collect()
}

/// What a reader sees of a piece of HTML: its text, blanks joined.
pub fn visible_text(html: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if !in_tag => text.push(c),
            _ => {}
        }
    }
    let text = text.replace("&#39;", "'").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! A real Chromium, driven through a chromedriver of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities as _;
use thirtyfour::{By, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver, WebElement};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::control_plane::eventually;
use super::full_service::{PATIENCE, free_port};

/// One browser with an empty profile. [`stop`](Browser::stop) ends it.
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Child,
    server: String,
    http: reqwest::Client,
}

/// Where chromedriver is, as `scripts/test` found it.
pub fn chromedriver() -> Option<PathBuf> {
    std::env::var_os("LARDER_TEST_CHROMEDRIVER").map(PathBuf::from)
}

impl Browser {
    pub async fn start(chromedriver: PathBuf) -> Browser {
        let port = free_port();
        let server = format!("http://127.0.0.1:{port}");
        let child = Command::new(chromedriver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        let status = format!("{server}/status");
        eventually("chromedriver is ready", async || {
            let answer = http.get(&status).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;

        let mut wishes = DesiredCapabilities::chrome();
        for flag in [
            "--headless=new",
            "--no-sandbox", // the tests may run as root, in a container
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            "--window-size=1280,900",
        ] {
            wishes.add_arg(flag).expect("a flag");
        }
        wishes
            .set_browser_log_level(LoggingPrefsLogLevel::All)
            .expect("a log level");
        let driver = WebDriver::builder(&server, wishes)
            .client(http.clone())
            .await
            .expect("a browser");
        let browser = Browser {
            driver,
            chromedriver: child,
            server,
            http,
        };
        // what a page gives to be kept is asked for and thrown away
        let deny = json!({"behavior": "deny"});
        browser.devtools("Browser.setDownloadBehavior", deny).await;
        browser
    }

    pub async fn stop(mut self) {
        self.driver.quit().await.expect("the browser ends");
        self.chromedriver.kill().await.expect("chromedriver ends");
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("the page loads");
    }

    /// The text on the page, as a reader sees it.
    pub async fn text(&self) -> String {
        match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Waits until the page says so.
    pub async fn reads(&self, text: &str) {
        let what = format!("the page reads {text:?}");
        self.until(&what, async || self.text().await.contains(text))
            .await;
    }

    /// Waits for the first of these to be shown.
    pub async fn find(&self, xpath: &str) -> WebElement {
        let mut found = None;
        let what = format!("{xpath} is on the page");
        self.until(&what, async || {
            found = self.driver.find(By::XPath(xpath)).await.ok();
            match &found {
                Some(element) => element.is_displayed().await.unwrap_or(false),
                None => false,
            }
        })
        .await;
        found.expect("found")
    }

    /// Reconcile again until it is so; a failing test tells what the page showed instead.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so().await {
            if Instant::now() > deadline {
                let url = self.driver.current_url().await;
                panic!(
                    "never came true: {what}; {url:?} reads\n{}",
                    self.text().await
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks the first button or link of this name, as a screen reader would say it.
    pub async fn click(&self, name: &str) {
        let xpath = format!(
            "//*[self::button or self::a or self::summary][normalize-space()='{name}' or @aria-label='{name}']"
        );
        self.find(&xpath).await.click().await.expect("clicked");
    }

    /// Turns to the tab that was opened last.
    pub async fn newest_tab(&self) {
        let tabs = self.driver.windows().await.expect("tabs");
        let newest = tabs.last().expect("a tab").clone();
        self.driver
            .switch_to_window(newest)
            .await
            .expect("another tab");
    }

    /// A phone's width, or a desk's.
    pub async fn set_width(&self, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    pub async fn set_dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        // without motion, so that no picture shows something half way
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        let (server, session) = (&self.server, self.driver.session_id());
        let url = format!("{server}/session/{session}/goog/cdp/execute");
        let request = self
            .http
            .post(url)
            .json(&json!({"cmd": command, "params": params}));
        let answer = request.send().await.expect("chromedriver answers");
        assert!(answer.status().is_success(), "{command}");
        let mut body: Value = answer.json().await.expect("JSON");
        body["value"].take()
    }

    /// How many pixels wide the page is beyond the window: what a reader would have to scroll sideways for.
    pub async fn overflow(&self) -> i64 {
        let script =
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let answer = self.driver.execute(script, vec![]).await.expect("a script");
        answer.json().as_i64().expect("a number")
    }

    /// Tables and texts that are wider than the panel around them, though the page itself hides it.
    pub async fn bursts(&self) -> Vec<String> {
        let script = r#"return [...document.querySelectorAll("main section > *, main table, .panel p, .cards td, .cards th")]
            .filter((part) => part.checkVisibility() && getComputedStyle(part).overflowX === "visible")
            .filter((part) => {
                for (let around = part.parentElement; around !== document.body; around = around.parentElement) {
                    if (/auto|scroll|hidden/.test(getComputedStyle(around).overflowX)) return false;
                }
                return true;
            })
            .filter((part) => {
                const card = part.closest("section");
                if (!card) return false;
                return part.getBoundingClientRect().right > card.getBoundingClientRect().right + 0.5
                    || part.scrollWidth > part.clientWidth + 1 && part.localName === "table";
            })
            .map((part) => part.outerHTML.slice(0, 120));"#;
        let answer = self.driver.execute(script, vec![]).await.expect("a script");
        answer.convert().expect("texts")
    }

    /// What keeps somebody from the page who uses the keyboard, a screen reader or few colours: the three rules of axe
    /// that our pages once broke, `scrollable-region-focusable`, `landmark-unique` and `link-in-text-block`.
    pub async fn barriers(&self) -> Vec<String> {
        let script = include_str!("barriers.js");
        let answer = self.driver.execute(script, vec![]).await.expect("a script");
        answer.convert().expect("texts")
    }

    /// The elements that the keyboard reaches, in order, each by its text or name.
    pub async fn tab_stops(&self) -> Vec<String> {
        let script = r#"return [...document.querySelectorAll("a[href], button:enabled, input:enabled, select, summary, [tabindex='0']")]
            .filter((element) => element.tabIndex >= 0 && element.checkVisibility() && element.type !== "hidden")
            .map((element) => (element.ariaLabel || element.name || element.innerText || element.tagName).trim());"#;
        let answer = self.driver.execute(script, vec![]).await.expect("a script");
        answer.convert().expect("texts")
    }

    /// What the browser complained of since the last call: script errors, refused resources, policy violations.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.expect("the browser's log");
        log.into_iter().map(|entry| entry.message).collect()
    }

    /// A picture of the whole page, where `LARDER_TEST_SCREENSHOTS` names a folder for them.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("LARDER_TEST_SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        let whole = json!({"captureBeyondViewport": true});
        let picture = self.devtools("Page.captureScreenshot", whole).await;
        let data = picture["data"].as_str().expect("a picture");
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("written");
    }
}

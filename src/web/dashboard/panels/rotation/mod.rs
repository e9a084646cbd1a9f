//! *Scheduled rotation*: the schedule and its form.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::access::Rotation;
use crate::domain::{RotationPeriod, Timestamp};
use crate::format;
use crate::web::Web;
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::done;
use crate::web::dashboard::frame::Forms;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::{FlashBox, Moment};
use crate::web::error::PageError;
use crate::web::flash::Flash;
use crate::web::guard::Signed;
use crate::web::router::{Route, Who, on_post};

/// Periods offered, in days.
const OFFERED: [u16; 6] = [1, 7, 30, 60, 90, 365];

#[derive(Template)]
#[template(path = "dashboard/panels/rotation/panel.html")]
pub struct RotationPanel {
    forms: Forms,
    choices: Vec<PeriodChoice>,
    /// How long a former primary stays, as in `2 hours`.
    overlap: String,
    /// When it is on.
    next: Option<Moment>,
    put_off: Option<String>,
}

struct PeriodChoice {
    days: u16,
    text: String,
    chosen: bool,
}

impl Panel for RotationPanel {
    const ID: &'static str = "rotation";
    const TITLE: &'static str = "Scheduled rotation";

    async fn load(page: &PageContext) -> Result<RotationPanel, PageError> {
        let access = &page.web.access;
        let rotation = access.rotation(&page.owner).await?;
        let forms = Forms::of(&page.owner);
        Ok(RotationPanel::new(
            forms,
            rotation.as_ref(),
            access.overlap(),
            page.now,
        ))
    }

    fn routes() -> Vec<Route> {
        vec![on_post(Who::OwnerActs, "/caches/{id}/rotation", schedule)]
    }

    fn flash(parts: &[&str], _: &str) -> Option<FlashBox> {
        RotationSet::parse(parts).map(RotationSet::shown)
    }
}

impl RotationPanel {
    pub fn new(
        forms: Forms,
        rotation: Option<&Rotation>,
        overlap: Duration,
        now: Timestamp,
    ) -> RotationPanel {
        let held = rotation.map_or(0, |rotation| rotation.period.days());
        let mut days: Vec<u16> = OFFERED.into_iter().chain([held]).collect();
        days.retain(|days| *days > 0);
        days.sort_unstable();
        days.dedup();
        let choice = |days: u16| PeriodChoice {
            days,
            text: format::every(days),
            chosen: days == held,
        };
        RotationPanel {
            forms,
            choices: days.into_iter().map(choice).collect(),
            overlap: format::lasting(overlap),
            next: rotation.map(|rotation| Moment::end(rotation.next_at, now)),
            put_off: rotation.and_then(|rotation| rotation.last_error.clone()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Schedule {
    /// Days; 0 switches it off.
    every_days: String,
}

/// `POST …/rotation`
async fn schedule(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, fields }: Signed<Schedule>,
) -> Result<Response, PageError> {
    // Our own form sends nothing else.
    let days: u16 = fields.every_days.parse().map_err(|_| PageError::Forged)?;
    let period = match days {
        0 => None,
        days => Some(RotationPeriod::from_days(days).map_err(|_| PageError::Forged)?),
    };
    web.access.set_rotation(&owner, period).await?;
    let flash = RotationSet(period).flash();
    Ok(done(&web, jar, owner.cache(), &flash))
}

/// The schedule was switched on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RotationSet(Option<RotationPeriod>);

impl RotationSet {
    fn flash(self) -> Flash {
        let days = self.0.map_or(0, RotationPeriod::days);
        Flash::new(RotationPanel::ID, &[&days.to_string()])
    }

    fn parse(parts: &[&str]) -> Option<RotationSet> {
        match *parts {
            ["0"] => Some(RotationSet(None)),
            [days] => {
                let period = RotationPeriod::from_days(days.parse().ok()?).ok()?;
                Some(RotationSet(Some(period)))
            }
            _ => None,
        }
    }

    fn shown(self) -> FlashBox {
        match self.0 {
            None => FlashBox::good(
                "Scheduled rotation is off",
                "Credentials stay as they are until you change them.",
            ),
            Some(period) => FlashBox::good(
                "Scheduled rotation is on",
                format!("The primary is replaced {}.", format::every(period.days())),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_say_nothing() {
        for set in [None, RotationPeriod::from_days(30).ok()].map(RotationSet) {
            assert_eq!(RotationSet::parse(&set.flash().parts()), Some(set));
        }
        for parts in [&[][..], &["366"], &["-1"], &["30", "0"], &["<b>"]] {
            assert_eq!(RotationSet::parse(parts), None, "{parts:?}");
        }
    }
}

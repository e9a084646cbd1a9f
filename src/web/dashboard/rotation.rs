//! The schedule of rotations: its panel and its form.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::done;
use super::views::{PeriodChoice, RotationPanel};
use super::words;
use crate::access::Rotation;
use crate::domain::{RotationPeriod, Timestamp};
use crate::web::Web;
use crate::web::error::Fault;
use crate::web::guard::Signed;
use crate::web::notice::Notice;

/// Periods offered, in days.
const OFFERED: [u16; 6] = [1, 7, 30, 60, 90, 365];

#[derive(Debug, Deserialize)]
pub struct Schedule {
    /// Days; 0 switches it off.
    every_days: String,
}

/// `POST …/rotation`
pub async fn schedule(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, fields }: Signed<Schedule>,
) -> Result<Response, Fault> {
    // Our own form sends nothing else.
    let days: u16 = fields.every_days.parse().map_err(|_| Fault::Forged)?;
    let period = match days {
        0 => None,
        days => Some(RotationPeriod::from_days(days).map_err(|_| Fault::Forged)?),
    };
    web.access.set_rotation(&owner, period).await?;
    Ok(done(&web, jar, owner.cache(), &Notice::RotationSet(period)))
}

/// As the page shows it.
pub fn panel(rotation: Option<&Rotation>, overlap: Duration, now: Timestamp) -> RotationPanel {
    let held = rotation.map_or(0, |rotation| rotation.period.days());
    let mut days: Vec<u16> = OFFERED.into_iter().chain([held]).collect();
    days.retain(|days| *days > 0);
    days.sort_unstable();
    days.dedup();
    let choice = |days: u16| PeriodChoice {
        days,
        text: words::every(days),
        chosen: days == held,
    };
    RotationPanel {
        choices: days.into_iter().map(choice).collect(),
        overlap: words::lasting(overlap),
        next: rotation.map(|rotation| words::ahead(rotation.next_at, now)),
        put_off: rotation.and_then(|rotation| rotation.last_error.clone()),
    }
}

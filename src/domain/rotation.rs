//! Scheduled rotation: how often, and when what it replaced may go.

use std::time::Duration;

use super::credential::Credential;
use super::time::Timestamp;

const DAY: u64 = 86_400;

/// So many days between two rotations: 1 to 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RotationPeriod(u16);

/// Why a number of days is no period of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a period of rotation: 1 to 365 days are expected")]
pub struct BadPeriod;

impl RotationPeriod {
    pub fn from_days(days: u16) -> Result<RotationPeriod, BadPeriod> {
        match days {
            1..=365 => Ok(RotationPeriod(days)),
            _ => Err(BadPeriod),
        }
    }

    pub const fn days(self) -> u16 {
        self.0
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * DAY)
    }
}

/// Whether nobody seems to need a former primary any more: its successor's values have been with the provider for
/// the overlap, and nobody has logged in with it for as long. Open connections are for the caller to count.
pub fn is_out_of_use(credential: &Credential, overlap: Duration, now: Timestamp) -> bool {
    let since = |at| now.since(at) >= overlap;
    let retired = credential.retired_at.is_some_and(since);
    retired
        && credential
            .last_used
            .as_ref()
            .is_none_or(|used| since(used.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::LastUse;
    use crate::domain::{CacheId, Capabilities, CredentialId};

    const OVERLAP: Duration = Duration::from_secs(7_200);

    #[test]
    fn a_period_is_a_number_of_days_within_a_year() {
        for bad in [0, 366, u16::MAX] {
            assert_eq!(RotationPeriod::from_days(bad), Err(BadPeriod));
        }
        let month = RotationPeriod::from_days(30).unwrap();
        assert_eq!(month.duration().as_secs(), 30 * DAY);
    }

    #[test]
    fn it_stays_for_the_overlap_and_while_it_is_used() {
        let now = Timestamp::from_secs(100_000);
        let out = |retired: Option<i64>, used: Option<i64>| {
            let credential = Credential {
                id: CredentialId::generate(now),
                cache: CacheId(1),
                username: "4F2A90".parse().unwrap(),
                capabilities: Capabilities::ALL,
                primary: false,
                created_at: Timestamp::from_secs(0),
                last_used: used.map(|ago| LastUse {
                    at: Timestamp::from_secs(100_000 - ago),
                    from: "10.0.4.17".to_owned(),
                }),
                retired_at: retired.map(|ago| Timestamp::from_secs(100_000 - ago)),
            };
            is_out_of_use(&credential, OVERLAP, now)
        };
        assert!(!out(None, None), "never was the primary");
        assert!(!out(Some(7_199), None));
        assert!(out(Some(7_200), None));
        assert!(!out(Some(9_000), Some(7_199)), "somebody came back");
        assert!(out(Some(9_000), Some(7_200)));
        assert!(!out(Some(-60), None), "the clock was set back");
    }
}

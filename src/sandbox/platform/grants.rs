//! Grant codes, access tokens and refresh tokens: who may speak for which add-on, until when. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::secret::{hex_lower, random_bytes};
use crate::sandbox::platform::ids::AddonId;

/// Why a token request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    #[error("unknown grant code")]
    UnknownCode,
    #[error("grant code was used before")]
    UsedCode,
    #[error("grant code has expired")]
    ExpiredCode,
    #[error("unknown refresh token")]
    UnknownRefreshToken,
}

/// What the token endpoint hands out. No `Debug`: both members are secrets.
pub struct TokenPair {
    pub access: String,
    pub refresh: String,
}

/// Kept in the state file as they are; see [`SandboxSettings::state_file`](crate::sandbox::SandboxSettings).
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Grants {
    codes: BTreeMap<String, Code>,
    access: BTreeMap<String, Access>,
    refresh: BTreeMap<String, AddonId>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Code {
    addon: AddonId,
    expires_at: Timestamp,
    used: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Access {
    addon: AddonId,
    expires_at: Timestamp,
}

impl Grants {
    /// A fresh single-use code for `addon`.
    pub fn issue_code(&mut self, addon: AddonId, expires_at: Timestamp) -> String {
        let code = Uuid::new_v4().to_string();
        let entry = Code {
            addon,
            expires_at,
            used: false,
        };
        self.codes.insert(code.clone(), entry);
        code
    }

    /// Spends a code.
    pub fn redeem(&mut self, code: &str, now: Timestamp) -> Result<AddonId, GrantRefusal> {
        let code = self.codes.get_mut(code).ok_or(GrantRefusal::UnknownCode)?;
        if code.used {
            return Err(GrantRefusal::UsedCode);
        }
        if now > code.expires_at {
            return Err(GrantRefusal::ExpiredCode);
        }
        code.used = true;
        Ok(code.addon)
    }

    /// First tokens of an add-on, after [`redeem`](Grants::redeem).
    pub fn issue_tokens(
        &mut self,
        addon: AddonId,
        now: Timestamp,
        lifetime: Duration,
    ) -> TokenPair {
        let refresh = format!("HRKU-{}", Uuid::new_v4());
        self.refresh.insert(refresh.clone(), addon);
        let access = self.issue_access(addon, now, lifetime);
        TokenPair { access, refresh }
    }

    /// A new access token for a refresh token; with `rotate` the refresh token is replaced as well.
    pub fn refresh(
        &mut self,
        token: &str,
        now: Timestamp,
        lifetime: Duration,
        rotate: bool,
    ) -> Result<TokenPair, GrantRefusal> {
        let addon = *self
            .refresh
            .get(token)
            .ok_or(GrantRefusal::UnknownRefreshToken)?;
        if rotate {
            self.refresh.remove(token);
            return Ok(self.issue_tokens(addon, now, lifetime));
        }
        let access = self.issue_access(addon, now, lifetime);
        let refresh = token.to_owned();
        Ok(TokenPair { access, refresh })
    }

    fn issue_access(&mut self, addon: AddonId, now: Timestamp, lifetime: Duration) -> String {
        self.access.retain(|_, access| access.expires_at > now);
        let token = format!("HRKU-AA{}", hex_lower(&random_bytes::<32>()));
        let expires_at = now + lifetime;
        self.access
            .insert(token.clone(), Access { addon, expires_at });
        token
    }

    /// The add-on that a token authenticates, until the token expires.
    pub fn caller(&self, access_token: &str, now: Timestamp) -> Option<AddonId> {
        let access = self.access.get(access_token)?;
        (access.expires_at > now).then_some(access.addon)
    }

    /// Ends all access tokens; refresh tokens go on.
    pub fn expire_access(&mut self) {
        self.access.clear();
    }

    /// Ends everything that speaks for `addon`.
    pub fn forget(&mut self, addon: AddonId) {
        self.codes.retain(|_, code| code.addon != addon);
        self.access.retain(|_, access| access.addon != addon);
        self.refresh.retain(|_, owner| *owner != addon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    #[test]
    fn a_code_works_once_and_until_its_end() {
        let (mut grants, addon) = (Grants::default(), AddonId::generate());
        let code = grants.issue_code(addon, at(300));
        let late = grants.issue_code(addon, at(300));
        assert_eq!(grants.redeem(&code, at(300)), Ok(addon));
        assert_eq!(grants.redeem(&code, at(300)), Err(GrantRefusal::UsedCode));
        assert_eq!(
            grants.redeem(&late, at(301)),
            Err(GrantRefusal::ExpiredCode)
        );
        assert_eq!(grants.redeem("x", at(0)), Err(GrantRefusal::UnknownCode));
    }

    #[test]
    fn access_ends_and_refresh_brings_it_back() {
        let (mut grants, addon) = (Grants::default(), AddonId::generate());
        let first = grants.issue_tokens(addon, at(0), HOUR);
        assert_eq!(grants.caller(&first.access, at(3599)), Some(addon));
        assert_eq!(grants.caller(&first.access, at(3600)), None);
        let second = grants.refresh(&first.refresh, at(3600), HOUR, false);
        let second = second.unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(second.refresh, first.refresh);
        assert_eq!(grants.caller(&second.access, at(3601)), Some(addon));
        grants.expire_access();
        assert_eq!(grants.caller(&second.access, at(3601)), None);
    }

    #[test]
    fn rotated_refresh_tokens_end() {
        let (mut grants, addon) = (Grants::default(), AddonId::generate());
        let first = grants.issue_tokens(addon, at(0), HOUR);
        assert!(grants.refresh(&first.refresh, at(1), HOUR, true).is_ok());
        let again = grants.refresh(&first.refresh, at(1), HOUR, true).err();
        assert_eq!(again, Some(GrantRefusal::UnknownRefreshToken));
    }

    #[test]
    fn a_forgotten_addon_has_no_way_in() {
        let (mut grants, addon) = (Grants::default(), AddonId::generate());
        let code = grants.issue_code(addon, at(300));
        let pair = grants.issue_tokens(addon, at(0), HOUR);
        grants.forget(addon);
        assert!(grants.redeem(&code, at(1)).is_err());
        assert_eq!(grants.caller(&pair.access, at(1)), None);
        assert!(grants.refresh(&pair.refresh, at(1), HOUR, false).is_err());
    }
}

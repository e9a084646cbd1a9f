//! What the actions of this panel say on the page behind them.

use super::CredentialsPanel;
use crate::access::Reach;
use crate::domain::Username;
use crate::web::dashboard::panel::Panel as _;
use crate::web::dashboard::shown::{FlashBox, Offer};
use crate::web::flash::{Flash, parse_reach, reach_part};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialFlash {
    Created(Username, Reach),
    Promoted(Username),
    /// A new credential is the primary.
    Rotated(Username),
    Saved(Username, Reach),
    Removed(Username, Reach),
    /// One of its certificates was.
    Revoked(Username, Reach),
    /// The push of the config vars is tried now.
    PushAsked,
}

impl CredentialFlash {
    pub fn flash(&self) -> Flash {
        let (kind, name, reach) = match self {
            CredentialFlash::Created(name, reach) => ("created", Some(name), Some(reach)),
            CredentialFlash::Promoted(name) => ("promoted", Some(name), None),
            CredentialFlash::Rotated(name) => ("rotated", Some(name), None),
            CredentialFlash::Saved(name, reach) => ("saved", Some(name), Some(reach)),
            CredentialFlash::Removed(name, reach) => ("removed", Some(name), Some(reach)),
            CredentialFlash::Revoked(name, reach) => ("revoked", Some(name), Some(reach)),
            CredentialFlash::PushAsked => ("push-asked", None, None),
        };
        let reach = reach.map(|reach| reach_part(*reach));
        let rest = [name.map(Username::as_str), reach.as_deref()];
        let parts: Vec<&str> = std::iter::once(kind)
            .chain(rest.into_iter().flatten())
            .collect();
        Flash::new(CredentialsPanel::ID, &parts)
    }

    pub fn parse(parts: &[&str]) -> Option<CredentialFlash> {
        Some(match *parts {
            ["promoted", name] => CredentialFlash::Promoted(name.parse().ok()?),
            ["rotated", name] => CredentialFlash::Rotated(name.parse().ok()?),
            ["push-asked"] => CredentialFlash::PushAsked,
            [kind, name, reach] => {
                let (name, reach) = (name.parse().ok()?, parse_reach(reach)?);
                match kind {
                    "created" => CredentialFlash::Created(name, reach),
                    "saved" => CredentialFlash::Saved(name, reach),
                    "removed" => CredentialFlash::Removed(name, reach),
                    "revoked" => CredentialFlash::Revoked(name, reach),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    pub fn shown(self, provider: &str) -> FlashBox {
        match self {
            CredentialFlash::Created(name, reach) => FlashBox::reaching(
                format!("Credential {name} was added"),
                "It works now, and may write and flush.",
                reach,
            )
            .offering(password_of(&name)),
            CredentialFlash::Promoted(name) => FlashBox::good(
                format!("{name} is now the primary"),
                format!(
                    "{provider} is being given its values and restarts your app with them. The former primary goes on \
                     working."
                ),
            ),
            CredentialFlash::Rotated(name) => FlashBox::good(
                format!("{name} is the new primary"),
                format!(
                    "{provider} is being given its values and restarts your app with them. Keep the former primary \
                     until its row says that it is safe to delete."
                ),
            )
            .offering(password_of(&name)),
            CredentialFlash::Saved(name, reach) => FlashBox::reaching(
                format!("Capabilities of {name} were saved"),
                "They hold for open connections too.",
                reach,
            ),
            CredentialFlash::Removed(name, reach) => FlashBox::reaching(
                format!("Credential {name} was deleted"),
                "It is refused from now on.",
                reach,
            ),
            CredentialFlash::Revoked(name, reach) => FlashBox::reaching(
                format!("A certificate of {name} was revoked"),
                "It is refused from now on, and its connections are closed.",
                reach,
            ),
            CredentialFlash::PushAsked => FlashBox::good(
                "The config vars are being pushed",
                format!("{provider} is asked now, without waiting for the next attempt."),
            ),
        }
    }
}

fn password_of(name: &Username) -> Offer {
    Offer {
        action: format!("credentials/{name}/reveal#credential-{name}"),
        button: "Show its password",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let name: Username = "91BC07".parse().unwrap();
        let behind = Reach::Partial {
            applied: 1,
            nodes: 2,
        };
        for flash in [
            CredentialFlash::Created(name.clone(), Reach::Everywhere),
            CredentialFlash::Promoted(name.clone()),
            CredentialFlash::Rotated(name.clone()),
            CredentialFlash::Saved(name.clone(), behind),
            CredentialFlash::Removed(name.clone(), behind),
            CredentialFlash::Revoked(name, behind),
            CredentialFlash::PushAsked,
        ] {
            assert_eq!(
                CredentialFlash::parse(&flash.flash().parts()),
                Some(flash.clone())
            );
        }
    }

    #[test]
    fn other_texts_say_nothing() {
        for text in [
            "",
            "promoted",
            "promoted.<b>",
            "created.91BC07",
            "created.91BC07.x",
            "hello.91BC07.all",
            "hello.91BC07",
        ] {
            let parts: Vec<&str> = text.split('.').collect();
            assert_eq!(CredentialFlash::parse(&parts), None, "{text:?}");
        }
    }
}

//! How far the provider's config vars are.

use crate::access::ConfigState;
use crate::domain::Timestamp;
use crate::format;
use crate::web::dashboard::shown::Tone;

pub struct ConfigPush {
    pub tone: Tone,
    pub title: &'static str,
    pub text: String,
    /// Whether the next try may be had at once.
    pub can_hurry: bool,
}

impl ConfigPush {
    pub fn new(state: &ConfigState, provider: &str, now: Timestamp) -> ConfigPush {
        match state {
            ConfigState::Applied => ConfigPush {
                tone: Tone::Good,
                title: "Applied",
                text: format!("{provider} has the values of the primary credential."),
                can_hurry: false,
            },
            ConfigState::NotPushed => ConfigPush {
                tone: Tone::Plain,
                title: "Set by hand",
                text: format!(
                    "{provider} takes no new values from us. After you make another credential the primary one, put \
                     its user name and password into your app's config vars yourself."
                ),
                can_hurry: false,
            },
            ConfigState::Pending {
                since,
                last_error,
                next_attempt,
            } => {
                let due = format::ago(*since, now);
                let next = format::ahead(*next_attempt, now);
                let text = match last_error {
                    Some(error) => format!(
                        "{provider} has not taken the new values yet; they were due {due}. Reason: {error}. Next try \
                         {next}."
                    ),
                    None => format!("{provider} is being given the new values, due {due}."),
                };
                ConfigPush {
                    tone: Tone::Fair,
                    title: "Pending",
                    text,
                    can_hurry: last_error.is_some(),
                }
            }
            ConfigState::Refused { last_error, since } => ConfigPush {
                tone: Tone::Bad,
                title: "Refused",
                text: format!(
                    "{provider} refused the new values {}: {last_error}. Every credential below works all the \
                     same; please write to support.",
                    format::ago(*since, now)
                ),
                can_hurry: true,
            },
        }
    }

    /// While the marketplace waits for our completion call, pushes are not what the owner should look at.
    pub fn setting_up(provider: &str) -> ConfigPush {
        ConfigPush {
            tone: Tone::Fair,
            title: "Being set up",
            text: format!(
                "{provider} gives your app its config vars, in one release, when the cache is ready. There is nothing \
                 to do for you."
            ),
            can_hurry: false,
        }
    }
}

/// Said before a push is wanted: when one fails, it is late.
pub fn no_token(provider: &str) -> String {
    format!(
        "{provider} has given us no token for this cache. The cache works, but your app is not given the values of a \
         new primary, and apps that you attach get no log lines. Please write to support; where that does not help, \
         add a new cache and remove this one."
    )
}

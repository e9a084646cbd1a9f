//! Small things that several panels show.

use crate::access::Reach;
use crate::domain::Timestamp;
use crate::format;

/// Colour and icon of a statement. Its text is always there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Fair,
    Bad,
    Plain,
}

impl Tone {
    /// The class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Fair => "fair",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        }
    }
}

/// A point in time, for machines, for people, and as a distance.
pub struct Moment {
    pub machine: String,
    pub exact: String,
    pub distance: String,
}

impl Moment {
    /// One that has passed.
    pub fn past(at: Timestamp, now: Timestamp) -> Moment {
        Moment {
            machine: at.to_string(),
            exact: format::instant(at),
            distance: format::ago(at, now),
        }
    }

    /// `2026-11-22`
    pub fn day(&self) -> &str {
        self.exact.split(' ').next().unwrap_or_default()
    }

    /// One to come, as long as it has not passed.
    pub fn end(at: Timestamp, now: Timestamp) -> Moment {
        let past = Moment::past(at, now);
        if at <= now {
            return past;
        }
        Moment {
            distance: format::ahead(at, now),
            ..past
        }
    }
}

/// The message after an action.
pub struct FlashBox {
    pub tone: Tone,
    pub title: String,
    pub text: String,
    /// What may be wanted next.
    pub offer: Option<Offer>,
}

/// A form of one button.
pub struct Offer {
    /// Behind the address of the page.
    pub action: String,
    pub button: &'static str,
}

impl FlashBox {
    pub fn good(title: impl Into<String>, text: impl Into<String>) -> FlashBox {
        FlashBox {
            tone: Tone::Good,
            title: title.into(),
            text: text.into(),
            offer: None,
        }
    }

    /// Says of a change how far it has come.
    pub fn reaching(title: String, text: &str, reach: Reach) -> FlashBox {
        FlashBox {
            tone: tone_of(reach),
            ..FlashBox::good(title, format!("{text} {}", reached(reach)))
        }
    }

    #[must_use]
    pub fn offering(self, offer: Offer) -> FlashBox {
        FlashBox {
            offer: Some(offer),
            ..self
        }
    }
}

/// How sure a change is that has come so far.
pub fn tone_of(reach: Reach) -> Tone {
    match reach {
        Reach::Everywhere => Tone::Good,
        Reach::Partial { .. } => Tone::Fair,
    }
}

/// What is to be said of it; nothing where it is everywhere.
pub fn reached(reach: Reach) -> String {
    match reach {
        Reach::Everywhere => String::new(),
        Reach::Partial { applied, nodes } => {
            let nodes = format::counted(nodes as u64, "node", "nodes");
            format!("Applied on {applied} of {nodes} so far; the rest follow by themselves.")
        }
    }
}

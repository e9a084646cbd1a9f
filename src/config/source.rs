//! Where settings come from, and the list of everything that is wrong with them.
//!
//! Flags win over environment over file. Every text is read by its setting's parser as soon as the layers are
//! complete, so that one run reports all mistakes; afterwards code asks for values by the row of the table.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::runs::Runs;
use super::setting::{About, Fallback, Setting};
use super::settings;

/// The layer that a value was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
    /// What `larder dev` assumes.
    Dev,
    Default,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "file",
            Origin::Dev => "larder dev",
            Origin::Default => "default",
        })
    }
}

/// Settings by name, with where each was found.
#[derive(Debug, Default)]
pub struct Source {
    found: BTreeMap<String, Found>,
    mistakes: Vec<String>,
}

#[derive(Debug)]
struct Found {
    /// Without blanks and line ends around it: files of secrets end with one, and no setting means it.
    value: String,
    trimmed: bool,
    origin: Origin,
}

impl Source {
    /// Adds a layer that yields to the ones already there.
    pub(super) fn layer(
        &mut self,
        origin: Origin,
        values: impl IntoIterator<Item = (String, String)>,
    ) {
        for (name, value) in values {
            let text = value.trim();
            let found = Found {
                value: text.to_owned(),
                trimmed: text != value,
                origin,
            };
            self.found.entry(name).or_insert(found);
        }
    }

    /// Reads every text that was given and has a meaning here, and notes those that cannot be read.
    pub(super) fn check(&mut self, runs: Runs) {
        for setting in settings::all().filter(|setting| runs.reads(setting.about())) {
            let about = setting.about();
            let checked = self.given(about).map(|text| setting.check(text));
            if let Some(Err(why)) = checked {
                self.bad(about, &why);
            }
        }
    }

    /// The text somebody gave. An empty one counts as unset, as shells and unit files make it easy to write.
    fn given(&self, about: &About) -> Option<&str> {
        let found = self.found.get(about.name)?;
        Some(found.value.as_str()).filter(|value| !value.is_empty())
    }

    fn origin(&self, about: &About) -> Origin {
        let found = self.found.get(about.name);
        let found = found.filter(|found| !found.value.is_empty());
        found.map_or(Origin::Default, |found| found.origin)
    }

    /// The text in force and its layer; `None` when the setting is unset.
    pub(super) fn effective(&self, about: &About) -> Option<(String, Origin)> {
        let text = match (self.given(about), about.fallback) {
            (Some(given), _) => given.to_owned(),
            (None, Fallback::Unset(_)) => return None,
            (None, Fallback::Text(text)) => text.to_owned(),
            (None, Fallback::Computed(_, compute)) => compute(self),
        };
        Some((text, self.origin(about)))
    }

    /// The value in force. `None` when the setting is unset, or when its text is a mistake, which [`check`](Self::check)
    /// has noted: then there is no start.
    pub fn get<T>(&self, setting: &Setting<T>) -> Option<T> {
        let (text, _) = self.effective(&setting.about)?;
        (setting.parse)(&text).ok()
    }

    /// What was left out of the texts, for who wonders why a secret does not fit.
    pub(super) fn trimmed(&self) -> Vec<String> {
        let trimmed = self.found.iter().filter(|(_, found)| found.trimmed);
        let told = trimmed.map(|(name, found)| {
            let origin = found.origin;
            format!("{name} ({origin}) has a line end or blanks around it, which are left out")
        });
        told.collect()
    }

    /// The layer that a setting was given in, if it was.
    pub(super) fn given_in(&self, about: &About) -> Option<Origin> {
        self.given(about).map(|_| self.origin(about))
    }

    pub(super) fn is_given<T>(&self, setting: &Setting<T>) -> bool {
        self.given(&setting.about).is_some()
    }

    pub(super) fn mistake(&mut self, what: impl Into<String>) {
        self.mistakes.push(what.into());
    }

    /// Notes that a setting is wrong, and where it was set. The value is not repeated: it may be a secret.
    pub(super) fn bad(&mut self, about: &About, why: &dyn Display) {
        let origin = self.origin(about);
        self.mistakes
            .push(format!("{} ({origin}): {why}", about.name));
    }

    pub(super) fn into_mistakes(self) -> Vec<String> {
        self.mistakes
    }

    pub(super) fn is_sound(&self) -> bool {
        self.mistakes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_layers_win_and_all_mistakes_are_kept() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut source = Source::default();
        let environment = [pair("LARDER_REGION", "1"), pair("LARDER_HTTP_ADDR", "x")];
        source.layer(Origin::Environment, environment);
        let file = [
            pair("LARDER_REGION", "2"),
            pair("LARDER_ALLOW_HTTP", "maybe"),
        ];
        source.layer(Origin::File, file);
        source.check(Runs::All);
        assert_eq!(source.get(&settings::REGION).as_deref(), Some("1"));
        assert_eq!(source.get(&settings::HTTP_ADDR), None);
        let mistakes = source.into_mistakes();
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].starts_with("LARDER_HTTP_ADDR (environment): "));
        assert!(mistakes[1].starts_with("LARDER_ALLOW_HTTP (file): "));
    }
}

//! Where settings come from, and the list of everything that is wrong with them.
//!
//! Flags win over environment over file. A setting is asked for by its variable name, parsed where it is asked
//! for, and a mistake is noted and replaced by a harmless value, so that one run reports all of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// Settings by variable name, with where each was found.
#[derive(Debug, Default)]
pub struct Source {
    found: BTreeMap<String, Found>,
    mistakes: Vec<String>,
}

#[derive(Debug)]
struct Found {
    value: String,
    from: &'static str,
}

impl Source {
    /// Adds a layer that yields to the ones already there.
    pub fn layer(
        &mut self,
        from: &'static str,
        values: impl IntoIterator<Item = (String, String)>,
    ) {
        for (name, value) in values {
            self.found.entry(name).or_insert(Found { value, from });
        }
    }

    pub fn mistake(&mut self, what: impl Into<String>) {
        self.mistakes.push(what.into());
    }

    /// A setting as text; an empty one counts as unset, as shells and unit files make it easy to write.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.found
            .get(name)
            .map(|found| found.value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A setting parsed; a mistake is noted under its name without repeating the value, which may be a secret.
    pub fn parsed<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name)?.to_owned();
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.bad(name, &why);
                None
            }
        }
    }

    pub fn parsed_or<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        self.parsed(name).unwrap_or(default)
    }

    /// `on` or `off`.
    pub fn switch(&mut self, name: &str) -> bool {
        match self.text(name) {
            None | Some("off") => false,
            Some("on") => true,
            Some(_) => {
                self.bad(name, &"must be on or off");
                false
            }
        }
    }

    /// Notes that this setting is wrong, saying where it was found.
    pub fn bad(&mut self, name: &str, why: &dyn Display) {
        let from = self.found.get(name).map_or("defaults", |found| found.from);
        self.mistakes.push(format!("{name} ({from}): {why}"));
    }

    pub fn is_sound(&self) -> bool {
        self.mistakes.is_empty()
    }

    pub fn into_mistakes(self) -> Vec<String> {
        self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_layers_win_and_all_mistakes_are_kept() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut source = Source::default();
        source.layer("environment", [pair("A", "1"), pair("B", "x")]);
        source.layer("larder.toml", [pair("A", "2"), pair("C", "maybe")]);
        assert_eq!(source.parsed::<u8>("A"), Some(1));
        assert_eq!(source.parsed::<u8>("B"), None);
        assert!(!source.switch("C"));
        let mistakes = source.into_mistakes();
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].starts_with("B (environment): "));
        assert!(mistakes[1].starts_with("C (larder.toml): "));
    }
}

//! The layers that settings come from, and the mistakes found in them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::plans::PlanRow;
use super::runs::Runs;
use super::setting::Setting;
use super::settings::find;
use super::source::{Origin, Source};

/// Everything that is wrong with the configuration, one mistake a line.
#[derive(Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has a mistake:")?,
            mistakes => writeln!(f, "the configuration has {mistakes} mistakes:")?,
        }
        self.0
            .iter()
            .try_for_each(|mistake| writeln!(f, "  - {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

/// The layers above the defaults.
#[derive(Debug, Default)]
pub struct Environment {
    pub flags: Vec<(String, String)>,
    pub environment: Vec<(String, String)>,
    /// The text of `larder.toml`, if there is one.
    pub file: Option<String>,
    /// What `larder dev` assumes where nothing else is said.
    pub dev: Vec<(String, String)>,
    /// What the command runs.
    pub runs: Runs,
}

impl Environment {
    /// The process's own environment and the file named, or `larder.toml` here if there is one.
    pub fn of_process(
        flags: Vec<(String, String)>,
        file: Option<&Path>,
    ) -> Result<Environment, Mistakes> {
        let named = file.unwrap_or(Path::new("larder.toml"));
        let text = match std::fs::read_to_string(named) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => None,
            Err(error) => return Err(Mistakes(vec![format!("{}: {error}", named.display())])),
        };
        let environment = std::env::vars()
            .filter(|(name, _)| name.starts_with("LARDER_"))
            .collect();
        Ok(Environment {
            flags,
            environment,
            file: text,
            dev: Vec::new(),
            runs: Runs::default(),
        })
    }

    /// One setting before the rest is read, for what `dev` assumes on top of it. `None` where it is unset or a mistake,
    /// which the reading of everything reports.
    pub fn peek<T>(&self, setting: &Setting<T>) -> Option<T> {
        self.layered().0.get(setting)
    }

    /// Whether somebody set it.
    pub fn has<T>(&self, setting: &Setting<T>) -> bool {
        self.layered().0.is_given(setting)
    }

    /// The layers as one source, with the plan rows of the file or what is wrong with them.
    pub(super) fn layered(&self) -> (Source, Option<Result<Vec<PlanRow>, String>>) {
        let mut source = Source::default();
        source.layer(Origin::Flag, self.flags.clone());
        source.layer(Origin::Environment, self.environment.clone());
        let text = self.file.as_deref();
        let plans = text.and_then(|text| read_file(&mut source, text));
        source.layer(Origin::Dev, self.dev.clone());
        source.check(self.runs);
        (source, plans)
    }
}

/// A misspelt variable is a setting that silently does nothing, so it is told; it is not a mistake, because a
/// newer or older program may share the environment.
pub(super) fn unknown_variables(environment: &[(String, String)]) -> Vec<String> {
    let unknown = |name: &&String| find(name).is_none() && !name.starts_with("LARDER_TEST_");
    environment
        .iter()
        .map(|(name, _)| name)
        .filter(unknown)
        .map(|name| format!("{name} in the environment is not a setting of this program"))
        .collect()
}

#[derive(serde::Deserialize)]
struct File {
    /// Read apart, so that a mistake in it hides no other.
    plans: Option<toml::Value>,
    #[serde(flatten)]
    settings: BTreeMap<String, toml::Value>,
}

/// Takes the settings over, and answers the plan rows or what is wrong with them.
fn read_file(source: &mut Source, text: &str) -> Option<Result<Vec<PlanRow>, String>> {
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            source.mistake(format!("larder.toml: {error}"));
            return None;
        }
    };
    let mut values = Vec::new();
    for (key, value) in file.settings {
        let upper = key.to_uppercase();
        let name = if upper.starts_with("LARDER_") {
            upper
        } else {
            format!("LARDER_{upper}")
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(on) => if on { "on" } else { "off" }.to_owned(),
            _ => {
                source.mistake(format!(
                    "larder.toml: {key} must be a text, a number or true/false"
                ));
                continue;
            }
        };
        if find(&name).is_some() {
            values.push((name, text));
        } else {
            source.mistake(format!("larder.toml: unknown key {key}"));
        }
    }
    source.layer(Origin::File, values);
    let rows = |plans: toml::Value| plans.try_into().map_err(|error| error.to_string());
    file.plans.map(rows)
}

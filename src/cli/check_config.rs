//! `larder check-config` and `larder serve --print-config`: the settings in force, what is wrong with them, and what will
//! not work as meant.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::role::Role;
use super::settings::SettingFlags;
use super::table::Table;
use super::{forbid_dumps, runtime};
use crate::app::{self, descriptors};
use crate::config::{
    self, Config, Effective, Environment, LinkListener, Mistakes, NodeConfig, NodePart, Origin,
    Process, Runs, settings,
};

/// What a sound configuration amounts to.
struct Checked {
    facts: Facts,
    warnings: Vec<String>,
    advice: Vec<String>,
}

/// What a person reads under a label, and a program in a member.
#[derive(Default)]
struct Facts(Vec<(&'static str, &'static str, Value)>);

impl Facts {
    fn add(&mut self, label: &'static str, member: &'static str, value: impl Into<Value>) {
        self.0.push((label, member, value.into()));
    }

    fn add_service(&mut self, config: &Config) {
        let public = config.public_url.origin().to_owned();
        self.add("public address", "public_address", public);
        self.add("http", "http", config.http_addr.to_string());
        self.add_process(&config.process);
        if let Some(link) = &config.link {
            self.add_link(link);
        }
        if let Some(node) = &config.node {
            self.add_node(node);
        }
        let plans: Vec<&str> = config.plans.iter().map(|plan| plan.slug.as_str()).collect();
        self.add("plans", "plans", plans);
    }

    fn add_process(&mut self, process: &Process) {
        self.add("metrics", "metrics", process.metrics_addr.to_string());
    }

    fn add_node(&mut self, node: &NodePart) {
        let memcached = &node.memcached;
        let announced = format!("{}:{}", memcached.proxy_hostname, memcached.proxy_port);
        self.add("memcached", "memcached", memcached.addr.to_string());
        self.add("announced as", "announced", announced);
    }

    fn add_link(&mut self, link: &LinkListener) {
        let with = link.tls.as_ref().map_or("plain http", |_| "TLS");
        self.add("node link", "link", link.addr.to_string());
        self.add("node link by", "link_by", with);
    }
}

pub(super) fn check_config(
    role: Role,
    settings: SettingFlags,
    file: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<()> {
    let checked = match check(role, settings, file) {
        Ok(checked) => checked,
        Err(error) => {
            if json && let Some(mistakes) = error.downcast_ref::<Mistakes>() {
                println!("{:#}", json!({ "sound": false, "mistakes": mistakes.0 }));
            }
            return Err(error);
        }
    };
    match json {
        true => print_json(checked),
        false => print_text(&checked),
    }
    Ok(())
}

/// Reads the configuration of a role.
fn check(role: Role, settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<Checked> {
    let runs = role.runs()?;
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    layers.runs = runs;
    forbid_dumps(&layers);
    let effective = Effective::all(&layers);
    let holds_secrets = effective
        .iter()
        .any(|setting| setting.secret && setting.origin == Origin::File);
    let secrets_in = holds_secrets.then(|| file.unwrap_or_else(|| "larder.toml".into()));
    let mut facts = Facts::default();
    facts.add("role", "role", role.name());
    facts.add("settings read", "settings_read", read_by(role, &effective));
    match runs {
        Runs::Node => Ok(of_node(
            &NodeConfig::read(layers)?,
            secrets_in.as_deref(),
            facts,
        )),
        _ => of_service(&Config::read(layers)?, runs, secrets_in.as_deref(), facts),
    }
}

/// How many settings the role reads.
fn read_by(role: Role, effective: &[Effective]) -> String {
    let (read, all) = (effective.len(), settings::all().count());
    match read == all {
        true => "all".to_owned(),
        false => format!(
            "{read} of {all}, as `larder serve --role {} --print-config` lists them",
            role.name()
        ),
    }
}

/// For a process with a database. `secrets_in` is the settings file, where it holds secrets.
fn of_service(
    config: &Config,
    runs: Runs,
    secrets_in: Option<&Path>,
    mut facts: Facts,
) -> anyhow::Result<Checked> {
    let mut advice = Vec::new();
    let regions = match runtime()?.block_on(app::regions_served(config)) {
        Ok(regions) => regions,
        Err(error) => {
            advice.push(format!("the database cannot be opened: {error}"));
            Vec::new()
        }
    };
    advice.extend(config::advice(config, secrets_in, &regions));
    advice.extend(descriptors::advice(config));
    if runs == Runs::Worker {
        facts.add("database", "database", config.database_shown());
        facts.add_process(&config.process);
    } else {
        facts.add_service(config);
    }
    Ok(Checked {
        facts,
        warnings: config.process.warnings.clone(),
        advice,
    })
}

fn of_node(config: &NodeConfig, secrets_in: Option<&Path>, mut facts: Facts) -> Checked {
    let urls: Vec<&str> = config.control_urls.iter().map(|url| url.as_str()).collect();
    facts.add("control", "control", urls);
    facts.add_process(&config.process);
    facts.add_node(&config.node);
    let mut advice = config::advice_for_node(config, secrets_in);
    advice.extend(descriptors::advice(config));
    Checked {
        facts,
        warnings: config.process.warnings.clone(),
        advice,
    }
}

/// A value as a person reads it: lists with blanks between.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn print_text(checked: &Checked) {
    println!("The configuration is sound.");
    for (label, _, value) in &checked.facts.0 {
        println!("  {label:<15}  {}", shown(value));
    }
    for warning in &checked.warnings {
        println!("warning: {warning}");
    }
    for advice in &checked.advice {
        println!("advice: {advice}");
    }
}

fn print_json(checked: Checked) {
    let mut document = Map::new();
    document.insert("sound".to_owned(), true.into());
    for (_, member, value) in checked.facts.0 {
        document.insert(member.to_owned(), value);
    }
    document.insert("warnings".to_owned(), checked.warnings.into());
    document.insert("advice".to_owned(), checked.advice.into());
    println!("{:#}", Value::Object(document));
}

/// Prints what is in force also when there are mistakes, which then follow: it helps to find them.
pub(super) fn print_config(
    role: Role,
    settings: SettingFlags,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let runs = role.runs()?;
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    layers.runs = runs;
    forbid_dumps(&layers);
    let mut table = Table::new(&["SETTING", "VALUE", "SOURCE"]);
    for setting in Effective::all(&layers) {
        table.row([
            setting.name.to_owned(),
            setting.value,
            setting.origin.to_string(),
        ]);
    }
    print!("{table}");
    if runs == Runs::Node {
        NodeConfig::read(layers)?;
    } else {
        Config::read(layers)?;
    }
    Ok(())
}

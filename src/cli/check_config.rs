//! `larder check-config` and `larder serve --print-config`: the settings in force, what is wrong with them, and what will
//! not work as meant.

use std::path::PathBuf;

use serde_json::json;

use super::settings::SettingFlags;
use super::table::Table;
use super::{forbid_dumps, runtime};
use crate::app::{self, descriptors};
use crate::config::{self, Config, Effective, Environment, Mistakes, Origin};

pub(super) fn check_config(
    settings: SettingFlags,
    file: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<()> {
    let (config, secrets_in) = match read(settings, file) {
        Ok(read) => read,
        Err(mistakes) => {
            if json {
                println!("{:#}", json!({ "sound": false, "mistakes": mistakes.0 }));
            }
            return Err(mistakes.into());
        }
    };
    let mut advice = Vec::new();
    let regions = match runtime()?.block_on(app::regions_served(&config)) {
        Ok(regions) => regions,
        Err(error) => {
            advice.push(format!("the database cannot be opened: {error}"));
            Vec::new()
        }
    };
    advice.extend(config::advice(&config, secrets_in.as_deref(), &regions));
    advice.extend(descriptors::advice(&config));
    match json {
        true => print_json(&config, &advice),
        false => print_text(&config, &advice),
    }
    Ok(())
}

/// With the settings file, where it holds secrets.
fn read(
    settings: SettingFlags,
    file: Option<PathBuf>,
) -> Result<(Config, Option<PathBuf>), Mistakes> {
    let layers = Environment::of_process(settings.0, file.as_deref())?;
    forbid_dumps(&layers);
    let holds_secrets = Effective::all(&layers)
        .iter()
        .any(|setting| setting.secret && setting.origin == Origin::File);
    let secrets_in = holds_secrets.then(|| file.unwrap_or_else(|| "larder.toml".into()));
    Ok((Config::read(layers)?, secrets_in))
}

/// As in SERVERS.
fn announced(config: &Config) -> String {
    let memcached = &config.memcached;
    format!("{}:{}", memcached.proxy_hostname, memcached.proxy_port)
}

fn plans(config: &Config) -> Vec<&str> {
    let plans = config.plans.iter();
    plans.map(|plan| plan.slug.as_str()).collect()
}

fn print_text(config: &Config, advice: &[String]) {
    println!("The configuration is sound.");
    println!("  public address   {}", config.public_url);
    println!("  http             {}", config.http_addr);
    println!("  metrics          {}", config.metrics_addr);
    println!(
        "  memcached        {} (announced as {})",
        config.memcached.addr,
        announced(config)
    );
    println!("  plans            {}", plans(config).join(" "));
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    for advice in advice {
        println!("advice: {advice}");
    }
}

fn print_json(config: &Config, advice: &[String]) {
    let document = json!({
        "sound": true,
        "public_address": config.public_url.origin(),
        "http": config.http_addr.to_string(),
        "metrics": config.metrics_addr.to_string(),
        "memcached": config.memcached.addr.to_string(),
        "announced": announced(config),
        "plans": plans(config),
        "warnings": config.warnings,
        "advice": advice,
    });
    println!("{document:#}");
}

/// Prints what is in force also when there are mistakes, which then follow: it helps to find them.
pub(super) fn print_config(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let layers = Environment::of_process(settings.0, file.as_deref())?;
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
    Config::read(layers)?;
    Ok(())
}

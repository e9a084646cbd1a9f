//! One flag per setting, made from the table of settings.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::setting::About;
use crate::config::settings;

/// The settings given as flags. Secrets are not among them: process lists show flags to everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags(pub(super) Vec<(String, String)>);

fn abouts() -> impl Iterator<Item = &'static About> {
    settings::all().map(|setting| setting.about())
}

/// What `--help` says of the settings that are no flags.
fn secrets_help() -> String {
    let secrets = abouts().filter(|about| about.flag().is_none());
    let line = |about: &About| {
        format!(
            "  {:<34} {} [default: {}]\n",
            about.name, about.help, about.fallback
        )
    };
    let lines: String = secrets.map(line).collect();
    format!("Secrets, from the environment or larder.toml only:\n{lines}")
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let flags = abouts().filter_map(|about| Some((about, about.flag()?)));
        let with_flags = flags.fold(command, |command, (about, flag)| {
            let help = format!(
                "{} [{}; default: {}]",
                about.help, about.name, about.fallback
            );
            let arg = Arg::new(about.name).help(help).help_heading("Settings");
            command.arg(arg.long(flag).value_name("VALUE"))
        });
        with_flags.after_help(secrets_help())
    }

    fn augment_args_for_update(command: Command) -> Command {
        SettingFlags::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let flags = abouts().filter(|about| about.flag().is_some());
        let given = |about: &About| {
            let value = matches.get_one::<String>(about.name)?;
            Some((about.name.to_owned(), value.clone()))
        };
        Ok(SettingFlags(flags.filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = SettingFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

//! One flag per setting, made from the table of variables.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{VARIABLES, Variable};

/// The settings given as flags. Secrets are not among them: process lists show flags to everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags(pub(super) Vec<(String, String)>);

fn flags() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().filter(|variable| !variable.secret)
}

/// What `--help` says of the settings that are no flags.
fn secrets_help() -> String {
    let line = |variable: &Variable| {
        format!(
            "  {:<34} {} [default: {}]\n",
            variable.name, variable.help, variable.default
        )
    };
    let lines: String = VARIABLES
        .iter()
        .filter(|variable| variable.secret)
        .map(line)
        .collect();
    format!("Secrets, from the environment or larder.toml only:\n{lines}")
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let with_flags = flags().fold(command, |command, variable| {
            let help = format!(
                "{} [{}; default: {}]",
                variable.help, variable.name, variable.default
            );
            let arg = Arg::new(variable.name).help(help).help_heading("Settings");
            command.arg(arg.long(variable.flag()).value_name("VALUE"))
        });
        with_flags.after_help(secrets_help())
    }

    fn augment_args_for_update(command: Command) -> Command {
        SettingFlags::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        let given = |variable: &Variable| {
            matches
                .get_one::<String>(variable.name)
                .map(|value| (variable.name.to_owned(), value.clone()))
        };
        Ok(SettingFlags(flags().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = SettingFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

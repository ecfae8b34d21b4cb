//! The settings as flags.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PathBufValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{ConfigErrors, KEYS, Key, Sources};

/// The id of `--config`; the others have their key's name.
const CONFIG: &str = "config";

/// Every key that has a flag, with the flag. Static, because clap keeps references.
static FLAGS: LazyLock<Vec<(&'static Key, String)>> = LazyLock::new(|| {
    let flags = KEYS.iter().map(|key| Some((key, key.flag()?)));
    flags.flatten().collect()
});

/// `--config FILE` and one flag for each setting that is not secret, made from
/// [`KEYS`](crate::config::KEYS). `-h` shows `--config` alone, `--help` all of them.
#[derive(Clone, Debug, Default)]
pub struct SettingsArgs {
    config: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl SettingsArgs {
    /// The file that `--config` names, and key (`public.url`) and value of every flag given.
    #[must_use]
    pub fn into_parts(self) -> (Option<PathBuf>, Vec<(String, String)>) {
        (self.config, self.flags)
    }

    /// The flags together with the environment and the file of this process.
    ///
    /// # Errors
    /// See [`Sources::from_process`].
    pub fn into_sources(self) -> Result<Sources, ConfigErrors> {
        Sources::from_process(self.config, self.flags)
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long("config")
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .help("Configuration file (TOML) [env: PINGBOX_CONFIG]");
        FLAGS.iter().map(|(key, flag)| setting(key, flag)).fold(command.arg(config), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn setting(key: &'static Key, flag: &'static str) -> Arg {
    let action = if key.kind.is_plural() { ArgAction::Append } else { ArgAction::Set };
    let help = match key.default {
        "" => key.help.to_owned(),
        default => format!("{} [default: {default}]", key.help),
    };
    Arg::new(key.name)
        .long(flag)
        .value_name(key.kind.placeholder())
        .action(action)
        .help(help)
        .help_heading("Settings")
        .hide_short_help(true)
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = FLAGS.iter().filter_map(|(key, _)| {
            let values = matches.get_many::<String>(key.name)?;
            // Only lists and maps can be given more than once.
            let values: Vec<&str> = values.map(String::as_str).collect();
            Some((key.name.to_owned(), values.join(",")))
        });
        Ok(Self { config: matches.get_one::<PathBuf>(CONFIG).cloned(), flags: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> SettingsArgs {
        let command = SettingsArgs::augment_args(Command::new("pingbox").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).unwrap();
        SettingsArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn clap_accepts_the_flags() {
        SettingsArgs::augment_args(Command::new("pingbox")).debug_assert();
    }

    #[test]
    fn flags_become_keys() {
        let (config, flags) = parse(&["--config", "a.toml", "--api-max-wait", "5s"]).into_parts();
        assert_eq!(config, Some(PathBuf::from("a.toml")));
        assert_eq!(flags, [("api.max_wait".to_owned(), "5s".to_owned())]);
    }

    #[test]
    fn a_list_may_be_given_piece_by_piece() {
        let flag = "--public-allow-from";
        let (_, flags) = parse(&[flag, "10.0.0.0/8", flag, "192.0.2.1"]).into_parts();
        assert_eq!(flags[0].1, "10.0.0.0/8,192.0.2.1");
    }

    #[test]
    fn short_help_hides_the_settings_and_no_help_offers_a_secret() {
        let mut command = SettingsArgs::augment_args(Command::new("pingbox"));
        let short = command.render_help().to_string();
        let long = command.render_long_help().to_string();
        assert!(!short.contains("--public-url"), "{short}");
        assert!(long.contains("--public-url <URL>"), "{long}");
        assert!(!long.contains("api-key"), "{long}");
    }
}

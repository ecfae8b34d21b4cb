//! What a server would start with here, looked at when none answers.

use super::check::Check;
use super::{folder, ports, settings};
use crate::app;
use crate::cli::SettingsArgs;
use crate::client::NoServer;
use crate::config::{Config, ConfigErrors, Remote, ServerUrl, Sources};

/// The settings of this process.
pub(super) struct Here {
    sources: Result<Sources, ConfigErrors>,
    /// Whether a flag names one, or their file: then they are meant.
    are_given: bool,
    sandbox: bool,
}

impl Here {
    pub(super) fn new(settings: SettingsArgs, sandbox: bool) -> Self {
        let (file, flags) = settings.into_parts();
        let are_given = file.is_some() || !flags.is_empty();
        Self { sources: Sources::from_process(file, flags), are_given, sandbox }
    }

    /// Whether these settings are those of the server that is to be called. If nobody named one, it is theirs.
    pub(super) fn settle(&self, remote: &mut Remote) -> bool {
        let own = self.config().and_then(|config| own_server(&config));
        match own {
            Some(own) if !remote.is_named => remote.server = own,
            Some(own) if is_same(&own, &remote.server) => return true,
            _ => {}
        }
        self.are_given || !remote.is_named
    }

    /// The configuration without the key, when nothing else is wrong with it.
    fn config(&self) -> Option<Config> {
        Config::load(self.sources.as_ref().ok()?, true).ok()
    }

    /// Everything that a start would need.
    pub(super) async fn checks(&self, silence: &NoServer) -> Vec<Check> {
        let mut checks = vec![Check::fail("server", &silence.reason, silence.remedy)];
        let sources = match &self.sources {
            Ok(sources) => sources,
            Err(errors) => {
                checks.extend(settings::unreadable(errors));
                return checks;
            }
        };
        let loaded = Config::load(sources, self.sandbox);
        checks.extend(settings::config(sources, loaded.as_ref()));
        checks.push(settings::key(sources, loaded.as_ref()));
        if let Some(config) = self.config() {
            checks.extend(settings::files(&config));
            checks.extend(ports::checks(&config));
            checks.extend(folder::checks(&config));
            checks.extend(postgres(&config).await);
        }
        checks
    }
}

/// Where a server with this configuration is called from this machine; `None` when the system chooses its port.
fn own_server(config: &Config) -> Option<ServerUrl> {
    if config.api.listen.port() == 0 { None } else { config.api.url().parse().ok() }
}

fn is_same(one: &ServerUrl, other: &ServerUrl) -> bool {
    other.as_str().replace("//localhost:", "//127.0.0.1:") == one.as_str()
}

async fn postgres(config: &Config) -> Option<Check> {
    const NAME: &str = "postgres";
    Some(match app::look_at_postgres(config).await? {
        Ok(place) => Check::ok(NAME, format!("lets us in at {place}")),
        Err(error) => Check::fail(
            NAME,
            format!("{error:#}"),
            "see to it that it runs and lets us in, or set database.url to another; a server that starts waits 30 s for it",
        ),
    })
}

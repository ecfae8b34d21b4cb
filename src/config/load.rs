//! From sources to one checked [`Config`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::checks;
use super::problem::ConfigErrors;
use super::reader::Reader;
use super::sections::{
    Api, Auth, Compat, Config, Data, Database, Log, LogFormat, Pingback, Provider, Public, Retention, Spend,
    Tls, Unconfirmed, UrlMode, Webhooks,
};
use super::settings::Settings;
use super::sources::Sources;
use super::values::{
    address, amount, api_key, api_token, base_url, certificate_name, choice, database_url, duration,
    file_name, host_name, ip, log_filter, network, number, path, pingback_secret, pool_size, postgres_url,
    private_network, switch,
};

const fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}

/// A minute, so that nothing is erased while it is fetched, to a hundred years, so that times can
/// be reckoned with.
const RETENTION: RangeInclusive<Duration> = seconds(60, 36_500 * 24 * 60 * 60);

impl Config {
    /// Makes the configuration that the `sources` add up to: a flag counts before the environment,
    /// the environment before the file, the file before the default. An empty text counts as not
    /// set, except for lists and maps, where it means none. The sandbox needs no
    /// `provider.api_key` and looks neither at it nor at `provider.base_url`.
    ///
    /// This reads the files that the `_FILE` and `_file` forms name.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: &Sources, sandbox: bool) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { settings: Settings::gather(sources, sandbox) };
        let data = Data { dir: reader.value("data.dir", path) };
        let config = Self {
            public: public(&mut reader),
            pingback: pingback(&mut reader),
            api: api(&mut reader),
            provider: provider(&mut reader),
            compat: Compat { hold: reader.value("compat.hold", |text| duration(text, seconds(0, 30))) },
            database: Database {
                url: reader.value("database.url", |text| database_url(text, &data.dir)),
                pool_size: reader.value("database.pool_size", pool_size),
                listen_url: reader.optional("database.listen_url", postgres_url),
            },
            data,
            retention: Retention {
                answers: reader.value("retention.answers", |text| duration(text, RETENTION)),
                tasks: reader.value("retention.tasks", |text| duration(text, RETENTION)),
            },
            spend: Spend { daily_limit: reader.optional("spend.daily_limit", amount) },
            webhooks: Webhooks { allow_private: reader.list("webhooks.allow_private", private_network) },
            log: log(&mut reader),
            sandbox,
            sources: sources.clone(),
        };
        checks::across(&config, &mut reader);
        ConfigErrors::unless_empty(reader.settings.problems)?;
        Ok(config)
    }

    /// What it would be if it were loaded now: the files may hold something else.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn again(&self) -> Result<Self, ConfigErrors> {
        Self::load(&self.sources.again()?, self.sandbox)
    }
}

fn public(reader: &mut Reader) -> Public {
    Public {
        listen: reader.value("public.listen", address),
        url: reader.optional("public.url", base_url),
        allow_from: reader.list("public.allow_from", network),
        trusted_proxies: reader.list("public.trusted_proxies", network),
        ownership_files: reader
            .map("public.ownership_files", |name, body| Ok((file_name(name)?, body.to_owned()))),
        tls: tls(reader, "public"),
    }
}

fn pingback(reader: &mut Reader) -> Pingback {
    const MODES: [(&str, UrlMode); 2] = [("shared", UrlMode::Shared), ("per_task", UrlMode::PerTask)];
    Pingback {
        secret: reader.optional("pingback.secret", pingback_secret),
        url_mode: reader.value("pingback.url_mode", |text| choice(text, &MODES)),
        register: reader.value("pingback.register", switch),
    }
}

fn api(reader: &mut Reader) -> Api {
    const AUTHS: [(&str, Auth); 2] = [("token", Auth::Token), ("none", Auth::None)];
    Api {
        listen: reader.value("api.listen", address),
        token: reader.optional("api.token", api_token),
        auth: reader.value("api.auth", |text| choice(text, &AUTHS)),
        tls: tls(reader, "api"),
        max_wait: reader.value("api.max_wait", |text| duration(text, seconds(1, 3600))),
    }
}

fn provider(reader: &mut Reader) -> Provider {
    const UNCONFIRMED: [(&str, Unconfirmed); 2] =
        [("resubmit", Unconfirmed::Resubmit), ("fail", Unconfirmed::Fail)];
    Provider {
        base_url: reader.value("provider.base_url", base_url),
        api_key: reader.optional("provider.api_key", api_key),
        soft_id: reader.optional("provider.soft_id", number),
        submit_interval: reader.value("provider.submit_interval", |text| duration(text, seconds(0, 60))),
        resolve: reader.map("provider.resolve", |name, address| Ok((host_name(name)?, ip(address)?))),
        unconfirmed: reader.value("provider.unconfirmed", |text| choice(text, &UNCONFIRMED)),
    }
}

fn log(reader: &mut Reader) -> Log {
    const FORMATS: [(&str, LogFormat); 3] =
        [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    Log {
        format: reader.value("log.format", |text| choice(text, &FORMATS)),
        filter: reader.value("log.filter", log_filter),
    }
}

#[derive(Clone, Copy)]
enum TlsMode {
    Off,
    Files,
    SelfSigned,
}

/// `tls` of one section with the keys that its value asks for.
fn tls(reader: &mut Reader, section: &str) -> Tls {
    const MODES: [(&str, TlsMode); 3] =
        [("off", TlsMode::Off), ("files", TlsMode::Files), ("self_signed", TlsMode::SelfSigned)];
    let key = |name: &str| format!("{section}.{name}");
    let mode = reader.value(&key("tls"), |text| choice(text, &MODES));
    let names = reader.list(&key("tls_names"), certificate_name);
    let [cert, private] = ["tls_cert", "tls_key"].map(|name| {
        let path = reader.optional(&key(name), path);
        if matches!(mode, TlsMode::Files) {
            let text = format!("needed for {section}.tls = files: the path of a PEM file");
            reader.require(&key(name), text);
        } else if path.is_some() && reader.is_sound(&key("tls")) {
            let text = format!("is of no use unless {section}.tls is files: set that, or remove this");
            reader.complain(&key(name), text);
        }
        path
    });
    match mode {
        TlsMode::Off => Tls::Off,
        TlsMode::Files => Tls::Files { cert: cert.unwrap_or_default(), key: private.unwrap_or_default() },
        TlsMode::SelfSigned => Tls::SelfSigned { names },
    }
}

//! What is said about a wrong configuration.

use super::*;

#[test]
fn everything_wrong_is_reported_at_once() {
    let sources = file(
        "[public]\nurl = 'captcha.example.com'\nulr = 'x'\nallow_from = ['10.0.0.0/8', 'home']\n\n\
         [api]\nmax_wait = 300\nlisten = 8081\ntoken = 'hunter2'\n\n\
         [retain]\ntasks = '1d'\n[kubernetes]\n",
    );
    let sources = with_env(
        sources,
        &[
            ("PINGBOX_PUBLIC__LISTEN", "localhost:80"),
            ("PINGBOX_PROVIDER__APIKEY_FILE", "/run/secrets/key"),
            ("PINGBOX_COMPAT__HOLD", "1.5s"),
        ],
    );
    let sources = with_flag(sources, "provider.unconfirmed", "retry");
    let report = Config::load(&sources, false).unwrap_err();
    insta::assert_snapshot!(report, @r#"
    the configuration has 13 problems:
      environment PINGBOX_PROVIDER__APIKEY_FILE: there is no such setting; did you mean PINGBOX_PROVIDER__API_KEY_FILE?
      public.ulr (pingbox.toml line 3): there is no such key; did you mean public.url?
      retain.tasks (pingbox.toml line 12): there is no such key; did you mean retention.tasks?
      kubernetes (pingbox.toml line 13): there is no such section: remove it
      api.listen (pingbox.toml line 8): must be a string, in quotes; this is of type integer
      public.listen (environment PINGBOX_PUBLIC__LISTEN): must be an IP address and a port, as in `0.0.0.0:8080` or `[::]:8080`, not "localhost:80"
      public.url (pingbox.toml line 2): must be a URL, as in `https://captcha.example.com`: relative URL without a base
      public.allow_from (pingbox.toml line 4): must be networks such as `10.0.0.0/8` or addresses, not "home"
      api.token (pingbox.toml line 9): must be exactly 32 hexadecimal digits, as `openssl rand -hex 16` makes them
      api.max_wait (pingbox.toml line 7): must have a unit, as in `300s`
      provider.unconfirmed (--provider-unconfirmed): must be one of resubmit, fail, not "retry"
      compat.hold (environment PINGBOX_COMPAT__HOLD): must be a whole number with one of the units ms, s, m, h, d, as in `100ms` or `24h`, not "1.5s"
      provider.api_key (not set): needed to submit tasks: copy the key of 32 characters from your account settings page at the provider, and give it in the environment as PINGBOX_PROVIDER__API_KEY, in a file named by PINGBOX_PROVIDER__API_KEY_FILE, or as `api_key` below [provider] in the configuration file; or try `pingbox serve --sandbox`, which needs none
    "#);
}

#[test]
fn a_missing_key_names_every_way_to_give_it() {
    let report = Config::load(&Sources::default(), false).unwrap_err();
    insta::assert_snapshot!(report, @r"
    the configuration has a problem:
      provider.api_key (not set): needed to submit tasks: copy the key of 32 characters from your account settings page at the provider, and give it in the environment as PINGBOX_PROVIDER__API_KEY, in a file named by PINGBOX_PROVIDER__API_KEY_FILE, or as `api_key` below [provider] in the configuration file; or try `pingbox serve --sandbox`, which needs none
    ");
}

#[test]
fn broken_syntax_names_the_line_and_shows_no_secret() {
    let sources = file(&format!("[provider]\n\napi_key = {API_KEY}\n"));
    let report = Config::load(&sources, false).unwrap_err().to_string();
    assert!(!report.contains("1abc"), "{report}");
    insta::assert_snapshot!(report, @r"
    the configuration has a problem:
      pingbox.toml line 3: not TOML: invalid float, expected nothing (texts stand in quotes)
    ");
}

#[test]
fn a_server_is_named_by_its_url_and_only_a_server_is_listened_to() {
    let sources = file("[database]\nlisten_url = 'postgres://me:hunter2@db/pingbox'\npool_size = 0\n");
    insta::assert_snapshot!(complaint(&sources), @r"
    the configuration has 2 problems:
      database.pool_size (pingbox.toml line 3): must be from 1 to 200
      database.listen_url (pingbox.toml line 2): is of use only with PostgreSQL: set database.url to a postgres:// URL, or remove this
    ");
    let sources = file("[database]\nurl = 'postgres:///pingbox'\nlisten_url = 'db:5432'\n");
    insta::assert_snapshot!(complaint(&sources), @r"
    the configuration has 2 problems:
      database.url (pingbox.toml line 2): must be as in `postgres://user:password@host:5432/name`
      database.listen_url (pingbox.toml line 3): must be as in `postgres://user:password@host:5432/name`
    ");
}

#[test]
fn a_certificate_from_elsewhere_needs_both_files_and_no_other_has_any() {
    let sources = file(
        "[public]\ntls = 'files'\ntls_cert = 'a.pem'\n[api]\ntls = 'self_signed'\ntls_key = 'b.pem'\n\
         tls_names = ['https://a.example', 'a.example:8081']\n",
    );
    insta::assert_snapshot!(complaint(&sources), @r#"
    the configuration has 4 problems:
      public.tls_key (not set): needed for public.tls = files: the path of a PEM file
      api.tls_names (pingbox.toml line 7): must be host names such as `api.solvecaptcha.com` or IP addresses, without scheme, port and path, not "https://a.example"
      api.tls_names (pingbox.toml line 7): must be host names such as `api.solvecaptcha.com` or IP addresses, without scheme, port and path, not "a.example:8081"
      api.tls_key (pingbox.toml line 6): is of no use unless api.tls is files: set that, or remove this
    "#);
}

#[test]
fn a_fixed_address_is_of_a_host_and_an_ip() {
    let sources = file(
        "[provider]\nresolve = { 'https://a.example' = '192.0.2.1', 'b.example:80' = '192.0.2.1', \
         '192.0.2.1' = '192.0.2.2', '' = '::1', 'c.example' = 'd.example', 'e.example' = '192.0.2.1:80' }\n",
    );
    insta::assert_snapshot!(complaint(&sources), @r#"
    the configuration has 6 problems:
      provider.resolve (pingbox.toml line 2): the names must be host names alone, as in `api.solvecaptcha.com`, not ""
      provider.resolve (pingbox.toml line 2): the names must be host names alone, as in `api.solvecaptcha.com`, not "192.0.2.1"
      provider.resolve (pingbox.toml line 2): the names must be host names alone, as in `api.solvecaptcha.com`, not "b.example:80"
      provider.resolve (pingbox.toml line 2): must be an IP address, not "d.example"
      provider.resolve (pingbox.toml line 2): must be an IP address, not "192.0.2.1:80"
      provider.resolve (pingbox.toml line 2): the names must be host names alone, as in `api.solvecaptcha.com`, not "https://a.example"
    "#);
}

#[test]
fn no_report_shows_a_secret() {
    let secret = "hunter2-hunter2";
    for key in KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret | Kind::Url | Kind::Database)) {
        for value in [secret.to_owned(), format!("https://{secret}@host?key={secret}")] {
            let sources = env(&[(&key.variable(), &value)]);
            let report = Config::load(&sources, false).unwrap_err().to_string();
            assert!(report.contains(key.name), "{report}");
            assert!(!report.contains("hunter2"), "{report}");
            assert!(!sources.print(false).contains("hunter2"), "{}", sources.print(false));
        }
    }
}

#[test]
fn both_listeners_on_one_port_are_refused() {
    let both =
        |public: &str, api: &str| env(&[("PINGBOX_PUBLIC__LISTEN", public), ("PINGBOX_API__LISTEN", api)]);
    assert!(complaint(&both("127.0.0.1:80", "127.0.0.1:80")).contains("api.listen"));
    assert!(complaint(&both("0.0.0.0:80", "127.0.0.1:80")).contains("api.listen"));
    load(&both("127.0.0.1:0", "127.0.0.1:0"));
    load(&both("127.0.0.2:80", "127.0.0.1:80"));
}

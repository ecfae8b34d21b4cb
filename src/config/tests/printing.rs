//! Values and origins, without secrets.

use super::*;

#[test]
fn the_table_shows_values_and_origins_but_no_secrets() {
    let sources = file(
        "[public]\nallow_from = ['10.0.0.0/8']\nownership_files = { 'a.txt' = \"b\\n\" }\n\
         [database]\nurl = 'postgres://me:hunter2@db/pingbox?password=hunter2'",
    );
    let sources = with_env(sources, &[("PINGBOX_PROVIDER__API_KEY", API_KEY)]);
    let sources = with_flag(sources, "api.max_wait", "5m");
    insta::assert_snapshot!(sources.print(false), @r#"
    public.listen             0.0.0.0:8080                      default
    public.url                none                              default
    public.allow_from         [10.0.0.0/8]                      pingbox.toml line 2
    public.trusted_proxies    []                                default
    public.ownership_files    {a.txt = "b\n"}                   pingbox.toml line 3
    public.tls                off                               default
    public.tls_cert           none                              default
    public.tls_key            none                              default
    public.tls_names          [localhost, 127.0.0.1, ::1]       default
    pingback.secret           none                              default
    pingback.url_mode         shared                            default
    pingback.register         true                              default
    api.listen                127.0.0.1:8081                    default
    api.token                 none                              default
    api.auth                  token                             default
    api.tls                   off                               default
    api.tls_cert              none                              default
    api.tls_key               none                              default
    api.tls_names             [localhost, 127.0.0.1, ::1]       default
    api.max_wait              5m                                --api-max-wait
    provider.base_url         https://api.solvecaptcha.com/     default
    provider.api_key          ***                               environment PINGBOX_PROVIDER__API_KEY
    provider.soft_id          none                              default
    provider.submit_interval  100ms                             default
    provider.resolve          {}                                default
    provider.unconfirmed      resubmit                          default
    compat.hold               4s                                default
    data.dir                  data                              default
    database.url              postgres://me:***@db/pingbox?***  pingbox.toml line 5
    database.pool_size        8                                 default
    database.listen_url       none                              default
    retention.answers         24h                               default
    retention.tasks           30d                               default
    spend.daily_limit         none                              default
    webhooks.allow_private    []                                default
    log.format                auto                              default
    log.filter                info                              default
    "#);
}

#[test]
fn json_has_types_and_null() {
    let json = env(&[("PINGBOX_PROVIDER__SOFT_ID", "7")]).print_json(true);
    assert_eq!(json.as_object().unwrap().len(), KEYS.len());
    assert_eq!(json["provider.soft_id"]["value"], 7);
    assert_eq!(json["provider.soft_id"]["origin"], "environment PINGBOX_PROVIDER__SOFT_ID");
    assert_eq!(json["provider.base_url"]["origin"], "sandbox");
    assert_eq!(json["pingback.register"]["value"], true);
    assert_eq!(json["public.url"]["value"], serde_json::Value::Null);
    assert_eq!(json["database.url"]["value"], "sqlite://data/pingbox.db");
}

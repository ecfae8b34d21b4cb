//! How values are written, and their limits.

use super::*;

#[test]
fn the_sandbox_takes_no_key_and_no_url() {
    let sources = env(&[
        ("PINGBOX_PROVIDER__API_KEY_FILE", "/nonexistent"),
        ("PINGBOX_PROVIDER__BASE_URL", "nonsense"),
    ]);
    let config = load(&sources);
    assert!(config.provider.api_key.is_none());
    assert_eq!(config.provider.base_url.as_str(), "https://api.solvecaptcha.com/");
}

#[test]
fn lists_and_maps_are_written_as_suits_their_source() {
    let from_env = load(&env(&[
        ("PINGBOX_PUBLIC__ALLOW_FROM", "10.1.2.3/8, 192.0.2.1,"),
        ("PINGBOX_PUBLIC__OWNERSHIP_FILES", "a.txt=x=y,b.txt=z"),
    ]));
    let from_file = load(&file(
        "[public]\nallow_from = ['10.0.0.0/8', '192.0.2.1/32']\n\
         [public.ownership_files]\n'a.txt' = 'x=y'\n'b.txt' = 'z'",
    ));
    assert_eq!(from_env.public.allow_from, from_file.public.allow_from);
    assert_eq!(from_env.public.ownership_files, from_file.public.ownership_files);
    assert_eq!(from_env.public.ownership_files["a.txt"], "x=y");
}

#[test]
fn paths_of_our_own_are_no_ownership_files() {
    for name in ["livez", "pingback", "a/b", "..", ""] {
        let sources = file(&format!("[public.ownership_files]\n'{name}' = 'x'"));
        assert!(complaint(&sources).contains("public.ownership_files"), "{name}");
    }
}

#[test]
fn a_base_url_loses_the_slash_at_its_end() {
    let url = |text| load(&env(&[("PINGBOX_PUBLIC__URL", text)])).public.url;
    assert_eq!(url("https://a.example/b/"), Some(Url::parse("https://a.example/b").unwrap()));
    assert_eq!(url("https://a.example"), Some(Url::parse("https://a.example/").unwrap()));
}

#[test]
fn the_database_lies_in_the_data_directory() {
    let path = |env_: &[(&str, &str)]| match load(&env(env_)).database.url {
        DatabaseUrl::Sqlite(path) => path.display().to_string(),
        DatabaseUrl::Postgres(_) => panic!("not SQLite"),
    };
    assert_eq!(path(&[]), "data/pingbox.db");
    assert_eq!(path(&[("PINGBOX_DATA__DIR", "/data/")]), "/data/pingbox.db");
    for (url, expected) in
        [("sqlite://a/b.db", "a/b.db"), ("sqlite:///a/b.db", "/a/b.db"), ("sqlite:b.db", "b.db")]
    {
        assert_eq!(path(&[("PINGBOX_DATABASE__URL", url)]), expected);
    }
}

#[test]
fn limits_are_inclusive() {
    for (name, good, bad) in [
        ("PINGBOX_API__MAX_WAIT", ["1s", "1h"], ["999ms", "3601s"]),
        ("PINGBOX_COMPAT__HOLD", ["0s", "30s"], ["30001ms", "31s"]),
        ("PINGBOX_PROVIDER__SUBMIT_INTERVAL", ["0ms", "1m"], ["61s", "0"]),
        ("PINGBOX_RETENTION__TASKS", ["60s", "30d"], ["59s", "99999999999999d"]),
        ("PINGBOX_PROVIDER__SOFT_ID", ["0", "4294967295"], ["4294967296", "-1"]),
        ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", ["10.0.0.0/8", "fd00::/8"], ["10.0.0.0/7", "169.254.0.0/16"]),
        ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", ["100.64.0.0/10", "127.0.0.1"], ["100.0.0.0/8", "::/0"]),
        ("PINGBOX_PINGBACK__REGISTER", ["true", "false"], ["yes", "1"]),
        ("PINGBOX_LOG__FILTER", ["warn", "info,pingbox=debug"], ["loud", "a=b=c"]),
        (
            "PINGBOX_PINGBACK__SECRET",
            ["0123456789abcdefghij_-", API_KEY],
            ["0123456789abcdefghi_-", "0123456789abcdefghij/-"],
        ),
        ("PINGBOX_API__TOKEN", [API_KEY, API_KEY], ["1abc", "zabc234de56fab7c89012d34e56fa7b8"]),
    ] {
        for value in good {
            load(&env(&[(name, value)]));
        }
        for value in bad {
            let report = complaint(&env(&[(name, value)]));
            assert!(report.contains(name), "{report}");
        }
    }
}

#[test]
fn names_in_a_certificate_are_written_as_clients_ask_for_them() {
    let names = |given: &str| {
        let config = load(&env(&[("PINGBOX_API__TLS", "self_signed"), ("PINGBOX_API__TLS_NAMES", given)]));
        match config.api.tls {
            Tls::SelfSigned { names } => names,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        names("API.SolveCaptcha.com.,*.2captcha.com,bücher.example,my_host,[::1],2001:DB8::1,10.0.0.1"),
        [
            "api.solvecaptcha.com",
            "*.2captcha.com",
            "xn--bcher-kva.example",
            "my_host",
            "::1",
            "2001:db8::1",
            "10.0.0.1"
        ]
    );
    assert_eq!(names(""), Vec::<String>::new());
    for bad in ["a b", "*", "a.*.example", "-a.example", "a..example", "1.2.3", "[a]", "a/b", "a:1"] {
        let sources = env(&[("PINGBOX_API__TLS_NAMES", bad)]);
        assert!(complaint(&sources).contains("api.tls_names"), "{bad}");
    }
}

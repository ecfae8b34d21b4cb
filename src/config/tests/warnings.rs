//! What is legal but unwise.

use super::*;

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    let sources = with_env(env(variables), &[("PINGBOX_PROVIDER__API_KEY", API_KEY)]);
    Config::load(&sources, false).unwrap().warnings()
}

#[test]
fn a_sound_configuration_has_none() {
    assert_eq!(warnings(&[("PINGBOX_PUBLIC__URL", "https://a.example")]), Vec::<String>::new());
}

#[test]
fn what_is_legal_but_unwise_is_said() {
    let unwise = warnings(&[
        ("PINGBOX_PUBLIC__URL", "http://a.example"),
        ("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "49ms"),
        ("PINGBOX_API__AUTH", "none"),
        ("PINGBOX_API__LISTEN", "0.0.0.0:8081"),
        ("PINGBOX_PUBLIC__TLS", "self_signed"),
    ]);
    insta::assert_snapshot!(unwise.join("\n"), @r"
    public.url is http://a.example/: over http anyone on the way can read answers and send false ones
    provider.submit_interval is 49 ms: under 50 ms the provider may block for ten seconds
    public.tls is self_signed: the provider trusts no CA of ours, so public.url must lead to a proxy with a certificate that it trusts
    api.auth is none and the API listens on 0.0.0.0:8081: whoever reaches it may spend your money
    ");
}

#[test]
fn an_address_of_a_host_that_is_not_called_is_said() {
    let resolve = |pairs| {
        warnings(&[("PINGBOX_PUBLIC__URL", "https://a.example"), ("PINGBOX_PROVIDER__RESOLVE", pairs)])
    };
    assert_eq!(resolve("API.solvecaptcha.com.=192.0.2.1"), Vec::<String>::new());
    assert_eq!(
        resolve("solvecaptcha.com=192.0.2.1,api.solvecaptcha.com=::1"),
        ["provider.resolve names solvecaptcha.com, but the host of provider.base_url is \
             api.solvecaptcha.com: it has no effect"]
    );
}

#[test]
fn a_url_that_brings_no_pingbacks_is_said() {
    assert!(warnings(&[])[0].contains("polling mode"));
    for url in ["https://localhost", "http://127.0.0.2:8080", "http://[::1]"] {
        let said = warnings(&[("PINGBOX_PUBLIC__URL", url)]);
        assert!(said[0].contains("only this machine"), "{said:?}");
    }
}

use proptest::prelude::*;

use super::*;

fn rules(allowed: &[&str]) -> AddressRules {
    AddressRules::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
}

fn everything_allowed() -> AddressRules {
    rules(&[
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "::1/128",
        "fc00::/7",
    ])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// What is never called, whatever is allowed.
const NEVER: &[&str] = &[
    // unspecified, broadcast, multicast, reserved
    "0.0.0.0",
    "0.1.2.3",
    "255.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "254.1.2.3",
    "::",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "4000::1",
    "5f00::1",
    // link-local and site-local, metadata
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    // assigned to protocols, documentation, benchmarks
    "192.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "2001:db8::1",
    "3fff:fff::1",
    "2001:2::1",
    "2001:1ff::1",
    "2001:10::1",
    "2001:20::1",
    // the same in disguise: v4-mapped, v4-compatible, v4-translated
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::169.254.169.254",
    "::0.0.0.2",
    "::ffff:0:169.254.169.254",
    // NAT64, and the range for its local use
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:7f00:0:100:808:808",
    "64:ff9b:2::8.8.8.8",
    // 6to4
    "2002:a9fe:a9fe::1",
    "2002:e000:1::1",
    // Teredo: the server, and the client turned over
    "2001:0:a9fe:a9fe::f7f7:f7f7",
    "2001:0:808:808::5601:5601",
    // ISATAP below a public and a link-local prefix
    "2606:4700::5efe:169.254.169.254",
    "2606:4700::200:5efe:169.254.169.254",
    "2606:4700::300:5efe:169.254.169.254",
    "fe80::5efe:8.8.8.8",
    "2002:808:808::5efe:169.254.169.254",
];

/// What is called only where it is allowed: as a whole, and the network that allows it.
const PRIVATE: &[(&str, &str)] = &[
    ("10.0.0.1", "10.0.0.0/8"),
    ("172.16.0.1", "172.16.0.0/12"),
    ("172.31.255.255", "172.31.255.255/32"),
    ("192.168.1.1", "192.168.1.0/24"),
    ("100.64.0.1", "100.64.0.0/10"),
    ("100.127.255.255", "100.64.0.0/10"),
    ("127.0.0.1", "127.0.0.1/32"),
    ("127.255.255.254", "127.0.0.0/8"),
    ("::1", "::1/128"),
    ("fc00::1", "fc00::/7"),
    ("fd12:3456::1", "fd12:3456::/32"),
    ("::ffff:127.0.0.1", "127.0.0.1/32"),
    ("::ffff:10.1.2.3", "10.1.0.0/16"),
    ("::127.0.0.1", "127.0.0.1/32"),
    ("::ffff:0:127.0.0.1", "127.0.0.1/32"),
    ("64:ff9b::10.0.0.1", "10.0.0.0/8"),
    ("64:ff9b:1::10.0.0.1", "10.0.0.0/8"),
    ("2002:7f00:1::1", "127.0.0.1/32"),
    ("2001:0:7f00:1::f7f7:f7f7", "127.0.0.1/32"),
    ("2001:0:808:808::80ff:fffe", "127.0.0.1/32"),
    ("2606:4700::5efe:10.0.0.1", "10.0.0.0/8"),
    ("fd00::5efe:8.8.8.8", "fd00::/8"),
];

/// What is called in any case.
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82b::200e",
    "2001:200::1",
    "2001:4860:4860::8888",
    "3fff:1000::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2001:0:808:808::f7f7:f7f7",
    "2606:4700::5efe:8.8.8.8",
    "2606:4700::400:5efe:127.0.0.1",
];

#[test]
fn some_addresses_are_never_called() {
    let rules = everything_allowed();
    for text in NEVER {
        let judged = rules.judge(address(text));
        assert!(matches!(judged, Err(ForbiddenAddress::Never(_))), "{text}: {judged:?}");
    }
}

#[test]
fn private_addresses_are_called_only_where_they_are_allowed() {
    for (text, network) in PRIVATE {
        let judged = rules(&[]).judge(address(text));
        assert!(matches!(judged, Err(ForbiddenAddress::NotAllowed(_))), "{text}: {judged:?}");
        let judged = rules(&["172.16.0.0/16", "192.168.2.0/24", "fd99::/16"]).judge(address(text));
        assert_eq!(judged.is_ok(), *text == "172.16.0.1", "{text}: {judged:?}");
        assert_eq!(rules(&[network]).judge(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn public_addresses_are_called() {
    for text in PUBLIC {
        assert_eq!(rules(&[]).judge(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn a_literal_address_in_a_url_is_judged_however_it_is_written() {
    let loopback = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.1",
        "2130706433",
        "http://0x7f000001/x",
        "http://127.0.0.1./x",
        "http://user:word@127.0.0.1:80/x",
        "http://1.1.1.1@127.0.0.1/x",
        "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::ffff:7f00:1]/x",
        "http://[0:0:0:0:0:ffff:127.0.0.1]:8080/x",
        "localhost",
        "localhost.",
        "LOCALHOST:8080/x",
        "http://a.localhost/x",
        "http://a.b.localhost./x",
    ];
    for text in loopback {
        let url = CallerUrl::parse(text).unwrap();
        let judged = rules(&[]).judge_url(&url);
        assert!(matches!(judged, Err(ForbiddenAddress::NotAllowed("loopback"))), "{text}: {judged:?}");
        assert_eq!(rules(&["127.0.0.1/32", "::1/128"]).judge_url(&url), Ok(()), "{text}");
    }
    for text in ["0/x", "http://0.0.0.0", "http://[::]/x", "http://[fe80::1]/x", "169.254.169.254/latest"] {
        let judged = everything_allowed().judge_url(&CallerUrl::parse(text).unwrap());
        assert!(matches!(judged, Err(ForbiddenAddress::Never(_))), "{text}: {judged:?}");
    }
    for text in ["example.com", "8.8.8.8/x", "localhost.example.com", "notlocalhost", "[2606:4700::1]"] {
        assert_eq!(rules(&[]).judge_url(&CallerUrl::parse(text).unwrap()), Ok(()), "{text}");
    }
}

/// Every way in which an IPv6 address can mean an IPv4 address.
fn disguises(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = inner.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7),
        Ipv6Addr::new(0x2606, 0x4700, 1, 2, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2606, 0x4700, 1, 2, 0x200, 0x5efe, high, low),
    ]
}

proptest! {
    #[test]
    fn a_disguise_is_judged_by_the_address_inside_it(bits in any::<u32>(), allow in any::<bool>()) {
        let rules = if allow { everything_allowed() } else { rules(&[]) };
        let inner = Ipv4Addr::from(bits);
        for disguise in disguises(inner) {
            prop_assert_eq!(rules.judge(disguise.into()), rules.judge(inner.into()), "{} in {}", inner, disguise);
        }
    }

    #[test]
    fn addresses_of_the_special_ranges_are_never_called(bits in any::<u32>()) {
        let rules = everything_allowed();
        for (range, bits_of_host) in [
            ("0.0.0.0", 24), ("169.254.0.0", 16), ("192.0.0.0", 8), ("192.0.2.0", 8), ("198.18.0.0", 17),
            ("198.51.100.0", 8), ("203.0.113.0", 8), ("224.0.0.0", 28), ("240.0.0.0", 28),
        ] {
            let base = u32::from(range.parse::<Ipv4Addr>().unwrap());
            let inner = Ipv4Addr::from(base | (bits & ((1 << bits_of_host) - 1)));
            prop_assert!(rules.judge(inner.into()).is_err(), "{}", inner);
        }
    }

    #[test]
    fn only_global_unicast_and_what_stands_for_ipv4_is_public(bits in any::<u128>()) {
        let address = Ipv6Addr::from(bits);
        if rules(&[]).judge(address.into()).is_ok() {
            prop_assert!(address.segments()[0] & 0xe000 == 0x2000 || is_disguise(address), "{}", address);
        }
    }

    #[test]
    fn what_is_allowed_opens_nothing_else(bits in any::<u32>()) {
        let inner = Ipv4Addr::from(bits);
        let network: IpNet = "10.0.0.0/8".parse().unwrap();
        let judged = rules(&["10.0.0.0/8"]).judge(inner.into());
        prop_assert_eq!(judged.is_ok(), rules(&[]).judge(inner.into()).is_ok() || network.contains(&IpAddr::V4(inner)));
    }
}

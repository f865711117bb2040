//! Which addresses are somebody's on the Internet. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is that nobody on the Internet has (RFC 6890 and those after it); `None`: it may be anybody's.
pub(super) fn kind(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => kind4(address),
        IpAddr::V6(address) => kind6(address),
    }
}

fn kind4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        // The metadata services of clouds are here.
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("shared"),
        [224..=239, ..] => Some("multicast"),
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => {
            Some("reserved")
        }
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("documentation"),
        _ => None,
    }
}

fn kind6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // What is translated is what it is translated to (RFC 6052, 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] | [0, 0, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            kind4(Ipv4Addr::new(a, b, c, d))
        }
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfeff, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
        [0x2001, 0..=0x1ff, ..] => Some("reserved"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nobody_on_the_internet_are_told() {
        for (text, want) in [
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.9", Some("loopback")),
            ("10.1.2.3", Some("private")),
            ("172.15.0.1", None),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.1", None),
            ("192.168.0.1", Some("private")),
            ("169.254.169.254", Some("link-local")),
            ("100.64.0.1", Some("shared")),
            ("0.0.0.0", Some("reserved")),
            ("255.255.255.255", Some("reserved")),
            ("224.0.0.1", Some("multicast")),
            ("198.18.0.1", Some("reserved")),
            ("151.101.2.132", None),
            ("::1", Some("loopback")),
            ("::", Some("reserved")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:151.101.2.132", None),
            ("::10.0.0.1", Some("private")),
            ("64:ff9b::a00:1", Some("private")),
            ("64:ff9b::9765:284", None),
            ("2002:7f00:1::", Some("loopback")),
            ("fd00::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("link-local")),
            ("ff02::1", Some("multicast")),
            ("2001:db8::1", Some("documentation")),
            ("2001::1", Some("reserved")),
            ("2a04:4e42::644", None),
        ] {
            assert_eq!(kind(text.parse().unwrap()), want, "{text}");
        }
    }
}

//! IPv6: from files to [`Checked`] or [`Errors`].
#![allow(clippy::unwrap_used)]

use super::*;

/// Each key on its own line, so that a fault has one to name.
const LEAST: &str = "\
interfaces:
  - name: eth1
    dhcp: off
    dhcp6: server
    subnet6: 2001:db8::/64
    range6: 2001:db8::1000-2001:db8::1fff
    dns6: 2001:db8::53
    lease6: 2h
subnets:
  - { subnet6: 2001:db8:2::/64, range6: 2001:db8:2::10-2001:db8:2::20 }
hosts:
  - { name: a, mac: 52:54:00:00:00:01, ip6: 2001:db8::21 }
  - { name: b, duid: 00:02:00:00:ab:11:07 }
";

fn site(text: &str) -> Result<Checked, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netboot.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

#[test]
fn an_interface_with_ipv6_a_relayed_subnet_and_hosts() {
    let checked = site(LEAST).unwrap_or_else(|errors| panic!("{errors}"));
    let v6 = &checked.interfaces[0].v6;
    let subnet = v6.subnet.as_ref().unwrap();
    assert_eq!((v6.mode, v6.preference, v6.rapid_commit), (Dhcp6Mode::Server, 255, false));
    assert_eq!(subnet.to_string(), "2001:db8::/64");
    assert_eq!(subnet.range.map(|(_, last)| last.to_string()).unwrap(), "2001:db8::1fff");
    assert_eq!((subnet.dns.len(), subnet.lease), (1, Duration::from_secs(7200)));
    assert!(checked.subnets.is_empty());
    assert_eq!(checked.all_subnets6().count(), 2);
    assert_eq!(checked.hosts[0].ip6.unwrap().to_string(), "2001:db8::21");
    assert_eq!(checked.hosts[1].duid.as_ref().unwrap().0.len(), 7);
    assert_eq!(checked.http.listen.to_string(), "[::]:8080", "URLs name our IPv6 address");
    assert_eq!(checked.tftp.listen.to_string(), "[::]:69", "URLs name our IPv6 address");
    let shown = show(&checked);
    assert_eq!(shown["interfaces"][0]["range6"], "2001:db8::1000-2001:db8::1fff");
    assert_eq!(
        (&shown["interfaces"][0]["dhcp6"], &shown["interfaces"][0]["preference6"]),
        (&"server".into(), &255.into())
    );
    assert_eq!(shown["subnets"][0]["subnet6"], "2001:db8:2::/64");
    let mut host = checked.hosts[0].clone();
    host.ip6 = Some("2001:db8:9::1".parse().unwrap());
    let refused = checked.check_host(&host).unwrap_err();
    assert!(refused.starts_with("ip6: 2001:db8:9::1 is outside every subnet6 (there are: "), "{refused}");
}

/// Each row: a replacement in [`LEAST`], and the line, field and words of the fault.
#[test]
fn a_bad_value_in_place_of_a_good_one() {
    let rows = [
        ("dhcp6: server", "dhcp6: yes", 4, "interfaces[0].dhcp6", "takes one of server, stateless, off"),
        ("    subnet6: 2001:db8::/64\n", "", 4, "interfaces[0].dhcp6", "`dhcp6: server` needs `subnet6`"),
        ("    subnet6: 2001:db8::/64\n", "", 5, "interfaces[0].range6", "goes with `subnet6`"),
        ("dhcp6: server", "dhcp6: server\n    vlan: 7", 4, "interfaces[0].dhcp6", "as in eth1.100"),
        ("2001:db8::/64\n", "2001:db8::1\n", 5, "interfaces[0].subnet6", "takes an address and a prefix"),
        ("2001:db8::/64\n", "2001:db8::1/64\n", 5, "interfaces[0].subnet6", "the subnet is 2001:db8::/64"),
        ("2001:db8::/64\n", "10.0.0.0/8\n", 5, "interfaces[0].subnet6", "not an IPv6 subnet"),
        ("2001:db8::/64\n", "fe80::/64\n", 5, "interfaces[0].subnet6", "machines' own addresses"),
        ("::1000-2001:db8::1fff", "::1fff-2001:db8::1000", 6, "interfaces[0].range6", "runs backwards"),
        ("::1000-2001:db8::1fff", "::1000", 6, "interfaces[0].range6", "takes two addresses"),
        ("db8::1fff", "db8::ff:1fff", 6, "interfaces[0].range6", "more than 1048576 addresses"),
        ("db8::1000-", "db8::-", 6, "interfaces[0].range6", "every router's address"),
        ("::1000-2001:db8::1fff", ":1::1-2001:db8:1::9", 6, "interfaces[0].range6", "outside the subnet"),
        ("dns6: 2001:db8::53", "dns6: 10.0.0.1", 7, "interfaces[0].dns6", "not an IPv6 address"),
        ("lease6: 2h", "lease6: 2s", 8, "interfaces[0].lease6", "write 90s"),
        ("lease6: 2h", "preference6: 256", 8, "interfaces[0].preference6", "takes 0 to 255"),
        ("lease6: 2h", "leese6: 2h", 8, "interfaces[0].leese6", "did you mean `lease6`?"),
        (
            "subnet6: 2001:db8:2::/64",
            "subnet6: 2001:db8::/48",
            10,
            "subnets[0]",
            "shares addresses with 2001:db8::/64",
        ),
        ("ip6: 2001:db8::21", "ip6: 2001:db8:7::21", 12, "hosts[0].ip6", "outside every subnet6"),
        ("ip6: 2001:db8::21", "ip6: '[2001:db8::21]'", 12, "hosts[0].ip6", "without brackets"),
        ("ip6: 2001:db8::21", "ip6: ff02::1", 12, "hosts[0].ip6", "not one machine's address"),
        ("duid: 00:02:00:00:ab:11:07", "duid: node-b", 13, "hosts[1].duid", "not a DUID"),
        (
            "duid: 00:02:00:00:ab:11:07",
            "mac: 52:54:00:00:00:02, ip6: 2001:db8::21",
            13,
            "hosts[1].ip6",
            "belongs to host a",
        ),
        ("hosts:", "http: { listen: ':8080' }\nhosts:", 11, "http.listen", "write \"[::]:8080\""),
        ("hosts:", "tftp: { root: ., listen: ':69' }\nhosts:", 11, "tftp.listen", "write \"[::]:69\""),
    ];
    for (good, bad, line, field, words) in rows {
        assert!(LEAST.contains(good), "{good}");
        let errors = site(&LEAST.replacen(good, bad, 1)).expect_err(bad);
        let fault = errors.iter().find(|fault| fault.message.contains(words));
        let fault = fault.unwrap_or_else(|| panic!("{bad}\nwant {words}\ngot\n{errors}"));
        assert_eq!((fault.line, fault.field.as_str()), (line, field), "{bad}\n{errors}");
    }
}

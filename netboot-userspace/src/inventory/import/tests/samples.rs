//! Whole files of dnsmasq, Kea and ISC.

use super::*;

#[test]
fn a_dnsmasq_conf_gives_its_hosts_and_names_the_rest() {
    let text = "\
# Configuration file for dnsmasq.
domain-needed
bogus-priv
dhcp-range=192.168.0.50,192.168.0.150,12h
dhcp-host=11:22:33:44:55:66,192.168.0.60  # the group bit is set
dhcp-host=12:22:33:44:55:66, fred, 192.168.0.60, 45m
#dhcp-host=12:22:33:44:55:66,12:34:56:78:90:12,192.168.0.60
dhcp-host=bert,192.168.0.70,infinite
dhcp-host = id:01:02:02:04,192.168.0.61
\tdhcp-host=12:22:33:44:55:67,set:red

dhcp-hostsfile=/etc/dnsmasq.hosts
dhcp-option=option:router,192.168.0.1
12:22:33:44:55:68,lost
";
    check(&Case {
        file: "dnsmasq.conf",
        text,
        hosts: json!([
            { "name": "fred", "macs": ["12:22:33:44:55:66"], "ip": "192.168.0.60" },
            { "name": "host-01020204", "client_id": "01:02:02:04", "ip": "192.168.0.61" },
            { "name": "host-122233445567", "macs": ["12:22:33:44:55:67"], "labels": { "red": "" } },
        ]),
        refused: &[
            (5, "is a group's address"),
            (8, "not known here by the name"),
            (14, "is no option of a dnsmasq.conf"),
        ],
        notices: &[
            (2, "5 other options, from `domain-needed` on"),
            (5, "has no name"),
            (6, "45m: the time of a lease is its subnet's"),
            (9, "has no name"),
            (10, "has no name"),
            (12, "dhcp-hostsfile /etc/dnsmasq.hosts: what is in there is not read"),
        ],
        ..Case::default()
    });
}

/// BD-11: what Booddies keeps in `/var/lib/booddies/boot/dnsmasq/dhcp_hosts`.
#[test]
fn booddies_dhcp_hosts_are_read() {
    check(&Case {
        file: "dhcp_hosts",
        text: "\u{feff}00:25:90:0a:11:01,192.168.1.11,kvm-1,infinite\r\n00:25:90:0a:11:02,192.168.1.12,kvm-2,infinite\r\n",
        hosts: json!([
            { "name": "kvm-1", "macs": ["00:25:90:0a:11:01"], "ip": "192.168.1.11" },
            { "name": "kvm-2", "macs": ["00:25:90:0a:11:02"], "ip": "192.168.1.12" },
        ]),
        ..Case::default()
    });
}

#[test]
fn a_kea_configuration_gives_all_its_reservations() {
    let text = r#"{
// Global, of a network's subnet, of a subnet
"Dhcp4": {
  "reservations": [ { "hw-address": "1a:1b:1c:1d:1e:1f", "hostname": "global.example.org." } ],
  "hosts-database": { "type": "mysql" },
  "shared-networks": [ {
    "name": "floor13",
    "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24", "reservations": [
      { "client-id": "01:11:22:33:44:55:66", "ip-address": "192.0.2.2", "hostname": "" }, # nameless
    ] } ]
  } ],
  "subnet4": [ {
    "id": 2, "subnet": "192.0.3.0/24", "relay": { "ip-address": "192.0.3.1" },
    "reservations": [
      {
        "hw-address": "1a:1b:1c:1d:1e:20",
        "ip-address": "192.0.3.2",
        "hostname": "special",
        "next-server": "192.0.3.9",
        "boot-file-name": "/tmp/boot.efi",
        "option-data": [ { "name": "cookie-servers", "data": "10.1.1.202" }, { "code": 7, "data": "x" } ],
        "client-classes": [ "a" ],
        "user-context": { "room": 3 }
      },
      { "circuit-id": "'charter950'", "ip-address": "192.0.3.3", "hostname": "port" },
      { "duid": "01:02:03:04:05", "ip-address": "192.0.3.4" },
      { "flex-id": "'s0mEVaLue'", "hostname": "flexible" },
      { "ip-address": "192.0.3.5", "hostname": "nobody" },
      { "client-id": "'fo'", "hostname": "texty", "option-data": [] },
      { "client-id": "xyz", "hostname": "wrong" }
    ]
  } ]
},
"Dhcp6": { "subnet6": [ { "reservations": [
  { "duid": "00:03:00:01:52:54:00:00:00:07", "ip-addresses": [ "2001:db8::7" ], "prefixes": [], "hostname": "six" },
  { "hw-address": "52:54:00:00:00:08", "ip-addresses": [ "2001:db8::8" ] },
  { "duid": "00:03:00:01:52:54:00:00:00:09", "ip-addresses": [ "2001:db8::9", "2001:db8::a" ] }
] } ] }
}"#;
    check(&Case {
        format: Format::Kea,
        text,
        hosts: json!([
            { "name": "global.example.org", "macs": ["1a:1b:1c:1d:1e:1f"] },
            { "name": "host-01112233445566", "client_id": "01:11:22:33:44:55:66", "ip": "192.0.2.2" },
            { "name": "special", "macs": ["1a:1b:1c:1d:1e:20"], "ip": "192.0.3.2" },
            { "name": "port", "circuit": "charter950", "ip": "192.0.3.3" },
            { "name": "texty", "client_id": "fo" },
            { "name": "six", "duid": "00:03:00:01:52:54:00:00:00:07", "ip6": "2001:db8::7" },
            { "name": "host-525400000008", "macs": ["52:54:00:00:00:08"], "ip6": "2001:db8::8" },
        ]),
        refused: &[
            (26, "duid: a client of DHCPv4 sends more"),
            (27, "flex-id: "),
            (28, "has no hw-address, client-id, circuit-id or duid"),
            (30, "client-id: \"xyz\" is neither hex digits nor 'text'"),
            (37, "ip-addresses: is more than one address"),
        ],
        notices: &[
            (5, "hosts-database: reservations that are kept there"),
            (9, "has no name"),
            (19, "next-server 192.0.3.9 is not imported"),
            (20, "boot-file-name /tmp/boot.efi is not imported"),
            (21, "option-data cookie-servers, 7 is not imported"),
            (22, "client-classes a is not imported"),
            (23, "user-context is not imported"),
            (36, "has no name"),
        ],
        ..Case::default()
    });
}

#[test]
fn parts_of_a_kea_configuration_are_read_too() {
    let one = r#"{ "hw-address": "1a:1b:1c:1d:1e:1f", "hostname": "a" }"#;
    let hosts = json!([{ "name": "a", "macs": ["1a:1b:1c:1d:1e:1f"] }]);
    for text in [
        one.to_owned(),
        format!("[{one}]"),
        format!("{{\"reservations\": [{one}]}}"),
        format!("{{\"subnet4\": [{{\"reservations\": [{one}]}}]}}"),
        format!("[{{\"result\": 0, \"arguments\": {{\"Dhcp4\": {{\"reservations\": [{one}]}}}}}}]"),
    ] {
        check(&Case { format: Format::Kea, text: &text, hosts: hosts.clone(), ..Case::default() });
    }
    let none = &[(1, "has no `reservations`")];
    check(&Case { format: Format::Kea, text: "{\"Dhcp4\": {}}", notices: none, ..Case::default() });
    let refused = &[(1, "has no hw-address, client-id, circuit-id or duid")];
    check(&Case { format: Format::Kea, text: "[{\"hostname\": \"a\"}]", refused, ..Case::default() });
    let refused = &[(2, "is not Kea's JSON: ")];
    check(&Case { format: Format::Kea, text: "{\n\"Dhcp4\": ]}", refused, ..Case::default() });
}

#[test]
fn a_dhcpd_conf_gives_its_hosts_wherever_they_stand() {
    let text = r#"
option domain-name "example.org";  # not a host's
class "x" { match if substring (option vendor-class-identifier, 0, 9) = "PXEClient"; }
include "/etc/dhcp/more.conf";
host passacaglia { hardware ethernet 0:0:c0:5d:bd:95; filename "vmunix.passacaglia"; server-name "toccata.example.com"; }
shared-network s {
  subnet 10.254.239.0 netmask 255.255.255.224 {
    range 10.254.239.10 10.254.239.20;
    pool { allow members of "x"; HOST Fantasia { HARDWARE Ethernet 08:00:07:26:c0:a5; fixed-address fantasia.example.com; } }
    group {
      use-host-decl-names on;
      next-server 10.254.239.1;
      host beneath {
        hardware ethernet 08:00:07:26:c0:a6;
        fixed-address
          10.254.239.12;          # on a line of its own
        option host-name "beneath";
        option dhcp-client-identifier 1:8:0:7:26:c0:a6;
        option routers 10.254.239.1, 10.254.239.2;
      }
    }
  }
}
host texty { option dhcp-client-identifier "\000lab \"7\""; fixed-address 10.254.239.13; }
host port { host-identifier option agent.circuit-id "Ethernet1/7"; dynamic; }
host roaming { hardware ethernet 08:00:07:26:c0:a7; fixed-address 10.0.0.1, 10.1.0.1; }
host token { hardware token-ring 08:00:07:26:c0:a8; }
host nobody { fixed-address 10.0.0.2; }
host denied { hardware ethernet 08:00:07:26:c0:a9; deny booting; }
host gone { deleted; }
host under_score { hardware ethernet 08:00:07:26:c0:aa; }
host six { host-identifier option dhcp6.client-id 00:01; }
host twice { hardware ethernet 08:00:07:26:c0:ab; hardware ethernet 08:00:07:26:c0:ac; }
host named { hardware ethernet 08:00:07:26:c0:ad; option host-name "other"; if known { filename "x"; } }
"#;
    check(&Case {
        format: Format::Isc,
        file: "dhcpd.conf",
        text,
        hosts: json!([
            { "name": "passacaglia", "macs": ["00:00:c0:5d:bd:95"] },
            {
                "name": "beneath", "macs": ["08:00:07:26:c0:a6"], "client_id": "01:08:00:07:26:c0:a6",
                "ip": "10.254.239.12",
            },
            { "name": "texty", "client_id": "00:6c:61:62:20:22:37:22", "ip": "10.254.239.13" },
            { "name": "port", "circuit": "Ethernet1/7" },
            { "name": "named", "macs": ["08:00:07:26:c0:ad"] },
        ]),
        refused: &[
            (9, "`fixed-address fantasia.example.com` is a name"),
            (26, "`fixed-address 10.0.0.1 10.1.0.1` is one address for each of several networks"),
            (27, "`hardware token-ring 08:00:07:26:c0:a8` is not Ethernet"),
            (28, "has no `hardware ethernet`"),
            (29, "`deny booting` gives a machine no address"),
            (31, "is not a host name"),
            (32, "duid: \"00:01\" is not a DUID"),
            (33, "is the second"),
        ],
        notices: &[
            (4, "include \"/etc/dhcp/more.conf\": what is in there is not read"),
            (5, "`filename \"vmunix.passacaglia\"` is not imported"),
            (5, "`server-name \"toccata.example.com\"` is not imported"),
            (12, "`next-server 10.254.239.1` of a group of hosts is not imported"),
            (19, "`option routers 10.254.239.1 10.254.239.2` is not imported"),
            (30, "is deleted"),
            (34, "`option host-name \"other\"` is not imported"),
            (34, "`if known` is not imported"),
        ],
    });
    let refused = &[(1, "is no dhcpd.conf: the block of `host a` is not closed")];
    let text = "host a { hardware ethernet 08:00:07:26:c0:a5;\n";
    check(&Case { format: Format::Isc, text, refused, ..Case::default() });
}

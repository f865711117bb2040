//! Clauses that need more than one packet and the kernel's site: configured options, long ones, what is stored of a client.

use super::super::super::render;
use super::*;

/// The options of the answer to `ask`, as they are on the wire.
fn options(lane: &mut Lane, ask: &Ask) -> Vec<(u8, Vec<u8>)> {
    let mut out = vec![0xa5; 4096];
    let frame = ask.frame();
    let arrival = Arrival { frame: &frame, ifindex: ask.ifindex };
    let actions = lane.machine.handle(arrival, lane.now, &mut Scratch::new(), &mut out);
    let length = actions.send.unwrap_or_else(|| panic!("{:?}", actions.outcome));
    let (mut rest, mut options) = (&out[42 + 240..length], Vec::new());
    while let [code, more @ ..] = rest {
        match (code, more) {
            (0, _) => rest = more,
            (255, _) | (_, []) => break,
            (_, [length, more @ ..]) => {
                let (value, more) = more.split_at(usize::from(*length));
                options.push((*code, value.to_vec()));
                rest = more;
            }
        }
    }
    options
}

fn values(options: &[(u8, Vec<u8>)], code: u8) -> Vec<Vec<u8>> {
    options.iter().filter(|(this, _)| *this == code).map(|(_, value)| value.clone()).collect()
}

/// What a plan says that can't be made for this configuration.
fn refused(config: &Checked) -> render::Error {
    Plan::new(config, &links(), Numbering::default()).unwrap_err()
}

#[test]
fn rfc2132_3_text_goes_out_without_a_nul_and_a_clients_is_taken_off() {
    let mut site = config();
    site.settings.options.set("tftp-server-name", &["boot.lab.example"]).unwrap();
    let mut lane = Lane::new(site, Vec::new());
    let options = options(&mut lane, &Ask::new(DISCOVER, 1));
    assert_eq!(values(&options, 66), [b"boot.lab.example"]);
    let with_nul = |ask: Ask| ask.option(12, b"node1\0\0").option(77, b"x\0");
    let ip = lane.lease(1, with_nul).unwrap();
    assert_eq!(lane.machine.book.at(ip.into()).unwrap().1.hostname, "node1");
}

#[test]
fn a_host_name_that_is_none_is_not_stored() {
    for name in [&b"a\nb"[..], b"\x1b[2J", b"a\0b", b"a b", b"\xc3\x28", &[b'x'; 255]] {
        let mut lane = Lane::new(config(), Vec::new());
        let ip = lane.lease(1, |ask| ask.option(57, &1472_u16.to_be_bytes()).option(12, name)).unwrap();
        let stored = lane.machine.book.at(ip.into()).unwrap().1.hostname.clone();
        assert!(stored.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{stored:?}");
        assert_eq!(stored.is_empty(), name.len() != 255, "{stored:?}");
    }
}

#[test]
fn rfc3396_1_an_option_longer_than_255_goes_out_in_parts_in_order() {
    let long: String = (0..290_u32).map(|i| format!("{:02x}", i % 251)).collect();
    let mut site = config();
    // The template's room is for one such option, and little else.
    site.interfaces[0].subnets.iter_mut().chain(&mut site.subnets).for_each(|subnet| subnet.router = None);
    site.settings.options.set("224", &[&format!("hex:{long}")]).unwrap();
    let site = Checked { interfaces: site.interfaces[..1].to_vec(), ..site };
    let error = refused(&site);
    assert!(matches!(error, render::Error::TooLong { options: 303.., .. }), "{error}");

    let mut site = config();
    let long: Vec<u8> = (0..260_u16).map(|i| (i % 251) as u8).collect();
    let hex: String = long.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut known = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 0, 0, 7])) };
    site.interfaces[0].subnets[0].router = None;
    known.settings.options.set("224", &[&format!("hex:{hex}")]).unwrap();
    // Firmware and iPXE are told of files, too; here they are short.
    for class in Class::ALL.into_iter().filter(|class| class.boots()) {
        known.settings.set_boot_file(class.name(), "x").unwrap();
    }
    let mut lane = Lane::new(site, vec![known]);
    let ask = Ask::new(DISCOVER, 1).option(57, &1472_u16.to_be_bytes());
    let parts = values(&options(&mut lane, &ask), 224);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [255, 5]);
    assert_eq!(parts.concat(), long);
}

#[test]
fn rfc3396_2_parts_are_joined_across_options_then_file_then_sname() {
    let known = Host { client_id: "disk-seven".parse().ok(), ..host("n", Some([10, 0, 0, 7])) };
    let mut lane = Lane::new(config(), vec![known]);
    let (mut file, mut sname) = ([0; 128], [0; 64]);
    file[..6].copy_from_slice(b"\x3d\x03k-s\xff");
    sname[..7].copy_from_slice(b"\x3d\x04even\xff");
    let ask = Ask::new(DISCOVER, 1).option(61, b"dis").option(52, &[3]).field(108, file).field(44, sname);
    let reply = lane.answered(&ask);
    assert_eq!(reply.yiaddr().octets(), [10, 0, 0, 7]);
    assert_eq!(
        reply.opts().get(OptionCode::ClientIdentifier),
        Some(&DhcpOption::ClientIdentifier(b"disk-seven".to_vec()))
    );
}

#[test]
fn rfc3046_4_the_lease_is_given_where_option_82_has_no_room() {
    let mut lane = Lane::new(config(), Vec::new());
    let long = |kind| Ask::new(kind, 1).relayed(RELAY).option(61, &[9; 100]).option(82, &[7; 255]);
    let (actions, offer) = lane.handle(&long(DISCOVER));
    assert_eq!(actions.notes, [Note::WithoutRelayAgent]);
    let ip = offer.unwrap().yiaddr().octets();
    let (actions, ack) = lane.handle(&long(REQUEST).option(50, &ip).option(54, &OURS));
    assert_eq!(actions.notes, [Note::WithoutRelayAgent]);
    assert!(actions.store.is_some() && ack.unwrap().opts().get(OptionCode::RelayAgentInformation).is_none());
}

#[test]
fn rfc3046_5_a_circuit_names_its_host_where_switches_are_trusted() {
    let behind_port = || Host { circuit: "port-9".parse().ok(), ..host("n", Some([10, 0, 0, 7])) };
    let ask = Ask::new(DISCOVER, 2).option(82, b"\x01\x06port-9");
    Lane::new(config(), vec![behind_port()]).left(&ask, Leave::UntrustedRelay);
    let mut site = config();
    site.interfaces[0].option_82 = crate::config::Option82::Trust;
    let mut lane = Lane::new(site, vec![behind_port()]);
    assert_eq!(lane.answered(&ask).yiaddr().octets(), [10, 0, 0, 7]);
    assert_eq!(values(&options(&mut lane, &ask), 82), [b"\x01\x06port-9"]);
}

#[test]
fn rfc5859_1_option_150_is_a_list_of_addresses() {
    let mut site = config();
    site.settings.options.set("tftp-server-addresses", &["10.0.0.3", "10.0.0.4"]).unwrap();
    assert!(site.settings.options.set("150", &["boot.lab.example"]).is_err());
    assert!(site.settings.options.set("150", &[]).is_err());
    let mut lane = Lane::new(site, Vec::new());
    let options = options(&mut lane, &Ask::new(DISCOVER, 1));
    assert_eq!(values(&options, 150), [[10, 0, 0, 3, 10, 0, 0, 4]]);
}

#[test]
fn rfc5859_2_option_150_is_sent_only_if_configured_and_agrees_with_66() {
    let mut lane = Lane::new(config(), Vec::new());
    let sent = options(&mut lane, &Ask::new(DISCOVER, 1).pxe().option(55, &[66, 67, 150]));
    assert!(sent.iter().all(|(code, _)| ![66, 150].contains(code)));
    let with = |name: &str| {
        let mut site = config();
        site.settings.options.set("150", &["10.0.0.3", "10.0.0.4"]).unwrap();
        site.settings.options.set("66", &[name]).unwrap();
        site
    };
    for name in ["10.0.0.4", "boot.lab.example"] {
        let mut lane = Lane::new(with(name), Vec::new());
        let sent = options(&mut lane, &Ask::new(DISCOVER, 1).pxe());
        assert_eq!((values(&sent, 66).len(), values(&sent, 150).len()), (1, 1));
    }
    let error = refused(&with("10.0.0.5")).to_string();
    assert!(error.contains("option 66 says 10.0.0.5"), "{error}");
}

#[test]
fn uhb_3_a_host_name_in_the_uri_comes_with_a_dns_server() {
    let named = || {
        let mut site = config();
        site.settings.set_boot_file("efi-x64-http", "http://boot.lab.example/x.efi").unwrap();
        site
    };
    let error = refused(&named()).to_string();
    assert!(error.contains("efi-x64-http") && error.contains("set `dns`"), "{error}");
    let mut site = named();
    let subnets = site.interfaces[0].subnets.iter_mut().chain(&mut site.subnets);
    subnets.for_each(|subnet| subnet.dns = vec![[10, 0, 0, 53].into()]);
    let mut lane = Lane::new(site, Vec::new());
    let ask = Ask::new(DISCOVER, 1).option(60, b"HTTPClient:Arch:00016:UNDI:003001").option(93, &[0, 16]);
    let sent = options(&mut lane, &ask);
    assert_eq!(values(&sent, 67), [b"http://boot.lab.example/x.efi"]);
    assert_eq!(values(&sent, 6), [[10, 0, 0, 53]]);
    // An address needs none.
    for url in ["http://10.0.0.3/x.efi", "http://10.0.0.3:8080/x.efi", "http://[2001:db8::1]:80/x.efi"] {
        let mut site = config();
        site.settings.set_boot_file("efi-x64-http", url).unwrap();
        Lane::new(site, Vec::new()).answered(&ask);
    }
}

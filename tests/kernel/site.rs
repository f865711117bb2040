//! The site that the tests ask: a server on the untagged network, on VLAN 77, on VLAN 100/88, and on VLAN 300 with a small MTU; a
//! proxy on VLAN 200.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use netboot_common::Mac;
use netboot_common::limit::Limits;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue};
use netboot_userspace::config::{
    Cache, Checked, DhcpMode, Http, Interface, Option82, Paths, Subnet, Tftp, Unknown, V6, XdpMode,
};
use netboot_userspace::dhcp::tables::{Link, Numbering, Plan};
use netboot_userspace::inventory::menu::MenuEntry;
use netboot_userspace::inventory::settings::Settings;

use crate::lab::{IFINDEX, Site};

/// Our own MAC and addresses.
pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Our address on the untagged network; on VLAN n the third byte is n.
pub(crate) const OUR_ADDRESS: [u8; 4] = [10, 77, 0, 1];
/// A relay agent's network.
pub(crate) const RELAY: [u8; 4] = [10, 99, 0, 1];
/// VLANs of the site: untagged, tagged, tagged twice, the proxy's, and the narrow one.
pub(crate) const VLANS: [[u16; 2]; 5] = [[0, 0], [77, 0], [100, 88], [200, 0], [300, 0]];
/// The VLAN whose switches put option 82 in.
pub(crate) const TRUSTED: [u16; 2] = [100, 88];
/// The captures' guest.
pub(crate) const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
/// The seconds of the boot-time clock beyond which the dynamic host is stale.
pub(crate) const NEVER: u64 = u64::MAX / 4;

/// Hosts by number: what distinguishes them.
pub(crate) const RESERVED: u8 = 1;
pub(crate) const RELAYED: u8 = 2;
pub(crate) const NO_ADDRESS: u8 = 3;
pub(crate) const IGNORED: u8 = 4;
pub(crate) const DYNAMIC: u8 = 5;
pub(crate) const STALE: u8 = 6;
pub(crate) const LONG_NAME: u8 = 7;

/// The MAC of host `number`; [`RESERVED`] is the captures' guest.
pub(crate) fn mac(number: u8) -> [u8; 6] {
    [GUEST[0], GUEST[1], GUEST[2], GUEST[3], GUEST[4], number]
}

/// The server's address on a VLAN.
pub(crate) fn our_address(vlan: [u16; 2]) -> [u8; 4] {
    [OUR_ADDRESS[0], OUR_ADDRESS[1], vlan[0] as u8, OUR_ADDRESS[3]]
}

/// The address of host `number` on a VLAN.
pub(crate) fn address(vlan: [u16; 2], number: u8) -> [u8; 4] {
    if number == RELAYED {
        return [RELAY[0], RELAY[1], RELAY[2], 50];
    }
    [OUR_ADDRESS[0], OUR_ADDRESS[1], vlan[0] as u8, 50 + number]
}

/// The site as userspace plans it.
pub(crate) fn site_plan() -> Plan {
    Plan::new(&config(), &links(), Numbering::default()).expect("the site's templates can be rendered")
}

/// The tables, rendered as the daemon renders them.
pub(crate) fn site() -> &'static Site {
    static SITE: LazyLock<Site> = LazyLock::new(tables);
    &SITE
}

fn tables() -> Site {
    let mut plan = site_plan();
    let mut site = Site { interfaces: plan.kernel_interfaces().into_iter().collect(), ..Site::default() };
    // Of the whole site, in a configuration; here, so that both are tried.
    if let Some(interface) = site.interfaces.get_mut(&InterfaceKey::new(IFINDEX, TRUSTED)) {
        let flags = InterfaceValue::TRUSTS_OPTION_82 | InterfaceValue::NOT_AUTHORITATIVE;
        *interface = interface.with_flags(flags);
    }
    for vlan in VLANS {
        for number in RESERVED..=LONG_NAME {
            let vid = if vlan[1] == 0 { vlan[0] } else { vlan[1] };
            site.hosts.insert(HostKey::new(mac(number), vid), host(&mut plan, vlan, number));
        }
    }
    site.templates = plan.templates.clone();
    assert!(site.interfaces.contains_key(&InterfaceKey::new(IFINDEX, [100, 88])));
    site
}

fn host(plan: &mut Plan, vlan: [u16; 2], number: u8) -> HostValue {
    let stranger = plan.stranger();
    if number == NO_ADDRESS {
        return stranger;
    }
    let leased = plan.lease_value(address(vlan, number).into(), &stranger);
    let leased = leased.expect("every host is on a network of the site");
    let value = leased.with_flags(0);
    match number {
        IGNORED => value.with_flags(HostValue::IGNORE),
        DYNAMIC => leased.with_valid_until(NEVER),
        STALE => leased.with_valid_until(1),
        LONG_NAME => value.with_hostname("a-name-of-twenty-seven-byte"),
        _ => value.with_hostname("node1"),
    }
}

fn subnet(network: [u8; 4]) -> Subnet {
    let network = Ipv4Addr::from(network);
    let router = Ipv4Addr::from(u32::from(network) + 1);
    let mut subnet = Subnet::new(network, 24, std::time::Duration::from_secs(3600));
    (subnet.router, subnet.dns) = (Some(router), vec![router]);
    subnet
}

/// The networks whose BIOS clients get a boot menu: a server's and the proxy's.
fn with_menu(vlan: [u16; 2], mut subnet: Subnet) -> Subnet {
    if vlan == [77, 0] || vlan == [200, 0] {
        let menu: MenuEntry = serde_json::from_str(MENU).expect("the menu is JSON");
        subnet.settings.menu = Some(menu.check().expect("the menu fits"));
        // It is not what an item with a profile boots.
        subnet.settings.set_boot_file("bios", "memtest.0").expect("a boot file");
    }
    subnet
}

const MENU: &str = r#"{ "prompt": "F8", "timeout": "3s", "items": [
    { "title": "Disk", "local": true },
    { "title": "Install", "profile": "install" },
    { "title": "Linux", "boot_file": "lpxelinux.0" }
] }"#;

fn interface(vlan: [u16; 2]) -> Interface {
    Interface {
        name: "lo".to_owned(),
        vlan: vlan.into_iter().filter(|vid| *vid != 0).collect(),
        dhcp: if vlan[0] == 200 { DhcpMode::Proxy } else { DhcpMode::Server },
        xdp: XdpMode::Auto,
        option_82: if vlan == TRUSTED { Option82::Trust } else { Option82::Drop },
        subnet_selection: false,
        subnets: vec![with_menu(vlan, subnet([OUR_ADDRESS[0], OUR_ADDRESS[1], vlan[0] as u8, 0]))],
        v6: V6::default(),
    }
}

fn config() -> Checked {
    Checked {
        interfaces: VLANS.map(interface).to_vec(),
        subnets: vec![subnet([RELAY[0], RELAY[1], RELAY[2], 0])],
        subnets6: Vec::new(),
        unknown: Unknown::Boot,
        default_profile: None,
        http: Http::new(([0, 0, 0, 0], 8080).into()),
        tftp: Tftp::new("/nonexistent".into()),
        matchbox: Default::default(),
        livebootp: None,
        assets: "/nonexistent".into(),
        cache: Cache::none(),
        ipxe: "/nonexistent".into(),
        paths: Paths::default(),
        authoritative: true,
        domain: Some("lab.example".to_owned()),
        settings: Settings::default(),
        limits: Limits::NONE,
        probe: None,
        breaker: None,
        templates: Default::default(),
        template_files: Default::default(),
        profiles: Vec::new(),
        groups: Vec::new(),
        hosts: Vec::new(),
    }
}

fn links() -> Vec<Link> {
    let link = |vlan: [u16; 2]| Link {
        name: "lo".to_owned(),
        index: IFINDEX,
        mac: Mac(OUR_MAC),
        address: our_address(vlan).into(),
        prefix: 24,
        mtu: if vlan[0] == 300 { 576 } else { 1500 },
    };
    VLANS.map(link).to_vec()
}

//! The site of the measurement: one server, one network, hosts by number. Rendered as the server renders it.

use std::time::Duration;

use anyhow::Context as _;
use netboot_common::Mac;
use netboot_common::limit::{Budget, Limits};
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Template, TemplateKey};
use netboot_common::wire::dhcp::option;
use netboot_userspace::config::{
    Cache, Checked, DhcpMode, Http, Interface, Paths, Subnet, Tftp, Unknown, V6, XdpMode,
};
use netboot_userspace::dhcp::tables::{Link, Numbering, Plan};
use netboot_userspace::inventory::settings::Settings;

use crate::clients::{Network, mac};
use crate::layout::at;

/// `BPF_PROG_TEST_RUN` gives frames that came in by the loopback device.
const IFINDEX: u32 = 1;
/// Our own.
pub(super) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The relay agent's.
pub(super) const RELAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PREFIX: u8 = 10;
const LEASE: Duration = Duration::from_secs(3600);

/// Budgets that are charged, and that nobody here can be over: one client's packets come some hundred nanoseconds after one another.
pub(super) const LIMITS: Limits = {
    let budget = Budget::new(1_000_000_000, 1_000_000_000);
    Limits { client: budget, relay: budget }
};

/// What the maps are to hold.
pub(super) struct Site {
    pub(super) interfaces: Vec<(InterfaceKey, InterfaceValue)>,
    pub(super) hosts: Vec<(HostKey, HostValue)>,
    pub(super) templates: Vec<(TemplateKey, Template)>,
}

pub(super) fn site(network: &Network, hosts: u32) -> anyhow::Result<Site> {
    let link = Link {
        name: "lo".to_owned(),
        index: IFINDEX,
        mac: Mac(OUR_MAC),
        address: network.server,
        prefix: PREFIX,
        mtu: 1500,
    };
    let mut plan = Plan::new(&config(network), &[link], Numbering::default())?;
    let stranger = plan.stranger();
    let leased = plan.lease_value(network.address(0), &stranger);
    let group = leased.context("the clients are outside the network")?.group();
    let host = |client: u32| {
        let address = network.address(client).octets();
        let value = HostValue::new(address, PREFIX, LEASE.as_secs() as u32, group);
        (HostKey::new(mac(client), 0), value.with_hostname(&format!("n{client}")))
    };
    Ok(Site {
        interfaces: plan.served.iter().map(|served| (served.key, served.value)).collect(),
        hosts: (0..hosts).map(host).collect(),
        templates: plan.templates.iter().map(|(key, value)| (*key, *value)).collect(),
    })
}

/// Makes a request client 0's.
pub(super) fn become_first(frame: &mut [u8], network: &Network, relayed: bool) {
    let Some(chaddr) = frame.get_mut(at::CHADDR..at::CHADDR + 6) else { return };
    chaddr.copy_from_slice(&mac(0));
    if !relayed {
        frame[at::SOURCE_MAC..at::SOURCE_MAC + 6].copy_from_slice(&mac(0));
    }
    if names_address(frame) {
        frame[at::REQUESTED..at::REQUESTED + 4].copy_from_slice(&network.first.octets());
    }
}

/// Whether the second option is option 50.
pub(super) fn names_address(frame: &[u8]) -> bool {
    frame.get(at::REQUESTED - 2) == Some(&option::REQUESTED_ADDRESS)
}

fn config(network: &Network) -> Checked {
    let base = (u32::from(network.server) & !(u32::MAX >> PREFIX)).into();
    let mut subnet = Subnet::new(base, PREFIX, LEASE);
    (subnet.router, subnet.dns) = (Some(network.server), vec![network.server]);
    let interface = Interface {
        name: "lo".to_owned(),
        vlan: Vec::new(),
        dhcp: DhcpMode::Server,
        xdp: XdpMode::Auto,
        option_82: Default::default(),
        subnet_selection: false,
        subnets: vec![subnet.clone()],
        v6: V6::default(),
    };
    Checked {
        interfaces: vec![interface],
        // The same network, behind a relay agent: a host's entry is one for both.
        subnets: vec![subnet],
        subnets6: Vec::new(),
        unknown: Unknown::Ignore,
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
        limits: LIMITS,
        probe: None,
        breaker: None,
        templates: Default::default(),
        template_files: Default::default(),
        profiles: Vec::new(),
        groups: Vec::new(),
        hosts: Vec::new(),
    }
}

//! Which network a client is on, and what it gets there.

use super::*;

/// The kernel's lanes, with what a plan gives them.
struct Kernel<'a>(&'a Machine);

impl reply::Tables for Kernel<'_> {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        self.0.served(1, vlan).map(|served| &served.value)
    }

    fn host(&self, key: &HostKey) -> Option<&HostValue> {
        self.0.hosts.by_mac.get(key)
    }

    fn template(&self, key: &TemplateKey) -> Option<&Template> {
        self.0.plan.templates.get(key)
    }

    fn now(&self) -> u64 {
        50
    }
}

#[test]
fn subnets_that_share_a_relay_agent_are_one_link() {
    let mut config = config();
    config.subnets.push(subnet(7));
    config.subnets[2].relays = vec![RELAY.into()];
    let mut lane = Lane::new(config, Vec::new());
    let links: Vec<u16> = lane.machine.plan.networks.iter().map(|network| network.link).collect();
    assert_eq!(links, [0, 0, 2, 3, 2]);
    // The first pool is used up: what is leased of the second is found again after a restart.
    let given: Vec<_> = (1..=11).filter_map(|mac| lane.lease(mac, |ask| ask.relayed(RELAY))).collect();
    assert_eq!((given.len(), given[10][1]), (11, 7));
    let leases: Vec<_> = lane
        .machine
        .book
        .entries()
        .map(|(k, e)| super::super::super::persist::to_lease(k, e.clone(), 0))
        .collect();
    lane.machine.book = Book::default();
    lane.machine.book.set_pools(lane.machine.plan.pools(), &HashSet::new());
    for lease in leases {
        let (key, entry) = super::super::super::persist::from_lease(&lane.machine.plan, lease);
        lane.machine.book.restore(key, entry);
    }
    let rebinding = Ask::new(REQUEST, 11).field(12, given[10]).relayed(RELAY);
    assert_eq!(lane.answered(&rebinding).yiaddr().octets(), given[10]);
}

#[test]
fn relay_agents_choose_the_subnet_by_giaddr_or_by_their_list() {
    let mut lane = Lane::new(config(), Vec::new());
    for (giaddr, third) in [(RELAY, 9), (FAR_RELAY, 8)] {
        let reply = lane.answered(&Ask::new(DISCOVER, 1).relayed(giaddr));
        assert_eq!(reply.yiaddr().octets()[..3], [10, third, 0]);
        assert_eq!(
            reply.opts().get(OptionCode::Router),
            Some(&DhcpOption::Router(vec![[10, third, 0, 1].into()]))
        );
    }
    lane.left(&Ask::new(DISCOVER, 1).relayed([10, 70, 0, 1]), Leave::WrongNetwork);
}

#[test]
fn rfc3527_link_selection_and_rfc3011_subnet_selection_name_the_network() {
    let mut lane = Lane::new(config(), Vec::new());
    let third = |lane: &mut Lane, ask: &Ask| lane.answered(ask).yiaddr().octets()[1];
    let link = Ask::new(DISCOVER, 1).relayed(RELAY).option(82, &[5, 4, 10, 8, 0, 0]);
    assert_eq!(third(&mut lane, &link), 8);
    assert_eq!(third(&mut lane, &Ask::new(DISCOVER, 2).option(118, &[10, 9, 0, 0])), 9);
    let both =
        Ask::new(DISCOVER, 3).relayed(RELAY).option(118, &[10, 9, 0, 0]).option(82, &[5, 4, 10, 8, 0, 0]);
    assert_eq!(third(&mut lane, &both), 8, "the relay agent knows better than the client");
    lane.left(&Ask::new(DISCOVER, 4).option(118, &[10, 70, 0, 0]), Leave::WrongNetwork);
}

#[test]
fn relay_agents_of_an_interfaces_own_subnet_are_answered_in_the_kernel_where_they_are_named() {
    let agent = [10, 0, 0, 9];
    let frame = Ask::new(DISCOVER, 1).relayed(agent).pxe().frame();
    for named in [false, true] {
        let mut config = config();
        config.interfaces[0].subnets[0].relays.extend(named.then_some(Ipv4Addr::from(agent)));
        let reserved = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 0, 0, 7])) };
        let mut lane = Lane::new(config, vec![reserved]);
        let (mut ours, mut theirs, mut scratch) = (vec![0; 4096], vec![0; 4096], Scratch::new());
        let arrival = Arrival { frame: &frame, ifindex: 1 };
        let sent = lane.machine.handle(arrival, lane.now, &mut scratch, &mut ours).send.unwrap();
        let packet = Slice { bytes: &frame, offloaded_vlan: 0, ifindex: 1 };
        let request = Request::read(&packet, OPTIONS_ALL).unwrap();
        let kernel = Kernel(&lane.machine);
        let reply = reply::answer(&packet, &request, &kernel, &mut scratch);
        let length = reply
            .and_then(|reply| write(&packet, &request, &reply, &scratch, &mut theirs).ok_or(Leave::TooLong));
        if named {
            assert_eq!(length, Ok(sent));
            assert_eq!(theirs[..sent], ours[..sent]);
        } else {
            assert_eq!(length, Err(Leave::NoTemplate));
        }
    }
}

#[test]
fn a_reservation_of_another_network_is_not_given_here() {
    let reserved = Host { macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])], ..host("n", Some([10, 9, 0, 7])) };
    let mut lane = Lane::new(config(), vec![reserved]);
    assert_eq!(lane.answered(&Ask::new(DISCOVER, 1).relayed(RELAY)).yiaddr().octets(), [10, 9, 0, 7]);
    let elsewhere = lane.answered(&Ask::new(DISCOVER, 1)).yiaddr().octets();
    assert!((100..=109).contains(&elsewhere[3]) && elsewhere[1] == 0, "a lease of the network that it is on");
}

#[test]
fn rfc2131_12_the_pools_of_all_subnets_of_a_link_and_then_nothing() {
    let mut lane = Lane::new(config(), Vec::new());
    let given: HashSet<_> = (1..=20).filter_map(|mac| lane.lease(mac, same)).collect();
    assert_eq!(given.len(), 20, "ten addresses of each");
    assert!(given.iter().any(|ip| ip[1] == 0) && given.iter().any(|ip| ip[1] == 1));
    lane.left(&Ask::new(DISCOVER, 21), Leave::NoFreeAddress);
}

#[test]
fn rfc2131_8_a_client_behind_a_relay_agent_renews_and_releases_by_unicast() {
    let mut lane = Lane::new(config(), vec![host("fixed", None)]);
    let ip = lane.lease(1, |ask| ask.relayed(RELAY)).unwrap();
    assert_eq!(ip[..3], [10, 9, 0]);
    let ack = lane.answered(&Ask::new(REQUEST, 1).field(12, ip).unicast(ip));
    assert_eq!((ack.yiaddr().octets(), ack.giaddr().octets()), (ip, [0; 4]));
    assert_eq!(
        ack.opts().get(OptionCode::Router),
        Some(&DhcpOption::Router(vec![[10, 9, 0, 1].into()])),
        "of its own network"
    );
    // A broadcast comes from this link, whatever address the client had elsewhere.
    lane.left(&Ask::new(REQUEST, 1).field(12, ip), Leave::UnknownHost);
    let (actions, _) = lane.handle(&Ask::new(RELEASE, 1).field(12, ip).option(54, &OURS).unicast(ip));
    assert!(actions.store.is_some());
}

#[test]
fn rfc2131_8_a_client_behind_a_relay_agent_renews_and_releases_by_itself() {
    let mut lane = Lane::new(config(), Vec::new());
    let ip = lane.lease(1, |ask| ask.relayed(RELAY)).unwrap();
    assert_eq!(ip[..3], [10, 9, 0]);
    let ack = lane.answered(&Ask::new(REQUEST, 1).field(12, ip).unicast(ip));
    assert_eq!((ack.ciaddr().octets(), ack.yiaddr().octets()), (ip, ip));
    let router = ack.opts().get(OptionCode::Router).cloned();
    assert_eq!(router, Some(DhcpOption::Router(vec![[10, 9, 0, 1].into()])), "its own network's");
    lane.left(&Ask::new(REQUEST, 1).field(12, ip), Leave::UnknownHost);
    let (actions, _) = lane.handle(&Ask::new(RELEASE, 1).field(12, ip).option(54, &OURS).unicast(ip));
    assert!(actions.store.is_some());
    assert_eq!(lane.lease(2, |ask| ask.relayed(RELAY).option(50, &ip)), Some(ip));
}

#[test]
fn an_interface_that_could_not_be_relinked_is_what_it_was() {
    let mut plan = Lane::new(config(), Vec::new()).machine.plan;
    let indexes = |plan: &Plan| plan.served.iter().map(|served| served.link.index).collect::<Vec<_>>();
    let (before, mut link) = (indexes(&plan), plan.served[0].link.clone());
    link.index = 77;
    assert_eq!(plan.relink(&link, |plan| Err(indexes(plan)[0])), Err(77), "who is told sees the new one");
    assert_eq!(indexes(&plan), before);
    plan.relink(&link, |_| Ok::<_, ()>(())).unwrap();
    assert_eq!(indexes(&plan)[0], 77);
}

#[test]
fn rfc3011_2_the_option_comes_back_where_it_is_allowed_and_else_is_not_seen() {
    for allowed in [true, false] {
        let mut config = config();
        config.interfaces[0].subnet_selection = allowed;
        let mut lane = Lane::new(config, Vec::new());
        let subnet = [10, 9, 0, 0];
        let third = if allowed { 9 } else { 0 };
        for kind in [DISCOVER, REQUEST, INFORM] {
            let offered = lane.machine.book.entries().next().map(|(_, entry)| entry.ip.octets());
            let own = [10, third, 0, 77];
            let ask = Ask::new(kind, 1).option(118, &subnet);
            let ask = match offered {
                _ if kind == INFORM => ask.field(12, own).unicast(own),
                Some(ip) => ask.option(50, &ip).option(54, &OURS),
                None => ask,
            };
            let reply = lane.answered(&ask);
            assert_eq!(reply.yiaddr().octets()[1], if kind == INFORM { 0 } else { third });
            let echoed = reply.opts().get(OptionCode::SubnetSelection);
            assert_eq!(echoed, allowed.then(|| DhcpOption::SubnetSelection(subnet.into())).as_ref());
        }
    }
}

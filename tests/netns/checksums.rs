//! Requests whose checksums their sender left to a device.

use std::net::UdpSocket;
use std::time::Duration;

use crate::clients::SITE;
use crate::lab::{MAC, SERVER, Side, run};
use crate::malformed::{HOST, message, message_of};
use crate::site::Site;

const CLIENT: [u8; 4] = [10, 77, 0, 51];

/// A client that has its address asks to keep it: from an ordinary socket, as clients do that renew.
fn renew() -> std::io::Result<Vec<u8>> {
    let frame = message(HOST, 77, &[53, 1, 3]);
    let mut renewal = message_of(&frame).to_vec();
    renewal[10] = 0;
    renewal[12..16].copy_from_slice(&CLIENT);
    let socket = UdpSocket::bind((std::net::Ipv4Addr::from(CLIENT), 68))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&renewal, (SERVER, 67))?;
    let mut reply = vec![0; 2048];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

/// As to a network card that makes no checksums, and to a guest that takes none on trust: what the client's kernel began must not be
/// gone on from in our reply, which is the same packet in the kernel.
#[test]
fn a_client_that_leaves_checksums_to_its_device_is_answered_by_tcx_with_right_ones_where_ours_makes_none() {
    let site = Site::start(&SITE.replace("xdp: generic", "xdp: off"));
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.51/24", "dev", "eth0"]));
    let features = run(site.lab.command(Side::Clients, "ethtool").args(["-k", "eth0"]));
    assert!(features.contains("tx-checksumming: on"), "{features}");
    run(site.lab.command(Side::Server, "ethtool").args(["-K", "eth0", "tx", "off"]));
    let before = site.count("tcx", "answered_ack");
    let reply = site.lab.inside(Side::Clients, renew);
    assert_eq!(site.count("tcx", "answered_ack"), before + 1, "{}", site.log());
    let reply = reply.expect("the client's kernel takes no datagram whose checksum is wrong");
    assert_eq!((&reply[4..8], &reply[16..20]), (&[0, 0, 0, 77][..], &CLIENT[..]));
}

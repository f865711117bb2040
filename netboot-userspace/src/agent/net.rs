//! From an interface without an address to one with a lease, which is then kept.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use netboot_common::Mac;

use super::dhcp::{Action, Client, Lease};
use super::hardware::{Nic, nics};
use crate::sys::netif::{Control, bind_to_device};

const SYS: &str = "/sys";
/// Drivers find their hardware in the background; this is how long an interface may take to show up.
const APPEAR: Duration = Duration::from_secs(15);
/// How long to wait for the cable before sending anyway.
const CARRIER: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);
/// RFC 2131 section 4.1: the server's port, and the client's.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("no interface has the MAC {mac}; there are: {found}")]
    NoSuchMac { mac: Mac, found: String },
    #[error("no network interface (is its driver in the initramfs?)")]
    NoInterface,
    #[error("several network interfaces, and no BOOTIF= or netboot.mac= that chooses one: {found}")]
    Several { found: String },
    #[error("{interface}: {doing}: {source}")]
    Interface { interface: String, doing: &'static str, source: io::Error },
    #[error("{interface}: no DHCP lease in {seconds} s")]
    NoLease { interface: String, seconds: u64 },
}

/// The interface with this MAC, or the only one, as soon as it shows up.
///
/// # Errors
/// [`NetError::NoSuchMac`], [`NetError::NoInterface`], [`NetError::Several`].
pub fn find(mac: Option<Mac>) -> Result<Nic, NetError> {
    let deadline = Instant::now() + APPEAR;
    loop {
        match choose(nics(Path::new(SYS)), mac) {
            Err(NetError::NoSuchMac { .. } | NetError::NoInterface) if Instant::now() < deadline => {
                std::thread::sleep(STEP);
            }
            result => return result,
        }
    }
}

fn choose(found: Vec<Nic>, mac: Option<Mac>) -> Result<Nic, NetError> {
    let names = found.iter().map(|nic| format!("{} ({})", nic.name, nic.mac)).collect::<Vec<_>>().join(", ");
    let mut matching = found.into_iter().filter(|nic| mac.is_none_or(|mac| nic.mac == mac));
    match (matching.next(), matching.next(), mac) {
        (Some(nic), None, _) => Ok(nic),
        (None, _, Some(mac)) if !names.is_empty() => Err(NetError::NoSuchMac { mac, found: names }),
        (None, ..) => Err(NetError::NoInterface),
        (Some(_), Some(_), _) => Err(NetError::Several { found: names }),
    }
}

/// Brings the interface up, gets a lease within `patience`, and sets address and route.
///
/// # Errors
/// [`NetError::Interface`], [`NetError::NoLease`].
pub fn configure(nic: &Nic, patience: Duration) -> Result<Lease, NetError> {
    let control = control(nic)?;
    let fail = |doing| move |source| NetError::Interface { interface: nic.name.clone(), doing, source };
    control.up("lo").map_err(fail("bringing lo up"))?;
    control.up(&nic.name).map_err(fail("bringing it up"))?;
    wait_for_carrier(nic);
    let lease = acquire(nic, None, patience)?;
    apply(nic, &control, &lease)?;
    Ok(lease)
}

/// Keeps the lease for as long as the machine runs: asks for it again when half of it is over, by a thread of its
/// own. `note` hears what a person should know.
pub fn keep(nic: Nic, mut lease: Lease, note: impl Fn(&str) + Send + 'static) {
    std::thread::spawn(move || {
        while let Some(time) = lease.time {
            std::thread::sleep((time / 2).max(Duration::from_secs(1)));
            match acquire(&nic, Some(lease.address), time / 2) {
                Ok(renewed) => {
                    let changed = renewed.address != lease.address;
                    lease = renewed;
                    if changed {
                        note(&format!("{}: another address: {}", nic.name, lease.address));
                        if let Err(error) = control(&nic).and_then(|control| apply(&nic, &control, &lease)) {
                            note(&error.to_string());
                        }
                    }
                }
                Err(error) => note(&error.to_string()),
            }
        }
    });
}

fn control(nic: &Nic) -> Result<Control, NetError> {
    let interface = nic.name.clone();
    Control::new().map_err(|source| NetError::Interface { interface, doing: "opening a socket", source })
}

fn apply(nic: &Nic, control: &Control, lease: &Lease) -> Result<(), NetError> {
    let fail = |doing| move |source| NetError::Interface { interface: nic.name.clone(), doing, source };
    control.set_address(&nic.name, lease.address, lease.netmask).map_err(fail("setting the address"))?;
    match lease.router {
        Some(router) => {
            control.add_default_route(&nic.name, router).map_err(fail("setting the default route"))
        }
        None => Ok(()),
    }
}

fn wait_for_carrier(nic: &Nic) {
    let deadline = Instant::now() + CARRIER;
    let plugged = || nics(Path::new(SYS)).iter().any(|found| found.name == nic.name && found.carrier);
    while !plugged() && Instant::now() < deadline {
        std::thread::sleep(STEP);
    }
}

/// Runs the DHCP machine over a socket that is bound to the interface: it works without an address.
fn acquire(nic: &Nic, address: Option<Ipv4Addr>, patience: Duration) -> Result<Lease, NetError> {
    let fail = |doing| move |source| NetError::Interface { interface: nic.name.clone(), doing, source };
    let socket = socket(&nic.name).map_err(fail("opening a DHCP socket"))?;
    let mut xid = [0; 4];
    getrandom::fill(&mut xid)
        .map_err(|error| fail("choosing a transaction id")(io::Error::other(error.to_string())))?;
    let xid = u32::from_ne_bytes(xid);
    let started = Instant::now();
    let mut client = match address {
        Some(address) => Client::rebinding(nic.mac, xid, Duration::ZERO, address),
        None => Client::new(nic.mac, xid, Duration::ZERO),
    };
    let mut packet = [0; 1500];
    while started.elapsed() < patience {
        match client.poll(started.elapsed()) {
            Action::Send(message) => {
                // A send that fails (no carrier yet, a full queue) is repeated like one that was lost.
                let _ = socket.send_to(&message[..], (Ipv4Addr::BROADCAST, SERVER_PORT));
            }
            Action::WaitUntil(then) => {
                let wait = then.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
                socket.set_read_timeout(Some(wait)).map_err(fail("setting a timeout"))?;
                let Ok(len) = socket.recv(&mut packet) else { continue };
                if let Some(lease) = client.receive(&packet[..len], started.elapsed()) {
                    return Ok(lease);
                }
            }
        }
    }
    Err(NetError::NoLease { interface: nic.name.clone(), seconds: patience.as_secs() })
}

fn socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    bind_to_device(&socket, interface)?;
    socket.set_broadcast(true)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_interface_that_the_machine_booted_from() {
        let nic =
            |name: &str, last| Nic { name: name.to_owned(), mac: Mac([0, 0, 0, 0, 0, last]), carrier: true };
        let two = || vec![nic("eth0", 1), nic("eth1", 2)];
        assert_eq!(choose(two(), Some(Mac([0, 0, 0, 0, 0, 2]))).unwrap().name, "eth1");
        assert_eq!(choose(vec![nic("eth0", 1)], None).unwrap().name, "eth0");
        for (found, mac, says) in [
            (two(), None, "several network interfaces"),
            (two(), Some(Mac([9; 6])), "no interface has the MAC 09:09:09:09:09:09; there are: eth0 ("),
            (vec![], None, "no network interface (is"),
        ] {
            let error = choose(found, mac).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

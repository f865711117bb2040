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
const SHOW_UP: Timing = Timing {
    appear: Duration::from_secs(15),
    settle: Duration::from_secs(2),
    step: Duration::from_millis(50),
};
/// How long a link may take to come up: negotiation takes seconds, a switch that restarts more.
const LINK: Duration = Duration::from_secs(60);
/// After a fault of the interface itself.
const AFTER_FAULT: Duration = Duration::from_secs(5);
/// Between two looks whether the interface still has its address: one whose driver starts over comes back without.
const LOOK: Duration = Duration::from_secs(2);
/// RFC 2131 section 4.1: the server's port, and the client's.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// How to wait for interfaces.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// Drivers find their hardware in the background; this is how long an interface may take to show up.
    appear: Duration,
    /// Without a change for so long, the list is whole: where any interface would do, if it is the only one.
    settle: Duration,
    /// From one look to the next.
    step: Duration,
}

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
    #[error("{interface}: no link in {seconds} s (is the cable plugged in, and its switch port on?)")]
    NoLink { interface: String, seconds: u64 },
    #[error("{interface}: no DHCP lease in {seconds} s")]
    NoLease { interface: String, seconds: u64 },
}

/// The interface with this MAC, or the only one, as soon as it shows up.
///
/// # Errors
/// [`NetError::NoSuchMac`], [`NetError::NoInterface`], [`NetError::Several`].
pub fn find(mac: Option<Mac>) -> Result<Nic, NetError> {
    find_among(mac, SHOW_UP, || nics(Path::new(SYS)))
}

fn find_among(mac: Option<Mac>, timing: Timing, look: impl Fn() -> Vec<Nic>) -> Result<Nic, NetError> {
    let deadline = Instant::now() + timing.appear;
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let found = look();
        let (names, now) = (found.iter().map(|nic| nic.name.clone()).collect(), Instant::now());
        if names != seen {
            (seen, since) = (names, now);
        }
        let settled = mac.is_some() || now - since >= timing.settle;
        match choose(found, mac) {
            Ok(nic) if settled => return Ok(nic),
            Err(error) if now >= deadline || matches!(error, NetError::Several { .. }) => return Err(error),
            _ => std::thread::sleep(timing.step),
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

/// An interface with its DHCP client.
#[derive(Debug)]
pub struct Network {
    nic: Nic,
    control: Control,
    client: Client,
    /// The client's times count from here.
    origin: Instant,
    /// Open while an answer may come.
    socket: Option<UdpSocket>,
    /// What the interface was given.
    lease: Option<Lease>,
}

/// What a person should know of a lease that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// The interface has no address any more.
    Lost,
    /// It has this one now.
    Has(Lease),
}

impl Network {
    /// Brings the interface up, gets a lease within `patience`, and sets address and route. `note` hears what a person should know.
    ///
    /// # Errors
    /// [`NetError::Interface`], [`NetError::NoLink`], [`NetError::NoLease`].
    pub fn configure(nic: &Nic, patience: Duration, note: impl Fn(&str)) -> Result<Self, NetError> {
        let fail = |doing| move |source| NetError::Interface { interface: nic.name.clone(), doing, source };
        let control = Control::new().map_err(fail("opening a socket"))?;
        control.up("lo").map_err(fail("bringing lo up"))?;
        control.up(&nic.name).map_err(fail("bringing it up"))?;
        wait_for_link(nic, &control, LINK)?;
        let client = client(nic, Duration::ZERO)?;
        let origin = Instant::now();
        let mut network = Self { nic: nic.clone(), control, client, origin, socket: None, lease: None };
        while network.lease.is_none() {
            if network.step(Some(patience), &note)?.is_none() {
                let interface = nic.name.clone();
                return Err(NetError::NoLease { interface, seconds: patience.as_secs() });
            }
        }
        Ok(network)
    }

    /// The lease, while there is one.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Keeps the lease for as long as the machine runs, by a thread of its own, and gets another when it is lost.
    /// `note` hears what a person should know.
    pub fn keep(mut self, note: impl Fn(&str) + Send + 'static) {
        std::thread::spawn(move || {
            loop {
                let before = self.lease;
                match self.step(None, &note) {
                    Ok(Some(News::Lost)) => {
                        note(&format!("{}: the address is gone, asking for another", self.nic.name))
                    }
                    Ok(Some(News::Has(lease))) if before.is_none_or(|old| old.address != lease.address) => {
                        note(&format!("{}: another lease: {}", self.nic.name, lease.address));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        note(&error.to_string());
                        std::thread::sleep(AFTER_FAULT);
                    }
                }
            }
        });
    }

    /// Runs the client until something changes. `None`: nothing did until `deadline`.
    fn step(&mut self, deadline: Option<Duration>, note: &impl Fn(&str)) -> Result<Option<News>, NetError> {
        loop {
            let now = self.origin.elapsed();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            if self.lease.is_some_and(|lease| !self.has(lease.address)) {
                (self.lease, self.client) = (None, client(&self.nic, now)?);
                return Ok(Some(News::Lost));
            }
            match self.client.poll(now) {
                Action::Send { message, to } => {
                    // A send that fails (a full queue, a link that is down) is repeated like one that was lost.
                    let _ = self.socket()?.send_to(&message[..], (to, SERVER_PORT));
                }
                Action::GiveUp => {
                    self.lease = None;
                    let (none, control) = (Ipv4Addr::UNSPECIFIED, &self.control);
                    control
                        .set_address(&self.nic.name, none, none)
                        .map_err(|source| self.fault("taking the address away", source))?;
                    return Ok(Some(News::Lost));
                }
                Action::WaitUntil(then) => {
                    let then = deadline.map_or(then, |deadline| deadline.min(then));
                    if let Some(lease) = self.wait(then.saturating_sub(now))? {
                        self.apply(lease, note)?;
                        return Ok(Some(News::Has(lease)));
                    }
                }
            }
        }
    }

    /// Listens for so long, if anything may come.
    fn wait(&mut self, time: Duration) -> Result<Option<Lease>, NetError> {
        if self.client.is_bound() {
            self.socket = None;
            std::thread::sleep(time.min(LOOK));
            return Ok(None);
        }
        let mut packet = [0; 1500];
        let socket = self.socket()?;
        let timeout = socket.set_read_timeout(Some(time.max(Duration::from_millis(1))));
        let received = timeout.and_then(|()| socket.recv(&mut packet));
        // Nothing came, or the link went down: the client knows when to go on.
        let Ok(len) = received else { return Ok(None) };
        Ok(self.client.receive(&packet[..len], self.origin.elapsed()))
    }

    /// Changes what is different, and nothing else: what goes on over the address isn't disturbed.
    fn apply(&mut self, lease: Lease, note: &impl Fn(&str)) -> Result<(), NetError> {
        let (name, control) = (self.nic.name.as_str(), &self.control);
        let before = self.lease;
        let same_address = |old: Lease| (old.address, old.netmask) == (lease.address, lease.netmask);
        let same = before.is_some_and(same_address);
        if !same {
            let set = control.set_address(name, lease.address, lease.netmask);
            set.map_err(|source| self.fault("setting the address", source))?;
        }
        self.lease = Some(lease);
        let old = before.and_then(|old| old.router).filter(|_| same);
        if old == lease.router {
            return Ok(());
        }
        // Without a way out a machine still reaches what is on its own network: its server, as a rule.
        let routed = lease.router.map_or(Ok(()), |router| control.add_default_route(name, router));
        let routed = routed.and_then(|()| old.map_or(Ok(()), |old| control.remove_default_route(name, old)));
        if let Err(error) = routed {
            note(&self.fault("setting the default route", error).to_string());
        }
        Ok(())
    }

    /// One that is bound to the interface: it works without an address.
    fn socket(&mut self) -> Result<&UdpSocket, NetError> {
        let socket = match self.socket.take() {
            Some(socket) => Ok(socket),
            None => self.control.up(&self.nic.name).and_then(|()| open(&self.nic.name)),
        };
        let socket = socket.map_err(|source| self.fault("opening a DHCP socket", source))?;
        Ok(self.socket.insert(socket))
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.control.address(&self.nic.name).is_ok_and(|found| found == address)
    }

    fn fault(&self, doing: &'static str, source: io::Error) -> NetError {
        NetError::Interface { interface: self.nic.name.clone(), doing, source }
    }
}

/// One that begins anew, out of step with all others.
fn client(nic: &Nic, now: Duration) -> Result<Client, NetError> {
    let seed = getrandom::u64().map_err(|error| NetError::Interface {
        interface: nic.name.clone(),
        doing: "choosing a transaction id",
        source: io::Error::other(error.to_string()),
    })?;
    Ok(Client::new(nic.mac, seed, now))
}

fn wait_for_link(nic: &Nic, control: &Control, patience: Duration) -> Result<(), NetError> {
    let deadline = Instant::now() + patience;
    loop {
        match control.has_link(&nic.name) {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < deadline => std::thread::sleep(SHOW_UP.step),
            Ok(false) => {
                return Err(NetError::NoLink { interface: nic.name.clone(), seconds: patience.as_secs() });
            }
            Err(source) => {
                let interface = nic.name.clone();
                return Err(NetError::Interface { interface, doing: "asking for its link", source });
            }
        }
    }
}

fn open(interface: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    bind_to_device(&socket, interface)?;
    socket.set_broadcast(true)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const QUICK: Timing = Timing {
        appear: Duration::from_millis(300),
        settle: Duration::from_millis(150),
        step: Duration::from_millis(10),
    };

    fn nic(name: &str, last: u8) -> Nic {
        Nic { name: name.to_owned(), mac: Mac([0, 0, 0, 0, 0, last]), carrier: true }
    }

    #[test]
    fn chooses_the_interface_that_the_machine_booted_from() {
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

    #[test]
    fn an_interface_that_shows_up_late_is_waited_for() {
        let start = Instant::now();
        let at = |late: u64| start.elapsed() >= Duration::from_millis(late);
        let look = || [("eth0", 1, 0), ("eth1", 2, 60)].into_iter().filter(|(_, _, late)| at(*late));
        let look = || look().map(|(name, last, _)| nic(name, last)).collect();
        assert_eq!(find_among(Some(Mac([0, 0, 0, 0, 0, 2])), QUICK, look).unwrap().name, "eth1");
        // It was the only one for a moment.
        let start = Instant::now();
        let look = || {
            let late = start.elapsed() >= Duration::from_millis(60);
            [Some(nic("eth0", 1)), late.then(|| nic("eth1", 2))].into_iter().flatten().collect()
        };
        assert!(matches!(find_among(None, QUICK, look), Err(NetError::Several { .. })));
        assert_eq!(find_among(None, QUICK, || vec![nic("eth0", 1)]).unwrap().name, "eth0");
        assert!(matches!(find_among(None, QUICK, Vec::new), Err(NetError::NoInterface)));
    }
}

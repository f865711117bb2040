//! The interfaces that are served, as they come, go and change. What was made anew is served again at once; of all else, `netboot
//! status` has the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netboot_common::Mac;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::layers::Layers;
use super::reload::Reloader;
use crate::fastpath::{Kernel, XdpWish};
use crate::sys::interface::{Interface, interfaces};
use crate::sys::links::Changes;
use crate::sys::stoppable::Stoppable;
use crate::{dhcp, dhcp6};

/// What could not be put right is tried again after so long, though nothing was told.
const AGAIN: Duration = Duration::from_millis(500);

/// Who must know of a change.
pub(super) struct Watched {
    pub(super) dhcp: Arc<dhcp::Server>,
    pub(super) dhcp6: Option<Arc<dhcp6::Server>>,
    pub(super) kernel: Option<Arc<Mutex<Kernel>>>,
    pub(super) wishes: Vec<(String, XdpWish)>,
    pub(super) layers: Arc<Layers>,
    pub(super) reloader: Option<Arc<Reloader>>,
}

/// What is served under a name.
#[derive(Clone, Debug)]
struct Served {
    name: String,
    is: Identity,
    /// Ours there, and its prefix length; `None`: no reply names one.
    address: Option<(IpAddr, u8)>,
}

/// Which interface it is that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    index: u32,
    mac: Mac,
}

/// How an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Well,
    /// It is another one than the one that is served.
    Anew(Identity),
    Ill(String),
}

/// The only reason that comes and goes with a cable: its end is not worth a line.
const DOWN: &str = "it is down: nothing arrives until it is up (ip link set NAME up)";

/// What one look at all interfaces found.
#[derive(Default)]
struct Findings {
    /// Why each that is not well isn't.
    ill: BTreeMap<String, String>,
    /// Something that could not be put right may be, without anything being told.
    unsettled: bool,
}

impl Findings {
    fn add(&mut self, name: String, found: Condition, righted: anyhow::Result<()>) {
        let reason = match (righted, found) {
            (Err(error), _) => {
                self.unsettled = true;
                format!("it was made anew, and can't be served: {error:#}")
            }
            (Ok(()), Condition::Ill(reason)) => reason,
            (Ok(()), Condition::Well | Condition::Anew(_)) => return,
        };
        // Of two, the first: the other shows when that is mended.
        self.ill.entry(name).or_insert(reason);
    }
}

impl Watched {
    /// Starts the thread that watches.
    pub(super) fn start(self) -> io::Result<Stoppable> {
        let changes = Changes::open()?;
        Stoppable::start("interfaces", move |wake| self.watch(&changes, wake))
    }

    /// Until `wake` is readable.
    fn watch(&self, changes: &Changes, wake: &OwnedFd) {
        let mut unfinished = BTreeSet::new();
        loop {
            changes.clear();
            let timeout = if self.look(&mut unfinished) { None } else { Timespec::try_from(AGAIN).ok() };
            let mut waiting = [
                PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
            ];
            if poll(&mut waiting, timeout.as_ref()).is_err_and(|error| error != rustix::io::Errno::INTR)
                || !waiting[1].revents().is_empty()
            {
                return;
            }
        }
    }

    /// Looks at all of them, and puts right what can be. Whether all is well, or nothing can be done before a change is told.
    /// `unfinished`: those that userspace serves anew, and that have no programs yet.
    fn look(&self, unfinished: &mut BTreeSet<String>) -> bool {
        let there = match interfaces() {
            Ok(there) => there,
            Err(error) => {
                tracing::error!("listing the network interfaces: {error}");
                return false;
            }
        };
        let mut findings = Findings::default();
        for link in self.dhcp.links() {
            let served = Served::from(&link);
            let found = condition(&served, &there);
            let relink = |Identity { index, mac }| self.relink(&dhcp::tables::Link { index, mac, ..link });
            let righted = finish(&served.name, &found, unfinished, relink, || self.attach(&served.name));
            findings.add(served.name, found, righted);
        }
        for (link, prefix) in self.dhcp6.iter().flat_map(|dhcp6| dhcp6.links()) {
            let served = Served::of_v6(&link, prefix);
            let found = condition(&served, &there);
            let righted = match found {
                Condition::Anew(Identity { index, mac }) => {
                    self.relink6(&dhcp6::tables::Link { index, mac, ..link })
                }
                Condition::Well | Condition::Ill(_) => Ok(()),
            };
            findings.add(served.name, found, righted);
        }
        self.say(findings.ill);
        !findings.unsettled
    }

    fn say(&self, ill: BTreeMap<String, String>) {
        let before = self.layers.set_ill(ill.clone());
        for (name, reason) in ill.iter().filter(|(name, reason)| before.get(*name) != Some(reason)) {
            tracing::warn!("interface {name}: {reason}");
        }
        for (name, _) in before.iter().filter(|(name, reason)| !ill.contains_key(*name) && *reason != DOWN) {
            tracing::info!("interface {name} is as it should be again");
        }
    }

    fn relink(&self, link: &dhcp::tables::Link) -> anyhow::Result<()> {
        match &self.reloader {
            Some(reloader) => reloader.relink(link)?,
            None => self.dhcp.relink(link)?,
        }
        Ok(())
    }

    fn relink6(&self, link: &dhcp6::tables::Link) -> anyhow::Result<()> {
        match (&self.reloader, &self.dhcp6) {
            (Some(reloader), _) => reloader.relink6(link)?,
            (None, Some(dhcp6)) => dhcp6.relink(link)?,
            (None, None) => {}
        }
        tracing::info!("{} was made anew: DHCPv6 is served on it", link.name);
        Ok(())
    }

    fn attach(&self, interface: &str) -> anyhow::Result<()> {
        let wish = self.wishes.iter().find(|(name, _)| name == interface);
        if let (Some(kernel), Some((name, wish))) = (&self.kernel, wish) {
            let attached = kernel.lock().unwrap_or_else(PoisonError::into_inner).attach_anew(name, *wish)?;
            tracing::info!("{name} was made anew: XDP {}, tc {}", attached.xdp, attached.tcx);
            self.layers.attached(attached);
        }
        Ok(())
    }
}

impl Served {
    fn of_v6(link: &dhcp6::tables::Link, prefix: u8) -> Self {
        let is = Identity { index: link.index, mac: link.mac };
        Self { name: link.name.clone(), is, address: Some((link.address.into(), prefix)) }
    }
}

impl From<&dhcp::tables::Link> for Served {
    fn from(link: &dhcp::tables::Link) -> Self {
        let is = Identity { index: link.index, mac: link.mac };
        let address = Some(link.address).filter(|address| *address != Ipv4Addr::UNSPECIFIED);
        Self { name: link.name.clone(), is, address: address.map(|address| (address.into(), link.prefix)) }
    }
}

/// What was made anew is relinked once, and then gets its programs, in as many attempts as that takes.
fn finish(
    name: &str,
    found: &Condition,
    unfinished: &mut BTreeSet<String>,
    relink: impl FnOnce(Identity) -> anyhow::Result<()>,
    attach: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Condition::Anew(new) = found {
        relink(*new)?;
        unfinished.insert(name.to_owned());
    }
    if unfinished.contains(name) && !matches!(found, Condition::Ill(_)) {
        attach()?;
        unfinished.remove(name);
    }
    Ok(())
}

fn condition(served: &Served, there: &BTreeMap<String, Interface>) -> Condition {
    let Served { name, is, address } = served;
    let Some(found) = there.get(name) else {
        let other = there.iter().find(|(_, found)| found.index == is.index);
        return Condition::Ill(match other {
            Some((other, _)) => {
                format!("it is called {other} now, and served under that name until it is gone or we restart")
            }
            None => "there is no such interface any more: it is served again when it is back".to_owned(),
        });
    };
    if let Some((address, prefix)) = address.filter(|(address, _)| !has(found, *address)) {
        return Condition::Ill(format!(
            "it does not have our address {address} any more (ip address add {address}/{prefix} dev {name})"
        ));
    }
    let now = Identity { index: found.index, mac: found.mac };
    match now == *is {
        false => Condition::Anew(now),
        true if found.up => Condition::Well,
        true => Condition::Ill(DOWN.to_owned()),
    }
}

fn has(found: &Interface, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ours) => found.addresses.iter().any(|(ip, _)| *ip == ours),
        IpAddr::V6(ours) => found.addresses6.iter().any(|(ip, _)| *ip == ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IS: Identity = Identity { index: 3, mac: Mac([2, 0, 0, 0, 0, 1]) };

    #[test]
    fn what_was_made_anew_is_not_well_before_it_has_its_programs() {
        let anew = Condition::Anew(IS);
        let done = std::cell::RefCell::new(Vec::new());
        let mut unfinished = BTreeSet::new();
        let mut attempt = |found: &Condition, relinks: bool, attaches: bool| {
            let step = |what, works| {
                done.borrow_mut().push(what);
                if works { Ok(()) } else { Err(anyhow::anyhow!("{what} failed")) }
            };
            let relink = |_| step("relink", relinks);
            let finished = finish("eth0", found, &mut unfinished, relink, || step("attach", attaches));
            (finished.is_ok(), std::mem::take(&mut *done.borrow_mut()))
        };
        assert_eq!(attempt(&Condition::Well, true, true), (true, vec![]));
        assert_eq!(attempt(&anew, false, true), (false, vec!["relink"]));
        assert_eq!(attempt(&anew, true, false), (false, vec!["relink", "attach"]));
        assert_eq!(attempt(&Condition::Ill(DOWN.into()), true, true), (true, vec![]));
        assert_eq!(attempt(&Condition::Well, true, false), (false, vec!["attach"]));
        assert_eq!(attempt(&Condition::Well, true, true), (true, vec!["attach"]));
        assert_eq!(attempt(&Condition::Well, true, true), (true, vec![]));
    }

    #[test]
    fn each_condition_has_its_reason() {
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 1), "fd77::1".parse().unwrap());
        let sound = || Interface {
            index: IS.index,
            mac: IS.mac,
            up: true,
            addresses: vec![(v4, 24)],
            addresses6: vec![(v6, 64)],
            ..Default::default()
        };
        for address in [(IpAddr::V4(v4), 24), (IpAddr::V6(v6), 64)] {
            let served = Served { name: "eth0".to_owned(), is: IS, address: Some(address) };
            let judged = |name: &str, found| condition(&served, &BTreeMap::from([(name.to_owned(), found)]));
            assert_eq!(judged("eth0", sound()), Condition::Well);
            let new = Condition::Anew(Identity { index: 4, ..IS });
            assert_eq!(judged("eth0", Interface { index: 4, up: false, ..sound() }), new);
            let bare = || Interface { addresses: Vec::new(), addresses6: Vec::new(), ..sound() };
            let lost = format!("our address {}", address.0);
            let cases = [
                (judged("eth1", sound()), "called eth1 now"),
                (judged("eth1", Interface { index: 9, ..sound() }), "no such interface any more"),
                (judged("eth0", Interface { up: false, ..sound() }), "it is down"),
                // Made anew, and without its address still: that comes first.
                (judged("eth0", Interface { index: 4, ..bare() }), &lost),
            ];
            for (condition, words) in cases {
                let is_said = matches!(&condition, Condition::Ill(reason) if reason.contains(words));
                assert!(is_said, "{condition:?}");
            }
            let nameless = Served { address: None, ..served };
            assert_eq!(condition(&nameless, &BTreeMap::from([("eth0".into(), bare())])), Condition::Well);
        }
    }

    #[test]
    fn of_two_reasons_the_first_is_said_and_what_failed_is_tried_again() {
        let mut findings = Findings::default();
        findings.add("eth0".into(), Condition::Well, Ok(()));
        assert!(findings.ill.is_empty() && !findings.unsettled);
        findings.add("eth0".into(), Condition::Ill(DOWN.into()), Ok(()));
        findings.add("eth0".into(), Condition::Anew(IS), Err(anyhow::anyhow!("the port is taken")));
        assert_eq!(findings.ill, BTreeMap::from([("eth0".to_owned(), DOWN.to_owned())]));
        assert!(findings.unsettled);
    }
}

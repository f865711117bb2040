//! The interfaces that are served, as they come, go and change. What was made anew is served again at once; of all else, `netboot
//! status` has the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::Timespec;

use super::layers::Layers;
use super::reload::Reloader;
use crate::dhcp::tables::Link;
use crate::fastpath::{Kernel, XdpWish};
use crate::sys::interface::{Interface, interfaces};
use crate::sys::links::Changes;
use crate::{dhcp, dhcp6};

/// What could not be put right is tried again after so long, though nothing was told.
const AGAIN: Duration = Duration::from_millis(500);

/// Who must know of a change.
pub(super) struct Watched {
    pub(super) dhcp: Arc<dhcp::Server>,
    pub(super) kernel: Option<Arc<Mutex<Kernel>>>,
    pub(super) wishes: Vec<(String, XdpWish)>,
    pub(super) layers: Arc<Layers>,
    pub(super) reloader: Option<Arc<Reloader>>,
    /// Interfaces with DHCPv6, whose sockets are those of the interface that was there at the start.
    pub(super) v6: Vec<dhcp6::tables::Link>,
}

/// The thread that watches.
pub(super) struct Monitor {
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Monitor {
    pub(super) fn start(watched: Watched) -> io::Result<Self> {
        let changes = Changes::open()?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let woken = wake.clone();
        let thread = std::thread::Builder::new().name("interfaces".to_owned()).spawn(move || {
            let mut unfinished = BTreeSet::new();
            loop {
                changes.clear();
                let timeout =
                    if watched.look(&mut unfinished) { None } else { Timespec::try_from(AGAIN).ok() };
                let mut waiting = [
                    PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
                ];
                if poll(&mut waiting, timeout.as_ref()).is_err_and(|error| error != rustix::io::Errno::INTR)
                    || !waiting[1].revents().is_empty()
                {
                    return;
                }
            }
        })?;
        Ok(Self { wake, thread })
    }

    pub(super) fn stop(self) {
        // An eventfd takes a one unless it is full, and then its reader is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }
}

/// How an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Well,
    /// It is another one than the one that is served.
    Anew(Link),
    Ill(String),
}

/// The only reason that comes and goes with a cable: its end is not worth a line.
const DOWN: &str = "it is down: nothing arrives until it is up (ip link set NAME up)";

impl Watched {
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
        let (mut ill, mut settled) = (BTreeMap::new(), true);
        for link in self.dhcp.links() {
            let name = link.name.clone();
            let found = condition(&link, &there);
            if let Err(error) = self.put_right(&name, &found, unfinished) {
                settled = false;
                ill.insert(name, format!("it was made anew, and can't be served: {error:#}"));
                continue;
            }
            match found {
                Condition::Well if self.v6.iter().any(|v6| v6.name == name && v6.index != link.index) => {
                    let reason =
                        "it was made anew: DHCPv6 is served on it again after a restart of netboot serve";
                    ill.insert(name, reason.to_owned());
                }
                Condition::Well | Condition::Anew(_) => {}
                Condition::Ill(reason) => drop(ill.insert(name, reason)),
            }
        }
        let before = self.layers.set_ill(ill.clone());
        for (name, reason) in ill.iter().filter(|(name, reason)| before.get(*name) != Some(reason)) {
            tracing::warn!("interface {name}: {reason}");
        }
        for (name, _) in before.iter().filter(|(name, reason)| !ill.contains_key(*name) && *reason != DOWN) {
            tracing::info!("interface {name} is as it should be again");
        }
        settled
    }

    fn put_right(
        &self,
        name: &str,
        found: &Condition,
        unfinished: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        finish(name, found, unfinished, |link| self.relink(link), || self.attach(name))
    }

    fn relink(&self, link: &Link) -> anyhow::Result<()> {
        match &self.reloader {
            Some(reloader) => reloader.relink(link)?,
            None => self.dhcp.relink(link)?,
        }
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

/// What was made anew is relinked once, and then gets its programs, in as many attempts as that takes.
fn finish(
    name: &str,
    found: &Condition,
    unfinished: &mut BTreeSet<String>,
    relink: impl FnOnce(&Link) -> anyhow::Result<()>,
    attach: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Condition::Anew(link) = found {
        relink(link)?;
        unfinished.insert(name.to_owned());
    }
    if unfinished.contains(name) && !matches!(found, Condition::Ill(_)) {
        attach()?;
        unfinished.remove(name);
    }
    Ok(())
}

/// `link`: what is served under its name.
fn condition(link: &Link, there: &BTreeMap<String, Interface>) -> Condition {
    let Some(found) = there.get(&link.name) else {
        let other = there.iter().find(|(_, found)| found.index == link.index);
        return Condition::Ill(match other {
            Some((other, _)) => {
                format!("it is called {other} now, and served under that name until it is gone or we restart")
            }
            None => "there is no such interface any more: it is served again when it is back".to_owned(),
        });
    };
    let address = link.address;
    if address != Ipv4Addr::UNSPECIFIED && !found.addresses.iter().any(|(ip, _)| *ip == address) {
        let (name, prefix) = (&link.name, link.prefix);
        return Condition::Ill(format!(
            "it does not have our address {address} any more (ip address add {address}/{prefix} dev {name})"
        ));
    }
    match (found.index, found.mac) == (link.index, link.mac) {
        false => Condition::Anew(Link { index: found.index, mac: found.mac, ..link.clone() }),
        true if found.up => Condition::Well,
        true => Condition::Ill(DOWN.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netboot_common::Mac;

    #[test]
    fn what_was_made_anew_is_not_well_before_it_has_its_programs() {
        let (address, mac) = (Ipv4Addr::new(10, 0, 0, 1), Mac([2, 0, 0, 0, 0, 1]));
        let link = Link { name: "eth0".into(), index: 3, mac, address, prefix: 24, mtu: 1500 };
        let anew = Condition::Anew(link);
        let done = std::cell::RefCell::new(Vec::new());
        let mut unfinished = BTreeSet::new();
        let mut attempt = |found: &Condition, relinks: bool, attaches: bool| {
            let step = |what, works| {
                done.borrow_mut().push(what);
                if works { Ok(()) } else { Err(anyhow::anyhow!("{what} failed")) }
            };
            let relink = |_: &Link| step("relink", relinks);
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
        let (address, mac) = (Ipv4Addr::new(10, 0, 0, 1), Mac([2, 0, 0, 0, 0, 1]));
        let link = Link { name: "eth0".into(), index: 3, mac, address, prefix: 24, mtu: 1500 };
        let sound =
            || Interface { index: 3, mac, up: true, addresses: vec![(address, 24)], ..Default::default() };
        let judged = |name: &str, found| condition(&link, &BTreeMap::from([(name.to_owned(), found)]));
        assert_eq!(judged("eth0", sound()), Condition::Well);
        let new = Condition::Anew(Link { index: 4, ..link.clone() });
        assert_eq!(judged("eth0", Interface { index: 4, up: false, ..sound() }), new);
        let cases = [
            (judged("eth1", sound()), "called eth1 now"),
            (judged("eth1", Interface { index: 9, ..sound() }), "no such interface any more"),
            (judged("eth0", Interface { up: false, ..sound() }), "it is down"),
            // Made anew, and without its address still: that comes first.
            (
                judged("eth0", Interface { index: 4, addresses: Vec::new(), ..sound() }),
                "our address 10.0.0.1",
            ),
        ];
        for (condition, words) in cases {
            assert!(matches!(&condition, Condition::Ill(reason) if reason.contains(words)), "{condition:?}");
        }
    }
}

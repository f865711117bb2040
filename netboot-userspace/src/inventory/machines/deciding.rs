//! What a machine boots: weighed for its next boot, and obeyed within one.

use std::sync::Arc;

use netboot_common::Mac;

use super::known::Known;
use super::{Decision, Machines, Past, Policy};
use crate::inventory::boots::{Basis, BootId, Instead, Taken};
use crate::inventory::events::{Event, Lane};
use crate::inventory::observed::{Keep, Machine, Observation, Shown, State};
use crate::inventory::{Boot, Host, Profile, ProfileBoot, Snapshot};
use crate::sys::clock::now;

/// Who asks what a machine is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// A loader, for its script or its configuration: it may begin a boot of which nothing was seen yet.
    Loader,
    /// An agent, which runs within one.
    Agent,
}

/// What a machine is to do, and in which boot.
#[derive(Clone, Debug)]
pub struct Obeyed {
    /// `None`: there is no record of it, for there are too many machines without a host entry, or nothing to record.
    pub boot: Option<BootId>,
    pub decision: Decision,
}

impl Machines {
    /// What this machine's next boot would do, by the inventory of this moment.
    pub fn decide(&self, mac: Mac, shown: Shown) -> Decision {
        self.would(mac, shown).decision
    }

    /// The same, and why.
    pub fn would(&self, mac: Mac, shown: Shown) -> Taken {
        let (inventory, known) = (self.live.snapshot(), self.lock());
        self.take(&known, &inventory, mac, shown, None, now())
    }

    /// What this machine is to do now: what its boot in force decided, whatever the configuration says by now. It is decided again
    /// where an operator said so, where the machine turned out to be another host, or installed, or chose from a menu, and where
    /// no DHCP was seen of it.
    pub fn obey(&self, mac: Mac, shown: Shown, asking: Asking) -> Obeyed {
        let (inventory, now) = (self.live.snapshot(), now());
        let mut guard = self.lock();
        let known = &mut *guard;
        let begins = match asking {
            Asking::Loader => known.boots.begins_asking(mac, now),
            Asking::Agent => known.boots.id(mac).is_none(),
        };
        if begins {
            return self.begin_asked(known, &inventory, mac, shown, now);
        }
        let boot = known.boots.id(mac);
        if asking == Asking::Agent && known.boots.state(mac) == Some(State::Installed) {
            return Obeyed { boot, decision: Decision::Local };
        }
        let basis = self.basis(known, &inventory, mac, shown, boot, now).0;
        let is_seen_first = asking == Asking::Loader && !known.boots.is_by_dhcp(mac);
        if let Some((id, decision)) = known.boots.decision(mac, &basis, now).filter(|_| !is_seen_first) {
            return Obeyed { boot: Some(id), decision };
        }
        let taken = self.take(known, &inventory, mac, shown, boot, now);
        let decision = taken.decision.clone();
        known.boots.take_again(mac, taken, now);
        Obeyed { boot, decision }
    }

    /// Of who asks before anything else was seen of its boot. Whom nothing is for, and nobody knows, is not remembered.
    fn begin_asked(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        mac: Mac,
        shown: Shown,
        now: u64,
    ) -> Obeyed {
        let decision = self.take(known, inventory, mac, shown, None, now).decision;
        let is_nobody = matches!(decision, Decision::Nothing(_)) && !known.by_mac.contains_key(&mac);
        if is_nobody {
            return Obeyed { boot: None, decision };
        }
        let (admitted, forgotten) = known.admit(inventory, mac);
        self.forget(&forgotten);
        if !admitted {
            return Obeyed { boot: None, decision };
        }
        known.by_mac.entry(mac).or_insert_with(|| Machine::new(mac, now));
        if self.begin(known, inventory, mac, None, shown, now) == Keep::Now {
            // Whoever asks is observed next, and that writes it.
            known.unwritten.insert(mac);
        }
        let basis = self.basis(known, inventory, mac, shown, None, now).0;
        let decision = known.boots.decision(mac, &basis, now).map_or(decision, |(_, decision)| decision);
        Obeyed { boot: known.boots.id(mac), decision }
    }

    /// Decides, where `seen` begins a boot, or is of a client that goes on asking before it has fetched anything.
    pub(super) fn decide_at(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        mac: Mac,
        seen: &Observation,
        now: u64,
    ) -> Keep {
        let (class, shown) = match seen {
            Observation::Dhcp { class, .. } => (Some(*class), Shown::default()),
            Observation::Script { shown, .. } | Observation::Local { shown } => (None, *shown),
            _ => (None, Shown::default()),
        };
        if known.boots.begins(mac, seen, now) {
            return self.begin(known, inventory, mac, class, shown, now);
        }
        if known.boots.repeats(mac, seen, now) {
            let boot = known.boots.id(mac);
            let taken = self.take(known, inventory, mac, shown, boot, now);
            known.boots.take_again(mac, taken, now);
        }
        Keep::No
    }

    /// Begins a boot of a machine that is known, and stops it where those before it bore no fruit.
    fn begin(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        mac: Mac,
        class: Option<&'static str>,
        shown: Shown,
        now: u64,
    ) -> Keep {
        let fruit = known.boots.fruit(mac);
        let Some(machine) = known.by_mac.get_mut(&mac) else { return Keep::No };
        let mut keep = machine.count(fruit);
        let fruitless = machine.fruitless;
        let mut taken = self.take(known, inventory, mac, shown, None, now);
        let breaker = self.policy().breaker.filter(|breaker| breaker.stops(fruitless));
        let trips = breaker.is_some() && matches!(taken.decision, Decision::Profile { .. });
        if trips {
            known.by_mac.entry(mac).and_modify(|machine| machine.stopped = Some(now));
            taken = self.take(known, inventory, mac, shown, None, now);
            keep = Keep::Now;
        }
        let (why, name) = (taken.why.clone(), taken.known.host.clone());
        let id = known.boots.begin(mac, class, taken, now);
        known.by_mac.entry(mac).and_modify(|machine| machine.boot = Some(id));
        if trips {
            let event = Event::new("breaker", Lane::Api, why).mac(mac).name(name).boot(Some(id));
            self.events.publish(event.field("fruitless", fruitless));
        }
        keep
    }

    /// What the decision hangs on beside the configuration.
    fn basis(
        &self,
        known: &Known,
        inventory: &Snapshot,
        mac: Mac,
        shown: Shown,
        boot: Option<BootId>,
        now: u64,
    ) -> (Basis, Option<Arc<Host>>, Past) {
        let host = known.host(inventory, mac, shown);
        let past = known.past(inventory, mac, shown, host.as_deref(), boot);
        let machine = known.by_mac.get(&mac);
        let shown = shown.uuid.filter(|uuid| uuid.is_unique());
        let uuid = shown.or(machine.and_then(|machine| machine.uuid));
        let choice = self.choices().of(mac, now).cloned();
        let name = host.as_ref().map(|host| host.name.clone());
        (Basis { host: name, uuid, choice, installed: past.installed }, host, past)
    }

    /// Takes a decision. `boot`: the one that it is for; none: the next.
    pub(super) fn take(
        &self,
        known: &Known,
        inventory: &Snapshot,
        mac: Mac,
        shown: Shown,
        boot: Option<BootId>,
        now: u64,
    ) -> Taken {
        let policy = self.policy();
        let (basis, host, past) = self.basis(known, inventory, mac, shown, boot, now);
        let chosen = basis.choice.as_ref().map(|(profile, _)| profile.as_str());
        let site = Site { inventory, policy: &policy, is_held: self.is_held() };
        let (decision, why) = site.weigh(mac, host, chosen, &past);
        let machine = known.by_mac.get(&mac);
        let is_stopped = machine.is_some_and(|machine| machine.stopped.is_some());
        let breaker = policy.breaker.filter(|_| is_stopped && matches!(decision, Decision::Profile { .. }));
        let (Some(breaker), Some(machine)) = (breaker, machine) else {
            return Taken { decision, why, known: basis, stopped: false };
        };
        let who = basis.host.clone().unwrap_or_else(|| mac.to_string());
        let why = format!(
            "stopped by the breaker: {} boots in a row bore no fruit ({}); `netboot machine reset {who}`, or `host set --boot`, starts it again",
            machine.fruitless, why
        );
        let decision = match breaker.then {
            Instead::Local => Decision::Local,
            Instead::Nothing => Decision::Nothing(why.clone()),
        };
        Taken { decision, why, known: basis, stopped: true }
    }
}

/// What decisions are weighed by.
struct Site<'a> {
    inventory: &'a Snapshot,
    policy: &'a Policy,
    is_held: bool,
}

impl Site<'_> {
    /// What is to be booted, and what says so.
    fn weigh(
        &self,
        mac: Mac,
        host: Option<Arc<Host>>,
        chosen: Option<&str>,
        past: &Past,
    ) -> (Decision, String) {
        let nothing = |why: String| (Decision::Nothing(why.clone()), why);
        let boot = match &host {
            Some(host) => host.boot,
            None if self.policy.boot_unknown => Boot::Profile,
            None => return nothing(format!("{mac} is not a host, and unknown machines are ignored")),
        };
        let said = |boot| {
            host.as_ref()
                .map(|host| format!("`boot: {boot}` of host {} ({})", host.name, host.origin))
                .unwrap_or_default()
        };
        match boot {
            Boot::Ignore => return (Decision::Ignore, said("ignore")),
            Boot::Local => return (Decision::Local, said("local")),
            Boot::Profile | Boot::Once => {}
        }
        let Some((profile, named)) = self.profile(host.as_deref(), chosen) else {
            return nothing(format!("{mac} has no profile, and there is no default_profile"));
        };
        let installs = profile.install.is_some();
        let why = if boot == Boot::Once && past.once_done {
            format!("{} is used up", said("once"))
        } else if boot != Boot::Once && past.installed && installs {
            format!("profile {} is installed already", profile.name)
        } else if installs && self.is_held && !past.wanted {
            "installations are held, for the store was lost: `netboot machine allow-installs`".to_owned()
        } else if profile.boot == ProfileBoot::Local {
            format!("profile {} ({}) is the machine's own disk", profile.name, profile.origin)
        } else {
            let once = if boot == Boot::Once { format!(", {}", said("once")) } else { String::new() };
            let why = format!("profile {} ({}) by {named}{once}", profile.name, profile.origin);
            return (Decision::Profile { profile, host }, why);
        };
        (Decision::Local, why)
    }

    /// The profile, and who names it. A name that is no profile's counts as none: what was chosen may be gone by now.
    fn profile(&self, host: Option<&Host>, chosen: Option<&str>) -> Option<(Arc<Profile>, String)> {
        let (name, named) = match (chosen, host) {
            (Some(chosen), _) => (chosen, "a choice from the boot menu".to_owned()),
            (None, Some(Host { name, profile: Some(profile), origin, .. })) => {
                (profile.as_str(), format!("host {name} ({origin})"))
            }
            _ => (self.policy.default_profile.as_deref()?, "default_profile".to_owned()),
        };
        Some((self.inventory.profile(name)?.clone(), named))
    }
}

//! What a machine boots: weighed for its next boot, and obeyed within one.

use std::cell::LazyCell;
use std::sync::Arc;

use netboot_common::Mac;

use super::known::Known;
use super::{Decision, Machines, Past, Policy};
use crate::inventory::boots::{Basis, BootId, Instead, Taken};
use crate::inventory::events::{Event, Lane};
use crate::inventory::group::{Group, Groups};
use crate::inventory::labels::Labels;
use crate::inventory::observed::{Keep, Machine, Observation, Shown, State};
use crate::inventory::{Boot, Host, Profile, ProfileBoot, Snapshot};
use crate::sys::clock::now;

/// Who asks what a machine is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// A loader, for its script: it may begin a boot of which nothing was seen yet.
    Loader,
    /// An agent, or a system that asks for its configuration: both run within one.
    Agent,
}

/// What a machine is to do, and in which boot.
#[derive(Clone, Debug)]
pub struct Obeyed {
    /// `None`: there is no record of it, for there are too many machines without a host entry, or nothing to record.
    pub boot: Option<BootId>,
    pub decision: Decision,
    /// Why the breaker stops that boot, if it does.
    pub stopped: Option<String>,
}

/// Whose decision is asked for, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub(super) mac: Mac,
    pub(super) shown: Shown,
    /// What it says of itself.
    pub(super) asked: &'a Labels,
    /// The boot that it is for; none: the next.
    pub(super) boot: Option<BootId>,
    pub(super) now: u64,
}

impl Machines {
    /// What this machine's next boot would do, by the inventory of this moment.
    pub fn decide(&self, mac: Mac, shown: Shown) -> Decision {
        self.would(mac, shown).decision
    }

    /// The same, and why.
    pub fn would(&self, mac: Mac, shown: Shown) -> Taken {
        self.would_as(mac, shown, &Labels::default())
    }

    /// The same of one that would say so of itself: it is not remembered.
    pub fn would_as(&self, mac: Mac, shown: Shown, asked: &Labels) -> Taken {
        let (inventory, known) = (self.live.snapshot(), self.lock());
        self.take(&known, &inventory, Whose { mac, shown, asked, boot: None, now: now() })
    }

    /// What this machine is to do now: what its boot in force decided, whatever the configuration says by now. It is decided again
    /// where an operator said so, where the machine turned out to be another host, or in another group by what it says (`asked`), or
    /// installed, or chose from a menu, where no DHCP was seen of it, and for an agent that tries again what has failed.
    pub fn obey(&self, mac: Mac, shown: Shown, asked: &Labels, asking: Asking) -> Obeyed {
        let (inventory, mut known) = (self.live.snapshot(), self.lock());
        known.hear(mac, asked);
        let whose = Whose { mac, shown, asked, boot: known.boots.id(mac), now: now() };
        let (boot, decision) = self.heed(&mut known, &inventory, whose, asking);
        let stopped = known.boots.taken(mac).filter(|taken| taken.stopped).map(|taken| taken.why.clone());
        Obeyed { boot, decision, stopped }
    }

    /// The boot, and its decision.
    fn heed(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        whose: Whose<'_>,
        asking: Asking,
    ) -> (Option<BootId>, Decision) {
        let Whose { mac, boot, .. } = whose;
        let begins = match asking {
            Asking::Loader => known.boots.begins_asking(mac, whose.now),
            Asking::Agent => boot.is_none(),
        };
        if begins {
            return self.begin_asked(known, inventory, Whose { boot: None, ..whose });
        }
        if asking == Asking::Agent && known.boots.state(mac) == Some(State::Installed) {
            return (boot, Decision::Local);
        }
        let is_seen_first = asking == Asking::Loader && !known.boots.is_by_dhcp(mac);
        // An agent that has failed tries again: by then somebody may have mended what it failed by.
        let tries_again = asking == Asking::Agent && known.boots.state(mac) == Some(State::Failed);
        let taken = known.boots.taken(mac);
        let basis = taken.map(|taken| self.basis(known, inventory, &taken.groups, whose).basis);
        let held = basis.and_then(|basis| known.boots.decision(mac, &basis, whose.now));
        if let Some((_, decision)) = held.filter(|_| !is_seen_first && !tries_again) {
            return (boot, decision);
        }
        let taken = self.take(known, inventory, whose);
        let decision = taken.decision.clone();
        known.boots.take_again(mac, taken, whose.now);
        (boot, decision)
    }

    /// Of who asks before anything else was seen of its boot. Whom nothing is for, and nobody knows, is not remembered.
    fn begin_asked(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        whose: Whose<'_>,
    ) -> (Option<BootId>, Decision) {
        let Whose { mac, now, .. } = whose;
        let decision = self.take(known, inventory, whose).decision;
        let is_nobody = matches!(decision, Decision::Nothing(_)) && !known.by_mac.contains_key(&mac);
        if is_nobody {
            return (None, decision);
        }
        let (admitted, forgotten) = known.admit(inventory, mac, now);
        self.forget(&forgotten);
        if !admitted {
            return (None, decision);
        }
        known.by_mac.entry(mac).or_insert_with(|| Machine::new(mac, now));
        if self.begin(known, inventory, None, whose) == Keep::Now {
            // Whoever asks is observed next, and that writes it.
            known.unwritten.insert(mac);
        }
        known.rank(mac);
        let decision = known.boots.taken(mac).map_or(decision, |taken| taken.decision.clone());
        (known.boots.id(mac), decision)
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
        let whose = Whose { mac, shown, asked: &Labels::default(), boot: None, now };
        if known.boots.begins(mac, seen, now) {
            return self.begin(known, inventory, class, whose);
        }
        if known.boots.repeats(mac, seen, now) {
            let boot = known.boots.id(mac);
            let taken = self.take(known, inventory, Whose { boot, ..whose });
            known.boots.take_again(mac, taken, now);
        }
        Keep::No
    }

    /// Begins a boot of a machine that is known, and stops it where those before it bore no fruit.
    fn begin(
        &self,
        known: &mut Known,
        inventory: &Snapshot,
        class: Option<&'static str>,
        whose: Whose<'_>,
    ) -> Keep {
        let Whose { mac, now, .. } = whose;
        let breaker = self.policy().breaker;
        let soon = breaker.and_then(|breaker| breaker.repeats).map_or(0, |repeats| repeats.within);
        let (fruit, before) = (known.boots.fruit(mac), known.boots.began(mac));
        let Some(machine) = known.by_mac.get_mut(&mac) else { return Keep::No };
        let mut keep = machine.count(fruit);
        machine.follow(before, soon, now);
        let (fruitless, quick) = (machine.fruitless, machine.quick);
        // One that bore no fruit has changed nothing, and what it lacked may be there by now. One in a loop may have written a disk.
        let is_trial = breaker.is_some_and(|breaker| breaker.stops(fruitless)) && machine.may_try(now);
        if is_trial {
            machine.stopped = None;
        }
        let mut taken = self.take(known, inventory, whose);
        let breaker = breaker.filter(|breaker| breaker.stops(fruitless) || breaker.stops_loop(quick));
        let trips = !is_trial && breaker.is_some() && matches!(taken.decision, Decision::Profile { .. });
        if trips {
            known.by_mac.entry(mac).and_modify(|machine| machine.stopped = Some(now));
            taken = self.take(known, inventory, whose);
            keep = Keep::Now;
        }
        let (why, name) = (taken.why.clone(), taken.known.host.clone());
        let was_kept = known.boots.is_kept(mac);
        let id = known.boots.begin(mac, class, taken, now);
        if was_kept {
            // It is over in the store, too: else it would be under way again after a restart.
            self.put_boots(mac, &known.boots.past(mac));
        }
        known.by_mac.entry(mac).and_modify(|machine| machine.boot = Some(id));
        if trips {
            let event = Event::new("breaker", Lane::Api, why).mac(mac).name(name).boot(Some(id));
            self.events.publish(event.field("fruitless", fruitless));
        }
        keep
    }

    /// What the decision hangs on beside the configuration, of which it takes the `groups`.
    fn basis(&self, known: &Known, inventory: &Snapshot, groups: &Groups, whose: Whose<'_>) -> Based {
        let Whose { mac, shown, asked, boot, now } = whose;
        let host = known.host(inventory, mac, shown);
        let labels = LazyCell::new(|| known.labels(mac, shown, host.as_deref(), asked.clone()));
        let group = if groups.is_empty() { None } else { groups.of(&labels).cloned() };
        let is_selected = group.as_ref().is_some_and(|group| !group.selector.is_empty());
        let elsewhere = self.elsewhere().filter(|_| host.is_none() && !is_selected);
        let elsewhere = elsewhere.map_or(Ok(None), |elsewhere| elsewhere.boots(&labels));
        let past = known.past(inventory, mac, shown, host.as_deref(), boot);
        let unique = shown.uuid.filter(|uuid| uuid.is_unique());
        let basis = Basis {
            host: host.as_ref().map(|host| host.name.clone()),
            uuid: unique.or(known.by_mac.get(&mac).and_then(|machine| machine.uuid)),
            group: group.as_ref().map(|group| group.name.clone()),
            elsewhere: elsewhere.iter().flatten().next().cloned(),
            choice: self.choices().of(mac, now).cloned(),
            installed: past.installed,
        };
        Based { basis, host, group, is_selected, elsewhere, past }
    }

    /// Takes a decision.
    pub(super) fn take(&self, known: &Known, inventory: &Snapshot, whose: Whose<'_>) -> Taken {
        let policy = self.policy();
        let groups = inventory.groups().clone();
        let based = self.basis(known, inventory, &groups, whose);
        let site = Site { inventory, policy: &policy, is_held: self.is_held() };
        let (decision, why) = site.weigh(whose.mac, &based);
        let basis = based.basis;
        let machine = known.by_mac.get(&whose.mac).filter(|machine| machine.stopped.is_some());
        let breaker = policy.breaker.filter(|_| matches!(decision, Decision::Profile { .. }));
        let (Some(breaker), Some(machine)) = (breaker, machine) else {
            return Taken { decision, why, known: basis, stopped: false, groups };
        };
        let who = basis.host.clone().unwrap_or_else(|| whose.mac.to_string());
        let why = format!(
            "stopped by the breaker: {} ({why}); `netboot machine rearm {who}` starts it again, and installs nothing that is installed",
            breaker.why(machine.fruitless)
        );
        let decision = match breaker.then {
            Instead::Local => Decision::Local,
            Instead::Nothing => Decision::Nothing(why.clone()),
        };
        Taken { decision, why, known: basis, stopped: true, groups }
    }
}

/// What is known of a machine when it is decided for.
struct Based {
    basis: Basis,
    host: Option<Arc<Host>>,
    group: Option<Arc<Group>>,
    /// Whether it is in that group by what it is.
    is_selected: bool,
    /// What boots it where the inventory says nothing, and what says so; an error: that can't be read.
    elsewhere: Result<Option<(Arc<Profile>, String)>, String>,
    past: Past,
}

/// What decisions are weighed by.
struct Site<'a> {
    inventory: &'a Snapshot,
    policy: &'a Policy,
    is_held: bool,
}

impl Site<'_> {
    /// What is to be booted, and what says so.
    fn weigh(&self, mac: Mac, based: &Based) -> (Decision, String) {
        let Based { basis, host, group, is_selected, elsewhere, past } = based;
        let nothing = |why: String| (Decision::Nothing(why.clone()), why);
        let boot = match (host, elsewhere) {
            (Some(host), _) => host.boot,
            (None, Err(why)) => return nothing(why.clone()),
            (None, Ok(Some(_))) => Boot::Profile,
            (None, Ok(None)) if self.policy.boot_unknown || *is_selected => Boot::Profile,
            (None, Ok(None)) => {
                let why = format!("{mac} is not a host and in no group, and unknown machines are ignored");
                return nothing(why);
            }
        };
        let of_host = host.as_ref().map(|host| format!("of host {} ({})", host.name, host.origin));
        let said = |boot| format!("`boot: {boot}` {}", of_host.as_deref().unwrap_or_default());
        match boot {
            Boot::Ignore => return (Decision::Ignore, said("ignore")),
            Boot::Local => return (Decision::Local, said("local")),
            Boot::Profile | Boot::Once => {}
        }
        let Some((profile, named)) = self.profile(based) else {
            return nothing(format!("{mac} has no profile, and there is no default_profile"));
        };
        let installs = profile.install.is_some();
        let why = if boot == Boot::Once && past.once_done {
            format!("{} is used up", said("once"))
        } else if boot != Boot::Once && basis.installed && installs {
            format!("profile {} is installed already", profile.name)
        } else if let ProfileBoot::Broken(fault) = &profile.boot {
            return nothing(format!("profile {} ({}) by {named}: {fault}", profile.name, profile.origin));
        } else if installs && self.is_held && !past.wanted {
            "installations are held, for the store was lost: `netboot machine allow-installs`".to_owned()
        } else if profile.boot == ProfileBoot::Local {
            format!("profile {} ({}) is the machine's own disk", profile.name, profile.origin)
        } else {
            let once = if boot == Boot::Once { format!(", {}", said("once")) } else { String::new() };
            let why = format!("profile {} ({}) by {named}{once}", profile.name, profile.origin);
            return (Decision::Profile { profile, host: host.clone(), group: group.clone() }, why);
        };
        (Decision::Local, why)
    }

    /// The profile, and who names it. A name that is no profile's counts as none: what was chosen may be gone by now.
    fn profile(&self, based: &Based) -> Option<(Arc<Profile>, String)> {
        let Based { basis, host, group, elsewhere, .. } = based;
        let there =
            basis.choice.as_ref().map(|(name, _)| name).filter(|name| self.inventory.profile(name).is_some());
        if let (None, Ok(Some((profile, by)))) = (there, elsewhere) {
            return Some((profile.clone(), by.clone()));
        }
        let chosen = there.map(|name| (name, "a choice from the boot menu".to_owned()));
        let by_host = || {
            let Host { name, profile, origin, .. } = &**host.as_ref()?;
            Some((profile.as_ref()?, format!("host {name} ({origin})")))
        };
        let by_group = || {
            let Group { name, profile, origin, .. } = &**group.as_ref()?;
            Some((profile.as_ref()?, format!("group {name} ({origin})")))
        };
        let default = || Some((self.policy.default_profile.as_ref()?, "default_profile".to_owned()));
        let (name, named) = chosen.or_else(by_host).or_else(by_group).or_else(default)?;
        Some((self.inventory.profile(name)?.clone(), named))
    }
}

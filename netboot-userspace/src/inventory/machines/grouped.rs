//! Which group a machine is in, by all that is known of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use netboot_common::Mac;

use super::known::Known;
use super::{Asking, Decision, Machines, Obeyed};
use crate::inventory::boots::Taken;
use crate::inventory::group::{Group, profile_name};
use crate::inventory::labels::{Labels, arch};
use crate::inventory::layered::Layered;
use crate::inventory::observed::{Observation, Shown};
use crate::inventory::{Host, Profile, Snapshot};
use crate::sys::clock::now;

/// What the inventory says of a machine.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What it was found by.
    pub inventory: Arc<Snapshot>,
    pub host: Option<Arc<Host>>,
    /// All that groups select by.
    pub labels: Labels,
    pub group: Option<Arc<Group>>,
    /// What was chosen from a menu, else what the host, the group or the site says. Whether it is booted, or was installed before, is
    /// another question ([`Machines::obey`]).
    pub profile: Option<Arc<Profile>>,
}

impl Placed {
    /// What its levels say of it.
    pub fn layered(&self) -> Layered {
        Layered::of(self.group.as_deref(), self.profile.as_deref(), self.host.as_deref())
    }
}

impl Machines {
    /// Which host a machine is, and which group counts for it, where it says `asked` of itself.
    pub fn place(&self, mac: Mac, shown: Shown, asked: Labels) -> Placed {
        let (inventory, known) = (self.live.snapshot(), self.lock());
        let host = known.host(&inventory, mac, shown);
        let labels = known.labels(mac, shown, host.as_deref(), asked);
        drop(known);
        let group = inventory.groups().of(&labels).cloned();
        let (policy, chosen) = (self.policy(), self.choices().of(mac, now()).map(|(name, _)| name.clone()));
        let own = || profile_name(host.as_deref(), group.as_deref(), policy.default_profile.as_deref());
        let profile = chosen.as_deref().or_else(own).and_then(|name| inventory.profile(name)).cloned();
        Placed { inventory, host, labels, group, profile }
    }
}

impl Machines {
    /// What the system is set up by that a machine boots: in a boot what that decided, whatever the configuration says by now; else as
    /// [`Machines::would_be_given`]. A machine that boots its own disk may have been installed just now: it is given what is said of it.
    ///
    /// # Errors
    /// Why it is given nothing.
    pub fn given(&self, mac: Mac, shown: Shown, asked: Labels) -> Result<Placed, String> {
        if self.lock().boots.id(mac).is_none() {
            return self.would_be_given(mac, shown, asked);
        }
        // What it says of itself beside its script is another question, and decides nothing.
        let Obeyed { decision, stopped, .. } = self.obey(mac, shown, &Labels::default(), Asking::Agent);
        stopped.map_or_else(|| self.by_decision(mac, shown, asked, decision), Err)
    }

    /// What the system of its next boot would be set up by, where it would say `asked` of itself.
    ///
    /// # Errors
    /// Why it would be given nothing.
    pub fn would_be_given(&self, mac: Mac, shown: Shown, asked: Labels) -> Result<Placed, String> {
        let Taken { decision, stopped, why, .. } = self.would_as(mac, shown, &asked);
        if stopped { Err(why) } else { self.by_decision(mac, shown, asked, decision) }
    }

    /// Whether what a machine boots was chosen from a menu: in its boot in force; where there is none, in its next.
    pub fn is_chosen(&self, mac: Mac) -> bool {
        let known = self.lock();
        let Some(Taken { decision, known, .. }) = known.boots.taken(mac) else {
            return self.choices().of(mac, now()).is_some();
        };
        let chosen = known.choice.as_ref().map(|(name, _)| name);
        matches!(decision, Decision::Profile { profile, .. } if Some(&profile.name) == chosen)
    }

    fn by_decision(
        &self,
        mac: Mac,
        shown: Shown,
        asked: Labels,
        decision: Decision,
    ) -> Result<Placed, String> {
        let placed = self.place(mac, shown, asked);
        match decision {
            Decision::Profile { profile, host, group } => {
                Ok(Placed { host, group, profile: Some(profile), ..placed })
            }
            Decision::Local => Ok(placed),
            Decision::Ignore => Err(format!("{mac} is not booted: boot: ignore")),
            Decision::Nothing(why) => Err(why),
        }
    }
}

impl Known {
    /// What a machine says of itself holds until it says something else: who decides for it again decides the same.
    pub(super) fn hear(&mut self, mac: Mac, asked: &Labels) {
        if asked.is_empty() || self.said_last(mac).is_some_and(|said| *said == asked.to_map()) {
            return;
        }
        if self.said.len() >= self.room
            && let Some(other) = self.said.keys().next().copied()
        {
            // What one of so many said is heard of again when it asks again.
            self.said.remove(&other);
        }
        self.said.insert(mac, asked.to_map());
    }

    /// A machine that got its script is remembered with what it said. Whether that is something else than before.
    pub(super) fn keep_said(&mut self, mac: Mac, seen: &Observation) -> bool {
        let is_answer = matches!(seen, Observation::Script { .. } | Observation::Local { .. });
        let Some(said) = Some(mac).filter(|_| is_answer).and_then(|mac| self.said.remove(&mac)) else {
            return false;
        };
        let Some(machine) = self.by_mac.get_mut(&mac) else { return false };
        std::mem::replace(&mut machine.said, said) != machine.said
    }

    fn said_last(&self, mac: Mac) -> Option<&BTreeMap<String, String>> {
        self.said.get(&mac).or_else(|| self.by_mac.get(&mac).map(|machine| &machine.said))
    }

    /// What the machine says, then what it said with its script, then what was seen of it, and over all what its host's entry says.
    pub(super) fn labels(&self, mac: Mac, shown: Shown, host: Option<&Host>, asked: Labels) -> Labels {
        let machine = self.by_mac.get(&mac);
        let uuid = shown.uuid.or(machine.and_then(|machine| machine.uuid));
        let arch = machine.and_then(|machine| arch(&machine.class));
        let said = self.said_last(mac).into_iter().flatten();
        let asked = said.fold(asked, |asked, (key, value)| asked.or(key, Some(value)));
        let labels = asked.or("mac", Some(mac)).or("uuid", uuid).or("arch", arch);
        match host {
            Some(host) => labels.of_host(host),
            None => labels,
        }
    }
}

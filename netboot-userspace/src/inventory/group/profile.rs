//! Which profile a machine is given. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Group, Groups};
use crate::inventory::labels::{Heard, Labels};
use crate::inventory::{Host, Snapshot};

/// The profile that a machine is given: by its host's entry, else by its group, else the site's.
pub fn profile_name<'a>(
    host: Option<&'a Host>,
    group: Option<&'a Group>,
    default: Option<&'a str>,
) -> Option<&'a str> {
    let of_host = host.and_then(|host| host.profile.as_deref());
    of_host.or(group.and_then(|group| group.profile.as_deref())).or(default)
}

impl Groups {
    /// That of a host, as far as its entry says: what the machine will say of itself nobody knows yet. `None`: a machine of which
    /// nothing is known.
    pub fn profile_of<'a>(&'a self, host: Option<&'a Host>, default: Option<&'a str>) -> Option<&'a str> {
        let group = host.and_then(|host| self.deciding_for(host));
        profile_name(host, group.map(Arc::as_ref), default)
    }

    /// The group whose profile a host has.
    pub fn deciding_for(&self, host: &Host) -> Option<&Arc<Group>> {
        // None is looked for where it would not count.
        let undecided = Some(host).filter(|host| host.profile.is_none() && !self.is_empty())?;
        self.of(&Labels::default().of_host(undecided)).filter(|group| group.profile.is_some())
    }

    /// That of a machine without an entry, of which DHCP heard this.
    pub fn profile_of_stranger<'a>(&'a self, heard: Heard, default: Option<&'a str>) -> Option<&'a str> {
        profile_name(None, self.of_stranger(heard).map(Arc::as_ref), default)
    }
}

impl Snapshot {
    /// The hosts to which its groups give another profile than the groups `before` did: those that a group has which is another one by
    /// then, as far as that makes a difference.
    pub fn moved<'a>(&'a self, before: &'a Groups) -> impl Iterator<Item = &'a Arc<Host>> {
        let groups = self.groups();
        let changed: Vec<&Group> = before.unlike(groups).chain(groups.unlike(before)).collect();
        let profile = |groups: &'a Groups, labels: &Labels| groups.of(labels)?.profile.as_deref();
        let hosts = Some(self.hosts()).filter(|_| !changed.is_empty());
        hosts.into_iter().flatten().filter(move |host| {
            let differs = |labels: &Labels| {
                let may = changed.iter().any(|group| group.selector.has(labels));
                may && profile(before, labels) != profile(groups, labels)
            };
            host.profile.is_none() && differs(&Labels::default().of_host(host))
        })
    }
}

impl Groups {
    /// Those that select others, or give another profile, than the one of their name among `others` does.
    pub(in crate::inventory) fn unlike<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a Group> {
        let others: HashMap<&str, &Group> =
            others.iter().map(|other| (other.name.as_str(), &**other)).collect();
        self.iter().map(Arc::as_ref).filter(move |group| {
            let is_like =
                |other: &&Group| (&other.selector, &other.profile) == (&group.selector, &group.profile);
            !others.get(group.name.as_str()).is_some_and(is_like)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inventory::Profile;
    use crate::inventory::entry::HostEntry;
    use crate::inventory::group::GroupEntry;

    fn host(typed: Value) -> Host {
        serde_json::from_value::<HostEntry>(typed).unwrap().check("hosts:1").unwrap()
    }

    fn groups(typed: Value) -> Vec<Arc<Group>> {
        let typed: Vec<GroupEntry> = serde_json::from_value(typed).unwrap();
        typed.iter().map(|group| Arc::new(group.check("groups:1").unwrap())).collect()
    }

    fn hosts() -> Vec<Host> {
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        vec![
            host(json!({ "name": "by-hostname", "macs": ["52:54:00:00:00:01"] })),
            host(json!({ "name": "by-label", "macs": ["52:54:00:00:00:02"], "labels": { "role": "x" } })),
            host(json!({ "name": "by-mac", "macs": ["52:54:00:00:00:03", "52:54:00:00:00:04"] })),
            host(json!({ "name": "by-serial", "macs": ["52:54:00:00:00:05"], "serial": "S1" })),
            host(json!({ "name": "by-uuid", "uuid": uuid })),
            host(
                json!({ "name": "own", "macs": ["52:54:00:00:00:06"], "labels": { "role": "x" }, "profile": "own" }),
            ),
            host(json!({ "name": "silent", "macs": ["52:54:00:00:00:07"], "labels": { "role": "y" } })),
            host(json!({ "name": "other", "macs": ["52:54:00:00:00:08"] })),
        ]
    }

    fn selecting() -> Vec<Arc<Group>> {
        groups(json!([
            { "name": "a", "selector": { "hostname": "by-hostname" }, "profile": "hostname" },
            { "name": "b", "selector": { "role": "x" }, "profile": "label" },
            { "name": "c", "selector": { "mac": "52:54:00:00:00:04" }, "profile": "mac" },
            { "name": "d", "selector": { "serial": "S1" }, "profile": "serial" },
            { "name": "e", "selector": { "uuid": "00112233-4455-6677-8899-AABBCCDDEEFF" }, "profile": "uuid" },
            { "name": "f", "selector": { "role": "y" } },
            { "name": "g", "selector": { "arch": "x86_64" }, "profile": "arch" },
        ]))
    }

    #[test]
    fn a_host_is_given_the_profile_of_its_entry_then_of_its_group_then_the_default() {
        let groups = Groups::new(selecting());
        let found: Vec<_> = hosts()
            .iter()
            .map(|host| groups.profile_of(Some(host), Some("default")).unwrap().to_owned())
            .collect();
        assert_eq!(found, ["hostname", "label", "mac", "serial", "uuid", "own", "default", "default"]);
        let (own, group) = (&hosts()[5], groups.get("b").map(|group| &**group));
        assert_eq!(profile_name(Some(own), group, Some("default")), Some("own"), "whichever group it is in");
        assert_eq!(groups.profile_of(None, Some("default")), Some("default"));
        assert_eq!(groups.profile_of(Some(&hosts()[6]), None), None);
    }

    #[test]
    fn only_hosts_whose_profile_is_another_one_are_moved_by_other_groups() {
        let names = ["hostname", "label", "mac", "serial", "uuid", "own", "arch", "new"];
        let profiles = names.map(|name| Profile { name: name.into(), ..Profile::default() });
        let snapshot = Snapshot::new(hosts(), profiles.to_vec()).unwrap();
        let before = Groups::new(selecting());
        let mut after = selecting();
        // What is said otherwise moves nobody.
        after[0] = Arc::new(Group { cmdline: "quiet".into(), ..(*after[0]).clone() });
        after[1] = Arc::new(Group { profile: Some("new".into()), ..(*after[1]).clone() });
        after.remove(2);
        let snapshot = snapshot.with_groups(after).unwrap();
        let moved: Vec<_> = snapshot.moved(&before).map(|host| host.name.as_str()).collect();
        assert_eq!(moved, ["by-label", "by-mac"]);
    }
}

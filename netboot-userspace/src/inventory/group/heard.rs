//! Which group DHCP tells a machine without an entry to be in. Pure.
//!
//! It hears less of a machine than its script does: a group that asks for more has nobody there.

use std::collections::HashSet;
use std::sync::Arc;

use netboot_common::Mac;

use super::{Group, Groups};
use crate::inventory::identity::Uuid;
use crate::inventory::labels::{Heard, Labels};
use crate::inventory::{Host, Snapshot};

/// Machines that groups ask for, by what DHCP hears of them: they are no strangers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    macs: HashSet<Mac>,
    uuids: HashSet<Uuid>,
}

impl Grouped {
    pub fn of(groups: &Groups) -> Self {
        Self { macs: groups.macs().collect(), uuids: groups.uuids().collect() }
    }

    pub fn has_mac(&self, mac: Mac) -> bool {
        self.macs.contains(&mac)
    }

    pub fn has_uuid(&self, uuid: Uuid) -> bool {
        self.uuids.contains(&uuid)
    }
}

impl Group {
    /// Whether DHCP hears all that it asks for.
    pub fn is_heard(&self) -> bool {
        self.selector.asks_only(&Heard::KEYS)
    }

    /// A machine of it without an entry, as a host of which nothing is known but its profile; `None`: the group gives none.
    pub fn anybody(&self) -> Option<Host> {
        Some(Host { profile: Some(self.profile.clone()?), ..Host::default() })
    }
}

impl Groups {
    /// The one that counts for a machine without an entry, of which DHCP heard this.
    pub fn of_stranger(&self, heard: Heard) -> Option<&Arc<Group>> {
        if self.is_empty() {
            return None;
        }
        self.first_of(&Labels::from(heard), &self.heard)
    }

    /// Whether two messages of one MAC, without an entry, may be told different things: by what else DHCP hears.
    pub fn hear_more_than_macs(&self) -> bool {
        self.hear_more
    }
}

/// Whether some of these make a difference to it, by more than a MAC.
pub(super) fn hear_more(groups: &[Arc<Group>]) -> bool {
    let heard = || groups.iter().filter(|group| group.is_heard());
    let by_more = heard().any(|group| !group.selector.asks_only(&Heard::KEYS[..1]));
    by_more && heard().any(|group| group.profile.is_some())
}

impl Snapshot {
    /// Whether machines without an entry may be told something else by DHCP than by the groups `before`.
    pub fn moves_strangers(&self, before: &Groups) -> bool {
        let groups = self.groups();
        before.unlike(groups).chain(groups.unlike(before)).any(Group::is_heard)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use netboot_common::class::Class;
    use serde_json::json;

    use super::*;
    use crate::inventory::group::GroupEntry;

    fn groups(typed: serde_json::Value) -> Groups {
        let typed: Vec<GroupEntry> = serde_json::from_value(typed).unwrap();
        Groups::new(typed.iter().map(|group| Arc::new(group.check("groups:1").unwrap())))
    }

    #[test]
    fn a_machine_without_an_entry_is_in_the_group_that_dhcp_hears_enough_for() {
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        let all = groups(json!([
            { "name": "all" },
            { "name": "by-arch", "selector": { "arch": "arm64" } },
            { "name": "by-mac", "selector": { "mac": "52:54:00:00:00:01" } },
            { "name": "by-uuid", "selector": { "uuid": uuid, "arch": "x86_64" } },
            { "name": "installed", "selector": { "mac": "52:54:00:00:00:01", "os": "installed" } },
            { "name": "role", "selector": { "role": "x" } },
            { "name": "serial", "selector": { "serial": "1", "mac": "52:54:00:00:00:02" } },
        ]));
        let mac = |last| Some(Mac([0x52, 0x54, 0, 0, 0, last]));
        let uuid = Some(uuid.parse().unwrap());
        let cases = [
            (Heard::default(), "all"),
            (Heard { mac: mac(1), uuid, class: None }, "by-mac"),
            (Heard { mac: mac(2), uuid: None, class: Some(Class::EfiX64) }, "all"),
            (Heard { mac: mac(2), uuid, class: Some(Class::EfiX64) }, "by-uuid"),
            (Heard { mac: mac(2), uuid, class: Some(Class::EfiArm64Http) }, "by-arch"),
        ];
        for (heard, want) in cases {
            assert_eq!(all.of_stranger(heard).unwrap().name, want, "{heard:?}");
            // The same as whoever looks at all of them.
            assert_eq!(all.of_stranger(heard), all.of(&Labels::from(heard)));
        }
        assert_eq!(Groups::default().of_stranger(Heard::by_mac(Mac([2; 6]))), None);
    }

    #[test]
    fn what_is_heard_beside_a_mac_makes_a_difference_where_a_group_asks_for_it() {
        let cases = [
            (json!([{ "name": "all" }, { "name": "m", "selector": { "mac": "52:54:00:00:00:01" } }]), false),
            (
                json!([{ "name": "never", "selector": { "arch": "x86_64", "os": "installed" }, "profile": "p" }]),
                false,
            ),
            (json!([{ "name": "arch", "selector": { "arch": "x86_64" } }]), false),
            (
                json!([{ "name": "arch", "selector": { "arch": "x86_64" } }, { "name": "all", "profile": "p" }]),
                true,
            ),
            (
                json!([{ "name": "u", "selector": { "mac": "52:54:00:00:00:01", "uuid": "00112233-4455-6677-8899-aabbccddeeff" }, "profile": "p" }]),
                true,
            ),
        ];
        for (typed, want) in cases {
            let groups = groups(typed);
            assert_eq!(groups.hear_more_than_macs(), want, "{groups:?}");
            let snapshot = Snapshot { groups: Arc::new(groups.clone()), ..Snapshot::default() };
            let is_moved = groups.iter().any(|group| group.is_heard());
            assert_eq!(snapshot.moves_strangers(&Groups::default()), is_moved);
            assert!(!snapshot.moves_strangers(&groups), "they are the same");
        }
    }
}

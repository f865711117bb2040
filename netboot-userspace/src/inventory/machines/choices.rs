//! What was chosen from boot menus. Pure.

use std::collections::HashMap;

use netboot_common::Mac;

use super::STRANGERS;

/// How long a choice counts, in seconds: as long as firmware and iPXE may take until they ask for the script.
const CHOICE: u64 = 600;

/// The profile that each machine chose, and until when that counts.
#[derive(Debug, Default)]
pub(super) struct Choices {
    by_mac: HashMap<Mac, (String, u64)>,
}

impl Choices {
    /// `profile`: the machine's own, without. `now`: Unix time, seconds. Beyond so many machines, choices are not taken: anybody can
    /// invent MAC addresses.
    pub(super) fn choose(&mut self, mac: Mac, profile: Option<&str>, now: u64) {
        let Some(profile) = profile else {
            self.by_mac.remove(&mac);
            return;
        };
        if self.by_mac.len() >= STRANGERS {
            self.by_mac.retain(|_, (_, until)| *until > now);
        }
        if self.by_mac.len() < STRANGERS {
            self.by_mac.insert(mac, (profile.to_owned(), now + CHOICE));
        }
    }

    /// And until when it counts. Where the clock was set back since, it counts no longer than twice as long.
    pub(super) fn of(&self, mac: Mac, now: u64) -> Option<&(String, u64)> {
        self.by_mac.get(&mac).filter(|(_, until)| *until > now && until - now <= 2 * CHOICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_counts_until_its_time_is_over() {
        let (mut choices, mac) = (Choices::default(), Mac([2, 0, 0, 0, 0, 1]));
        choices.choose(mac, Some("rescue"), 1000);
        assert_eq!(choices.of(mac, 1000 + CHOICE - 1), Some(&("rescue".to_owned(), 1000 + CHOICE)));
        assert_eq!(choices.of(mac, 1000 + CHOICE), None);
        assert!(choices.of(mac, 990).is_some() && choices.of(mac, 1000 - CHOICE - 1).is_none(), "set back");
        assert_eq!(choices.of(Mac([2, 0, 0, 0, 0, 2]), 1000), None);
        choices.choose(mac, None, 1000);
        assert_eq!(choices.of(mac, 1000), None, "something else was chosen");
    }
}

//! Transfers of the kernel's whose clients wait for what was lost. The program has no timers, and not every client repeats what it said:
//! what was sent last is to be sent again, until the program is heard to go on, or for as long as userspace's own transfers do so.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;

use aya::maps;
use aya::maps::MapData;
use netboot_common::tftp::maps::SessionKey;
use netboot_common::tftp::session::Session;

use super::shelf::Shared;
use super::sweep::{SILENCE, client};
use super::{Catalogue, Error, FileCounters, list};

/// Looks at the kernel's transfers, beside whoever fills its maps.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Waiting {
    pub(super) sessions: maps::HashMap<MapData, SessionKey, Session>,
    pub(super) counters: FileCounters,
    pub(super) shelf: Shared,
    pub(super) catalogue: Catalogue,
    pub(super) again: Again,
}

impl Waiting {
    /// Has `send` send what a client waits for at `now` ([`boot_time`](super::boot_time)): what the session says, of this content. It says how
    /// many packets were sent.
    pub fn look(
        &mut self,
        now: u64,
        mut send: impl FnMut(SocketAddrV4, &Session, &[u8]) -> u32,
    ) -> Result<(), Error> {
        let begun = self.counters.counted()?.begun;
        if self.again.is_idle(begun) {
            return Ok(());
        }
        let sessions = list(&self.sessions)?;
        for key in self.again.due(&sessions, begun, now) {
            // Its client may have been heard meanwhile.
            let there = self.sessions.get(&key, 0).ok();
            let Some(session) = there.filter(|there| sessions.get(&key) == Some(there)) else { continue };
            let Some(content) = self.shelf.lock().content(session.file) else { continue };
            let sent = send(client(&key), &session, &content);
            self.catalogue.note_again(client(&key), session.began(), sent);
        }
        self.catalogue
            .keep_again(|| sessions.iter().map(|(key, session)| (client(key), session.began())).collect());
        Ok(())
    }
}

/// What was sent again, and how often. Pure: what is remembered, and the time, are arguments.
#[derive(Debug, Default)]
pub(super) struct Again {
    sent: HashMap<SessionKey, Sent>,
    /// How many transfers were begun when none was under way.
    idle: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// What: see [`Session::first`].
    first: u64,
    tries: u8,
    at: u64,
}

impl Again {
    /// Whether there is nothing to look at: none was under way, and none was begun since.
    fn is_idle(&self, begun: u64) -> bool {
        self.idle == Some(begun)
    }

    /// Those to whom what they were sent last is sent again at `now`. `begun`: transfers, before they were listed.
    fn due(&mut self, sessions: &HashMap<SessionKey, Session>, begun: u64, now: u64) -> Vec<SessionKey> {
        let silent = now.saturating_sub(SILENCE.as_nanos() as u64);
        let under_way = || sessions.iter().filter(|(_, one)| !one.ended() && one.time() >= silent);
        self.idle = under_way().next().is_none().then_some(begun);
        let before = std::mem::take(&mut self.sent);
        let mut due = Vec::new();
        for (key, session) in under_way() {
            let first = session.first();
            let known = before.get(key).filter(|sent| sent.first == first).copied();
            let Sent { tries, at, .. } = known.unwrap_or_default();
            if session.is_due(tries, at, now) {
                due.push(*key);
                self.sent.insert(*key, Sent { first, tries: tries.saturating_add(1), at: now });
            } else if let Some(known) = known {
                self.sent.insert(*key, known);
            }
        }
        due
    }
}

/// DATA and OACKs that were sent again by userspace, of transfers by their clients and when they began.
#[derive(Debug, Default)]
pub(super) struct Packets {
    of: HashMap<(SocketAddrV4, u64), u32>,
    pub(super) all: u64,
}

impl Packets {
    pub(super) fn note(&mut self, transfer: (SocketAddrV4, u64), sent: u32) {
        self.all += u64::from(sent);
        *self.of.entry(transfer).or_default() += sent;
    }

    pub(super) fn take(&mut self, transfer: (SocketAddrV4, u64)) -> u32 {
        self.of.remove(&transfer).unwrap_or(0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, transfers: &HashSet<(SocketAddrV4, u64)>) {
        self.of.retain(|transfer, _| transfers.contains(transfer));
    }
}

#[cfg(test)]
mod tests;

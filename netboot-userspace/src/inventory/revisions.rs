//! What has changed, in the order in which it did: a log of the last few thousand changes of hosts, profiles, groups, machines and leases,
//! each with its revision.
//!
//! Who follows keeps its own place and reads from there: it is never waited for, and nothing is kept for it. Who has fallen behind what is
//! kept is told so, and reads everything anew.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How many changes are kept.
pub const KEPT: usize = 8192;

/// What a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Host,
    Profile,
    Group,
    Machine,
    Lease,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Host, Self::Profile, Self::Group, Self::Machine, Self::Lease];

    /// As JSON spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Profile => "profile",
            Self::Group => "group",
            Self::Machine => "machine",
            Self::Lease => "lease",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Added,
    Changed,
    Removed,
}

impl Fate {
    /// `None`: it was not there, and is not.
    pub fn of(before: bool, after: bool) -> Option<Self> {
        match (before, after) {
            (false, true) => Some(Self::Added),
            (true, true) => Some(Self::Changed),
            (true, false) => Some(Self::Removed),
            (false, false) => None,
        }
    }
}

/// As the API's paths have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Text(String),
    Mac(Mac),
    Address(IpAddr),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub number: u64,
    pub kind: Kind,
    pub name: Name,
    pub fate: Fate,
}

/// A place in the log: which daemon's, and behind which change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    epoch: u64,
    pub number: u64,
}

impl Place {
    /// Behind another change of the same daemon.
    pub fn at(self, number: u64) -> Self {
        Self { number, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.number)
    }
}

/// What is no [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (epoch, number) = text.split_once('-').ok_or(NoPlace)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| NoPlace)?;
        Ok(Self { epoch, number: number.parse().map_err(|_| NoPlace)? })
    }
}

/// Why there is no reading on from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error("the server was started anew since")]
    Restarted,
    #[error("more has changed since than is remembered")]
    Behind,
}

/// The log.
#[derive(Debug)]
pub struct Revisions {
    epoch: u64,
    kept: Mutex<Kept>,
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    changes: VecDeque<Revision>,
}

impl Default for Revisions {
    fn default() -> Self {
        // Two starts are told apart; nobody gains anything by guessing it.
        let epoch = crate::sys::clock::now_millis() << 16 | u64::from(std::process::id() & 0xffff);
        Self { epoch, kept: Mutex::default(), told: watch::Sender::new(0) }
    }
}

impl Revisions {
    pub fn note(&self, kind: Kind, name: Name, fate: Fate) {
        self.note_all([(kind, name, fate)]);
    }

    /// The same of many, which were one change.
    pub fn note_all(&self, changes: impl IntoIterator<Item = (Kind, Name, Fate)>) {
        let last = {
            let mut kept = self.kept();
            for (kind, name, fate) in changes {
                kept.last += 1;
                let revision = Revision { number: kept.last, kind, name, fate };
                if kept.changes.len() == KEPT {
                    kept.changes.pop_front();
                }
                kept.changes.push_back(revision);
            }
            kept.last
        };
        if self.told.receiver_count() > 0 {
            self.told.send_if_modified(|told| {
                let is_new = *told < last;
                *told = last.max(*told);
                is_new
            });
        }
    }

    /// Behind all that has changed until now.
    pub fn now(&self) -> Place {
        Place { epoch: self.epoch, number: self.kept().last }
    }

    /// The first `most` changes behind `place`, and the place behind those.
    ///
    /// # Errors
    /// Some of them are not kept any more.
    pub fn after(&self, place: Place, most: usize) -> Result<(Vec<Revision>, Place), Gap> {
        let kept = self.kept();
        if place.epoch != self.epoch || place.number > kept.last {
            return Err(Gap::Restarted);
        }
        let behind = usize::try_from(kept.last - place.number).unwrap_or(usize::MAX);
        let skip = kept.changes.len().checked_sub(behind).ok_or(Gap::Behind)?;
        let changes: Vec<Revision> = kept.changes.iter().skip(skip).take(most).cloned().collect();
        let number = changes.last().map_or(place.number, |change| change.number);
        Ok((changes, place.at(number)))
    }

    /// Told whenever there is more.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn note(log: &Revisions, count: usize) {
        let one = |n: usize| (Kind::Host, Name::Text(format!("n{n}")), Fate::Added);
        log.note_all((0..count).map(one));
    }

    #[test]
    fn who_follows_reads_every_change_once_and_in_order() {
        let log = Revisions::default();
        let start = log.now();
        note(&log, 5);
        let (first, place) = log.after(start, 3).unwrap();
        let (second, place) = log.after(place, 3).unwrap();
        let numbers: Vec<u64> = first.iter().chain(&second).map(|change| change.number).collect();
        assert_eq!((numbers, place), (vec![1, 2, 3, 4, 5], log.now()));
        assert_eq!(log.after(place, 3), Ok((Vec::new(), place)));
        assert_eq!(place.to_string().parse(), Ok(place));
    }

    #[test]
    fn a_place_that_can_not_be_read_on_from_is_a_gap() {
        let log = Revisions::default();
        let start = log.now();
        note(&log, KEPT);
        assert_eq!(log.after(start, 1).unwrap().0[0].number, 1);
        note(&log, 1);
        assert_eq!(log.after(start, 1), Err(Gap::Behind));
        assert_eq!(log.kept().changes.len(), KEPT);
        for other in [Place { epoch: 1, ..start }, Place { number: KEPT as u64 + 2, ..start }] {
            assert_eq!(log.after(other, 1), Err(Gap::Restarted));
        }
        for text in ["", "x", "1", "-", "1-", "z-1", "1-1-1"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

    #[test]
    fn who_waits_is_woken() {
        let log = Revisions::default();
        note(&log, 1);
        let mut told = log.subscribe();
        assert!(!told.has_changed().unwrap());
        note(&log, 1);
        assert!(told.has_changed().unwrap());
        assert_eq!(*told.borrow_and_update(), 2);
    }
}

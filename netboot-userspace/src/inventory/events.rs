//! What happens, as it happens: the last thousand events, and a feed of those to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

/// How many events are kept, and how many a follower may lag behind.
pub const KEPT: usize = 1000;

/// Which layer did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    Xdp,
    Tcx,
    Userspace,
    Tftp,
    Http,
    Api,
    Agent,
}

/// One thing that happened. This is also its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 since the daemon started.
    #[serde(default)]
    pub number: u64,
    /// Unix time, milliseconds.
    #[serde(default)]
    pub time: u64,
    /// What was seen of a machine (`dhcp`, `menu`, `loader`, `script`, `kernel`, `agent`), what was done with hosts (`host`), who was
    /// turned away (`refused`), each request by TFTP (`transfer`), each answer by HTTP (`access`); to a follower that lags behind, how many it missed (`lost`).
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The host's name, where the machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub lane: Lane,
    /// One line for a person.
    pub text: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

impl Event {
    pub fn new(kind: &str, lane: Lane, text: impl Into<String>) -> Self {
        let (kind, text) = (kind.to_owned(), text.into());
        Self { number: 0, time: 0, kind, mac: None, name: None, lane, text, fields: Map::new() }
    }

    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac.to_string());
        self
    }

    pub fn name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    pub fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }
}

/// The events of this daemon.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<Kept>,
    feed: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    ring: VecDeque<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { kept: Mutex::default(), feed: broadcast::Sender::new(KEPT) }
    }
}

impl Events {
    /// Numbers and dates the event, keeps it, and tells every follower.
    pub fn publish(&self, mut event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        event.number = kept.last;
        event.time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let event = Arc::new(event);
        if kept.ring.len() == KEPT {
            kept.ring.pop_front();
        }
        kept.ring.push_back(event.clone());
        // No follower is no fault.
        let _ = self.feed.send(event);
    }

    /// The last `count` events, oldest first, and the feed of all that follow them, without a gap.
    pub fn follow(&self, count: usize) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept.ring.len().saturating_sub(count);
        (kept.ring.iter().skip(skip).cloned().collect(), self.feed.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_are_kept_and_followers_miss_none() {
        let events = Events::default();
        for n in 0..KEPT + 5 {
            events.publish(Event::new("dhcp", Lane::Xdp, n.to_string()));
        }
        let (recent, mut feed) = events.follow(KEPT * 2);
        assert_eq!((recent.len(), recent[0].number, recent[KEPT - 1].number), (KEPT, 6, 1005));
        assert_eq!(events.follow(2).0[0].number, 1004);
        events.publish(Event::new("dhcp", Lane::Xdp, "next"));
        assert_eq!(feed.try_recv().map(|event| event.number), Ok(1006));
    }
}

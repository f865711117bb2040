//! What happens, as it happens: the last thousand events, and a feed of those to come. Anybody can ask for files, as often as they like:
//! that is kept apart, and pushes out nothing else.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::Host;
use super::boots::BootId;
use super::observed::State;
use crate::sys::clock::now_millis;

/// How many events are kept, and how many a follower may lag behind: so many about files, and so many of all others.
pub const KEPT: usize = 1000;

/// The kinds that are about files.
const ABOUT_FILES: [&str; 3] = ["access", "transfer", "upstream"];

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
    /// What was seen of a machine (`dhcp`, `menu`, `loader`, `script`, `kernel`, `agent`), whose boots were stopped (`breaker`), who gets no address beside another server (`unleased`), what was
    /// done with hosts (`host`), who asked for which change (`audit`), who was turned away (`refused`), each request by TFTP (`transfer`), each answer by HTTP (`access`), what
    /// was fetched from upstreams (`upstream`); to a follower that lags behind, how many it missed (`lost`), and to one whose token has ended, that (`cut`).
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The host's name, where the machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The boot that it was a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    pub lane: Lane,
    /// One line for a person.
    pub text: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

impl Event {
    pub fn new(kind: &str, lane: Lane, text: impl Into<String>) -> Self {
        let (kind, text) = (kind.to_owned(), text.into());
        Self { number: 0, time: 0, kind, mac: None, name: None, boot: None, lane, text, fields: Map::new() }
    }

    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac.to_string());
        self
    }

    pub fn name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    pub fn boot(mut self, boot: Option<BootId>) -> Self {
        self.boot = boot;
        self
    }

    pub fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }
}

/// What happened, before somebody reads it. In a storm nobody reads the most of it, and writing it would cost more than it has cost to do.
pub trait Unwritten: fmt::Debug + Send {
    /// What is read.
    fn event(&self) -> Event;
}

/// An answer by DHCP. In a storm there are more of them than of all else together.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) mac: Mac,
    /// What the machine is now.
    pub(super) host: Option<Arc<Host>>,
    pub(super) boot: Option<BootId>,
    pub(super) lane: Lane,
    pub(super) kind: &'static str,
    pub(super) class: &'static str,
    pub(super) ip: Option<IpAddr>,
    pub(super) state: State,
    /// Whether this made it so.
    pub(super) changed: bool,
}

impl Unwritten for Answer {
    fn event(&self) -> Event {
        let Self { mac, host, boot, lane, kind, class, ip, state, changed } = self;
        let text = match ip {
            Some(ip) => format!("{kind} {ip} to {class}"),
            None => format!("{kind} to {class}"),
        };
        let event =
            Event::new("dhcp", *lane, text).mac(*mac).name(host.as_ref().map(|host| host.name.clone()));
        let event = event.boot(*boot).field("kind", *kind).field("class", *class);
        event.field("state", state.name()).field("changed", *changed)
    }
}

/// One event, written or not.
#[derive(Debug)]
enum Happened {
    Event(Arc<Event>),
    Unwritten { number: u64, time: u64, what: Box<dyn Unwritten> },
}

impl Happened {
    fn number(&self) -> u64 {
        match self {
            Self::Event(event) => event.number,
            Self::Unwritten { number, .. } => *number,
        }
    }

    fn event(&self) -> Arc<Event> {
        match self {
            Self::Event(event) => event.clone(),
            Self::Unwritten { number, time, what } => {
                Arc::new(Event { number: *number, time: *time, ..what.event() })
            }
        }
    }
}

/// The events of this daemon.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<Kept>,
    files: broadcast::Sender<Arc<Event>>,
    others: broadcast::Sender<Arc<Event>>,
}

/// Each in the order of their numbers.
#[derive(Debug, Default)]
struct Kept {
    last: u64,
    files: VecDeque<Happened>,
    others: VecDeque<Happened>,
}

/// Events to come. Of each kind they come in their order; who lags behind with those about files misses none of the others.
#[derive(Debug)]
pub struct Feed {
    pub files: broadcast::Receiver<Arc<Event>>,
    pub others: broadcast::Receiver<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        let feed = || broadcast::Sender::new(KEPT);
        Self { kept: Mutex::default(), files: feed(), others: feed() }
    }
}

impl Events {
    /// Numbers and dates the event, keeps it, and tells every follower.
    pub fn publish(&self, event: Event) {
        let is_of_file = ABOUT_FILES.contains(&event.kind.as_str());
        self.keep(is_of_file, |number, time| Happened::Event(Arc::new(Event { number, time, ..event })));
    }

    /// The same of an answer by DHCP.
    pub(super) fn publish_answer(&self, answer: Answer) {
        self.keep(false, |number, time| Happened::Unwritten { number, time, what: Box::new(answer) });
    }

    /// The same of what is about a file.
    pub fn publish_of_file(&self, what: impl Unwritten + 'static) {
        self.keep(true, |number, time| Happened::Unwritten { number, time, what: Box::new(what) });
    }

    fn keep(&self, is_of_file: bool, happened: impl FnOnce(u64, u64) -> Happened) {
        let time = now_millis();
        let mut kept = self.kept();
        kept.last += 1;
        let happened = happened(kept.last, time);
        let (ring, feed) = match is_of_file {
            true => (&mut kept.files, &self.files),
            false => (&mut kept.others, &self.others),
        };
        // Who begins to follow does so under the same lock. No follower is no fault.
        if feed.receiver_count() > 0 {
            let _ = feed.send(happened.event());
        }
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(happened);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last `count` events that are kept, oldest first, and the feed of all that follow them, without a gap.
    pub fn follow(&self, count: usize) -> (Vec<Arc<Event>>, Feed) {
        let kept = self.kept();
        let mut all: Vec<&Happened> = kept.files.iter().chain(&kept.others).collect();
        all.sort_unstable_by_key(|happened| happened.number());
        let skip = all.len().saturating_sub(count);
        let past = all[skip..].iter().map(|happened| happened.event()).collect();
        (past, Feed { files: self.files.subscribe(), others: self.others.subscribe() })
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
        assert_eq!(feed.others.try_recv().map(|event| event.number), Ok(1006));
    }

    #[test]
    fn a_flood_of_requests_for_files_pushes_out_nothing_else() {
        let events = Events::default();
        let (_, mut feed) = events.follow(0);
        for n in 0..5 {
            events.publish(Event::new("host", Lane::Api, n.to_string()));
            (0..KEPT).for_each(|_| events.publish(Event::new("access", Lane::Http, "")));
            (0..KEPT).for_each(|_| events.publish(Event::new("transfer", Lane::Tftp, "")));
            (0..KEPT).for_each(|_| events.publish(Event::new("upstream", Lane::Http, "")));
        }
        let (all, _) = events.follow(usize::MAX);
        assert_eq!(all.len(), KEPT + 5);
        assert!(all.is_sorted_by_key(|event| event.number));
        let hosts = |events: &[Arc<Event>]| events.iter().filter(|event| event.kind == "host").count();
        assert_eq!((hosts(&all), events.follow(1).0[0].number), (5, 5 * (3 * KEPT as u64 + 1)));
        for n in 0..5 {
            assert_eq!(feed.others.try_recv().map(|event| event.text.clone()), Ok(n.to_string()));
        }
        feed.files.try_recv().unwrap_err();
    }

    #[test]
    fn an_answer_is_the_same_to_those_who_follow_it_and_to_those_who_read_it_later() {
        let events = Events::default();
        let (_, mut feed) = events.follow(0);
        let (mac, ip) = (Mac([0x52, 0x54, 0, 0, 0, 1]), Some(IpAddr::from([10, 0, 0, 9])));
        let answer = |ip| {
            let (kind, class, lane) = ("ack", "bios", Lane::Xdp);
            Answer { mac, host: None, boot: None, lane, kind, class, ip, state: State::Dhcp, changed: true }
        };
        events.publish_answer(answer(ip));
        events.publish_answer(answer(None));
        let told = events.follow(2).0;
        assert_eq!(feed.others.try_recv().as_deref(), Ok(told[0].as_ref()));
        assert_eq!((told[0].number, told[0].text.as_str()), (1, "ack 10.0.0.9 to bios"));
        assert_eq!((told[1].number, told[1].text.as_str()), (2, "ack to bios"));
        assert_eq!(told[0].mac.as_deref(), Some("52:54:00:00:00:01"));
        let fields = serde_json::json!({ "kind": "ack", "class": "bios", "state": "dhcp", "changed": true });
        assert_eq!(Value::from(told[0].fields.clone()), fields);
    }
}

//! `dhcp: observe`: what we would have answered, beside what the site's own servers did answer. Pure.
//!
//! A question and its answers belong together by the client's MAC and `xid`. An answer is seen where it comes by: broadcasts
//! always, answers to one address on mirror ports and hubs, and those of a server on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use netboot_common::Mac;
use netboot_common::stats::{Leave, Outcome};
use netboot_common::wire::vlan;
use serde::{Deserialize, Serialize};

use super::recent::Recent;

/// Options that say who answers and not what: they differ between any two servers.
const WHO: [u8; 3] = [53, 54, 82];
/// Other servers' answers to one question that are kept.
const SERVERS: usize = 8;
/// Characters of an option's value that are kept.
const LONGEST: usize = 256;
/// How often what was observed is written.
pub(super) const PACE: Duration = Duration::from_secs(1);

/// One machine's last question, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    xid: u32,
    /// Unix time, seconds.
    pub time: u64,
    pub interface: String,
    /// `discover`, `request`, `inform`.
    pub asked: String,
    /// What we would have said.
    pub ours: Option<Said>,
    /// Why we would have said nothing.
    pub left: Option<String>,
    /// What others said, by their server identifier.
    pub theirs: BTreeMap<Ipv4Addr, Said>,
}

/// An answer, as far as it is about the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// `offer`, `ack`, `nak`.
    pub kind: String,
    /// No address, for whoever boots: of a ProxyDHCP server.
    pub is_proxy: bool,
    /// `yiaddr`, `siaddr`, `file`, `sname`, and each option by its number, as a person reads them.
    pub fields: BTreeMap<String, String>,
}

/// One field in which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub field: String,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

impl Observed {
    /// In what each server's answer differs from ours, by its identifier. One that is missing was not seen.
    pub fn differences(&self) -> BTreeMap<Ipv4Addr, Vec<Difference>> {
        let differing = |theirs: &Said| match &self.ours {
            Some(ours) => differences(ours, theirs),
            None => {
                vec![Difference { field: "answer".into(), ours: None, theirs: Some(theirs.kind.clone()) }]
            }
        };
        self.theirs.iter().map(|(server, theirs)| (*server, differing(theirs))).collect()
    }
}

fn differences(ours: &Said, theirs: &Said) -> Vec<Difference> {
    let fields = ours.fields.keys().chain(theirs.fields.keys());
    // Of a proxy, what it does not say is said by the server beside it.
    let relevant =
        |field: &&String| !theirs.is_proxy || theirs.fields.contains_key(*field) && *field != "yiaddr";
    let mut fields: Vec<&String> = fields.filter(relevant).collect();
    fields.sort_by_key(|field| (field.starts_with("option"), number(field), *field));
    fields.dedup();
    let kind = |said: &Said| Some(said.kind.clone());
    let kinds = (ours.kind != theirs.kind).then(|| ("answer".to_owned(), kind(ours), kind(theirs)));
    let values = fields
        .into_iter()
        .map(|field| (field.clone(), ours.fields.get(field).cloned(), theirs.fields.get(field).cloned()));
    let differing = kinds.into_iter().chain(values).filter(|(_, ours, theirs)| ours != theirs);
    differing.map(|(field, ours, theirs)| Difference { field, ours, theirs }).collect()
}

/// `option 67` comes behind `option 6`.
fn number(field: &str) -> u32 {
    field.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What was observed of every machine.
#[derive(Debug, Default)]
pub(super) struct Observations {
    machines: Recent<Observed>,
    /// Those of which the disk has something else.
    unwritten: BTreeSet<Mac>,
    written: Option<Instant>,
}

impl Observations {
    /// What an earlier run observed.
    pub(super) fn restore(&mut self, mut observed: Vec<(Mac, Observed)>) {
        observed.sort_by_key(|(_, observed)| observed.time);
        observed.into_iter().for_each(|(mac, observed)| *self.machines.met(mac) = observed);
    }

    /// What is to be written now, and removed (`None`): at [`PACE`], so that a flood costs the disk no more than one machine.
    pub(super) fn take_unwritten(&mut self, now: Instant) -> Vec<(Mac, Option<Observed>)> {
        if self.unwritten.is_empty() || self.written.is_some_and(|last| now.duration_since(last) < PACE) {
            return Vec::new();
        }
        self.written = Some(now);
        let unwritten = std::mem::take(&mut self.unwritten);
        unwritten.into_iter().map(|mac| (mac, self.machines.of(mac).cloned())).collect()
    }

    fn met(&mut self, mac: Mac) -> &mut Observed {
        self.unwritten.extend(self.machines.make_room(mac));
        self.unwritten.insert(mac);
        self.machines.met(mac)
    }

    /// A frame of a client, what we decided, and the reply that we did not send. `None`: it was for somebody else, or no question.
    pub(super) fn asked(
        &mut self,
        frame: &[u8],
        outcome: Outcome,
        reply: &[u8],
        interface: &str,
        now: u64,
    ) -> Option<(Mac, &Observed)> {
        let message = message(frame)?;
        let asked = match message.opts().msg_type()? {
            MessageType::Discover => "discover",
            MessageType::Request => "request",
            MessageType::Inform => "inform",
            _ => return None,
        };
        let left = match outcome {
            // Theirs to answer: which of our answers would it be compared with?
            Outcome::Left(Leave::OtherServer | Leave::NotForUs | Leave::Ours | Leave::NoInterface) => {
                return None;
            }
            Outcome::Left(leave) => Some(leave.name().to_owned()),
            Outcome::Answered(_) => None,
        };
        let mac = mac(&message)?;
        let observed = self.met(mac);
        *observed = Observed {
            xid: message.xid(),
            time: now,
            interface: interface.to_owned(),
            asked: asked.to_owned(),
            ours: self::message(reply).as_ref().and_then(said),
            left,
            theirs: BTreeMap::new(),
        };
        Some((mac, observed))
    }

    /// A frame of another server. `None`: nobody was seen to ask for it.
    pub(super) fn heard(&mut self, frame: &[u8]) -> Option<(Mac, &Observed)> {
        let message = message(frame).filter(|message| message.opcode() == Opcode::BootReply)?;
        let (mac, said) = (mac(&message)?, said(&message)?);
        let offered = said.kind == "offer";
        let fits =
            |observed: &&Observed| observed.xid == message.xid() && (observed.asked == "discover") == offered;
        self.machines.of(mac).filter(fits)?;
        let observed = self.met(mac);
        let server = match message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => *server,
            _ => message.siaddr(),
        };
        if observed.theirs.len() < SERVERS || observed.theirs.contains_key(&server) {
            observed.theirs.insert(server, said);
        }
        Some((mac, observed))
    }

    pub(super) fn all(&self) -> Vec<(Mac, Observed)> {
        self.machines.all().map(|(mac, observed)| (mac, observed.clone())).collect()
    }
}

fn said(message: &Message) -> Option<Said> {
    let kind = match message.opts().msg_type()? {
        MessageType::Offer => "offer",
        MessageType::Ack => "ack",
        MessageType::Nak => "nak",
        _ => return None,
    };
    let text = |bytes: Option<&[u8]>| {
        let text = bytes.unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    let fixed = [
        ("yiaddr", Some(message.yiaddr()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string())),
        ("siaddr", Some(message.siaddr()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string())),
        ("file", Some(text(message.fname())).filter(|text| !text.is_empty())),
        ("sname", Some(text(message.sname())).filter(|text| !text.is_empty())),
    ];
    let fixed = fixed.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
    let options = message.opts().iter().filter(|(code, _)| !WHO.contains(&u8::from(**code)));
    let options = options.map(|(code, value)| (format!("option {}", u8::from(*code)), shown(value)));
    let boots = matches!(
        message.opts().get(OptionCode::ClassIdentifier),
        Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(b"PXEClient") || class.starts_with(b"HTTPClient")
    );
    let is_proxy =
        kind != "nak" && message.yiaddr().is_unspecified() && message.ciaddr().is_unspecified() && boots;
    Some(Said { kind: kind.to_owned(), is_proxy, fields: fixed.chain(options).collect() })
}

/// As a person reads it; nobody reads all of a long one.
fn shown(value: &DhcpOption) -> String {
    format!("{value:?}").chars().take(LONGEST).collect()
}

/// dhcproto takes `hlen` at its word, and there are 16 bytes.
fn mac(message: &Message) -> Option<Mac> {
    let is_ethernet = message.hlen() == 6;
    is_ethernet.then(|| message.chaddr().first_chunk().map(|mac| Mac(*mac)))?
}

/// The DHCP message in a frame of UDP over IPv4, whatever its tags.
fn message(frame: &[u8]) -> Option<Message> {
    let is_tag = |at: &usize| {
        frame.get(*at..at + 2).is_some_and(|word| vlan::is_tpid(u16::from_be_bytes([word[0], word[1]])))
    };
    let l3 = (12..).step_by(vlan::TAG).find(|at| !is_tag(at))? + 2;
    let header = usize::from(frame.get(l3)? & 0x0f) * 4;
    Message::decode(&mut Decoder::new(frame.get(l3 + header + 8..)?)).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CLIENT: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    /// A frame with one tag; `op` and `kind` as on the wire.
    fn frame(op: u8, xid: u8, yiaddr: u8, options: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; 240];
        payload[..4].copy_from_slice(&[op, 1, 6, 0]);
        payload[7] = xid;
        if yiaddr != 0 {
            payload[16..20].copy_from_slice(&[10, 0, 0, yiaddr]);
        }
        payload[28..34].copy_from_slice(&CLIENT);
        payload[236..].copy_from_slice(&[99, 130, 83, 99]);
        payload.extend(options);
        payload.push(255);
        [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0, 0x45], &[0; 19], &[0; 8], &payload].concat()
    }

    fn server(last: u8) -> Vec<u8> {
        vec![54, 4, 10, 0, 0, last]
    }

    fn ask(observations: &mut Observations, xid: u8, ours: &[u8]) {
        let asked = frame(1, xid, 0, &[53, 1, 1]);
        let offer = Outcome::Answered(netboot_common::maps::Kind::Offer);
        assert!(observations.asked(&asked, offer, ours, "eth0", 5).is_some());
    }

    #[test]
    fn what_differs_is_named_field_by_field_and_who_answers_is_no_difference() {
        let mut observations = Observations::default();
        let ours =
            frame(2, 7, 51, &[&[53, 1, 2, 1, 4, 255, 255, 255, 0, 67, 1, b'a'][..], &server(1)].concat());
        ask(&mut observations, 7, &ours);
        let same = [&server(2)[..], &[1, 4, 255, 255, 255, 0, 67, 1, b'a', 53, 1, 2]].concat();
        observations.heard(&frame(2, 7, 51, &same)).unwrap();
        let other = [&server(3)[..], &[53, 1, 2, 67, 1, b'b', 3, 4, 10, 0, 0, 9]].concat();
        let (mac, observed) = observations.heard(&frame(2, 7, 99, &other)).unwrap();
        assert_eq!(mac, Mac(CLIENT));
        let differences = observed.differences();
        assert_eq!(differences[&Ipv4Addr::new(10, 0, 0, 2)], []);
        let fields: Vec<&str> = differences[&Ipv4Addr::new(10, 0, 0, 3)]
            .iter()
            .map(|difference| difference.field.as_str())
            .collect();
        assert_eq!(fields, ["yiaddr", "option 1", "option 3", "option 67"]);
        let yiaddr = &differences[&Ipv4Addr::new(10, 0, 0, 3)][0];
        assert_eq!(
            (yiaddr.ours.as_deref(), yiaddr.theirs.as_deref()),
            (Some("10.0.0.51"), Some("10.0.0.99"))
        );
    }

    #[test]
    fn a_proxys_silence_about_addresses_is_no_difference() {
        let mut observations = Observations::default();
        ask(
            &mut observations,
            7,
            &frame(2, 7, 51, &[53, 1, 2, 3, 4, 10, 0, 0, 9, 60, 9, 80, 88, 69, 67, 108, 105, 101, 110, 116]),
        );
        let proxy = [&server(4)[..], &[53, 1, 2, 60, 9, 80, 88, 69, 67, 108, 105, 101, 110, 116]].concat();
        let (_, observed) = observations.heard(&frame(2, 7, 0, &proxy)).unwrap();
        assert_eq!(observed.differences()[&Ipv4Addr::new(10, 0, 0, 4)], []);
    }

    #[test]
    fn a_flood_is_written_once_a_while_and_what_is_forgotten_goes() {
        let (mut observations, start) = (Observations::default(), Instant::now());
        let ask = |observations: &mut Observations, n: usize| {
            let mut asked = frame(1, 7, 0, &[53, 1, 1]);
            let at = 12 + 6 + 20 + 8 + 28;
            asked[at + 2..at + 6].copy_from_slice(&(n as u32).to_be_bytes());
            observations
                .asked(&asked, Outcome::Left(Leave::UnknownHost), &[], "eth0", n as u64)
                .map(|(mac, _)| mac)
        };
        let first = ask(&mut observations, 0);
        for n in 1..super::super::recent::MOST {
            ask(&mut observations, n);
        }
        assert_eq!(observations.take_unwritten(start).len(), super::super::recent::MOST);
        ask(&mut observations, super::super::recent::MOST);
        assert!(observations.take_unwritten(start + PACE / 2).is_empty(), "not yet");
        let unwritten = observations.take_unwritten(start + PACE);
        let gone: Vec<_> =
            unwritten.iter().filter(|(_, seen)| seen.is_none()).map(|(mac, _)| Some(*mac)).collect();
        assert_eq!((unwritten.len(), gone), (2, vec![first]));
    }

    #[test]
    fn no_length_of_a_hardware_address_and_no_cut_stops_the_observer() {
        let left = Outcome::Left(Leave::Hardware);
        for op in [1, 2] {
            let whole = frame(op, 7, 51, &[53, 1, op]);
            for hlen in 0..=255 {
                let mut odd = whole.clone();
                odd[12 + 6 + 20 + 8 + 2] = hlen;
                let mut observations = Observations::default();
                let seen = observations.asked(&odd, left, &odd, "eth0", 5).is_some();
                assert_eq!(seen, op == 1 && hlen == 6, "{hlen}");
                let _ = observations.heard(&odd);
            }
            for length in 0..whole.len() {
                let mut observations = Observations::default();
                let _ = observations.asked(&whole[..length], left, &whole[..length], "eth0", 5);
                let _ = observations.heard(&whole[..length]);
            }
        }
    }

    #[test]
    fn an_answer_belongs_to_the_question_with_its_xid_and_kind() {
        let mut observations = Observations::default();
        let offer = frame(2, 7, 51, &[53, 1, 2]);
        assert!(observations.heard(&offer).is_none(), "nobody asked");
        ask(&mut observations, 8, &[]);
        assert!(observations.heard(&offer).is_none(), "another question");
        assert!(observations.heard(&frame(2, 8, 51, &[53, 1, 5])).is_none(), "an ACK to a DISCOVER");
        let (_, observed) = observations.heard(&frame(2, 8, 51, &[53, 1, 2])).unwrap();
        assert_eq!(observed.differences()[&Ipv4Addr::UNSPECIFIED][0].field, "answer", "we would say nothing");
        for kind in [4, 7] {
            let left = Outcome::Left(Leave::Release);
            assert!(observations.asked(&frame(1, 9, 0, &[53, 1, kind]), left, &[], "eth0", 6).is_none());
        }
        let theirs = Outcome::Left(Leave::OtherServer);
        assert!(observations.asked(&frame(1, 9, 0, &[53, 1, 3]), theirs, &[], "eth0", 6).is_none());
        assert_eq!(observations.all().len(), 1);
    }
}

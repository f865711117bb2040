//! Every request for a file, by TFTP and by HTTP, as an event.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use netboot_common::Mac;

use super::failed::Failed;
use crate::http;
use crate::inventory::boots::BootId;
use crate::inventory::events::{Event, Events, Lane, Unwritten};
use crate::inventory::machines::Machines;
use crate::tftp::{self, Direction, Outcome};

/// How many may wait; what finds no room is counted.
const MOST: usize = 16_384;

/// What was transferred, until the observer's thread says it: pushing takes no lock.
#[derive(Debug)]
pub(super) struct Transfers {
    sender: SyncSender<Transfer>,
    /// Only the observer's thread takes.
    receiver: Mutex<Receiver<Transfer>>,
    lost: AtomicU64,
    events: Arc<Events>,
    began: Instant,
    failed: Failed,
}

/// One that has ended.
#[derive(Debug)]
pub(super) enum Transfer {
    Tftp(Lane, tftp::Event),
    Http(http::Event),
}

impl Transfer {
    fn client(&self) -> IpAddr {
        match self {
            Self::Tftp(_, event) => event.client.ip(),
            Self::Http(event) => event.peer.ip(),
        }
    }

    fn told(&self) -> Event {
        match self {
            Self::Tftp(lane, event) => told(*lane, event),
            Self::Http(event) => access(event),
        }
    }
}

/// A transfer, and whose it is by what is known when it has ended.
#[derive(Debug)]
struct Ended {
    transfer: Transfer,
    mac: Option<Mac>,
    boot: Option<BootId>,
    name: Option<String>,
}

impl Ended {
    fn new(transfer: Transfer, machines: &Machines) -> Self {
        let mac = machines.mac_at(transfer.client().to_canonical());
        let machine = mac.and_then(|mac| machines.machine(mac));
        let (boot, name) = machine.map_or((None, None), |machine| (machine.boot, machine.name));
        Self { transfer, mac, boot, name }
    }
}

impl Unwritten for Ended {
    fn event(&self) -> Event {
        let Self { transfer, mac, boot, name } = self;
        let event = transfer.told().boot(*boot).name(name.clone());
        mac.iter().fold(event, |event, mac| event.mac(*mac))
    }
}

impl Transfers {
    pub(super) fn new(events: Arc<Events>) -> Self {
        let (sender, receiver) = sync_channel(MOST);
        let (receiver, lost) = (Mutex::new(receiver), AtomicU64::new(0));
        Self { sender, receiver, lost, events, began: Instant::now(), failed: Failed::default() }
    }

    pub(super) fn push(&self, transfer: Transfer) {
        if self.sender.try_send(transfer).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says what waits, and what of it was lost.
    pub(super) fn publish(&self, machines: &Machines) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        for transfer in receiver.try_iter().take(MOST) {
            if let Transfer::Tftp(lane, event) = &transfer {
                self.failed.note(*lane, event, self.now());
            }
            self.events.publish_of_file(Ended::new(transfer, machines));
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} transfers are not told of, for there were too many at once");
            self.events.publish(Event::new("transfer", Lane::Tftp, text).field("lost", lost));
        }
    }

    /// To be called now and then, for the log.
    pub(super) fn say_what_is_over(&self) {
        self.failed.say_what_is_over(self.now());
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// What is told of an answer by HTTP.
fn access(answer: &http::Event) -> Event {
    let http::Event { peer, path, status, bytes, total, duration, range, pace, stage, cause, .. } = answer;
    let is_broken = *stage == http::Stage::Broken;
    let file = if path.is_empty() { "a malformed request" } else { path };
    let cut = if is_broken { format!(" of {total}, broken off") } else { String::new() };
    let why = cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{file} to {peer}: {status}, {bytes} bytes{cut} in {} ms{why}", duration.as_millis());
    let event = Event::new("access", Lane::Http, text)
        .field("file", path.as_str())
        .field("client", peer.to_string())
        .field("status", *status)
        .field("outcome", if is_broken { "broken" } else { "done" })
        .field("size", *total)
        .field("bytes", *bytes)
        .field("milliseconds", duration.as_millis() as u64);
    let event = pace.iter().fold(event, |event, pace| event.field("pace", *pace));
    let event = cause.iter().fold(event, |event, cause| event.field("cause", cause.as_str()));
    // As in Content-Range: the last byte is part of it.
    range.iter().fold(event, |event, (start, end)| event.field("range", format!("{start}-{}", end - 1)))
}

/// What is told of a transfer. Who looks for trouble asks for those that are not `harmless`.
fn told(lane: Lane, transfer: &tftp::Event) -> Event {
    let tftp::Event { client, file, size, bytes, resent, duration, direction, outcome } = transfer;
    let (outcome, reason) = described(outcome);
    let again = if *resent > 0 { format!(", {resent} blocks again") } else { String::new() };
    let done = format!("{bytes} bytes in {} ms{again}", duration.as_millis());
    let text = match (direction, reason) {
        (Direction::Write { stored: Some(name) }, _) => {
            format!("{file} from {client}, stored as {name}: {done}")
        }
        (Direction::Write { stored: None }, reason) => {
            format!("{file} from {client}: {}", reason.unwrap_or(outcome))
        }
        (Direction::Read, Some(reason)) if *bytes > 0 => {
            format!("{file} to {client}: {reason}, after {done}")
        }
        (Direction::Read, Some(reason)) => format!("{file} to {client}: {reason}"),
        (Direction::Read, None) if outcome == "aborted" && *bytes > 0 => {
            format!("{file} to {client}: left by the client, after {done}")
        }
        (Direction::Read, None) if *bytes > 0 || outcome == "done" => format!("{file} to {client}: {done}"),
        (Direction::Read, None) => format!("{file} to {client}: {outcome}"),
    };
    let event = Event::new("transfer", lane, text)
        .field("file", file.as_str())
        .field("client", client.to_string())
        .field("direction", if *direction == Direction::Read { "read" } else { "write" })
        .field("outcome", outcome)
        .field("harmless", transfer.is_harmless())
        .field("size", *size)
        .field("bytes", *bytes)
        .field("resent", *resent)
        .field("milliseconds", duration.as_millis() as u64);
    let event = reason.into_iter().fold(event, |event, reason| event.field("reason", reason));
    match direction {
        Direction::Write { stored: Some(name) } => event.field("stored", name.as_str()),
        _ => event,
    }
}

/// Its name, and why it did not end well.
pub(super) fn described(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Done => ("done", None),
        Outcome::Unconfirmed => ("unconfirmed", None),
        Outcome::Aborted => ("aborted", None),
        Outcome::NotFound => ("not-found", Some("no such file")),
        Outcome::Refused(reason) => ("refused", Some(reason)),
        Outcome::Failed(reason) => ("failed", Some(reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn transfer(file: &str, outcome: Outcome) -> tftp::Event {
        tftp::Event {
            client: ([10, 0, 0, 9], 2000).into(),
            file: file.to_owned(),
            size: 9000,
            bytes: if outcome == Outcome::Done { 9000 } else { 0 },
            resent: 2,
            duration: Duration::from_millis(30),
            direction: Direction::Read,
            outcome,
        }
    }

    #[test]
    fn a_transfer_is_told_of_with_all_that_is_known_of_it() {
        let event = told(Lane::Tftp, &transfer("undionly.kpxe", Outcome::Done));
        assert_eq!(event.text, "undionly.kpxe to 10.0.0.9:2000: 9000 bytes in 30 ms, 2 blocks again");
        for (field, value) in [
            ("file", "undionly.kpxe".into()),
            ("client", "10.0.0.9:2000".into()),
            ("direction", "read".into()),
            ("outcome", "done".into()),
            ("harmless", true.into()),
            ("bytes", 9000.into()),
            ("resent", 2.into()),
            ("milliseconds", 30.into()),
        ] {
            assert_eq!(event.fields.get(field), Some(&value), "{field}");
        }
        let failed = told(Lane::Tftp, &transfer("x", Outcome::Failed("the client never answered".into())));
        assert_eq!(failed.text, "x to 10.0.0.9:2000: the client never answered");
        assert_eq!(failed.fields["harmless"], false);
        let left = told(Lane::Tftp, &tftp::Event { bytes: 512, ..transfer("fs.lst", Outcome::Aborted) });
        let text = "fs.lst to 10.0.0.9:2000: left by the client, after 512 bytes in 30 ms, 2 blocks again";
        assert_eq!((left.text.as_str(), &left.fields["harmless"]), (text, &true.into()));
        let direction = Direction::Write { stored: Some("10.0.0.9/1-0".into()) };
        let upload = told(Lane::Tftp, &tftp::Event { direction, ..transfer("conf", Outcome::Done) });
        assert!(upload.text.starts_with("conf from 10.0.0.9:2000, stored as 10.0.0.9/1-0: 9000 bytes"));
    }

    #[test]
    fn an_access_is_told_of_with_client_file_range_and_time() {
        let part = http::Event {
            peer: ([10, 0, 0, 9], 2000).into(),
            path: "/assets/vmlinuz".into(),
            boot: None,
            status: 206,
            bytes: 100,
            total: 100,
            duration: Duration::from_millis(3),
            range: Some((50, 150)),
            pace: Some(12_500_000),
            stage: http::Stage::Done,
            cause: None,
        };
        let event = access(&part);
        assert_eq!(event.text, "/assets/vmlinuz to 10.0.0.9:2000: 206, 100 bytes in 3 ms");
        assert_eq!((event.kind.as_str(), event.lane), ("access", Lane::Http));
        for (field, value) in [
            ("file", "/assets/vmlinuz".into()),
            ("client", "10.0.0.9:2000".into()),
            ("status", 206.into()),
            ("outcome", "done".into()),
            ("range", "50-149".into()),
            ("bytes", 100.into()),
            ("pace", 12_500_000.into()),
            ("milliseconds", 3.into()),
        ] {
            assert_eq!(event.fields.get(field), Some(&value), "{field}");
        }
        let broken = http::Event { bytes: 7, range: None, pace: None, stage: http::Stage::Broken, ..part };
        let event = access(&broken);
        assert_eq!((event.fields.get("pace"), event.fields.get("cause")), (None, None));
        assert!(event.text.ends_with("206, 7 bytes of 100, broken off in 3 ms"), "{}", event.text);
        let cause = Some("Input/output error".to_owned());
        let failed = access(&http::Event { cause, ..broken });
        assert!(failed.text.ends_with("in 3 ms: Input/output error"), "{}", failed.text);
        assert_eq!(failed.fields.get("cause"), Some(&"Input/output error".into()));
        assert_eq!((&event.fields["outcome"], event.fields.get("range")), (&"broken".into(), None));
    }

    #[test]
    fn what_clients_only_try_is_harmless() {
        for (file, outcome, harmless) in [
            ("pxelinux.cfg/01-52-54-00-12-34-56", Outcome::NotFound, true),
            ("autoexec.ipxe", Outcome::NotFound, true),
            ("undionly.kpxe", Outcome::NotFound, false),
            ("undionly.kpxe", Outcome::Aborted, true),
            ("undionly.kpxe", Outcome::Unconfirmed, true),
            ("autoexec.ipxe", Outcome::Refused("access violation"), false),
        ] {
            let event = told(Lane::Tftp, &transfer(file, outcome));
            assert_eq!(event.fields["harmless"], harmless, "{}", event.text);
        }
    }
}

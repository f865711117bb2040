//! The thread that takes in what the others saw, so that they need not wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::transfers::Transfers;
use super::watch::Watch;
use crate::inventory::events::Events;
use crate::inventory::machines::Machines;

/// How long what was noted first waits for the rest of its burst. Whoever asks for a machine takes in all of it before.
const BURST: Duration = Duration::from_millis(2);

/// The thread that takes in what was noted. **Invariant:** it outlives all who note, for DHCP waits for room.
#[derive(Debug)]
pub(super) struct Observer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Observer {
    /// Starts it, and who notes for it.
    pub(super) fn start(machines: Arc<Machines>, events: Arc<Events>) -> io::Result<(Watch, Self)> {
        let transfers = Arc::new(Transfers::new(events));
        let told = transfers.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, own) = (stop.clone(), machines.clone());
        let thread = std::thread::Builder::new().name("machines".to_owned()).spawn(move || {
            let mut said = 0;
            loop {
                let is_last = stopped.load(Ordering::Acquire);
                if let Err(error) = own.take_noted() {
                    tracing::error!("what was seen of a machine is not stored: {error}");
                }
                told.publish(&own);
                said = say_unleased(own.unleased(), said);
                if is_last {
                    return;
                }
                // Whoever notes or stops unparks it, also before it parks.
                std::thread::park();
                // While it rests, nobody has to wake it: in a storm that would cost each worker a system call for each answer.
                std::thread::sleep(BURST);
            }
        })?;
        Ok((Watch::new(machines, transfers, thread.thread().clone()), Self { thread, stop }))
    }

    /// Takes in the rest, and ends.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

/// Says that machines get no address, the first time and each time that it was twice as often. What was said.
fn say_unleased(times: u64, said: u64) -> u64 {
    if times == 0 || times < said * 2 {
        return said;
    }
    tracing::warn!(
        times,
        "DHCP: a machine is told what to boot, and asks on: no other server seems to give it an address (`netboot events`: unleased)"
    );
    times
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use netboot_common::Mac;
    use netboot_common::class::Class;
    use netboot_common::maps::Kind;
    use netboot_common::stats::Outcome;

    use super::*;
    use crate::inventory::machines::Policy;
    use crate::inventory::observed::State;
    use crate::inventory::{Live, Snapshot};
    use crate::store::Store;
    use crate::{dhcp, http, tftp};

    #[tokio::test]
    async fn what_all_lanes_saw_is_taken_in_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let (live, _) = Live::open(store.clone(), Snapshot::default(), |_, _| Ok(())).unwrap();
        let machines = Machines::open(store, Arc::default(), Arc::new(live), Policy::default()).unwrap();
        let events = Arc::<Events>::default();
        let machines = Arc::new(machines);
        let (watch, observer) = Observer::start(machines.clone(), events.clone()).unwrap();
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        watch.dhcp(&dhcp::Event {
            chosen: None,
            outcome: Outcome::Answered(Kind::Ack),
            mac: Some(mac),
            class: Some(Class::Bios),
            ip: [10, 0, 0, 9].into(),
            host: None,
            interface: "eth1".into(),
        });
        watch.tftp(
            crate::inventory::events::Lane::Tftp,
            tftp::Event {
                client: ([10, 0, 0, 9], 1024).into(),
                file: "undionly.kpxe".into(),
                size: 7,
                bytes: 7,
                resent: 0,
                duration: Duration::ZERO,
                direction: tftp::Direction::Read,
                outcome: tftp::Outcome::Done,
            },
        );
        // Of an address that nobody has.
        watch.http(http::Event {
            peer: ([10, 0, 0, 8], 1024).into(),
            path: "/assets/vmlinuz".into(),
            boot: None,
            status: 200,
            bytes: 7,
            total: 7,
            duration: Duration::ZERO,
            range: None,
            pace: None,
            stage: http::Stage::Done,
            cause: None,
        });
        observer.stop();
        let seen = machines.list();
        assert_eq!((seen.len(), seen[0].state, seen[0].step.as_str()), (1, State::Loader, "undionly.kpxe"));
        assert_eq!(machines.lost(), 0);
        let (told, _) = events.follow(10);
        let told: Vec<_> = told.iter().map(|event| (event.kind.as_str(), event.mac.as_deref())).collect();
        assert_eq!(told, [("transfer", Some("52:54:00:00:00:01")), ("access", None)]);
    }
}

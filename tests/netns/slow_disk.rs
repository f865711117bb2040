//! A disk that takes its time: who waits for it, and who does not.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::SITE;
use crate::full::state;
use crate::lab::{Lab, Side, run};
use crate::malformed::{Wire, discover, message};
use crate::site::Site;

/// Requests for leases while the disk stands still: each wakes the reader for itself.
const CLIENTS: u8 = 20;

/// A file system whose writes wait, until it is dropped.
pub(crate) struct Frozen(PathBuf);

impl Frozen {
    pub(crate) fn new(folder: PathBuf) -> Self {
        run(Command::new("fsfreeze").arg("--freeze").arg(&folder));
        Self(folder)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0));
    }
}

/// Its state has a file system of its own.
fn on_a_disk_of_its_own() -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(&SITE.replace("10.77.0.103", "10.77.0.200"));
    std::fs::create_dir(site.path("state")).unwrap();
    let disk = site.path("disk.img");
    std::fs::File::create(&disk).unwrap().set_len(32 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&disk));
    let mount = format!("mount -o loop {} {} && exec \"$@\"", disk.display(), site.path("state").display());
    let mut server = site.lab.command(Side::Server, "unshare");
    server.args(["--mount", "sh", "-c", &mount, "sh"]).args(site.server_words());
    site.serve_by(server);
    site
}

fn mac(last: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0x77, 8, last]
}

#[test]
fn who_only_asks_does_not_wait_for_the_disk_and_who_is_leased_an_address_does() {
    let site = on_a_disk_of_its_own();
    let patience = Duration::from_secs(20);
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        let offer = |n: u8| -> [u8; 4] {
            let offer = wire
                .ask_for(&discover(mac(n), u32::from(n)), patience)
                .unwrap_or_else(|| panic!("{n}: no offer"));
            assert_eq!(offer[282..285], [53, 1, 2], "{n}");
            *offer[58..].first_chunk().unwrap()
        };
        let offered: Vec<(u8, [u8; 4])> = (0..CLIENTS).map(|n| (n, offer(n))).collect();

        let frozen = Frozen::new(state(&site));
        for (n, ip) in &offered {
            let options = [&[53, 1, 3, 50, 4], &ip[..], &[54, 4, 10, 77, 0, 1]].concat();
            wire.send(&message(mac(*n), 1000 + u32::from(*n), &options));
            // Whoever reads has read the request when it has answered this, and any ACK would be between the two.
            offer(100 + n);
        }
        assert!(wire.next(Duration::from_millis(200)).is_none(), "an ACK of a lease that is not on the disk");

        drop(frozen);
        let mut acknowledged: Vec<[u8; 4]> = (0..CLIENTS)
            .map(|_| {
                let ack = wire.next(patience).unwrap_or_else(|| panic!("{}", site.log()));
                assert_eq!(ack[282..285], [53, 1, 5]);
                *ack[58..].first_chunk().unwrap()
            })
            .collect();
        acknowledged.sort_unstable();
        let mut leased: Vec<[u8; 4]> = offered.iter().map(|(_, ip)| *ip).collect();
        leased.sort_unstable();
        assert_eq!(acknowledged, leased);
    });
}

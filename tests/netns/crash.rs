//! The real server, killed again and again while hundreds of clients lease, renew and give back: what was acknowledged, by
//! userspace or by the kernel's programs, is on the disk, and never two clients'.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::clients::SITE;
use crate::lab::{Side, inside};
use crate::malformed::{Wire, message};
use crate::site::Site;

const ROUNDS: u64 = 20;
const CLIENTS: u64 = 600;
const LEASE: u64 = 3600;

/// Fewer addresses than clients, so that what one gives back is another's soon.
fn site() -> String {
    let pool = "subnet: 10.77.0.0/16, range: 10.77.1.0-10.77.2.143";
    let site = SITE.replace("subnet: 10.77.0.0/24", pool).replace("range: 10.77.0.100-10.77.0.103, ", "");
    format!("{site}probe: off\n")
}

#[test]
fn no_acked_lease_is_lost_or_given_twice_when_the_server_is_killed() {
    let mut site = Site::start(&site());
    let mut clients = Clients::new();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..ROUNDS {
        let (namespace, stop, acked) =
            (site.lab.namespace(Side::Clients), AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let load = scope.spawn(|| inside(&namespace, || clients.run(&stop, &acked)));
            let enough = 1 + random.below(120) as usize;
            let deadline = Instant::now() + Duration::from_secs(20);
            while acked.load(Ordering::Relaxed) < enough && !load.is_finished() {
                assert!(
                    Instant::now() < deadline,
                    "{} of {enough}: {}",
                    acked.load(Ordering::Relaxed),
                    site.log()
                );
                std::thread::sleep(Duration::from_micros(200));
            }
            site.kill();
            // The kernel's programs go on, and what they promise must hold, too.
            std::thread::sleep(Duration::from_millis(random.below(20)));
            stop.store(true, Ordering::Relaxed);
            load.join().unwrap();
        });
        site.serve();
        clients.compare(&site.json(&["lease", "list", "--json"]));
    }
    let kernel = site.count("xdp", "answered_ack") + site.count("tcx", "answered_ack");
    assert!(kernel > 100, "{kernel} ACKs were the kernel's");
    assert!(clients.acked > 300, "only {} ACKs were heard", clients.acked);
    assert!(!site.log().contains("panicked") && !site.log().contains("can't be read"), "{}", site.log());
}

/// Numbers that follow from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

type Client = u16;

/// What all of them believe.
struct Clients {
    random: Random,
    xid: u32,
    /// Whose an address is, since when.
    holders: HashMap<Ipv4Addr, (Client, Instant)>,
    bound: HashMap<Client, Ipv4Addr>,
    offered: HashMap<Client, Ipv4Addr>,
    /// Questions that wait for their answer.
    asked: HashMap<u32, (Client, Instant)>,
    acked: usize,
}

fn mac(client: Client) -> [u8; 6] {
    let [high, low] = client.to_be_bytes();
    [0x52, 0x54, 0, 0x99, high, low]
}

impl Clients {
    fn new() -> Self {
        let (holders, bound, offered, asked) = Default::default();
        Self { random: Random(7), xid: 0, holders, bound, offered, asked, acked: 0 }
    }

    /// Asks until `stop`, at most 64 at once.
    fn run(&mut self, stop: &AtomicBool, acked: &AtomicUsize) {
        let wire = Wire::open();
        let before = self.acked;
        while !stop.load(Ordering::Relaxed) {
            while self.asked.len() < 64 {
                let client = self.random.below(CLIENTS) as Client;
                // One thing at a time: who gives an address back has no question open about it.
                if self.asked.values().any(|(busy, _)| *busy == client) {
                    continue;
                }
                let question = self.question(client);
                wire.send(&question);
            }
            if let Some(reply) = wire.next(Duration::from_millis(5)) {
                self.answer(&reply);
            }
            self.asked.retain(|_, (_, since)| since.elapsed() < Duration::from_millis(500));
            acked.store(self.acked - before, Ordering::Relaxed);
        }
        // Nobody hears what comes after this.
        while let Some(reply) = wire.next(Duration::from_millis(20)) {
            self.answer(&reply);
        }
        self.asked.clear();
    }

    fn question(&mut self, client: Client) -> Vec<u8> {
        self.xid += 1;
        let ours = [54, 4, 10, 77, 0, 1];
        let ask = |options: &[&[u8]]| message(mac(client), self.xid, &options.concat());
        let by = |kind: u8, ip: Ipv4Addr| [&[53, 1, kind, 50, 4][..], &ip.octets()].concat();
        self.asked.insert(self.xid, (client, Instant::now()));
        match (self.offered.remove(&client), self.bound.get(&client).copied(), self.random.below(10)) {
            (Some(ip), ..) => ask(&[&by(3, ip), &ours]),
            (_, Some(ip), 0..5) => {
                let mut frame = ask(&[&[53, 1, 3]]);
                frame[54..58].copy_from_slice(&ip.octets());
                frame
            }
            (_, Some(ip), 5 | 6) => ask(&[&by(3, ip)]),
            (_, Some(ip), 7) => {
                self.bound.remove(&client);
                self.holders.remove(&ip);
                // Nothing that it asked before this is answered to its use: the server may have freed the address since.
                self.asked.retain(|_, (other, _)| *other != client);
                let mut frame = ask(&[&[53, 1, 7], &ours]);
                frame[54..58].copy_from_slice(&ip.octets());
                frame
            }
            _ => ask(&[&[53, 1, 1]]),
        }
    }

    fn answer(&mut self, reply: &[u8]) {
        let xid = u32::from_be_bytes(*reply[46..].first_chunk().unwrap());
        let Some((client, _)) = self.asked.remove(&xid) else { return };
        let ip = Ipv4Addr::from(*reply[58..].first_chunk::<4>().unwrap());
        match reply[282..285] {
            [53, 1, 2] => drop(self.offered.insert(client, ip)),
            [53, 1, 5] => {
                if let Some((holder, _)) = self.holders.insert(ip, (client, Instant::now())) {
                    assert_eq!(holder, client, "{ip} is {holder}'s, and {client} got it");
                }
                if let Some(before) = self.bound.insert(client, ip).filter(|before| *before != ip) {
                    self.holders.remove(&before);
                }
                self.acked += 1;
            }
            // NAK
            _ => {
                if let Some(ip) = self.bound.remove(&client) {
                    self.holders.remove(&ip);
                }
            }
        }
    }

    /// All of it must be among what the server has after it was killed.
    fn compare(&self, leases: &Value) {
        let leases = leases.as_array().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let by_ip: HashMap<&str, &Value> = leases.iter().map(|l| (l["ip"].as_str().unwrap(), l)).collect();
        for (ip, (client, since)) in &self.holders {
            let lease = by_ip.get(ip.to_string().as_str());
            let kept = lease.is_some_and(|lease| {
                let left = LEASE.saturating_sub(since.elapsed().as_secs() + 1);
                let [.., high, low] = mac(*client);
                lease["state"] == "bound"
                    && lease["mac"] == format!("52:54:00:99:{high:02x}:{low:02x}")
                    && lease["expires"].as_u64().is_some_and(|end| end.saturating_sub(now) >= left)
            });
            assert!(kept, "{ip} is {client}'s, and the server has {lease:?}");
        }
    }
}

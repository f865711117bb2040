//! Clients that stall: what the kernel was told about the connections that they begin next.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use netboot_userspace::http::Config;

use super::site::*;
use super::tls::secured;

const GET: &[u8] = b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n";
/// More than sockets hold.
const SIZE: u64 = 64 << 20;

/// Bytes per second that the server's end of this connection is sent at most, as the kernel has it.
fn pace(client: &TcpStream) -> Option<u64> {
    let [server, client]: [SocketAddr; 2] = [client.peer_addr().unwrap(), client.local_addr().unwrap()];
    let mut ss = Command::new("ss");
    ss.args(["-tinH", "src", &server.to_string(), "dst", &client.to_string()]);
    let said = String::from_utf8(ss.output().expect("ss is installed (cargo xtask setup)").stdout).unwrap();
    assert!(said.contains("ESTAB") && said.contains("cwnd:"), "the connection is there: {said}");
    // Now, and at most, in bits: the latter only where there is a limit.
    let rates = said.split_whitespace().skip_while(|word| *word != "pacing_rate").nth(1)?;
    let (_, most) = rates.trim_end_matches("bps").split_once("bps/")?;
    Some(most.parse::<u64>().unwrap() / 8)
}

fn hurried(config: &mut Config) {
    config.limits.patience.stall = Duration::from_millis(200);
}

#[test]
fn who_stalls_twice_is_sent_less_in_a_second_from_then_on() {
    for engine in ENGINES {
        let site = site_with(engine, hurried);
        site.put_hole("file", SIZE);
        let get = || {
            let mut stream = site.connect();
            stream.write_all(GET).unwrap();
            stream.peek(&mut [0]).unwrap();
            stream
        };
        // In the order in which they stall; the kernel is asked once the answer has begun.
        for (round, want) in [None, None, Some(12_500_000), Some(6_250_000)].into_iter().enumerate() {
            let stalls = get();
            assert_eq!(pace(&stalls), want, "{engine:?}, {round}");
            site.wait_for("given up", |site| site.server.stats().timeouts == round as u64 + 1);
        }
        assert_eq!(site.server.stats().paced, 2);
        assert_eq!(site.server.paces(), [([127, 0, 0, 1].into(), 3_125_000)]);
        // Slower, and whole.
        let want = site.put("small", 70_000);
        assert!(curl(&[&site.url("/assets/small")]) == want);
        site.wait_for("told", |site| {
            site.events.lock().unwrap().last().is_some_and(|e| e.status == 200 && e.total == 70_000)
        });
        let events = site.events.lock().unwrap();
        let paces: Vec<_> = events.iter().map(|event| event.pace).collect();
        assert_eq!(paces, [None, None, Some(12_500_000), Some(6_250_000), Some(3_125_000)], "{engine:?}");
    }
}

#[test]
fn who_is_slower_by_the_setting_stays_so() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            hurried(config);
            config.pace = Some(9_000_000);
        });
        site.put_hole("file", SIZE);
        for (round, want) in [9_000_000, 9_000_000, 9_000_000, 6_250_000].into_iter().enumerate() {
            let mut stalls = site.connect();
            stalls.write_all(GET).unwrap();
            stalls.peek(&mut [0]).unwrap();
            assert_eq!(pace(&stalls), Some(want), "{engine:?}, {round}");
            site.wait_for("given up", |site| site.server.stats().timeouts == round as u64 + 1);
        }
    }
}

#[test]
fn who_breaks_off_what_gets_on_has_not_stalled() {
    for engine in ENGINES {
        let site = site(engine);
        site.put_hole("file", SIZE);
        for round in 1..=3 {
            let mut stream = site.connect();
            stream.write_all(GET).unwrap();
            stream.read_exact(&mut vec![0; 8 << 20]).unwrap();
            drop(stream);
            site.wait_for("broken", |site| site.server.stats().broken == round);
        }
        assert_eq!((site.server.paces(), site.server.stats().paced), (vec![], 0), "{engine:?}");
    }
}

/// Whoever gives up, a relay or a worker, it is the client's own connection that is slower.
#[test]
fn who_stalls_by_https_is_sent_less_too() {
    for engine in ENGINES {
        let site = secured(engine, |config| config.limits.patience.stall = Duration::from_millis(1100));
        site.site.put_hole("file", SIZE);
        for (round, want) in [None, None, Some(12_500_000)].into_iter().enumerate() {
            let mut stalls = site.small();
            stalls.write_all(GET).unwrap();
            stalls.read_exact(&mut [0]).unwrap();
            assert_eq!(pace(&stalls.sock), want, "{engine:?}, {round}");
            site.is_as_wanted();
            site.site.wait_for("given up", |site| site.server.stats().broken == round as u64 + 1);
        }
    }
}

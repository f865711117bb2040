//! How connections by TLS end: what was answered arrives first, and who breaks off, rests or takes nothing takes nothing from others.

use std::path::Path;

use super::*;

/// Reads to the end that is told, a little at a time; `rests` for so long when so much has come.
fn slowly(stream: &mut impl Read, rests: Option<(usize, Duration)>) -> Vec<u8> {
    let (mut all, mut some, mut rests) = (Vec::new(), [0; 16 << 10], rests);
    std::thread::sleep(Duration::from_millis(30));
    loop {
        std::thread::sleep(Duration::from_millis(1));
        if let Some((_, time)) = rests.take_if(|(at, _)| all.len() >= *at) {
            std::thread::sleep(time);
        }
        match stream.read(&mut some).expect("an end that was told (RFC 8446 section 6.1)") {
            0 => return all,
            count => all.extend_from_slice(&some[..count]),
        }
    }
}

/// Of these sizes little is left, and some are more than what is sealed at once, when all of an answer is given away.
const UNEVEN: [usize; 5] = [96_004, 115_005, 172_008, 267_013, 343_017];

/// What is to be sent when an answer is done may lie in more places than the socket.
#[test]
fn a_last_answer_arrives_whole_at_a_slow_client_and_its_end_is_told() {
    for engine in ENGINES {
        let site = secured(engine, |config| config.limits.patience.linger = Duration::from_millis(50));
        for (size, is_over) in UNEVEN.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let want = site.site.put("file", size);
            for (path, want) in [("/assets/file", want), (&*format!("/api/size?{size}"), vec![b'x'; size])] {
                let mut stream = site.small();
                let field = if is_over { "" } else { "Connection: close\r\n" };
                write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n").unwrap();
                if is_over {
                    // Who has nothing more to ask may say so before it is answered.
                    stream.conn.send_close_notify();
                    stream.flush().unwrap();
                }
                let answer = slowly(&mut stream, None);
                assert!(body_of(&answer) == want, "{engine:?} {path} {is_over}: {} bytes", answer.len());
            }
        }
        site.is_as_wanted();
        site.site.wait_for("all left", |site| site.server.stats().open == 0);
        assert_eq!(site.site.server.stats().broken, 0, "{engine:?}");
    }
}

/// Longer than a closed connection waits for its client.
#[test]
fn a_last_answer_from_across_the_border_waits_for_a_client_that_rests() {
    let site = secured(Choice::Auto, |_| {});
    for (size, left) in [(96_004, 30_000), (229_011, 40_000), (324_016, 50_000)] {
        let mut stream = site.small();
        write!(stream, "GET /api/size?{size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let answer = slowly(&mut stream, Some((size - left, Duration::from_millis(2500))));
        assert_eq!(body_of(&answer).len(), size);
    }
    site.is_as_wanted();
}

#[test]
fn who_says_first_that_it_asks_no_more_is_waited_for_while_it_is_answered() {
    let site = secured(Choice::Auto, |_| {});
    for (path, field) in [("/api/slow", ""), ("/api/slow", "Connection: close\r\n"), ("/assets/none", "")] {
        let mut stream = site.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(status(&answer), if path == "/api/slow" { 200 } else { 404 });
    }
    site.is_as_wanted();
}

fn body_of(answer: &[u8]) -> &[u8] {
    answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(&[], |at| &answer[at + 4..])
}

#[test]
fn who_breaks_off_by_https_is_no_fault_of_ours() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        site.site.put_hole("file", 64 << 20);
        for round in 1..=3 {
            let mut stream = site.connect();
            stream.write_all(GET).unwrap();
            stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
            drop(stream);
            site.site.wait_for("broken", |site| site.server.stats().broken == round);
        }
        let events = site.site.events.lock().unwrap();
        let causes = events.iter().filter(|event| event.stage == Stage::Broken).map(|event| &event.cause);
        assert_eq!(causes.collect::<Vec<_>>(), [&None; 3], "{engine:?}");
    }
}

/// The worker is done long before it is sent.
#[test]
fn a_peer_has_its_place_until_all_is_sent_though_it_reads_nothing() {
    let site = secured(Choice::Auto, |config| {
        config.limits.per_peer = 1;
        config.limits.patience.linger = Duration::from_millis(50);
    });
    site.site.put("file", site.at_once());
    let mut reads_nothing = site.small();
    reads_nothing.write_all(LAST).unwrap();
    site.site.wait_for("done", |site| site.server.stats().responses == 1);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.site.server.stats().open, 1);
    assert_eq!(site.tcp().read(&mut [0]).unwrap_or(0), 0, "closed at once");
    site.site.wait_for("counted", |site| site.server.tls().unwrap().counts().over_limit == 1);
    drop(reads_nothing);
    site.site.wait_for("left", |site| site.server.stats().open == 0);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    for engine in ENGINES {
        let site = secured(engine, |config| {
            config.limits.patience.stall = Duration::from_millis(500);
            config.tls.as_mut().unwrap().most = 1;
        });
        site.site.put_hole("file", 64 << 20);
        site.site.put("small", 10);
        let mut stalled = site.connect();
        stalled.write_all(GET).unwrap();
        site.site.wait_for("given up", |site| site.server.stats().open == 0);
        let stats = site.site.server.stats();
        assert_eq!((stats.broken, stats.responses), (1, 0), "{engine:?}");
        // And nothing of it is left: there is room for one.
        let url = site.url("/assets/small");
        let again = ["--retry", "9", "--retry-delay", "1", "--retry-all-errors", &url];
        assert_eq!(site.curl(&again).len(), 10);
    }
}

#[test]
fn what_was_answered_is_sent_before_a_shutdown_ends() {
    for size in UNEVEN {
        let site = secured(Choice::Auto, |config| config.limits.patience.linger = Duration::from_secs(10));
        let want = site.site.put("file", size);
        let (mut stream, mut answer, mut some) = (site.small(), Vec::new(), [0; 16 << 10]);
        stream.write_all(GET).unwrap();
        // It takes what its worker can't be done without.
        while site.site.server.stats().responses == 0 {
            std::thread::sleep(Duration::from_millis(1));
            let count = if body_of(&answer).len() < size { stream.read(&mut some).unwrap() } else { 0 };
            answer.extend_from_slice(&some[..count]);
        }
        let Site { server, folder: _folder, .. } = site.site;
        let ends = std::thread::spawn(move || server.shutdown());
        while body_of(&answer).len() < size {
            std::thread::sleep(Duration::from_millis(1));
            let count = stream.read(&mut some).unwrap();
            assert!(count > 0, "{} of {size} bytes", body_of(&answer).len());
            answer.extend_from_slice(&some[..count]);
        }
        assert!(body_of(&answer) == want, "{size}");
        drop(stream);
        ends.join().unwrap();
    }
}

#[test]
fn a_file_that_changes_on_its_way_never_arrives_whole_by_https() {
    for engine in ENGINES {
        let site = secured(engine, |_| {});
        site.site.put_hole("file", 64 << 20);
        let mut stream = site.connect();
        stream.write_all(GET).unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        truncate(&site.site.folder.path().join("file"));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64 << 20, "{engine:?}");
        site.site.wait_for("closed", |site| site.server.stats().open == 0);
        assert_eq!(site.site.server.stats().broken, 1);
    }
}

fn truncate(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(1).unwrap();
}

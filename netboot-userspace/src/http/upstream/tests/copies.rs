//! What takes a copy away, and what does not.

use rustix::fs::{CWD, FileType, Mode};

use super::*;

/// An upstream that answers as told by now.
fn moody(first: Vec<u8>) -> (Fake, Arc<Mutex<Vec<u8>>>) {
    let answer = Arc::new(Mutex::new(first));
    let told = answer.clone();
    let fake = Fake::start(move |_, _, stream| {
        let answer = told.lock().unwrap().clone();
        stream.write_all(&answer)
    });
    (fake, answer)
}

/// It is to be asked for at once.
fn doubt(site: &Site, name: &str) {
    site.mirror.shelf.find(name).unwrap().doubt();
}

#[test]
fn a_copy_that_can_t_be_opened_now_stays() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    let body = site.mirror.files().join("up/x");
    let aside = site.folder.path().join("aside");
    // As an error of the disk would: it is neither missing nor another.
    std::fs::rename(&body, &aside).unwrap();
    std::os::unix::fs::symlink("x", &body).unwrap();
    assert_eq!(site.get("/assets/up/x").status, 500);
    std::fs::rename(&aside, &body).unwrap();
    fake.stop();
    assert_eq!(site.get("/assets/up/x").text(), "good");
    site.assert_kept(&["up/x"]);
}

#[test]
fn a_redirect_to_a_folder_takes_no_copy_away() {
    let (fake, answer) = moody(ok(b"good", ""));
    let mut upstream = fake.upstream();
    upstream.check_after = Duration::ZERO;
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    site.outcome();
    for location in ["/files/", "/files/maintenance/", ""] {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        *answer.lock().unwrap() = head.into_bytes();
        site.runtime.block_on(site.mirror.asked("up/x")).unwrap_err();
        assert_eq!(site.get("/assets/up/x").text(), "good", "{location}");
        let outcome = site.outcome();
        assert!(matches!(outcome, Outcome::Stale { .. }), "{outcome:?}");
    }
    site.assert_kept(&["up/x"]);
    // Who has none is told that there is none.
    *answer.lock().unwrap() =
        b"HTTP/1.1 302 Found\r\nLocation: /files/\r\nContent-Length: 0\r\n\r\n".to_vec();
    assert_eq!(site.get("/assets/up/y").status, 404);
}

#[test]
fn a_copy_is_served_however_much_is_asked_for_beside_it() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    let flights = site.mirror.sources[0].flights.clone();
    let _all = flights.try_acquire_many_owned(256).unwrap();
    doubt(&site, "up/x");
    assert_eq!(site.get("/assets/up/x").text(), "good");
    assert_eq!((site.get("/assets/up/y").status, fake.count()), (503, 1));
}

#[test]
fn an_update_goes_on_when_those_who_had_the_copy_have_left() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |path, head, stream| {
        if path == "/files/newer" {
            return stream.write_all(&ok(b"two", ""));
        }
        if head.contains("if-none-match") {
            let _ = wait.lock().unwrap().recv();
            let moved = b"HTTP/1.1 302 Found\r\nLocation: /files/newer\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(moved);
        }
        stream.write_all(&ok(b"one", "ETag: \"1\"\r\n"))
    });
    let mut upstream = fake.upstream();
    upstream.deadlines.read = Duration::from_secs(30);
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "one");
    site.outcome();
    doubt(&site, "up/x");
    assert_eq!(Said::read(&mut site.ask("/assets/up/x", "")).text(), "one");
    // The client has its answer, and nobody else waits.
    go.send(()).unwrap();
    assert_eq!(site.outcome(), Outcome::Fetched { bytes: 3 });
    assert_eq!(site.get("/assets/up/x").text(), "two");
}

#[test]
fn an_update_does_not_push_out_what_it_is_to_replace() {
    let (go, wait) = channel::<()>();
    let (wait, count) = (Mutex::new(wait), std::sync::atomic::AtomicUsize::new(0));
    let fake = Fake::start(move |path, _, stream| {
        let body = ok(&bytes(400_000), "");
        if path == "/files/a" && count.fetch_add(1, SeqCst) == 1 {
            let _ = wait.lock().unwrap().recv();
            return stream.write_all(&body[..300_000]);
        }
        stream.write_all(&body)
    });
    let mut upstream = fake.upstream();
    upstream.deadlines.read = Duration::from_secs(30);
    let site = Site::sized(vec![upstream], 1_000_000);
    for path in ["a", "b"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).body.len(), 400_000);
        site.outcome();
    }
    doubt(&site, "up/a");
    let mut client = site.ask("/assets/up/a", "");
    while fake.count() < 3 {
        std::thread::yield_now();
    }
    // Which makes the other one that was used longest ago.
    assert_eq!(Said::read(&mut site.ask("/assets/up/b", "")).body.len(), 400_000);
    go.send(()).unwrap();
    let said = Said::read(&mut client);
    assert!(said.is_whole && said.body == bytes(400_000), "{}", said.head);
    assert!(matches!(site.outcome(), Outcome::Stale { .. }));
    site.assert_kept(&["up/a"]);
}

#[test]
fn what_is_in_the_folder_is_the_operator_s_also_where_it_is_the_very_file_that_is_kept() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    let own = site.folder.path().join("assets/up");
    std::fs::create_dir(&own).unwrap();
    std::fs::hard_link(site.mirror.files().join("up/x"), own.join("x")).unwrap();
    doubt(&site, "up/x");
    let handed_over = site.server.stats().handed_over;
    assert_eq!(site.get("/assets/up/x").text(), "good");
    assert_eq!((site.server.stats().handed_over, fake.count()), (handed_over, 1), "nobody is asked for it");
}

#[test]
fn what_others_say_later_of_a_file_is_not_its_digest() {
    let fake = Fake::start(|path, _, stream| match path {
        "/files/x" => stream.write_all(&ok(b"one", "")),
        _ => {
            let fields = "Last-Modified: Fri, 01 Jan 2038 00:00:00 GMT\r\n";
            stream.write_all(&ok(sha256(b"two").as_bytes(), fields))
        }
    });
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "one");
    assert_eq!(site.get("/assets/up/x.sha256").text(), sha256(b"two"));
    let want = "Want-Repr-Digest: sha-256=1\r\n";
    // Of what the shelf has it is known at once.
    let digest = "sha-256=:dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0=:";
    let said = Said::read(&mut site.ask("/assets/up/x", want));
    assert_eq!(said.field("Repr-Digest").as_deref(), Some(digest), "{}", said.head);
    // Also where it is served because its upstream can't say.
    fake.stop();
    doubt(&site, "up/x");
    let said = Said::read(&mut site.ask("/assets/up/x", want));
    assert_eq!((said.text().as_str(), said.field("Repr-Digest").as_deref()), ("one", Some(digest)));
    doubt(&site, "up/x");
    assert_eq!(Said::read(&mut site.ask("/assets/up/x", "")).field("Repr-Digest"), None);
}

#[test]
fn a_kept_file_becomes_no_folder_because_somebody_asks_for_what_would_be_below_it() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/linux").text(), "good");
    assert_eq!(site.get("/assets/up/linux/x").status, 404);
    doubt(&site, "up/linux");
    assert_eq!(site.get("/assets/up/linux/x/y").status, 404);
    assert_eq!((site.get("/assets/up/linux").text().as_str(), fake.count()), ("good", 2));
    site.assert_kept(&["up/linux"]);
}

#[test]
fn where_nobody_answers_no_copy_waits_for_it() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    for path in ["a", "b"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).text(), "good");
        site.outcome();
    }
    fake.stop();
    doubt(&site, "up/a");
    doubt(&site, "up/b");
    assert_eq!(site.get("/assets/up/a").text(), "good");
    assert!(matches!(site.outcome(), Outcome::Stale { .. }));
    let handed_over = site.server.stats().handed_over;
    assert_eq!(site.get("/assets/up/b").text(), "good");
    assert_eq!(site.server.stats().handed_over, handed_over, "it is the engine's");
    // What is our own fault says nothing of whether it answers by now.
    let descriptors = site.mirror.shelf.descriptors.clone();
    let all = site.runtime.block_on(descriptors.acquire_many_owned(100)).unwrap();
    assert_eq!(site.get("/assets/up/c").status, 503);
    drop(all);
    let handed_over = site.server.stats().handed_over;
    assert_eq!(site.get("/assets/up/b").text(), "good");
    assert_eq!(site.server.stats().handed_over, handed_over, "it is the engine's still");
    // An operator is told.
    let failure = site.runtime.block_on(site.mirror.asked("up/b")).unwrap_err();
    assert!(failure.to_string().contains("the copy stays as it is"), "{failure}");
}

#[test]
fn what_is_wrong_is_not_fetched_again_at_once() {
    let fake = Fake::of(ok(b"wrong", ""));
    let mut upstream = fake.upstream();
    upstream.digests.insert("x".to_owned(), sha256(b"right"));
    let site = Site::new(vec![upstream]);
    for _ in 0..3 {
        assert!(site.get("/assets/up/x").is_refused_or_cut());
    }
    assert_eq!(fake.count(), 1);
    // Each time that it is tried it is left alone for longer.
    let left = || site.mirror.refused().get("up/x").unwrap().time;
    assert_eq!(left(), Duration::from_secs(5));
    for seconds in [10, 20, 40] {
        site.runtime.block_on(site.mirror.asked("up/x")).unwrap_err();
        assert_eq!(left(), Duration::from_secs(seconds));
    }
}

#[test]
fn what_was_there_before_is_not_served_before_it_is_known_whose_it_is() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    std::fs::create_dir(site.mirror.files().join("up")).unwrap();
    std::fs::write(site.mirror.files().join("up/x"), "of whom?").unwrap();
    std::fs::create_dir(site.folder.path().join("assets/up")).unwrap();
    std::fs::write(site.folder.path().join("assets/up/own"), "own").unwrap();
    site.mirror.ready.send_replace(false);
    let mut client = site.ask("/assets/up/x", "");
    let end = Instant::now() + Duration::from_secs(10);
    while site.server.stats().handed_over < 1 {
        assert!(Instant::now() < end, "it was served");
        std::thread::yield_now();
    }
    // All else is served meanwhile.
    assert_eq!(Said::read(&mut site.ask("/assets/up/own", "")).text(), "own");
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.peek(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "it waits");
    client.set_nonblocking(false).unwrap();
    site.mirror.ready.send_replace(true);
    assert_eq!(Said::read(&mut client).text(), "good");
}

#[test]
fn who_asks_for_what_was_kept_does_not_wait_until_all_is_looked_through() {
    let fake = Fake::of(ok(b"good", ""));
    let mut upstream = fake.upstream();
    upstream.check_after = Duration::ZERO;
    let site = Site::new(vec![upstream.clone()]);
    assert_eq!(site.get("/assets/up/dir/x").text(), "good");
    site.server.shutdown();
    // Nobody reads on before somebody writes to it.
    let fifo = site.folder.path().join("cache/notes/fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let cache = Cache { size: 1 << 30, keep_free: 0, upstreams: vec![upstream] };
    let site = Site::begun(cache, site.folder);
    let mut other = site.ask("/assets/up/other", "");
    assert_eq!(site.get("/assets/up/dir/x").text(), "good");
    let handed_over = site.server.stats().handed_over;
    assert_eq!(site.get("/assets/up/dir/x").text(), "good");
    assert_eq!((site.server.stats().handed_over, fake.count()), (handed_over, 1), "it is the engine's");
    assert!(!*site.mirror.ready.borrow());
    drop(std::fs::File::options().write(true).open(&fifo).unwrap());
    assert_eq!(Said::read(&mut other).text(), "good");
    assert_eq!(
        (site.get("/assets/up/dir/x").text().as_str(), fake.count()),
        ("good", 3),
        "it is asked for again"
    );
}

#[test]
fn all_who_are_sent_a_file_share_its_descriptor_and_without_one_no_copy_goes() {
    let body = bytes(12_000_000);
    let fake = Fake::of(ok(&body, ""));
    let site = Site::new(vec![fake.upstream()]);
    assert!(site.get("/assets/up/x").body == body);
    fake.stop();
    let descriptors = site.mirror.shelf.descriptors.clone();
    assert_eq!(descriptors.available_permits(), 100);
    doubt(&site, "up/x");
    let mut clients: Vec<_> = (0..5).map(|_| site.ask("/assets/up/x", "")).collect();
    for client in &mut clients {
        assert!(read_head(client).unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(descriptors.available_permits(), 99);
    drop(clients);
    let all = descriptors.acquire_many_owned(100);
    let all = site.runtime.block_on(all).unwrap();
    doubt(&site, "up/x");
    let entry = site.mirror.shelf.find("up/x").unwrap();
    assert_eq!(site.mirror.shelf.open_body(&entry).unwrap_err().status, 503);
    drop(all);
    assert!(site.get("/assets/up/x").body == body);
}

#[test]
fn one_address_is_sent_so_much_at_once_and_no_more() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    let admit = |peer: Ipv4Addr| site.mirror.readers.admit(peer.into());
    let own: Vec<_> = (0..128).map(|_| admit(Ipv4Addr::LOCALHOST).unwrap()).collect();
    assert_eq!(site.get("/assets/up/x").status, 503);
    admit(Ipv4Addr::new(10, 0, 0, 9)).unwrap();
    drop(own);
    assert_eq!(site.get("/assets/up/y").text(), "good");
}

#[test]
fn who_is_being_sent_a_right_file_gets_it_also_where_it_can_t_be_kept() {
    let body = bytes(12_000_000);
    let fake = Fake::of(ok(&body, ""));
    let site = Site::new(vec![fake.upstream()]);
    std::fs::remove_dir(site.folder.path().join("cache/notes")).unwrap();
    let mut client = site.ask("/assets/up/x", "");
    let outcome = site.outcome();
    assert!(matches!(outcome, Outcome::Failed { status: 500, .. }), "{outcome:?}");
    let said = Said::read(&mut client);
    assert!(said.status == 200 && said.body == body, "{} bytes", said.body.len());
    std::fs::create_dir(site.folder.path().join("cache/notes")).unwrap();
    site.assert_kept(&[]);
}

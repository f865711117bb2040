//! How much of the disk is taken, and for whom.

use super::*;

#[test]
fn what_others_need_of_the_disk_stays_free() {
    let fake = Fake::of(ok(&bytes(100_000), ""));
    let cache = Cache { size: 1 << 30, keep_free: u64::MAX / 2, upstreams: vec![fake.upstream()] };
    let site = Site::of(cache, tempfile::tempdir().unwrap());
    assert_eq!(site.get("/assets/up/x").status, 507);
    let outcome = site.outcome();
    assert!(format!("{outcome:?}").contains("keep_free"), "{outcome:?}");
    site.assert_kept(&[]);
    // Which is not the upstream's fault.
    assert!(site.mirror.ill().is_empty());
}

#[test]
fn a_length_that_is_only_said_pushes_nothing_out() {
    let fake = Fake::start(|path, _, stream| match path {
        "/files/lie" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nshort"),
        _ => stream.write_all(&ok(&bytes(400_000), "")),
    });
    let site = Site::sized(vec![fake.upstream()], 1_000_000);
    assert_eq!(site.get("/assets/up/a").status, 200);
    site.outcome();
    assert!(site.get("/assets/up/lie").is_refused_or_cut());
    site.outcome();
    site.assert_kept(&["up/a"]);
}

#[test]
fn lengths_that_are_only_said_keep_no_other_file_out() {
    let (_hold, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |path, _, stream| match path {
        "/files/small" => stream.write_all(&ok(&bytes(20_000), "")),
        _ => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 490000\r\n\r\nshort")?;
            wait.lock().unwrap().recv().map_err(io::Error::other)
        }
    });
    let mut upstream = fake.upstream();
    upstream.deadlines.read = Duration::from_secs(30);
    let site = Site::sized(vec![upstream], 1_000_000);
    let mut liars: Vec<_> = (0..2).map(|n| site.ask(&format!("/assets/up/{n}"), "")).collect();
    for liar in &mut liars {
        assert!(read_head(liar).unwrap().starts_with("HTTP/1.1 200"));
    }
    let said = Said::read(&mut site.ask("/assets/up/small", ""));
    assert_eq!((said.status, said.body.len()), (200, 20_000));
}

/// Bytes of bodies, those that arrive among them.
fn on_the_disk(site: &Site) -> u64 {
    // What is renamed between the two is in neither.
    let folders = ["files/up", "partial"].map(|name| site.folder.path().join("cache").join(name));
    let names = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    names.filter_map(|name| name.metadata().ok()).map(|meta| meta.len()).sum()
}

#[test]
fn many_at_once_take_no_more_than_there_is() {
    let fake = Fake::start(|_, _, stream| stream.write_all(&ok(&bytes(300_000), "")));
    let site = Site::sized(vec![fake.upstream()], 1_000_000);
    let mut clients: Vec<_> = (0..8).map(|n| site.ask(&format!("/assets/up/{n}"), "")).collect();
    let (mut told, mut most) = (0, 0);
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while told < 8 {
        // Also while they arrive.
        most = most.max(on_the_disk(&site));
        told += site.told.try_iter().count();
        assert!(std::time::Instant::now() < end, "{told} of 8 have ended");
    }
    let served = clients.iter_mut().map(Said::read).filter(|said| said.status == 200).count();
    assert!(served > 0 && site.stat("size") <= 1_000_000);
    // A look is not of one moment: one of what it has counted may have made room for the rest. Without a bound all eight are there.
    assert!((300_000..=1_300_000).contains(&most), "{most} bytes at once");
    // Empty ones take their notes.
    let fake = Fake::of(ok(b"", ""));
    let site = Site::sized(vec![fake.upstream()], 10 * 4096);
    for n in 0..30 {
        assert_eq!(site.get(&format!("/assets/up/{n}")).status, 200);
    }
    assert_eq!(site.mirror.shelf.all().len(), 10);
}

#[test]
fn what_is_gone_from_the_disk_is_fetched_again() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    std::fs::remove_file(site.mirror.files().join("up/x")).unwrap();
    assert_eq!((site.get("/assets/up/x").text().as_str(), fake.count()), ("good", 2));
    site.assert_kept(&["up/x"]);
}

#[test]
fn what_does_not_get_its_place_leaves_what_was_known_of_it() {
    let fake = Fake::of(ok(b"good", ""));
    let mut upstream = fake.upstream();
    upstream.check_after = Duration::ZERO;
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "good");
    let notes = site.folder.path().join("cache/notes");
    let note = || std::fs::read(std::fs::read_dir(&notes).unwrap().next().unwrap().unwrap().path()).unwrap();
    let before = note();
    let partial = site.mirror.shelf.begin().unwrap();
    let entry = site.mirror.shelf.find("up/x").unwrap();
    let body = site.mirror.files().join("up/x");
    std::fs::remove_file(&body).unwrap();
    std::fs::create_dir(&body).unwrap();
    partial.keep(entry.note.clone()).unwrap_err();
    assert_eq!(note(), before);
}

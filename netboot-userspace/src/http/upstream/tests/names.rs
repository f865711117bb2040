//! Names that are files and folders at once, no names at all, or lead in circles.

use super::*;

#[test]
fn a_name_that_is_a_folder_is_no_file_and_is_in_the_way_of_none() {
    let fake = Fake::start(|path, _, stream| match path {
        "/files/dists" => stream.write_all(b"HTTP/1.1 301 Moved\r\nLocation: /files/dists/\r\n\r\n"),
        "/files/dists/" => stream.write_all(&ok(b"<html>", "")),
        _ => stream.write_all(&ok(b"file", "")),
    });
    let site = Site::new(vec![fake.upstream()]);
    assert_eq!(site.get("/assets/up/dists").status, 404);
    assert_eq!(site.get("/assets/up/dists/x").text(), "file");
    site.assert_kept(&["up/dists/x"]);
    assert_eq!(fake.count(), 2);
    // It is a folder here, too, and has a list like any other.
    let said = site.get("/assets/up/dists");
    assert!(said.status == 200 && said.text().contains("x"), "{}", said.text());
    std::fs::create_dir_all(site.folder.path().join("assets/up/own")).unwrap();
    assert_eq!(site.get("/assets/up/own").status, 200);
    assert_eq!(fake.count(), 2);
    // What is a file is none until it is taken away.
    assert_eq!(site.get("/assets/up/other").text(), "file");
    assert_eq!(site.get("/assets/up/other/y/z").status, 404);
    site.assert_kept(&["up/dists/x", "up/other"]);
    site.mirror.shelf.remove("up/other").unwrap();
    assert_eq!(site.get("/assets/up/other/y/z").text(), "file");
    site.assert_kept(&["up/dists/x", "up/other/y/z"]);
    assert_eq!(fake.count(), 4);
}

#[test]
fn what_the_configuration_names_as_a_file_becomes_no_folder_whoever_asks_first() {
    let fake = Fake::start(|path, _, stream| match path {
        "/files/SUMS" => stream.write_all(&ok(format!("{}  y\n", sha256(b"right")).as_bytes(), "")),
        _ => stream.write_all(&ok(b"right", "")),
    });
    let mut upstream = fake.upstream();
    upstream.digests.insert("dir/linux".to_owned(), sha256(b"right"));
    upstream.digest_files = vec!["SUMS".to_owned()];
    let site = Site::new(vec![upstream]);
    for path in ["dir/linux/x", "SUMS/x", "SUMS/x/y"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).status, 404, "{path}");
    }
    assert_eq!(fake.count(), 0);
    for path in ["dir/linux", "y"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).text(), "right", "{path}");
    }
    site.assert_kept(&["up/SUMS", "up/dir/linux", "up/y"]);
}

#[test]
fn a_name_that_no_file_can_have_is_not_asked_for() {
    let fake = Fake::of(ok(b"yes", ""));
    let site = Site::new(vec![fake.upstream()]);
    let (most, longer) = ("a".repeat(255), "a".repeat(256));
    assert_eq!(site.get(&format!("/assets/up/{most}")).text(), "yes");
    for path in [longer.clone(), format!("{longer}/x"), "abc/".repeat(600) + "x"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).status, 404, "{path}");
    }
    assert_eq!(fake.count(), 1);
}

/// Every connection to there goes on to whom it is told.
fn forwarder() -> (Origin, impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let origin = Origin { is_https: false, host: address.ip().to_string(), port: address.port() };
    let begin = move |target| {
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut client, mut server) = (stream.unwrap(), TcpStream::connect(target).unwrap());
                let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || io::copy(&mut back, &mut to));
                std::thread::spawn(move || io::copy(&mut client, &mut server));
            }
        });
    };
    (origin, begin)
}

#[test]
fn an_upstream_that_leads_back_here_is_told_from_others() {
    let (origin, begin) = forwarder();
    let site = Site::new(vec![upstream("up/", origin, "/assets/up/")]);
    begin(site.server.local_addr());
    let said = site.get("/assets/up/x");
    assert_eq!(said.status, 508, "{}", said.text());
    site.assert_kept(&[]);
}

#[test]
fn two_caches_that_lead_to_each_other_are_no_endless_circle() {
    let (origin, begin) = forwarder();
    let one = Site::new(vec![upstream("up/", origin, "/assets/up/")]);
    let address = one.server.local_addr();
    let origin = Origin { is_https: false, host: address.ip().to_string(), port: address.port() };
    let two = Site::new(vec![upstream("up/", origin, "/assets/up/")]);
    begin(two.server.local_addr());
    let said = one.get("/assets/up/x");
    assert_eq!(said.status, 508, "{}", said.text());
    assert!(matches!(two.outcome(), Outcome::Failed { status: 508, .. }));
}

#[test]
fn what_an_upstream_does_not_have_is_not_asked_for_again_at_once() {
    let fake = Fake::of("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let site = Site::new(vec![fake.upstream()]);
    for _ in 0..3 {
        assert_eq!(site.get("/assets/up/x").status, 404);
    }
    assert_eq!(fake.count(), 1);
    assert!(site.runtime.block_on(site.mirror.whole("up/y", "")).is_err());
    assert_eq!(fake.count(), 2);
}

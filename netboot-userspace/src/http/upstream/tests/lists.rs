//! Lists of digests: what becomes of a file whose list is hard to have.

use super::*;

fn listed(
    answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (Fake, Upstream) {
    let fake = Fake::start(move |path, _, stream| match path.ends_with(".sha256") {
        true => answer(path, stream),
        false => stream.write_all(&ok(b"right", "")),
    });
    let mut upstream = fake.upstream();
    upstream.digest_files = vec!["*.sha256".to_owned()];
    (fake, upstream)
}

#[test]
fn a_list_takes_no_place_of_the_files_that_may_be_asked_for() {
    let (_fake, upstream) = listed(|_, stream| stream.write_all(&ok(sha256(b"right").as_bytes(), "")));
    let site = Site::new(vec![upstream]);
    let flights = site.mirror.sources[0].flights.clone();
    let _all_but_one = flights.try_acquire_many_owned(255).unwrap();
    let said = site.get("/assets/up/x");
    assert_eq!((said.status, said.text().as_str()), (200, "right"));
    site.assert_kept(&["up/x", "up/x.sha256"]);
}

#[test]
fn what_is_our_fault_is_not_the_upstream_s_because_it_is_about_a_list() {
    let (_fake, upstream) = listed(|_, stream| stream.write_all(&ok(sha256(b"right").as_bytes(), "")));
    let cache = Cache { size: 1 << 30, keep_free: u64::MAX / 2, upstreams: vec![upstream] };
    let site = Site::of(cache, tempfile::tempdir().unwrap());
    assert_eq!(site.get("/assets/up/x").status, 507);
    assert!(site.mirror.ill().is_empty(), "{:?}", site.mirror.ill());
}

#[test]
fn a_list_that_breaks_off_leaves_the_one_that_is_kept() {
    let is_well = AtomicBool::new(true);
    let list = format!("{0}  x\n{0}  y\n", sha256(b"right"));
    let fake = Fake::start(move |path, _, stream| match path {
        "/files/SUMS" if is_well.swap(false, SeqCst) => stream.write_all(&ok(list.as_bytes(), "")),
        "/files/SUMS" => stream.write_all(&ok(list.as_bytes(), "")[..100]),
        _ => stream.write_all(&ok(b"right", "")),
    });
    let mut upstream = fake.upstream();
    upstream.digest_files = vec!["SUMS".to_owned()];
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "right");
    site.mirror.shelf.find("up/SUMS").unwrap().doubt();
    assert_eq!(site.get("/assets/up/y").text(), "right");
    site.assert_kept(&["up/SUMS", "up/x", "up/y"]);
}

#[test]
fn a_list_that_has_a_name_has_to_be_there() {
    let fake = Fake::start(|path, _, stream| match path {
        "/files/x" => stream.write_all(&ok(b"unchecked", "")),
        _ => stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
    });
    let mut upstream = fake.upstream();
    upstream.digest_files = vec!["SUMS".to_owned()];
    let site = Site::new(vec![upstream]);
    let said = site.get("/assets/up/x");
    assert_eq!(said.status, 502, "{}", said.text());
    site.assert_kept(&[]);
}

#[test]
fn where_a_digest_is_required_nothing_is_taken_without_one() {
    let has_list = Arc::new(AtomicBool::new(true));
    let told = has_list.clone();
    let (fake, mut upstream) =
        listed(move |path, stream| match told.load(SeqCst) && path == "/files/x.sha256" {
            true => stream.write_all(&ok(sha256(b"right").as_bytes(), "")),
            false => stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        });
    upstream.digest_required = true;
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "right");
    assert_eq!(site.get("/assets/up/other").status, 404);
    assert!(!fake.heads().iter().any(|head| head.starts_with("GET /files/other ")), "{:?}", fake.heads());
    // A list that is lost takes no copy away, and lets nothing in.
    has_list.store(false, SeqCst);
    for name in ["up/x", "up/x.sha256"] {
        site.mirror.shelf.find(name).unwrap().doubt();
    }
    let failure = site.runtime.block_on(site.mirror.asked("up/x")).unwrap_err();
    assert!(failure.to_string().contains("digest_required"), "{failure}");
    assert_eq!(site.get("/assets/up/x").text(), "right");
    site.assert_kept(&["up/x"]);
    assert!(site.mirror.ill().is_empty(), "{:?}", site.mirror.ill());
}

#[test]
fn nobody_gets_a_wrong_file_that_is_empty() {
    let (go, wait) = channel::<()>();
    let (wait, count) = (Mutex::new(wait), std::sync::atomic::AtomicUsize::new(0));
    let fake = Fake::start(move |path, _, stream| {
        if path == "/files/x.sha256" {
            if count.fetch_add(1, SeqCst) > 0 {
                let _ = wait.lock().unwrap().recv();
            }
            return stream.write_all(&ok(sha256(b"right").as_bytes(), ""));
        }
        let missing = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
        if path == "/files/x" { stream.write_all(&ok(b"", "")) } else { stream.write_all(missing) }
    });
    let mut upstream = fake.upstream();
    upstream.digest_files = vec!["*.sha256".to_owned()];
    upstream.deadlines.read = Duration::from_secs(30);
    let site = Site::new(vec![upstream]);
    let mut client = site.ask("/assets/up/x", "");
    // All of it is here, and is compared with the list once more.
    while fake.count() < 3 {
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    assert_eq!(Said::read(&mut client).status, 502);
    site.assert_kept(&["up/x.sha256"]);
}

#[test]
fn a_file_that_is_empty_is_one() {
    let fake = Fake::of(ok(b"", ""));
    let site = Site::new(vec![fake.upstream()]);
    let said = site.get("/assets/up/x");
    assert_eq!((said.status, said.body.len(), said.is_whole), (200, 0, true));
    site.assert_kept(&["up/x"]);
}

#[test]
fn bytes_that_are_encoded_are_taken_where_their_digest_is_known() {
    let fake = Fake::of(ok(b"right", "Content-Encoding: x-gzip\r\n"));
    let mut upstream = fake.upstream();
    upstream.digests.insert("initrd.gz".to_owned(), sha256(b"right"));
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/initrd.gz").text(), "right");
    assert_eq!(site.get("/assets/up/other.gz").status, 502);
    site.assert_kept(&["up/initrd.gz"]);
}

#[test]
fn who_is_to_blame_is_named_and_well_again_when_it_is() {
    let is_well = Arc::new(AtomicBool::new(false));
    let told = is_well.clone();
    let inside = Fake::start(move |_, _, stream| match told.load(SeqCst) {
        true => stream.write_all(&ok(b"well", "")),
        false => stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
    });
    let location = format!("http://{}/files/x", inside.address);
    let outside =
        Fake::of(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
    let mut other = inside.upstream();
    other.prefix = "other/".to_owned();
    let site = Site::new(vec![outside.upstream(), other]);
    assert_eq!(site.get("/assets/up/x").status, 502);
    let ill = site.mirror.ill();
    assert!(
        ill.len() == 1 && ill[0].starts_with(&format!("upstream http://{}: ", inside.address)),
        "{ill:?}"
    );
    // Who was not asked is neither ill nor well.
    std::fs::create_dir_all(site.folder.path().join("assets/other/folder")).unwrap();
    site.runtime.block_on(site.mirror.asked("other/folder")).unwrap_err();
    assert_eq!(site.mirror.ill(), ill);
    is_well.store(true, SeqCst);
    assert_eq!(site.get("/assets/up/x").text(), "well");
    assert!(site.mirror.ill().is_empty(), "{:?}", site.mirror.ill());
}

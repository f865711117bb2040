//! What is on the shelf: for how long, in whose place, and after a crash.

use super::*;

/// An upstream whose file changes: it answers with the newest, or 304; 404 where there is none.
fn changing() -> (Fake, Arc<Mutex<Option<&'static str>>>) {
    let newest = Arc::new(Mutex::new(Some("one")));
    let told = newest.clone();
    let fake = Fake::start(move |_, head, stream| {
        let newest = *told.lock().unwrap();
        match newest {
            None => stream.write_all(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n"),
            Some(text) if head.contains(&format!("if-none-match: \"{text}\"\r\n")) => {
                stream.write_all(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            }
            Some(text) => stream.write_all(&ok(text.as_bytes(), &format!("ETag: \"{text}\"\r\n"))),
        }
    });
    (fake, newest)
}

#[test]
fn what_is_old_is_asked_for_again_and_what_is_young_is_not() {
    let (fake, newest) = changing();
    let mut upstream = fake.upstream();
    let site = Site::new(vec![upstream.clone()]);
    for _ in 0..2 {
        assert_eq!(site.get("/assets/up/x").text(), "one");
    }
    assert_eq!((site.outcome(), fake.count()), (Outcome::Fetched { bytes: 3 }, 1));
    upstream.check_after = Duration::ZERO;
    let site = site.again(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "one");
    assert_eq!((site.outcome(), fake.count()), (Outcome::Unchanged, 2));
    assert_eq!(site.mirror.ill(), Vec::<String>::new());
    *newest.lock().unwrap() = Some("two");
    assert_eq!(site.get("/assets/up/x").text(), "two");
    assert_eq!((site.outcome(), fake.count()), (Outcome::Fetched { bytes: 3 }, 3));
    site.assert_kept(&["up/x"]);
    *newest.lock().unwrap() = None;
    assert_eq!(site.get("/assets/up/x").status, 404);
    site.assert_kept(&[]);
}

#[test]
fn what_is_kept_is_served_when_its_upstream_is_gone_or_talks_nonsense() {
    let is_well = Arc::new(Mutex::new(true));
    let told = is_well.clone();
    let fake = Fake::start(move |path, _, stream| match (*told.lock().unwrap(), path) {
        (true, _) => stream.write_all(&ok(b"good", "ETag: \"1\"\r\n")),
        (false, "/files/short") => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbad"),
        (false, _) => stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
    });
    let mut upstream = fake.upstream();
    upstream.check_after = Duration::ZERO;
    let site = Site::new(vec![upstream.clone()]);
    for path in ["gone", "ill", "short"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).text(), "good");
        site.outcome();
    }
    *is_well.lock().unwrap() = false;
    let handed_over = site.server.stats().handed_over;
    for _ in 0..3 {
        assert_eq!(site.get("/assets/up/ill").text(), "good");
    }
    assert!(matches!(site.outcome(), Outcome::Stale { cause } if cause.contains("503")));
    let ill = site.mirror.ill();
    assert!(
        ill.len() == 1 && ill[0].starts_with("upstream http://127.0.0.1:") && ill[0].contains("503"),
        "{ill:?}"
    );
    // It is left alone for a while.
    assert_eq!((fake.count(), site.server.stats().handed_over), (4, handed_over + 1));
    // Nobody is sent the new one before it is whole: what breaks has no client.
    assert_eq!(site.get("/assets/up/short").text(), "good");
    assert!(matches!(site.outcome(), Outcome::Stale { .. }));
    assert_eq!(site.get("/assets/up/short").text(), "good");
    // Nobody there at all.
    fake.stop();
    let site = site.again(vec![upstream]);
    assert_eq!(site.get("/assets/up/gone").text(), "good");
    assert!(matches!(site.outcome(), Outcome::Stale { cause } if cause.contains("refused")));
    assert_eq!(site.get("/assets/up/other").status, 502);
    site.assert_kept(&["up/gone", "up/ill", "up/short"]);
}

#[test]
fn what_is_old_is_served_as_it_is_while_its_upstream_takes_its_time() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |_, head, stream| {
        if head.contains("if-none-match") {
            let _ = wait.lock().unwrap().recv();
            return stream.write_all(&ok(b"two", "ETag: \"2\"\r\n"));
        }
        stream.write_all(&ok(b"one", "ETag: \"1\"\r\n"))
    });
    let mut upstream = fake.upstream();
    (upstream.check_after, upstream.deadlines.read) = (Duration::ZERO, Duration::from_secs(30));
    let site = Site::new(vec![upstream]);
    assert_eq!(site.get("/assets/up/x").text(), "one");
    site.outcome();
    assert_eq!(Said::read(&mut site.ask("/assets/up/x", "")).text(), "one");
    go.send(()).unwrap();
    assert_eq!(site.outcome(), Outcome::Fetched { bytes: 3 });
    go.send(()).unwrap();
    assert_eq!(site.get("/assets/up/x").text(), "two");
}

#[test]
fn what_came_from_elsewhere_is_no_copy_of_what_is_there_now() {
    let (one, two) = (Fake::of(ok(b"one", "ETag: \"1\"\r\n")), Fake::of(ok(b"two", "ETag: \"1\"\r\n")));
    let site = Site::new(vec![one.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "one");
    let site = site.again(vec![two.upstream()]);
    assert_eq!(site.get("/assets/up/x").text(), "two");
    assert!(!two.heads()[0].contains("if-none-match"), "{:?}", two.heads());
    let mut other = two.upstream();
    other.prefix = "other/".to_owned();
    let site = site.again(vec![other]);
    assert_eq!(site.get("/assets/up/x").status, 404);
    site.assert_kept(&[]);
}

#[test]
fn a_digest_that_is_known_has_to_be_right_whoever_names_it() {
    let (right, list) = (sha256(b"right"), Arc::new(Mutex::new(String::new())));
    *list.lock().unwrap() = format!("{right}  sub/listed\n{}  sub/other\n", sha256(b"else"));
    let (named, own) = (list.clone(), right.clone());
    let fake = Fake::start(move |path, _, stream| match path {
        "/files/dir/SHA256SUMS" => stream.write_all(&ok(named.lock().unwrap().as_bytes(), "")),
        "/files/a.sha256" => stream.write_all(&ok(own.as_bytes(), "")),
        "/files/b.sha256" => stream.write_all(&ok(sha256(b"else").as_bytes(), "")),
        "/files/c.sha256" => stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        _ if path.ends_with(".sha256") => stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        _ => stream.write_all(&ok(b"right", "")),
    });
    let mut upstream = fake.upstream();
    upstream.digests = [("pinned".to_owned(), right), ("wrong".to_owned(), sha256(b"else"))].into();
    upstream.digest_files = vec!["dir/SHA256SUMS".to_owned(), "*.sha256".to_owned()];
    let site = Site::new(vec![upstream]);
    for (path, is_right) in [
        ("pinned", true),
        ("wrong", false),
        ("dir/sub/listed", true),
        ("dir/sub/other", false),
        ("a", true),
        ("b", false),
        ("nobody-knows", true),
    ] {
        let said = site.get(&format!("/assets/up/{path}"));
        assert_eq!(said.is_whole && said.text() == "right", is_right, "{path}: {}", said.text());
        assert_eq!(site.mirror.shelf.find(&format!("up/{path}")).is_some(), is_right, "{path}");
    }
    let said = site.get("/assets/up/c");
    let ill = site.mirror.ill();
    assert!(said.status == 502 && ill[0].contains("its digest can't be had"), "{ill:?}");
    // The list was older than the file.
    *list.lock().unwrap() = format!("{}  sub/other\n", sha256(b"right"));
    assert_eq!(site.mirror.ill().len(), 1);
    // Who knows that it is right now need not wait until it is asked for again.
    site.runtime.block_on(site.mirror.asked("up/dir/sub/other")).unwrap();
    assert_eq!(site.get("/assets/up/dir/sub/other").text(), "right");
    assert!(site.mirror.ill().is_empty(), "it is well again");
}

#[test]
fn what_the_configuration_s_digest_no_longer_fits_is_fetched_again_and_what_it_fits_never() {
    let fake = Fake::of(ok(b"right", "ETag: \"1\"\r\n"));
    let mut upstream = fake.upstream();
    upstream.check_after = Duration::ZERO;
    upstream.digests.insert("x".to_owned(), sha256(b"right"));
    let site = Site::new(vec![upstream.clone()]);
    for _ in 0..3 {
        assert_eq!(site.get("/assets/up/x").text(), "right");
    }
    assert_eq!(fake.count(), 1);
    upstream.digests.insert("x".to_owned(), sha256(b"newer"));
    let site = site.again(vec![upstream.clone()]);
    let said = site.get("/assets/up/x");
    assert!(said.is_refused_or_cut(), "{}", said.text());
    let asked = fake.heads();
    assert!(asked.len() == 2 && !asked[1].contains("if-none-match"), "{asked:?}");
    // Nor is it served when there is no other.
    fake.stop();
    let site = site.again(vec![upstream]);
    let said = site.get("/assets/up/x");
    assert_eq!(said.status, 502, "{}", said.text());
    let outcome = site.outcome();
    assert!(format!("{outcome:?}").contains("refused"), "{outcome:?}");
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let fake = Fake::start(|_, _, stream| stream.write_all(&ok(&bytes(400_000), "")));
    let site = Site::sized(vec![fake.upstream()], 1_000_000);
    for path in ["a", "b", "a", "c"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).body.len(), 400_000);
    }
    site.assert_kept(&["up/a", "up/c"]);
    assert_eq!((site.stat("evicted"), site.stat("size")), (1, 2 * 99 * 4096), "with its note");
    // Whoever looks at them keeps none.
    let _held: Vec<_> = ["up/a", "up/c"].map(|path| site.mirror.shelf.find(path).unwrap()).into();
    assert_eq!(site.get("/assets/up/d").status, 200);
    site.assert_kept(&["up/c", "up/d"]);
}

#[test]
fn a_file_larger_than_the_cache_pushes_nothing_out() {
    let fake = Fake::start(|path, _, stream| {
        stream.write_all(&ok(&bytes(if path.ends_with("large") { 2_000_000 } else { 100 }), ""))
    });
    let site = Site::sized(vec![fake.upstream()], 1_000_000);
    assert_eq!(site.get("/assets/up/small").status, 200);
    assert_eq!(site.get("/assets/up/large").status, 507);
    site.assert_kept(&["up/small"]);
}

#[test]
fn after_a_crash_what_is_not_whole_is_swept_and_what_is_stays() {
    let fake = Fake::of(ok(b"good", ""));
    let site = Site::new(vec![fake.upstream()]);
    for path in ["dir/a", "dir/b", "c"] {
        assert_eq!(site.get(&format!("/assets/up/{path}")).text(), "good");
    }
    let files = site.mirror.files().to_owned();
    let partial = site.folder.path().join("cache/partial");
    // In the middle of a body; between the two renames of a new file, and of a newer one.
    std::fs::write(partial.join("0"), b"go").unwrap();
    std::fs::create_dir(files.join("up/new")).unwrap();
    std::fs::write(files.join("up/new/d"), b"bad").unwrap();
    std::fs::write(files.join("up/next"), b"good").unwrap();
    std::fs::rename(files.join("up/next"), files.join("up/dir/b")).unwrap();
    let site = site.again(vec![fake.upstream()]);
    site.assert_kept(&["up/c", "up/dir/a"]);
    assert!(!files.join("up/new").exists() && !files.join("up/dir/b").exists());
    assert_eq!((site.get("/assets/up/dir/a").text().as_str(), fake.count()), ("good", 3));
    assert_eq!((site.get("/assets/up/dir/b").text().as_str(), fake.count()), ("good", 4));
}

#[test]
fn operators_list_fetch_and_purge() {
    use axum::body::Body;
    use axum::http::Request;
    use hyper::service::Service as _;
    use serde_json::json;
    let fake = Fake::of(ok(b"good", "ETag: \"1\"\r\n"));
    let site = Site::new(vec![fake.upstream()]);
    let service = hyper_util::service::TowerToHyperService::new(site.mirror.control());
    let ask = |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(format!("/api/v1/assets{path}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned()));
        site.runtime.block_on(async {
            let answer = service.call(request.unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            (status, serde_json::from_slice::<serde_json::Value>(&bytes).unwrap())
        })
    };
    let (status, file) = ask("POST", "/prefetch", r#"{"path": "/assets/up/x"}"#);
    assert_eq!((status, &file["size"], &file["state"]), (200, &4.into(), &"fresh".into()), "{file}");
    assert_eq!(file["sha256"], sha256(b"good"));
    let (_, list) = ask("GET", "", "");
    assert_eq!((list[0]["path"].as_str(), list.as_array().unwrap().len()), (Some("up/x"), 1), "{list}");
    assert_eq!(ask("POST", "/prefetch", r#"{"path": "other/x"}"#).0, 400);
    assert_eq!(ask("POST", "/purge", "{}").0, 400);
    assert_eq!(ask("POST", "/purge", r#"{"path": "up/x"}"#).1["purged"], 1);
    assert_eq!(ask("POST", "/purge", r#"{"path": "up/x"}"#).0, 404);
    // What has become a folder here is one until all below it is taken away.
    for path in ["up/dir/y", "up/dir/sub/z", "up/directory"] {
        assert_eq!(ask("POST", "/prefetch", &json!({ "path": path }).to_string()).0, 200, "{path}");
    }
    let (status, failed) = ask("POST", "/prefetch", r#"{"path": "up/dir"}"#);
    assert!(status == 404 && failed["error"].as_str().unwrap().contains("assets purge"), "{failed}");
    assert_eq!(ask("POST", "/purge", r#"{"path": "/assets/up/dir/"}"#).1["purged"], 2);
    assert_eq!(ask("POST", "/prefetch", r#"{"path": "up/dir"}"#).0, 200);
    assert_eq!(ask("POST", "/purge", r#"{"all": true}"#).1["purged"], 2);
    site.assert_kept(&[]);
    assert_eq!(fake.count(), 5);
    // What is about to be kept can't be taken away yet.
    let (flight, _told) = watch::channel(flight::Phase::Asking);
    site.mirror.flights().insert("up/z".to_owned(), Arc::new(flight));
    assert_eq!(ask("POST", "/purge", r#"{"path": "up/z"}"#).0, 409);
    let (_, purged) = ask("POST", "/purge", r#"{"all": true}"#);
    assert_eq!((&purged["purged"], &purged["arriving"]), (&0.into(), &1.into()), "{purged}");
}

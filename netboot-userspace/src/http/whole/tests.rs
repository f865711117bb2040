use axum::http::Request;

use super::*;

async fn ask(named: &Named, path: &Path, method: &str, range: &str) -> (u16, String, String) {
    let request = Request::builder().method(method).uri("/_/file").header("range", range);
    let answer = named.answer(path, request.body(()).unwrap().into_parts().0).await;
    let (status, length) = (answer.status().as_u16(), answer.headers().get(header::CONTENT_LENGTH).cloned());
    let length = length.map(|length| length.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, length, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_file_is_what_it_is_at_each_request_in_whole_in_part_and_by_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("vmlinuz-6"), dir.path().join("vmlinuz"));
    std::fs::write(&file, "0123456789").unwrap();
    std::os::unix::fs::symlink("vmlinuz-6", &link).unwrap();
    let named = Named::new(Arc::new(|_| {}));
    let text = |status, length: &str, body: &str| (status, length.to_owned(), body.to_owned());
    assert_eq!(ask(&named, &link, "GET", "").await, text(200, "10", "0123456789"));
    assert_eq!(ask(&named, &link, "HEAD", "").await, text(200, "10", ""));
    assert_eq!(ask(&named, &link, "GET", "bytes=3-5").await, text(206, "3", "345"));
    assert_eq!(ask(&named, &link, "GET", "bytes=99-").await.0, 416);
    assert_eq!(ask(&named, &link, "POST", "").await.0, 405);
    std::fs::write(&file, "new").unwrap();
    assert_eq!(ask(&named, &link, "GET", "").await, text(200, "3", "new"));
    std::fs::remove_file(&file).unwrap();
    let (status, _, cause) = ask(&named, &link, "GET", "").await;
    assert!(status == 404 && cause.contains("not there"), "{cause}");
    assert_eq!(ask(&named, dir.path(), "GET", "").await.0, 404);
}

#[tokio::test]
async fn rfc9110_13_conditions_hold_as_where_the_engine_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinuz");
    std::fs::write(&path, "0123456789").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let named = Named::new(Arc::new(|_| {}));
    let ask = |fields: &[(&str, &str)]| {
        let request = fields
            .iter()
            .fold(Request::get("/_/file"), |request, (field, value)| request.header(*field, *value));
        named.answer(&path, request.body(()).unwrap().into_parts().0)
    };
    let first = ask(&[]).await;
    let of = |field: HeaderName| first.headers()[field].to_str().unwrap().to_owned();
    let (tag, date) = (of(header::ETAG), of(header::LAST_MODIFIED));
    let (range, old) = (("range", "bytes=2-4"), "Sun, 06 Nov 1994 08:49:37 GMT");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[range], 206),
        (&[range, ("if-range", &tag)], 206),
        (&[range, ("if-range", "\"x\"")], 200),
        (&[range, ("if-range", &format!("W/{tag}"))], 200),
        // Somebody has set it.
        (&[range, ("if-range", &date)], 200),
        (&[("if-none-match", &tag)], 304),
        (&[("if-none-match", "\"x\""), ("if-none-match", &format!("\"y\", W/{tag}"))], 304),
        (&[("if-none-match", "\"x\""), ("if-modified-since", &date)], 200),
        (&[("if-modified-since", &date)], 304),
        (&[("if-modified-since", old)], 200),
        (&[("if-match", &tag)], 200),
        (&[("if-match", "\"x\"")], 412),
        (&[("if-unmodified-since", old)], 412),
        (&[("if-unmodified-since", &date)], 200),
    ];
    for (fields, want) in cases.iter().copied() {
        let answer = ask(fields).await;
        assert_eq!(answer.status().as_u16(), want, "{fields:?}");
        let length = answer.headers().get(header::CONTENT_LENGTH).map(|length| length.to_str().unwrap());
        let of_part = if want == 206 { Some("3") } else { Some("10").filter(|_| want == 200) };
        assert_eq!(length, of_part, "{fields:?}");
        let has_tag = answer.headers().get(header::ETAG).is_some_and(|value| *value == tag);
        assert_eq!(has_tag, want != 412, "{fields:?}");
    }
    let unreadable = HeaderValue::from_bytes(b"\"\xe4\"").unwrap();
    let request = Request::get("/_/file").header("if-match", unreadable).body(()).unwrap();
    assert_eq!(named.answer(&path, request.into_parts().0).await.status().as_u16(), 412);
}

#[tokio::test]
async fn one_address_is_sent_so_many_named_files_at_once_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("initrd");
    std::fs::write(&file, vec![7; 4 * CHUNK as usize]).unwrap();
    let named = Named::new(Arc::new(|_| {}));
    let of = |host: u8, method: &'static str| {
        let request = Request::builder().method(method).uri("/_/file");
        let peer = ConnectInfo(SocketAddr::from(([10, 0, 0, host], 1)));
        let request = request.extension(peer).body(()).unwrap().into_parts().0;
        named.answer(&file, request)
    };
    // Nobody takes what they are sent.
    let mut held = Vec::new();
    for _ in 0..READERS_EACH {
        held.push(of(1, "GET").await);
    }
    assert!(held.iter().all(|answer| answer.status() == StatusCode::OK));
    assert_eq!(of(1, "GET").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(of(1, "HEAD").await.status(), StatusCode::OK, "a head takes no place");
    assert_eq!(of(2, "GET").await.status(), StatusCode::OK, "another address's");
    drop(held);
    while of(1, "GET").await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_leads_out_of_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("boot");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    std::fs::write(folder.join("k"), "k").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("k", folder.join("vmlinuz")).unwrap();
    let named = Named::new(Arc::new(|_| {}));
    for (name, want) in
        [("k", 200), ("vmlinuz", 200), ("../secret", 404), ("link", 404), ("/etc/passwd", 404), ("x", 404)]
    {
        let request = Request::get("/_/file").body(()).unwrap().into_parts().0;
        let answer = named.answer_below(&folder, Path::new(name), request).await;
        assert_eq!(answer.status().as_u16(), want, "{name}");
    }
}

//! Real clients.

use super::site::*;
use netboot_userspace::http::{Mount, Stage};
use std::io::{Read, Write};

#[test]
fn curl_gets_the_same_bytes() {
    for engine in ENGINES {
        let site = site(engine);
        for size in SIZES {
            let want = site.put("file", size);
            let url = site.url("/assets/file");
            assert!(curl(&[&url]) == want, "{size} bytes, {engine:?}");
            for (range, part) in [
                ("0-0", 0..1),
                ("1-", 1..size),
                ("-5", size.saturating_sub(5)..size),
                ("70000-70009", 70_000..70_010),
            ] {
                if part.end <= size && part.start < part.end {
                    assert!(curl(&["-r", range, &url]) == want[part], "{range} of {size}, {engine:?}");
                }
            }
            let head = String::from_utf8(curl(&["-I", &url])).unwrap();
            assert_eq!(field(&head, "Content-Length"), Some(&*size.to_string()));
        }
        site.wait_for("all done", |site| site.server.stats().open == 0);
        assert_eq!(site.server.stats().broken, 0);
    }
}

#[test]
fn uhb_6_head_then_get_on_one_connection() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put_long_ago("boot.EFI", 70_000);
        let mut stream = site.connect();
        stream.write_all(b"HEAD //assets/./boot.EFI HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(status(&head), 200);
        assert_eq!(field(&head, "Content-Length"), Some("70000"));
        assert_eq!(field(&head, "Content-Type"), Some("application/efi"));
        stream.write_all(b"GET /assets/boot.EFI HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let start = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(answer[start..] == want);
        let got = String::from_utf8_lossy(&answer[..start]).into_owned();
        let without_date = |head: &str| {
            let kept = |line: &&str| !line.starts_with("Date") && !line.starts_with("Connection");
            head.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&head), without_date(&got), "rfc9110_1");
    }
}

#[test]
fn events_tell_what_was_sent() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 100_000);
        curl(&["-r", "10-19", &site.url("/assets/file?x=y")]);
        site.wait_for("event", |site| !site.events.lock().unwrap().is_empty());
        let event = site.events.lock().unwrap().remove(0);
        assert_eq!((event.path.as_str(), event.status, event.stage), ("/assets/file", 206, Stage::Done));
        assert_eq!((event.bytes, event.total, event.range), (10, 10, Some((10, 20))));
        // A reader that takes its time over a large body is seen on its way.
        site.put_hole("large", 40 << 20);
        curl(&["--limit-rate", "15M", "-o", "/dev/null", &site.url("/assets/large")]);
        site.wait_for("end", |site| {
            site.events.lock().unwrap().last().is_some_and(|e| e.stage == Stage::Done)
        });
        let events = site.events.lock().unwrap();
        assert!(
            events.iter().any(|e| e.stage == Stage::Progress && e.bytes > 0 && e.bytes < e.total),
            "{events:?}"
        );
    }
}

#[test]
fn wget_gets_the_same_bytes_and_goes_on_where_it_was_cut_off() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("image", 20_000_000);
        let into = tempfile::tempdir().unwrap();
        let file = into.path().join("image");
        // What an earlier one has left.
        std::fs::write(&file, &want[..7_000_001]).unwrap();
        let output = std::process::Command::new("wget")
            .args(["--quiet", "--continue", "--tries=1", "--timeout=30", "--output-document"])
            .arg(&file)
            .arg(site.url("/assets//./image"))
            .output();
        let output = output.expect("wget is installed (cargo xtask setup)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read(&file).unwrap() == want, "{engine:?}");
        let events = site.events.lock().unwrap();
        assert!(
            events.iter().any(|event| event.status == 206 && event.range == Some((7_000_001, 20_000_000)))
        );
    }
}

#[test]
fn clients_of_each_version_get_the_same_bytes_and_those_of_http_2_alone_are_refused() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("file", 100_000);
        let url = site.url("/assets/file");
        // The last one offers HTTP/2 (RFC 9113 section 3.1, as it was before), and is answered in what it asked with.
        for version in ["--http1.0", "--http1.1", "--http2"] {
            let got = curl(&[version, "--dump-header", "-", &url]);
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n") && got.ends_with(&want), "{version}, {engine:?}");
        }
        let mut preface = std::process::Command::new("curl");
        let refused =
            preface.args(["-sS", "--http2-prior-knowledge", "--max-time", "30", &url]).output().unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{engine:?}");
        site.wait_for("refused", |site| site.server.stats().refused == 1);
        assert!(curl(&[&url]) == want);
    }
}

#[test]
fn uhb_6_and_7_of_what_firmware_boots_the_type_is_its_own_and_no_field_is_empty() {
    for engine in ENGINES {
        let site = site(engine);
        for (name, media_type) in [
            ("BOOTX64.EFI", "application/efi"),
            ("live.iso", "application/vnd.efi-iso"),
            ("disk.img", "application/vnd.efi-img"),
            ("vmlinuz", "application/octet-stream"),
        ] {
            let want = site.put_long_ago(name, 5000);
            for fields in ["", "Range: bytes=0-\r\n", "Range: bytes=9999-\r\n", "If-None-Match: *\r\n"] {
                let mut stream = site.connect();
                let request = format!("GET /assets/{name} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                let (head, body) = read_answer(&mut stream);
                let is_sent = matches!(status(&head), 200 | 206);
                assert_eq!(
                    (field(&head, "Content-Type") == Some(media_type), body == want),
                    (is_sent, is_sent)
                );
                let mut lines = head.trim_end().split("\r\n").skip(1);
                let has_value =
                    |line: &str| line.split_once(": ").is_some_and(|(_, value)| !value.trim().is_empty());
                assert!(lines.all(has_value), "{engine:?}: {head}");
            }
        }
    }
}

#[test]
fn uhb_9_boot_files_are_never_their_compressed_siblings() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("vmlinuz", 5000);
        for sibling in ["vmlinuz.gz", "vmlinuz.br", "vmlinuz.zst"] {
            site.put(sibling, 100);
        }
        let url = site.url("/assets/vmlinuz");
        let got = curl(&["--dump-header", "-", "-H", "Accept-Encoding: gzip, br, zstd", &url]);
        assert!(got.ends_with(&want));
        let head = String::from_utf8_lossy(&got[..got.len() - want.len()]).into_owned();
        assert_eq!((field(&head, "Content-Length"), field(&head, "Content-Encoding")), (Some("5000"), None));
    }
}

#[test]
fn folders_are_listed_where_they_are_to_be() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            for mount in &mut config.mounts {
                if let Mount::Folder { index, .. } = mount {
                    *index = true;
                }
            }
        });
        site.put("a b.img", 5);
        site.put(".hidden", 5);
        std::fs::create_dir(site.folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("/etc", site.folder.path().join("link")).unwrap();
        let page = String::from_utf8(curl(&[&site.url("/assets/")])).unwrap();
        assert!(
            page.contains("href=\"/assets/a%20b.img\"") && page.contains("href=\"/assets/sub/\""),
            "{page}"
        );
        assert!(!page.contains("hidden") && !page.contains("link"), "{page}");
        let head = String::from_utf8(curl(&["-I", &site.url("/assets/")])).unwrap();
        assert_eq!(field(&head, "Content-Length"), Some(&*page.len().to_string()), "rfc9110_1");
        assert_eq!(
            status(&site.exchange(b"PUT /assets/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")),
            405
        );
        let list = curl(&["-H", "Accept: application/json", &site.url("/assets/")]);
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        let path = list["entries"][0]["path"].as_str().unwrap();
        assert_eq!((list["entries"].as_array().unwrap().len(), path), (2, "/assets/a%20b.img"));
        assert_eq!(curl(&[&site.url(path)]).len(), 5);
        // Without a redirect, with or without the slash; and nothing is listed that isn't there.
        assert_eq!(status(&site.get("/assets/sub", "")), 200);
        for path in ["/assets/none/", "/assets/link/", "/assets/a%20b.img/", "/assets/link/../"] {
            assert!(status(&site.get(path, "")) >= 400, "{path}");
        }
    }
    let site = site(ENGINES[0]);
    assert_eq!(status(&site.get("/assets/", "")), 404, "not unless it was asked for");
}

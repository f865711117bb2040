//! Files that change.

use super::site::*;
use netboot_userspace::http::{Mount, Stage};
use netboot_userspace::sys::open::identity;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_changed_file_is_never_stale() {
    for engine in ENGINES {
        let site = site(engine);
        for content in ["one", "two", "six", "ten"] {
            std::fs::write(site.folder.path().join("kernel"), content).unwrap();
            let answer = site.get("/boot/kernel", "");
            assert_eq!(body(&answer), content);
        }
    }
}

#[test]
fn a_file_cut_short_ends_the_connection() {
    for engine in ENGINES {
        let site = site(engine);
        site.put_hole("file", 64 << 20);
        let mut stream = site.connect();
        stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(site.folder.path().join("file"))
            .unwrap()
            .set_len(1000)
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64 << 20, "never padded");
        site.wait_for("broken", |site| site.server.stats().broken == 1);
        assert!(site.events.lock().unwrap().iter().any(|e| e.stage == Stage::Broken && e.bytes < e.total));
    }
}

/// Waits until a change of what is there would show: until then nobody keeps a file open for the next request.
fn settle(file: &Path) {
    while !identity(file).unwrap().is_settled() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// On a connection that is kept: the status, the head, and the body, of one byte again and again.
fn asked(stream: &mut TcpStream, name: &str, fields: &str) -> (u16, String, Option<u8>) {
    stream.write_all(format!("GET /assets/{name} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
    let (head, body) = read_answer(stream);
    assert!(body.iter().all(|byte| *byte == body[0]) || status(&head) != 200, "mixed: {head}");
    (status(&head), head, body.first().copied())
}

/// What is kept open, or in memory, between requests.
#[test]
fn a_file_that_has_not_changed_for_a_while_is_never_stale_once_it_does() {
    // In memory, and open.
    const SIZES: [usize; 2] = [1000, 200_000];
    for engine in ENGINES {
        let first = tempfile::tempdir().unwrap();
        let site = site_with(engine, |config| {
            config.mounts.iter_mut().for_each(|mount| {
                if let Mount::Folder { roots, .. } = mount {
                    roots.insert(0, first.path().to_owned());
                }
            });
        });
        let at = |name: &str| site.folder.path().join(name);
        for size in SIZES {
            for how in ["renamed", "in-place", "same-date", "in-front", "removed", "as-it-is"] {
                std::fs::write(at(&format!("{how}-{size}")), numbered(1, size)).unwrap();
            }
        }
        settle(&at(&format!("as-it-is-{}", SIZES[1])));
        let mut stream = site.connect();
        for size in SIZES {
            let name = |how: &str| format!("{how}-{size}");
            let change = |how: &str| {
                let path = at(&name(how));
                match how {
                    "renamed" => replace(site.folder.path(), &name(how), &numbered(2, size)),
                    "in-place" => std::fs::write(&path, numbered(2, size)).unwrap(),
                    "same-date" => {
                        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
                        std::fs::write(&path, numbered(2, size)).unwrap();
                        let file = std::fs::File::options().write(true).open(&path).unwrap();
                        file.set_modified(modified).unwrap();
                    }
                    "in-front" => std::fs::write(first.path().join(name(how)), numbered(2, size)).unwrap(),
                    "removed" => std::fs::remove_file(&path).unwrap(),
                    _ => {}
                }
            };
            for how in ["renamed", "in-place", "same-date", "in-front", "removed", "as-it-is"] {
                // The second time it is not opened again.
                let (_, head, byte) = asked(&mut stream, &name(how), "");
                assert_eq!((byte, asked(&mut stream, &name(how), "").2), (Some(1), Some(1)), "{how}");
                change(how);
                let want = match how {
                    "removed" => (404, Some(b'4')),
                    "as-it-is" => (200, Some(1)),
                    _ => (200, Some(2)),
                };
                let (code, now, byte) = asked(&mut stream, &name(how), "");
                assert_eq!((code, byte), want, "{engine:?}, {size}: {how}");
                let is_same = field(&now, "ETag") == field(&head, "ETag");
                assert_eq!(is_same, how == "as-it-is", "{engine:?}, {size}: {how}");
            }
            // Nobody has set its date, and its second is over: it tells one content from another.
            let (_, head, _) = asked(&mut stream, &name("as-it-is"), "");
            let date = field(&head, "Last-Modified").unwrap();
            let part =
                asked(&mut stream, &name("as-it-is"), &format!("Range: bytes=0-9\r\nIf-Range: {date}\r\n"));
            assert_eq!(part.0, 206, "{engine:?}");
        }
    }
}

/// Content that tells by each byte which one it is.
fn numbered(number: u8, size: usize) -> Vec<u8> {
    vec![number; size]
}

fn replace(folder: &std::path::Path, name: &str, content: &[u8]) {
    let beside = folder.join(format!("{name}.new"));
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, folder.join(name)).unwrap();
}

/// Tells the readers to end, also when their writer has found something.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_file_replaced_under_load_is_wholly_the_old_or_wholly_the_new_one_and_never_stale() {
    // In memory, in one turn, in several.
    for (engine, size) in
        ENGINES.into_iter().flat_map(|engine| [1000, 200_000, 4_000_000].map(|size| (engine, size)))
    {
        let site = site(engine);
        replace(site.folder.path(), "file", &numbered(0, size));
        let (is_over, versions): (_, [AtomicUsize; 3]) = (AtomicBool::new(false), Default::default());
        std::thread::scope(|scope| {
            let readers: Vec<_> = versions
                .iter()
                .map(|versions| {
                    let (site, is_over) = (&site, &is_over);
                    scope.spawn(move || {
                        let mut stream = site.connect();
                        let mut seen = std::collections::HashMap::new();
                        while !is_over.load(Ordering::Acquire) {
                            stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                            let (head, body) = read_answer(&mut stream);
                            let number = body[0];
                            assert_eq!(body.len(), size + usize::from(number), "{head}");
                            assert!(body.iter().all(|&byte| byte == number), "mixed: {head}");
                            let tag = field(&head, "ETag").unwrap().to_owned();
                            assert_eq!(*seen.entry(tag).or_insert(number), number, "one tag, two contents");
                            versions.store(seen.len(), Ordering::Release);
                        }
                    })
                })
                .collect();
            let over = Over(&is_over);
            for number in 1..=40 {
                replace(site.folder.path(), "file", &numbered(number, size + usize::from(number)));
                // Who asks after it was replaced never gets the old one.
                let answer =
                    site.exchange(b"GET /assets/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                assert_eq!(body(&answer).as_bytes()[0], number, "{engine:?}, {size}");
                // Each reader sees some of the versions.
                let has_seen = |seen: &AtomicUsize| seen.load(Ordering::Acquire) >= usize::from(number) / 8;
                while !versions.iter().all(has_seen) && !readers.iter().any(|reader| reader.is_finished()) {
                    std::thread::yield_now();
                }
            }
            drop(over);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
        assert_eq!(site.server.stats().broken, 0, "who had begun to read the old one has read it to its end");
    }
}

#[test]
fn a_file_written_to_while_it_is_sent_ends_the_connection_before_its_end() {
    for engine in ENGINES {
        let site = site(engine);
        let size = 64 << 20;
        site.put_hole("file", size as u64);
        let mut stream = site.connect();
        stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(site.folder.path().join("file")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"other", 60 << 20).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() + 500 < size, "{} of {size}: the client would take it for whole", rest.len());
        site.wait_for("broken", |site| site.server.stats().broken == 1);
    }
}

#[test]
fn a_file_that_grows_while_it_is_sent_never_gives_more_than_was_promised() {
    for engine in ENGINES {
        let site = site(engine);
        let size = site.put("file", 5 << 20).len();
        for connection in ["keep-alive", "close"] {
            let mut stream = site.connect();
            let request = format!("GET /assets/file HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.peek(&mut [0]).unwrap();
            let mut file =
                std::fs::OpenOptions::new().append(true).open(site.folder.path().join("file")).unwrap();
            file.write_all(&vec![b'x'; 1 << 20]).unwrap();
            let mut answer = Vec::new();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut answer);
            let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let most = field(&String::from_utf8_lossy(&answer[..head]), "Content-Length")
                .unwrap()
                .parse::<usize>()
                .unwrap();
            assert!(
                answer.len() - head <= most,
                "{engine:?}, {connection}: {} of {most}",
                answer.len() - head
            );
            assert!(most >= size);
        }
    }
}

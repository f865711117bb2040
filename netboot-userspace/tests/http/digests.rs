//! `Repr-Digest` (RFC 9530) and `Digest` (RFC 3230) beside what `openssl` says.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use super::site::*;
use netboot_userspace::uring::Choice;

const WANT: &str = "Want-Repr-Digest: sha-512=9, sha-256=5\r\n";

fn digest_of(site: &Site, name: &str) -> String {
    let pipe = "openssl dgst -sha256 -binary \"$0\" | base64";
    let output = Command::new("sh").args(["-c", pipe]).arg(site.folder.path().join(name)).output().unwrap();
    format!("sha-256=:{}:", String::from_utf8(output.stdout).unwrap().trim())
}

fn digest(answer: &str) -> Option<&str> {
    field(answer, "Repr-Digest")
}

/// Until it is known, there is none.
fn await_digest(site: &Site, path: &str) -> String {
    site.wait_for("known", |site| digest(&site.get(path, WANT)).is_some());
    digest(&site.get(path, WANT)).unwrap().to_owned()
}

#[test]
fn rfc9530_3_repr_digest_is_of_the_whole_file_whatever_part_is_sent() {
    for engine in ENGINES {
        let site = site(engine);
        let sizes = [0, 300, 65_537, 3_000_000];
        // All at once: none is computed of what has changed just now.
        sizes.iter().for_each(|size| drop(site.put(&format!("file{size}"), *size)));
        for size in sizes {
            let want = digest_of(&site, &format!("file{size}"));
            let path = &*format!("/assets/file{size}");
            assert_eq!(await_digest(&site, path), want, "{size}, {engine:?}");
            if size > 0 {
                let part = site.get(path, &format!("{WANT}Range: bytes=1-2\r\n"));
                assert_eq!((status(&part), digest(&part)), (206, Some(&*want)));
            }
            let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{WANT}\r\n");
            assert_eq!(digest(&site.exchange(head.as_bytes())), Some(&*want));
            // Who does not want it, and where there is no file's content.
            for fields in [
                "",
                "Want-Repr-Digest: sha-256=0\r\n",
                "Want-Repr-Digest: sha-512=5\r\n",
                "Want-Repr-Digest: sha-256\r\n",
                "Want-Repr-Digest: sha-256=x\r\n",
                &format!("{WANT}If-None-Match: *\r\n"),
                &format!("{WANT}Range: bytes=9000000-\r\n"),
            ] {
                assert_eq!(digest(&site.get(path, fields)), None, "{fields}");
            }
            assert_eq!(digest(&site.get("/assets/none", WANT)), None);
        }
    }
}

#[test]
fn rfc3230_4_digest_is_of_the_whole_file_for_those_who_want_the_older_field() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 300_000);
        let path = "/assets/file";
        let of_9530 = await_digest(&site, path);
        let want = of_9530.trim_start_matches("sha-256=:").trim_end_matches(':');
        let want = format!("SHA-256={want}");
        let part = site.get(path, "Want-Digest: MD5;q=0.3, sha-256;q=1\r\nRange: bytes=1-2\r\n");
        assert_eq!((status(&part), field(&part, "Digest")), (206, Some(&*want)), "{engine:?}");
        assert_eq!(digest(&part), None, "nor what was not asked for");
        let both = site.get(path, &format!("{WANT}Want-Digest: SHA-256\r\n"));
        assert_eq!((field(&both, "Digest"), digest(&both)), (Some(&*want), Some(&*of_9530)));
        for none in ["", WANT, "Want-Digest: SHA-256;q=0\r\n", "Want-Digest: sha-256;q=2, MD5\r\n"] {
            assert_eq!(field(&site.get(path, none), "Digest"), None, "{none}");
        }
    }
}

#[test]
fn a_digest_is_never_that_of_another_content() {
    let site = site(Choice::Auto);
    site.put("file", 100_000);
    let old = await_digest(&site, "/assets/file");
    for size in [100_001, 300] {
        site.put("new", size);
        let new = digest_of(&site, "new");
        std::fs::rename(site.folder.path().join("new"), site.folder.path().join("file")).unwrap();
        let answer = site.get("/assets/file", WANT);
        assert_eq!(body(&answer).chars().next(), body(&site.get("/assets/file", "")).chars().next());
        assert!(digest(&answer).is_none_or(|digest| digest == new), "{old} {new} {answer:.300}");
        assert_eq!(await_digest(&site, "/assets/file"), new);
    }
}

#[test]
fn a_digest_that_stands_beside_its_file_is_known_at_once() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 100_000);
        let want = digest_of(&site, "file");
        let sum = Command::new("sha256sum").arg("file").current_dir(site.folder.path()).output().unwrap();
        let changed = |site: &Site, name| {
            let file = std::fs::metadata(site.folder.path().join(name)).unwrap();
            (file.ctime(), file.ctime_nsec())
        };
        // Nothing tells what is written within one tick of the clock apart.
        site.wait_for("a later tick", |site| {
            std::fs::write(site.folder.path().join("file.sha256"), &sum.stdout).unwrap();
            changed(site, "file.sha256") > changed(site, "file")
        });
        assert_eq!(digest(&site.get("/assets/file", WANT)), Some(&*want), "{engine:?}");
        // What is newer than what stands beside it has another one.
        site.put("file", 100_001);
        let want = digest_of(&site, "file");
        assert!(digest(&site.get("/assets/file", WANT)).is_none_or(|digest| digest == want));
        assert_eq!(await_digest(&site, "/assets/file"), want);
    }
}

//! Files that change.

use super::site::*;
use netboot_userspace::http::Stage;
use std::io::{Read, Write};

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
        site.put("file", 64 << 20);
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


//! The edges between rooms that rustc cannot check (DESIGN section 2): who imports whom, and where `unsafe` may be.
//!
//! It reads tokens, not names that macros make: enough to keep honest people honest.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A room of `netboot-userspace/src`, and the rooms that it may import beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "dhcp",
            "dhcp6",
            "tftp",
            "http",
            "api",
            "services",
            "fastpath",
            "inventory",
            "config",
            "store",
            "pixiecore",
            "image",
            "render",
            "template",
            "uring",
            "sys",
        ],
    ),
    ("dhcp", MIDDLE),
    ("dhcp6", MIDDLE),
    ("tftp", MIDDLE),
    ("http", MIDDLE),
    ("api", MIDDLE),
    ("services", MIDDLE),
    ("fastpath", MIDDLE),
    ("inventory", MIDDLE),
    ("config", MIDDLE),
    ("store", MIDDLE),
    ("pixiecore", &["template"]),
    ("render", &["config", "inventory", "template"]),
    ("template", &[]),
    ("image", &["uring", "sys"]),
    ("agent", &["image", "uring", "sys"]),
    ("uring", &["sys"]),
    ("sys", &[]),
];

/// What every server room may use. They may know each other; the protocols above them may not.
const MIDDLE: &[&str] =
    &["fastpath", "inventory", "config", "store", "pixiecore", "render", "template", "image", "uring", "sys"];

/// Where `unsafe` may be: prefixes of paths from the root.
const UNSAFE_ROOMS: &[&str] = &[
    "netboot-ebpf/src/frame.rs",
    "netboot-ebpf/src/maps.rs",
    "netboot-ebpf/src/tftp/frame.rs",
    "netboot-ebpf/src/tftp/maps.rs",
    "netboot-common/src/maps.rs",
    "netboot-common/src/tftp/maps.rs",
    "netboot-userspace/src/uring/",
    "netboot-userspace/src/sys/",
    "tests/bench/programs/src/frame.rs",
    "tests/bench/programs/src/maps.rs",
];

/// Where only the attribute may be: a function keeps its name, which the verifier looks at.
const UNSAFE_NAMES: &[&str] = &["netboot-ebpf/src/limit.rs"];

/// What is looked at.
const FOLDERS: &[&str] = &["netboot-common", "netboot-ebpf", "netboot-userspace", "xtask", "tests", "fuzz"];

/// What a `machine.rs` must be given instead of taking: time, and what the modules of `std` below bring.
const NOT_IN_MACHINES: &[&str] = &["Instant::now", "SystemTime::now", "tokio::"];

/// See [`NOT_IN_MACHINES`].
const STD_NOT_IN_MACHINES: &[&str] = &["fs", "io", "thread", "process"];

/// Every broken rule of the tree at `root`, one line each; empty when all hold.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for folder in FOLDERS {
        for file in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            check_file(&path, &code(&text), &mut faults);
        }
    }
    Ok(faults)
}

fn check_file(path: &str, code: &[String], faults: &mut Vec<String>) {
    for (number, line) in code.iter().enumerate() {
        for what in unsafe_faults(path, line) {
            faults.push(format!("{path}:{}: {what}", number + 1));
        }
    }
    // Unit tests may use what they like, but no `unsafe`.
    let code = &code[..unit_tests(path, code)];
    for (number, line) in code.iter().enumerate() {
        let mut fault = |what: String| faults.push(format!("{path}:{}: {what}", number + 1));
        foreign_crate(path, line, &mut fault);
    }
    if path.ends_with("/machine.rs") {
        check_machine(path, code, faults);
    }
    if let Some(room) = room_of(path) {
        check_edges(path, room, code, faults);
    }
}

/// The line at which unit tests begin: the first of a file that is theirs alone; else nothing comes after them (clippy's
/// `items_after_test_module`). A `mod tests;` ends nothing.
fn unit_tests(path: &str, code: &[String]) -> usize {
    if path.contains("/src/") && (path.ends_with("/tests.rs") || path.contains("/tests/")) {
        return 0;
    }
    let begins = |at: &usize| {
        let after = code[at + 1..].iter().find(|line| !line.starts_with("#["));
        code[*at].starts_with("#[cfg(test)]")
            && after.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    (0..code.len()).find(begins).unwrap_or(code.len())
}

/// The keyword outside its rooms, and leave for it.
fn unsafe_faults(path: &str, line: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
        return faults;
    }
    if has_unsafe(line) {
        faults.push("unsafe outside its rooms");
    }
    if has_word(line, "unsafe_code") && !UNSAFE_NAMES.contains(&path) {
        faults.push("unsafe_code is allowed outside its rooms");
    }
    faults
}

fn check_machine(path: &str, code: &[String], faults: &mut Vec<String>) {
    let mut fault = |line: usize, taken: &str| {
        faults
            .push(format!("{path}:{line}: a machine takes {taken}: it must be handed in, or happen outside"));
    };
    for (number, line) in code.iter().enumerate() {
        NOT_IN_MACHINES
            .iter()
            .filter(|taken| line.contains(*taken))
            .for_each(|taken| fault(number + 1, taken));
    }
    for (line, module) in paths_from("std", code) {
        if STD_NOT_IN_MACHINES.contains(&module.as_str()) {
            fault(line, &format!("std::{module}"));
        }
    }
}

/// Crates of ours, and aya, where they may not be.
fn foreign_crate(path: &str, line: &str, fault: &mut impl FnMut(String)) {
    let uses = |name: &str| has_word(line, name) && line.contains(&format!("{name}::"));
    if path.starts_with("netboot-common/src/") && (uses("std") || uses("alloc")) && !line.contains("core::") {
        fault("netboot-common is no_std, and does not allocate".to_owned());
    }
    if path.starts_with("netboot-ebpf/") && uses("netboot_userspace") {
        fault("netboot-ebpf imports only netboot-common".to_owned());
    }
    if path.starts_with("xtask/") && (uses("netboot_userspace") || uses("netboot_common")) {
        fault("xtask imports nothing of ours".to_owned());
    }
    if path.starts_with("netboot-userspace/src/") && uses("aya") && !in_room(path, "fastpath") {
        fault("only fastpath uses aya".to_owned());
    }
}

/// `crate::ROOM` anywhere in a file of another room.
fn check_edges(path: &str, room: &str, code: &[String], faults: &mut Vec<String>) {
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
        faults.push(format!("{path}: the room {room} is not in DESIGN section 2, nor in xtask/src/rooms.rs"));
        return;
    };
    for (line, imported) in paths_from("crate", code) {
        let known = MAY_IMPORT.iter().any(|(name, _)| *name == imported);
        let allowed = imported == room || allowed.contains(&imported.as_str());
        if known && !allowed {
            faults.push(format!("{path}:{line}: {room} may not import {imported}"));
        } else if known && imported != room && path.ends_with("/machine.rs") && in_protocol(room) {
            faults.push(format!("{path}:{line}: a machine imports only netboot-common, not {imported}"));
        }
    }
}

fn in_protocol(room: &str) -> bool {
    ["dhcp", "dhcp6", "tftp", "http"].contains(&room)
}

/// Line number and second segment of each path that starts at `root`, groups (`crate::{a::b, c}`) included.
fn paths_from(root: &str, code: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let text = code.join("\n");
    let root = format!("{root}::");
    for (at, _) in text.match_indices(&root) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|head| (line, head))),
            None => found.push((line, head(rest))),
        }
    }
    found
}

/// The first segment of each member of a `{…}` group whose opening brace has been read.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(String::new()),
            other if depth == 0 => heads.last_mut().unwrap_or(&mut String::new()).push(other),
            _ => (),
        }
    }
    heads.iter().map(|member| head(member.trim_start())).filter(|head| !head.is_empty()).collect()
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("netboot-userspace/src/")?;
    let room = match inside.split_once('/') {
        Some(("bin", _)) => return None,
        Some((room, _)) => room,
        None => inside.strip_suffix(".rs")?,
    };
    (room != "lib").then_some(room)
}

fn in_room(path: &str, room: &str) -> bool {
    room_of(path) == Some(room)
}

/// The keyword; not the lint `unsafe_code`, and not attributes such as `#[unsafe(link_section = …)]`.
fn has_unsafe(line: &str) -> bool {
    has_word(&line.replace("#[unsafe(", "#[("), "unsafe")
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// The lines with comments and the contents of strings blanked out, so that prose breaks no rule.
fn code(text: &str) -> Vec<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, shown) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), ""),
            'r' if raw_string(rest, &out).is_some() => (raw_string(rest, &out).unwrap_or(1), "\"\""),
            '"' => (string_end(rest), "\"\""),
            '\'' if rest.starts_with("'\"'") => (3, "' '"),
            '\'' if rest.starts_with("'\\\"'") => (4, "' '"),
            _ => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        out.push_str(shown);
        if shown.len() != skipped {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        }
        rest = &rest[skipped..];
    }
    out.lines().map(str::to_owned).collect()
}

/// The length of the string literal that `rest` starts with.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => (),
        }
    }
    rest.len()
}

/// The length of the raw string literal that `rest` starts with, if it does.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    if before.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') {
        return None;
    }
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len()))
}

/// Every Rust source below `folder`, sorted; none if there is no such folder.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_file(path, &code(text), &mut faults);
        faults
    }

    #[test]
    fn this_tree_keeps_its_rules() {
        assert_eq!(check(crate::paths::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_bad_tree_is_caught() {
        let folder = tempfile::tempdir().unwrap();
        let room = folder.path().join("netboot-userspace/src/tftp");
        fs::create_dir_all(&room).unwrap();
        fs::write(room.join("mod.rs"), "use crate::dhcp::Server;\nfn f() { unsafe { g() } }\n").unwrap();
        let faults = check(folder.path()).unwrap();
        assert_eq!(
            faults,
            [
                "netboot-userspace/src/tftp/mod.rs:2: unsafe outside its rooms",
                "netboot-userspace/src/tftp/mod.rs:1: tftp may not import dhcp",
            ]
        );
    }

    #[test]
    fn every_forbidden_edge_is_named() {
        let cases = [
            (
                "netboot-userspace/src/agent/mod.rs",
                "use crate::inventory::Host;",
                "agent may not import inventory",
            ),
            ("netboot-userspace/src/uring/mod.rs", "use crate::image::Raw;", "uring may not import image"),
            ("netboot-userspace/src/http/x.rs", "use crate::{config, api::Api};", "http may not import api"),
            (
                "netboot-userspace/src/http/x.rs",
                "use crate::{\n config::{A, B},\n tftp,\n};",
                "may not import tftp",
            ),
            ("netboot-userspace/src/store.rs", "fn f(x: crate::api::X) {}", "store may not import api"),
            (
                "netboot-userspace/src/dhcp/machine.rs",
                "use crate::store::Store;",
                "imports only netboot-common",
            ),
            ("netboot-userspace/src/dhcp/machine.rs", "let t = Instant::now();", "takes Instant::now"),
            ("netboot-userspace/src/tftp/machine.rs", "use std::{net::Ipv4Addr, fs::File};", "takes std::fs"),
            (
                "netboot-userspace/src/dhcp/machine.rs",
                "#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests;\nlet t = Instant::now();",
                "machine.rs:4: a machine takes Instant::now",
            ),
            (
                "netboot-userspace/src/api/mod.rs",
                "#[cfg(test)]\nmod tests;\nuse crate::tftp::Server;",
                "api may not import tftp",
            ),
            ("netboot-userspace/src/api/mod.rs", "use aya::Ebpf;", "only fastpath uses aya"),
            ("netboot-userspace/src/cellar/mod.rs", "", "the room cellar is not in DESIGN"),
            ("netboot-common/src/class.rs", "use std::net::IpAddr;", "no_std"),
            ("netboot-ebpf/src/dhcp.rs", "use netboot_userspace::x;", "only netboot-common"),
            ("xtask/src/build.rs", "use netboot_common::Mac;", "nothing of ours"),
            ("netboot-userspace/tests/a.rs", "unsafe fn f() {}", "unsafe outside"),
            ("tests/bench/main.rs", "let x = unsafe { f() };", "unsafe outside"),
            ("netboot-ebpf/src/limit.rs", "let x = unsafe { f() };", "unsafe outside"),
            ("netboot-userspace/src/api/mod.rs", "#![allow(unsafe_code)]", "unsafe_code is allowed outside"),
        ];
        for (path, text, want) in cases {
            let found = faults(path, text);
            assert!(found.len() == 1 && found[0].contains(want), "{path}: {text}: {found:?}");
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        let cases = [
            ("netboot-userspace/src/cli/serve.rs", "use crate::{dhcp, http};"),
            (
                "netboot-userspace/src/dhcp/mod.rs",
                "use crate::dhcp::machine::Machine;\nuse crate::inventory::Host;",
            ),
            ("netboot-userspace/src/uring/mod.rs", "unsafe { push() }"),
            ("netboot-userspace/src/api/mod.rs", "// unsafe, crate::dhcp\nlet x = \"unsafe crate::dhcp\";"),
            ("netboot-userspace/src/api/mod.rs", "let x = r#\"unsafe \"crate::tftp\"\"#; /* unsafe */"),
            ("netboot-userspace/src/api/mod.rs", "let quote = '\"'; // \"unsafe"),
            ("netboot-common/src/class.rs", "#[cfg(test)]\nmod tests {\n    use std::vec::Vec;\n}"),
            ("netboot-ebpf/src/limit.rs", "#[unsafe(no_mangle)]\n#[allow(unsafe_code)]"),
            ("tests/bench/programs/src/maps.rs", "#[unsafe(link_section = \"license\")]"),
            ("netboot-userspace/src/bin/netboot.rs", "use netboot_userspace::cli;"),
        ];
        for (path, text) in cases {
            assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn blanking_keeps_the_line_numbers() {
        let text = "a\n/* two\nlines */ b\n\"one\ntwo\" c\nr\"x\ny\" d";
        assert_eq!(code(text).len(), text.lines().count());
        assert_eq!(code(text)[4], " c");
    }
}

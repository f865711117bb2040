//! Followers of what changes.

use std::time::Duration;

use super::super::roles::Role;
use super::*;
use crate::inventory::events::Event;
use crate::inventory::live::Change;
use crate::inventory::revisions::{Fate, KEPT, Kind, Name};

/// A client that reads events.
pub(super) struct Follower {
    stream: TcpStream,
    read: String,
}

/// `id`, `event`, and `data` as JSON.
type Told = (String, String, Value);

impl Follower {
    pub(super) async fn new(state: &Arc<ApiState>, secret: &str, path: &str, fields: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let mut ends = Ends::of(&theirs).unwrap();
        ends.local.by_tls = true;
        tokio::spawn(serve_connection(theirs, ends, Vec::new(), None, times(), public(state.clone())));
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {secret}\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, read: String::new() }
    }

    /// The next event; `None`: it is over.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.read = rest;
                let line = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .unwrap_or_default()
                        .to_owned()
                };
                if !line("data").is_empty() {
                    return Some((line("id"), line("event"), serde_json::from_str(&line("data")).unwrap()));
                }
                continue;
            }
            self.more().await?;
        }
    }

    /// The next line of those that are JSON each; `None`: it is over.
    pub(super) async fn line(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.read.split_once('\n') {
                let (line, rest) = (line.trim().to_owned(), rest.to_owned());
                self.read = rest;
                if line.starts_with('{') {
                    return Some(serde_json::from_str(&line).unwrap());
                }
                continue;
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        let mut some = [0; 65_536];
        let count = self.stream.read(&mut some).await.unwrap();
        self.read.push_str(&String::from_utf8_lossy(&some[..count]));
        (count > 0).then_some(())
    }

    async fn expect(&mut self, event: &str) -> (String, Value) {
        let (id, told, data) = self.next().await.expect("it goes on");
        assert_eq!(told, event, "{data}");
        (id, data)
    }
}

const WATCH: &str = "/api/v1/watch";

fn site() -> (tempfile::TempDir, Arc<ApiState>, String) {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let secret = state.tokens.add("ui", Role::View, None, now()).unwrap();
    (dir, state, secret)
}

fn add(state: &ApiState, name: &str, last: u8) {
    let entry = json!({ "name": name, "macs": [Mac([2, 0, 0, 0, 0, last]).to_string()] });
    state.live.apply(Change::Add(serde_json::from_value(entry).unwrap())).unwrap();
}

/// So many changes of a machine that nobody has.
fn storm(state: &ApiState, count: usize) {
    let one = |_| (Kind::Machine, Name::Mac(MAC), Fate::Changed);
    state.live.revisions().note_all((0..count).map(one));
}

#[tokio::test]
async fn what_changes_is_told_with_its_kind_name_and_revision() {
    let (_dir, state, secret) = site();
    add(&state, "before", 1);
    let mut follower = Follower::new(&state, &secret, WATCH, "").await;
    let (_, first) = follower.expect("revision").await;
    let next = first["revision"].as_u64().unwrap() + 1;
    add(&state, "n1", 2);
    state
        .live
        .apply(Change::Patch("n1".into(), serde_json::from_str(r#"{"cmdline": "x"}"#).unwrap()))
        .unwrap();
    state.live.apply(Change::Remove("n1".into())).unwrap();
    let seen = Observation::Dhcp { kind: "ack", class: "bios", ip: None, named: Named::Unasked };
    state.machines.observe(Who::Mac(MAC), Lane::Xdp, &seen).unwrap();
    state.machines.observe(Who::Mac(MAC), Lane::Xdp, &seen).unwrap();
    let lease = crate::store::Lease {
        ip: [10, 0, 0, 9].into(),
        client: vec![1],
        mac: MAC,
        written: 0,
        expires: 9,
        hostname: String::new(),
        state: crate::store::LeaseState::Bound,
    };
    state.store.put_leases(&[lease]).unwrap();
    let profiles = vec![Profile {
        name: "other".into(),
        ..(*state.live.snapshot().profile("rescue").unwrap().clone()).clone()
    }];
    let configured = Snapshot::new(Vec::new(), profiles).unwrap();
    state.live.reconfigure(configured, |_, _| Ok(()), |_| Ok(())).unwrap();
    let mac = MAC.to_string();
    for (after, (kind, name, what)) in [
        ("host", "n1", "added"),
        ("host", "n1", "changed"),
        ("host", "n1", "removed"),
        ("machine", mac.as_str(), "added"),
        ("machine", mac.as_str(), "changed"),
        ("lease", "10.0.0.9", "changed"),
        ("profile", "install", "removed"),
        ("profile", "other", "added"),
        ("profile", "rescue", "removed"),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, data) = follower.expect("change").await;
        let revision = next + after as u64;
        assert_eq!(data, json!({ "revision": revision, "kind": kind, "name": name, "what": what }));
        assert!(id.ends_with(&format!("-{revision}")), "{id}");
    }
    assert_eq!(state.live.revisions().now().number, next + 8, "and nothing else");
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was_or_is_told_of_the_gap() {
    let (_dir, state, secret) = site();
    let mut follower = Follower::new(&state, &secret, WATCH, "").await;
    let (start, _) = follower.expect("revision").await;
    drop(follower);
    add(&state, "n1", 1);
    add(&state, "n2", 2);
    let mut follower = Follower::new(&state, &secret, WATCH, &format!("Last-Event-ID: {start}\r\n")).await;
    let (id, data) = follower.expect("change").await;
    assert_eq!(data["name"], "n1");
    let mut follower = Follower::new(&state, &secret, WATCH, &format!("Last-Event-ID: {id}\r\n")).await;
    assert_eq!(follower.expect("change").await.1["name"], "n2");
    storm(&state, KEPT);
    for (last, why) in [
        (start.as_str(), "more has changed since than is remembered"),
        ("0000000000000001-1", "the server was started anew"),
        ("nonsense", "is none of ours"),
    ] {
        let mut follower = Follower::new(&state, &secret, WATCH, &format!("Last-Event-ID: {last}\r\n")).await;
        let (id, data) = follower.expect("gap").await;
        assert!(data["reason"].as_str().unwrap().contains(why), "{data}");
        assert_eq!(id, state.live.revisions().now().to_string());
    }
    // From there it goes on.
    let last = state.live.revisions().now();
    let mut follower = Follower::new(&state, &secret, WATCH, "Last-Event-ID: x\r\n").await;
    follower.expect("gap").await;
    add(&state, "n3", 3);
    assert_eq!(follower.expect("change").await.1["revision"], last.number + 1);
}

#[tokio::test]
async fn some_kinds_alone_are_told_where_they_are_asked_for() {
    let (_dir, state, secret) = site();
    let mut follower = Follower::new(&state, &secret, &format!("{WATCH}?kinds=host,lease"), "").await;
    follower.expect("revision").await;
    storm(&state, 3);
    add(&state, "n1", 1);
    assert_eq!(follower.expect("change").await.1["kind"], "host");
    let router = public(state.clone());
    let request =
        format!("GET {WATCH}?kinds=toaster HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {secret}\r\n\r\n");
    let answer = ask_by(true, router, request).await;
    assert!(
        answer.starts_with("HTTP/1.1 400")
            && answer.contains("there are host, profile, group, machine, lease"),
        "{answer}"
    );
}

#[tokio::test]
async fn who_reads_more_slowly_than_things_change_is_told_of_the_gap_and_goes_on() {
    let (_dir, state, secret) = site();
    let mut follower = Follower::new(&state, &secret, WATCH, "").await;
    follower.expect("revision").await;
    // It does not read, until its connection holds no more and what it has not read is forgotten.
    for _ in 0..200 {
        storm(&state, KEPT);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let last = state.live.revisions().now();
    let (mut changes, mut gaps) = (0, Vec::new());
    loop {
        let (id, event, data) = follower.next().await.expect("it goes on");
        match event.as_str() {
            "change" => changes += 1,
            "gap" => gaps.push(data["reason"].as_str().unwrap().to_owned()),
            other => panic!("{other}: {data}"),
        }
        if id == last.to_string() {
            break;
        }
    }
    assert!(gaps.iter().all(|why| why.contains("more has changed since than is remembered")), "{gaps:?}");
    assert!(!gaps.is_empty() && changes < 200 * KEPT, "not all of it was kept for it");
    add(&state, "n1", 1);
    assert_eq!(follower.expect("change").await.1["revision"], last.number + 1);
}

/// Though nothing happens that it would be told.
#[tokio::test]
async fn a_token_that_is_removed_ends_what_its_holder_follows() {
    let (_dir, state, secret) = site();
    let mut changes = Follower::new(&state, &secret, WATCH, "").await;
    changes.expect("revision").await;
    state.events.publish(Event::new("host", Lane::Api, "first"));
    let mut events = Follower::new(&state, &secret, "/api/v1/events?follow=true&last=1", "").await;
    assert_eq!(events.line().await.unwrap()["text"], "first");
    state.tokens.remove("ui").unwrap();
    let (_, data) = changes.expect("cut").await;
    assert!(data["reason"].as_str().unwrap().contains("your token was removed"), "{data}");
    assert!(changes.next().await.is_none(), "it is over");
    let last = events.line().await.unwrap();
    assert_eq!((&last["kind"], &last["text"]), (&json!("cut"), &data["reason"]));
    assert!(events.line().await.is_none(), "it is over");
}

#[tokio::test]
async fn one_token_does_not_take_all_the_seats() {
    let (_dir, state, secret) = site();
    let other = state.tokens.add("other", Role::View, None, now()).unwrap();
    let mut followers = Vec::new();
    for _ in 0..8 {
        let mut follower = Follower::new(&state, &secret, WATCH, "").await;
        follower.expect("revision").await;
        followers.push(follower);
    }
    for path in [WATCH, "/api/v1/events?follow=true"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n\r\n"
        );
        let answer = ask_by(true, public(state.clone()), request).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("token ui follows 8 times"),
            "{answer}"
        );
    }
    Follower::new(&state, &other, WATCH, "").await.expect("revision").await;
    // Whoever ends gives its seat back.
    state.tokens.remove("ui").unwrap();
    for follower in &mut followers {
        follower.expect("cut").await;
        assert!(follower.next().await.is_none());
    }
    let again = state.tokens.add("ui", Role::View, None, now()).unwrap();
    Follower::new(&state, &again, WATCH, "").await.expect("revision").await;
}

/// A request has a minute in all; what goes on has no end.
#[tokio::test]
async fn what_goes_on_is_not_ended_after_a_minute() {
    let (_dir, state, secret) = site();
    let mut follower = Follower::new(&state, &secret, WATCH, "").await;
    follower.expect("revision").await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(600)).await;
    tokio::time::resume();
    add(&state, "n1", 1);
    assert_eq!(follower.expect("change").await.1["name"], "n1");
}

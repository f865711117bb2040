//! What stands before the routes: for whom, for how long, and for what it is not.

use super::super::roles::Role;
use super::super::routes::{BASE, ROUTES, Verb};
use super::rest::{Api, bearer};
use super::watch::Follower;
use super::*;
use crate::inventory::events::Event;

#[tokio::test]
async fn what_is_no_path_of_ours_is_not_found_whoever_asks() {
    let api = Api::new();
    let ours = bearer(api.secret(Role::View));
    for path in ["/favicon.ico", "/typo.ipxe", "/status/init", "/v2/", "/api", "/api/v2/hosts"] {
        for fields in ["", ours.as_str(), "Authorization: Bearer another-server-s\r\n"] {
            for by_tls in [false, true] {
                let answer = api.ask_by(by_tls, "GET", path, fields, "").await;
                assert_eq!(
                    (answer.status, answer.field("www-authenticate")),
                    (404, None),
                    "{path}: {fields}"
                );
            }
        }
    }
    assert!(api.events("refused").is_empty(), "nobody tried anything");
    let now = api.state.started.elapsed().as_secs();
    let left = super::super::tries::BURST - 1;
    assert_eq!(api.state.tries.failed([127, 0, 0, 1].into(), now), left, "it has all its tries");
}

#[tokio::test]
async fn a_token_that_came_by_plain_http_is_told_of() {
    let api = Api::new();
    for fields in [bearer(api.secret(Role::Boot)), bearer("netboot_00"), String::new()] {
        assert_eq!(api.ask_by(false, "GET", "/api/v1/status", &fields, "").await.status, 403);
    }
    let told = api.events("refused");
    assert_eq!(told.len(), 1, "of a right one alone: {told:?}");
    assert!(told[0].starts_with("token boot came by plain HTTP from 127.0.0.1: remove it"), "{told:?}");
    for _ in 0..30 {
        api.ask_by(false, "GET", "/api/v1/status", &bearer(api.secret(Role::Boot)), "").await;
    }
    assert!(api.events("refused").len() < 20, "it can't be made to fill the log");
}

/// By HTTPS; what is not closed is read on.
async fn connect(api: &Api) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut ends = Ends::of(&stream).unwrap();
    ends.local.by_tls = true;
    tokio::spawn(serve_connection(stream, ends, Vec::new(), None, times(), api.router.clone()));
    client
}

/// The body is asked for when it is known who sends it: from then on it may take its time.
#[tokio::test]
async fn a_token_that_ends_while_its_request_comes_changes_nothing() {
    let api = Api::new();
    let child = json!({ "name": "child", "role": "admin" }).to_string();
    for (path, body) in [("/api/v1/tokens", child), ("/api/v1/hosts", host("profile"))] {
        let secret = api.state.tokens.add("stolen", Role::Admin, None, now()).unwrap();
        let mut client = connect(&api).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: b\r\n{}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            bearer(&secret),
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        client.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        api.state.tokens.remove("stolen").unwrap();
        client.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    assert!(api.state.tokens.list().iter().all(|token| token.name != "child"));
    assert_eq!(api.state.live.snapshot().hosts().len(), 0);
    assert!(api.state.audit.last(9).unwrap().is_empty());
}

/// Each of them would take some hundred times its bytes.
#[tokio::test]
async fn a_batch_has_so_many_changes_and_no_more() {
    let api = Api::new();
    let batch = async |role: Role, count: usize| {
        let changes = vec![json!({ "remove": "a" }); count];
        let body = json!({ "changes": changes, "dry_run": true }).to_string();
        api.ask("POST", "/api/v1/changes", &bearer(api.secret(role)), &body).await
    };
    let too_many = batch(Role::Boot, 10_001).await;
    assert_eq!(too_many.status, 413, "{}", too_many.body);
    assert!(too_many.body.contains("it takes 10000 of one with the role boot"), "{}", too_many.body);
    assert_eq!(batch(Role::Boot, 10_000).await.status, 403, "it was read");
    assert_eq!(batch(Role::Admin, 10_001).await.status, 200);
    assert_eq!(batch(Role::Admin, 100_001).await.status, 413);
    let large = " ".repeat((2 << 20) + 1);
    for (role, status) in [(Role::Boot, 413), (Role::Admin, 400)] {
        let answer = api.ask("POST", "/api/v1/changes", &bearer(api.secret(role)), &large).await;
        assert_eq!(answer.status, status, "{role}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_was_made_is_recorded_as_made_whatever_was_answered() {
    let api = Api::new();
    // Known by its UUID alone, and never seen: there is no installation to forget.
    let uuid = "77000000-0000-4000-8000-000000000001";
    let unseen = json!({ "name": "n1", "uuid": uuid }).to_string();
    assert_eq!(api.admin("POST", "/api/v1/hosts", "", &unseen).await.status, 201);
    let patch = async |body: &str| api.admin("PATCH", "/api/v1/hosts/n1", "", body).await;
    let set = patch(r#"{"cmdline": "x", "reinstall": true}"#).await;
    assert_eq!((set.status, &set.json()["cmdline"]), (200, &json!("x")), "{}", set.body);
    assert_eq!(patch(r#"{"reinstall": true}"#).await.status, 409);
    let dry = r#"{"changes": [{"remove": "n1"}], "dry_run": true}"#;
    assert_eq!(api.admin("POST", "/api/v1/changes", "", dry).await.status, 200);
    // One of the layers below can't follow.
    api.state.live.on_change(|_| Err("the kernel's table is full".into()));
    assert_eq!(patch(r#"{"cmdline": "y"}"#).await.status, 500);
    assert_eq!(api.state.live.snapshot().host("n1").unwrap().cmdline, "y");
    let told = api.state.audit.last(9).unwrap();
    let told: Vec<_> = told.iter().map(|record| (record.status, record.made, record.what.as_str())).collect();
    assert_eq!(
        told,
        [
            (201, true, "host n1 added"),
            (200, true, "host n1 set"),
            (409, false, ""),
            (200, false, ""),
            (500, true, "stored, and not in force everywhere"),
        ]
    );
}

#[tokio::test]
async fn what_comes_to_nothing_does_not_turn_the_audit_over() {
    let api = Api::new();
    let (view, boot) = (bearer(api.secret(Role::View)), bearer(api.secret(Role::Boot)));
    let path = format!("/api/v1/machines/{}", "A".repeat(20_000));
    let tried = 150;
    for _ in 0..tried {
        assert_eq!(api.ask("DELETE", &path, &boot, "").await.status, 404);
        assert_eq!(api.ask("DELETE", &path, &view, "").await.status, 403);
    }
    let (recorded, told) = (api.state.audit.last(tried).unwrap(), api.events("refused"));
    // In each minute that this has taken.
    let most = 10 * (2 + usize::try_from(api.state.started.elapsed().as_secs() / 60).unwrap());
    for (count, longest) in [
        (recorded.len(), recorded.iter().map(|record| record.path.len()).max()),
        (told.len(), told.iter().map(String::len).max()),
    ] {
        assert!((10..=most).contains(&count), "{count}");
        assert!(longest.unwrap() < 500, "{longest:?}");
    }
    assert!(!recorded.iter().any(|record| record.made));
    // What is made is recorded all the same.
    assert_eq!(api.admin("POST", "/api/v1/hosts", "", &host("local")).await.status, 201);
    assert_eq!(api.ask("PATCH", "/api/v1/hosts/n1", &boot, r#"{"boot": "once"}"#).await.status, 200);
    assert_eq!(api.state.audit.last(1).unwrap()[0].what, "host n1 set");
}

const WORD: &str = "hunter2";

/// A site that has the word wherever a secret may be, and a machine that is booting; the names of all that there is.
async fn with_secrets(api: &Api) -> Vec<String> {
    let metadata = json!({ "root": { "password": WORD } });
    let linux = json!({
        "kernel": "http://10.9.9.9/vmlinuz", "initrd": ["http://10.9.9.9/initrd.img"], "cmdline": WORD, "metadata": metadata,
        "configs": { "generic": format!("password: {WORD}\n") },
    });
    let host = json!({
        "macs": [MAC.to_string()], "profile": "linux", "cmdline": WORD, "metadata": metadata,
        "labels": { "rack": "7" },
    });
    let group = json!({ "selector": { "rack": "7" }, "cmdline": WORD, "metadata": metadata });
    for (path, body) in [
        ("/profiles/script", json!({ "ipxe": format!("#!ipxe\n# {WORD}\nexit\n") })),
        ("/profiles/linux", linux),
        ("/groups/g", group),
        ("/hosts/n1", host),
    ] {
        let put = api.admin("PUT", &format!("{BASE}{path}"), "", &body.to_string()).await;
        assert_eq!(put.status, 201, "{path}: {}", put.body);
    }
    let (_, script) = ask(&api.router, "GET", IPXE, "", "").await;
    assert!(script.contains(WORD), "{script}");
    let boots = api.admin("GET", "/api/v1/boots", "", "").await.json();
    let id = boots[0]["id"].as_str().unwrap();
    ["n1", "linux", "script", "g", id].into_iter().map(str::to_owned).chain([MAC.to_string()]).collect()
}

#[tokio::test]
async fn what_may_be_secret_is_shown_to_administrators_alone() {
    let api = Api::new();
    let names = with_secrets(&api).await;
    let mut shown = 0;
    for route in ROUTES.iter().filter(|route| route.verb == Verb::Get && route.path != "/watch") {
        for name in &names {
            let parts = route.path.split('/').map(|part| match part {
                "{kind}" => "generic",
                part if part.starts_with('{') => name.as_str(),
                part => part,
            });
            let path = format!("{BASE}{}", parts.collect::<Vec<_>>().join("/"));
            shown += usize::from(api.admin("GET", &path, "", "").await.body.contains(WORD));
            for role in [Role::View, Role::Boot] {
                let answer = api.ask("GET", &path, &bearer(api.secret(role)), "").await;
                assert_eq!(answer.status == 403, role < route.role, "{path} as {role}: {}", answer.body);
                assert!(!answer.body.contains(WORD), "{path} as {role}: {}", answer.body);
            }
        }
    }
    assert!(shown > 20, "nothing was there to be left out: {shown}");
    // What its keys are is told, and what is changed by one who may not see all of it.
    let boot = bearer(api.secret(Role::Boot));
    let (theirs, whole) = (
        api.ask("GET", "/api/v1/hosts/n1", &boot, "").await,
        api.admin("GET", "/api/v1/hosts/n1", "", "").await,
    );
    assert_eq!(theirs.json()["metadata"], json!({ "root": { "password": "…" } }));
    assert_eq!(theirs.etag(), whole.etag());
    let bound = format!("{boot}If-Match: {}\r\n", theirs.etag());
    let set = api.ask("PATCH", "/api/v1/hosts/n1", &bound, r#"{"boot": "local"}"#).await;
    assert!(set.status == 200 && !set.body.contains(WORD), "{}", set.body);
    let batch = r#"{"changes": [{"patch": ["n1", {"boot": "once"}]}]}"#;
    let made = api.ask("POST", "/api/v1/changes", &boot, batch).await;
    assert!(made.status == 200 && !made.body.contains(WORD), "{}", made.body);
    let described = api.ask("GET", "/api/v1/openapi.json", &boot, "").await;
    assert_eq!(described.body, api.admin("GET", "/api/v1/openapi.json", "", "").await.body);
}

#[tokio::test]
async fn what_administrators_do_is_no_one_else_s_to_follow() {
    let api = Api::new();
    api.admin("POST", "/api/v1/tokens", "", r#"{"name": "ci", "role": "boot"}"#).await;
    api.ask("GET", "/api/v1/status", &bearer("netboot_00"), "").await;
    let boot = bearer(api.secret(Role::Boot));
    let told = api.ask("GET", "/api/v1/events", &boot, "").await;
    assert!(told.status == 200 && !told.body.contains("token"), "{}", told.body);
    let all = api.admin("GET", "/api/v1/events", "", "").await.body;
    assert!(all.contains("token ci added") && all.contains("tried a token"), "{all}");
    api.state.events.publish(Event::new("host", Lane::Api, "first"));
    let path = "/api/v1/events?follow=true&last=1";
    let mut follower = Follower::new(&api.state, api.secret(Role::View), path, "").await;
    assert_eq!(follower.line().await.unwrap()["text"], "first", "the last of those that it is told");
    api.admin("DELETE", "/api/v1/tokens/ci", "", "").await;
    api.state.events.publish(Event::new("host", Lane::Api, "second"));
    assert_eq!(follower.line().await.unwrap()["text"], "second");
}

/// Each change is a record that is synced; a holder that makes them without end would push all others out of the audit.
#[tokio::test]
async fn a_token_makes_changes_at_a_pace_and_reads_as_fast_as_it_likes() {
    let api = Api::new();
    let host = |name: &str| format!(r#"{{"name": "{name}", "macs": ["52:54:00:00:00:07"]}}"#);
    assert_eq!(api.admin("PUT", "/api/v1/hosts/n1", "", &host("n1")).await.status, 201);
    // As one that is further ahead than this takes.
    let now = u64::try_from(api.state.started.elapsed().as_nanos()).unwrap();
    (0..60).for_each(|second| while api.state.paces.admit("token admin", now + second * 1_000_000_000) {});
    let refused = api.admin("DELETE", "/api/v1/hosts/n1", "", "").await;
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")), "{}", refused.body);
    assert!(refused.body.contains("POST /api/v1/changes"), "{}", refused.body);
    assert_eq!(api.admin("GET", "/api/v1/hosts/n1", "", "").await.status, 200, "nothing was changed");
    // Another holder, and who is at the machine itself, are not held up by it.
    let other = bearer(&api.state.tokens.add("other", Role::Admin, None, crate::sys::clock::now()).unwrap());
    assert_eq!(api.ask("DELETE", "/api/v1/hosts/n1", &other, "").await.status, 204);
    let control = control(api.state.clone());
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n1", "", &host("n1")).await.0, 201);
}

//! The routes, over a real connection that was handed over with bytes read already.
#![allow(clippy::unwrap_used)]

mod boots;
use std::time::Duration;

use netboot_common::Mac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod guarded;
mod leases;
mod rest;
mod watch;

use super::*;
use crate::image::protocol::{Disk, OnFailure};
use crate::inventory::events::Lane;
use crate::inventory::machines::{Policy, Who};
use crate::inventory::observed::{Named, Observation};
use crate::inventory::{Install, Profile, ProfileBoot, Snapshot};
use crate::sys::clock::now;

pub(super) const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

struct Nothing;

impl Site for Nothing {
    fn status(&self) -> Value {
        json!({ "layer": "test" })
    }

    fn reload(&self) -> Result<Value, String> {
        Err("netboot.yaml:3:1: unknown key".into())
    }

    fn observed(&self) -> Value {
        json!([{ "mac": "52:54:00:00:00:01" }])
    }

    /// Of one address that is leased.
    fn release(&self, address: std::net::IpAddr) -> Result<bool, String> {
        Ok(address == std::net::IpAddr::from([10, 0, 0, 9]))
    }

    fn assets(&self) -> Option<std::path::PathBuf> {
        None
    }

    fn cache(&self) -> Option<Router> {
        None
    }

    fn explain(&self, mac: Mac, class: netboot_common::class::Class) -> Value {
        let levels = json!([
            { "level": "site", "settings": { "options": { "interface-mtu": "1500" } } },
            { "level": "subnet 10.0.0.0/24", "settings": { "options": { "domain-name": "lab" } } },
        ]);
        json!({ "interfaces": [{ "levels": levels }], "asked": [mac.to_string(), class.name()] })
    }
}

pub(super) fn policy() -> Policy {
    Policy { default_profile: Some("install".into()), ..Policy::default() }
}

pub(super) fn state(dir: &std::path::Path) -> Arc<ApiState> {
    state_where(dir, policy())
}

pub(super) fn state_where(dir: &std::path::Path, policy: Policy) -> Arc<ApiState> {
    let store = Arc::new(Store::open(dir).unwrap());
    let install = Install {
        image: "disk.img".into(),
        sha256: "0".repeat(64),
        size: Some(7),
        disk: Disk::Only,
        on_failure: OnFailure::Reboot,
    };
    let kernel = |cmdline: &str| ProfileBoot::Linux {
        kernel: "vmlinuz".into(),
        initrd: vec!["initrd.img".into()],
        cmdline: cmdline.into(),
    };
    let profile = |name: &str, install| Profile {
        name: name.into(),
        boot: kernel("quiet"),
        install,
        origin: "test:1".into(),
        ..Profile::default()
    };
    let profiles = vec![profile("install", Some(install)), profile("rescue", None)];
    let configured = Snapshot::new(Vec::new(), profiles).unwrap();
    let (live, _) = crate::inventory::Live::open(store.clone(), configured, |_| Ok(())).unwrap();
    let (live, events) = (Arc::new(live), Arc::new(Events::default()));
    let machines = Machines::open(store.clone(), events.clone(), live.clone(), policy).unwrap();
    let state =
        ApiState::new(store, live, Arc::new(machines), events, Arc::new(Nothing), vec!["note".into()]);
    Arc::new(state.unwrap())
}

fn times() -> Times {
    Times::lingering(Duration::from_secs(60))
}

/// As this process itself asks.
pub(super) fn control(state: Arc<ApiState>) -> Router {
    super::control(state).layer(axum::Extension(axum::extract::ConnectInfo(auth::Peer::own())))
}

/// Sends `request` with its first bytes handed over as read; the whole answer.
pub(super) async fn ask_raw(router: Router, request: String) -> String {
    ask_by(false, router, request).await
}

/// The same, `by_tls` or not.
async fn ask_by(by_tls: bool, router: Router, request: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (read, rest) = request.as_bytes().split_at(request.len() / 2);
    let mut ends = Ends::of(&stream).unwrap();
    ends.local.by_tls = by_tls;
    let times = times();
    let server = tokio::spawn(serve_connection(stream, ends, read.to_vec(), None, times, router));
    client.write_all(rest).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    // It is waited for until it closes as well.
    drop(client);
    assert!(server.await.unwrap().unwrap().is_none(), "it is closed");
    answer
}

pub(super) async fn ask(
    router: &Router,
    method: &str,
    path: &str,
    bearer: &str,
    body: &str,
) -> (u16, String) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: boot:8080\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask_raw(router.clone(), request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn host(boot: &str) -> String {
    json!({ "name": "n1", "macs": [MAC.to_string()], "boot": boot }).to_string()
}

/// The one-time token in a script.
fn token(script: &str) -> String {
    let word = script.split_whitespace().find_map(|word| word.strip_prefix("netboot.token="));
    word.unwrap_or_else(|| panic!("no token in {script}")).to_owned()
}

const IPXE: &str = "/ipxe?uuid=u&mac=52-54-00-00-00-01&domain=&hostname=&serial=&arch=x86_64&platform=efi";

#[tokio::test]
async fn a_machine_installs_itself_and_is_not_installed_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let (public, control) = (public(state.clone()), control(state.clone()));
    assert_eq!(ask(&public, "GET", "/boot.ipxe", "", "").await, (200, script::CHAIN.to_owned()));
    let (status, reason) = ask(&public, "GET", IPXE, "", "").await;
    assert_eq!(status, 404, "{reason}");
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host("profile")).await.0, 201);

    let (_, script) = ask(&public, "GET", IPXE, "", "").await;
    assert!(script.contains("kernel http://boot:8080/assets/vmlinuz?boot="), "{script}");
    assert!(script.contains(" initrd=initrd.img quiet BOOTIF=01-52-54"), "{script}");
    // Our agent resolves no names.
    assert!(script.contains("netboot.server=http://127.0.0.1:"), "{script}");
    let hello = json!({ "token": token(&script), "mac": MAC.to_string() }).to_string();
    let (status, session) = ask(&public, "POST", "/agent/v1/session", "", &hello).await;
    assert_eq!(status, 200, "{session}");
    let session: Value = serde_json::from_str(&session).unwrap();
    assert_eq!(session["name"], "n1");
    let bearer = session["token"].as_str().unwrap();
    let (status, again) = ask(&public, "POST", "/agent/v1/session", "", &hello).await;
    assert_eq!(status, 200, "the first answer may have been lost");
    assert!(again.contains(bearer), "the same session: {again}");

    let (_, instructions) = ask(&public, "GET", "/agent/v1/instructions", bearer, "").await;
    let instructions: Value = serde_json::from_str(&instructions).unwrap();
    assert_eq!(instructions["action"], "install");
    let image = instructions["image"].as_str().unwrap();
    assert!(image.starts_with("http://127.0.0.1:") && image.ends_with("/assets/disk.img"), "{image}");
    image.parse::<crate::image::http::Url>().unwrap();
    let (status, again) = ask(&public, "POST", "/agent/v1/session", "", &hello).await;
    assert_eq!(status, 403);
    assert!(again.contains("used already"), "{again}");

    let report = |step: &str, status: &str| {
        json!({ "step": step, "status": status, "bytes": 3, "total": 7, "message": "m" }).to_string()
    };
    for (step, status, want) in [
        ("start", "started", "agent"),
        ("write", "progress", "installing"),
        ("write", "failed", "failed"),
        ("write", "started", "installing"),
        ("head", "done", "installed"),
    ] {
        let (code, body) = ask(&public, "POST", "/agent/v1/report", bearer, &report(step, status)).await;
        assert_eq!(code, 204, "{body}");
        assert_eq!(state.machines.machine(MAC).unwrap().state.name(), want, "{step} {status}");
    }
    let (_, instructions) = ask(&public, "GET", "/agent/v1/instructions", bearer, "").await;
    assert_eq!(instructions, r#"{"action":"reboot"}"#);
    assert_eq!(ask(&public, "GET", IPXE, "", "").await.1, "#!ipxe\nexit 1\n");
    assert_eq!(state.machines.machine(MAC).unwrap().state.name(), "local");

    let patch = r#"{"reinstall": true}"#;
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", patch).await.0, 200);
    token(&ask(&public, "GET", IPXE, "", "").await.1);
}

#[tokio::test]
async fn a_host_known_by_its_uuid_is_no_stranger() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let (public, control) = (public(state.clone()), control(state.clone()));
    let uuid = "77000000-0000-4000-8000-000000000001";
    let host = json!({ "name": "n1", "uuid": uuid, "profile": "rescue", "cmdline": "of=n1" }).to_string();
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    let again = r#"{"reinstall": true}"#;
    let (status, text) = ask(&control, "PATCH", "/api/v1/hosts/n1", "", again).await;
    assert!(status == 409 && text.contains("no machine of n1 was seen yet"), "{text}");

    let ipxe = |uuid: &str| format!("/ipxe?uuid={uuid}&mac=52-54-00-00-00-01&platform=efi");
    assert_eq!(ask(&public, "GET", &ipxe(""), "", "").await.0, 404, "a stranger");
    let (_, script) = ask(&public, "GET", &ipxe(uuid), "", "").await;
    assert!(script.contains("# n1: profile rescue") && script.contains("of=n1"), "{script}");
    let install = r#"{"profile": "install"}"#;
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", install).await.0, 200);
    let hello =
        json!({ "token": token(&ask(&public, "GET", &ipxe(uuid), "", "").await.1), "mac": MAC.to_string() });
    let (_, session) = ask(&public, "POST", "/agent/v1/session", "", &hello.to_string()).await;
    let session: Value = serde_json::from_str(&session).unwrap();
    assert_eq!(session["name"], "n1");
    let done = r#"{"step": "head", "status": "done"}"#;
    let bearer = session["token"].as_str().unwrap();
    assert_eq!(ask(&public, "POST", "/agent/v1/report", bearer, done).await.0, 204);
    assert_eq!(ask(&public, "GET", &ipxe(uuid), "", "").await.1, "#!ipxe\nexit 1\n");
    for name in ["n1", "52:54:00:00:00:01"] {
        let (_, text) = ask(&control, "GET", &format!("/api/v1/explain/{name}"), "", "").await;
        let explained: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&explained["host"]["name"], &explained["boots"]), (&json!("n1"), &json!("its own disk")));
    }
    let (_, text) = ask(&control, "GET", "/api/v1/hosts/n1", "", "").await;
    assert!(text.contains(r#""state":"local""#), "{text}");
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", again).await.0, 200);
    token(&ask(&public, "GET", &ipxe(uuid), "", "").await.1);
}

#[tokio::test]
async fn nothing_is_installed_that_can_not_be_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let state = state_where(dir.path(), Policy { boot_unknown: true, ..policy() });
    let public = public(state.clone());
    let token = state.grants.issue(MAC, [127, 0, 0, 1].into(), None, now()).unwrap();
    let session = state.grants.redeem(&token, MAC, [127, 0, 0, 1].into(), None, now()).unwrap().session;
    let done = r#"{"step": "head", "status": "done"}"#;
    state.machines.limit_strangers(0);
    for (method, path, body) in [("GET", IPXE, ""), ("POST", "/agent/v1/report", done)] {
        let (status, text) = ask(&public, method, path, &session, body).await;
        assert!(status == 503 && text.contains("too many such machines"), "it tries again: {text}");
    }
    state.machines.limit_strangers(1);
    assert_eq!(ask(&public, "POST", "/agent/v1/report", &session, done).await.0, 204);
    assert!(state.machines.machine(MAC).unwrap().installed.is_some());
}

#[tokio::test]
async fn who_is_not_the_machine_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let public = public(state.clone());
    let hello = |token: &str, mac: &str| json!({ "token": token, "mac": mac }).to_string();
    let elsewhere = state.grants.issue(MAC, [10, 9, 9, 9].into(), None, now()).unwrap();
    let here = state.grants.issue(MAC, [127, 0, 0, 1].into(), None, now()).unwrap();
    let mac = MAC.to_string();
    let cases = [
        (hello("00", &mac), 403, "not one of ours"),
        (hello(&elsewhere, &mac), 403, "another address"),
        (hello(&here, "52:54:00:00:00:02"), 403, "another machine"),
        (hello(&here, "nonsense"), 400, "not a MAC address"),
        ("{}".to_owned(), 400, "missing field"),
        ("x".repeat(70 << 10), 413, "length limit"),
    ];
    for (body, want, words) in cases {
        let (status, text) = ask(&public, "POST", "/agent/v1/session", "", &body).await;
        assert_eq!(status, want, "{text}");
        assert!(text.contains(words), "{text}");
    }
    for (method, path) in [("GET", "/agent/v1/instructions"), ("POST", "/agent/v1/report")] {
        let (status, text) = ask(&public, method, path, &here, "").await;
        assert_eq!(status, 401, "{text}");
    }
    let (events, _) = state.events.follow(KEPT_ALL);
    assert_eq!(events.iter().filter(|event| event.kind == "refused").count(), 3);
    let (status, text) = ask(&public, "GET", "/api/v1/hosts", "", "").await;
    assert!(status == 403 && text.contains("use https://"), "the API is not for plain HTTP: {text}");
    assert_eq!(ask(&public, "GET", "/ipxe?mac=zz", "", "").await.0, 400);
    assert_eq!(ask(&public, "GET", "/ipxe", "", "").await.0, 400);
}

const KEPT_ALL: usize = crate::inventory::events::KEPT;

#[tokio::test]
async fn control_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let control = control(state.clone());
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n1", "", &host("profile")).await.0, 201);
    assert_eq!(ask(&control, "PUT", "/api/v1/hosts/n1", "", &host("profile")).await.0, 200);
    let cases = [
        ("POST", "/api/v1/hosts", host("profile"), 409, "there already, from store"),
        ("POST", "/api/v1/hosts", host("sometimes"), 400, "unknown variant `sometimes`"),
        ("POST", "/api/v1/hosts", r#"{"name":"x","macs":["y"]}"#.to_owned(), 400, "not a MAC address"),
        ("PATCH", "/api/v1/hosts/n1", r#"{"profile":"nope"}"#.to_owned(), 409, "there are: install, rescue"),
        (
            "PATCH",
            "/api/v1/hosts/n1",
            r#"{"set_options":{"ntp-servers":["x"]}}"#.to_owned(),
            400,
            "options.ntp-servers: \\\"x\\\" is not an IPv4 address",
        ),
        (
            "POST",
            "/api/v1/hosts",
            r#"{"name":"x","macs":["52:54:00:00:00:09"],"options":{"252":7}}"#.to_owned(),
            400,
            "options.252: option 252 has no type here",
        ),
        ("PATCH", "/api/v1/hosts/n1", r#"{"colour":"red"}"#.to_owned(), 400, "unknown field `colour`"),
        ("PATCH", "/api/v1/hosts/n2", "{}".to_owned(), 404, "there is no host n2"),
        ("PUT", "/api/v1/hosts/n2", host("profile"), 400, "name: \\\"n1\\\" in the body, n2 in the path"),
        ("PUT", "/api/v1/groups/g", r#"{"name":7}"#.to_owned(), 400, "name: 7 in the body, g in the path"),
        ("PUT", "/api/v1/profiles/p", "[]".to_owned(), 400, "the request's JSON is no object"),
        ("DELETE", "/api/v1/hosts/n2", String::new(), 404, "there is no host n2"),
        ("GET", "/api/v1/machines/n1", String::new(), 404, "was not seen yet"),
        ("GET", "/api/v1/profiles/x", String::new(), 404, "there is no profile x"),
        ("GET", "/nothing", String::new(), 404, "no such path"),
    ];
    for (method, path, body, want, words) in cases {
        let (status, text) = ask(&control, method, path, "", &body).await;
        assert_eq!(status, want, "{method} {path}: {text}");
        assert!(text.contains(words), "{method} {path}: {text}");
    }
    let (_, status) = ask(&control, "GET", "/api/v1/status", "", "").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["layer"], &status["hosts"], &status["notices"]),
        (&json!("test"), &json!(1), &json!(["note"]))
    );
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", r#"{"ip":"10.0.0.7"}"#).await.0, 200);
    assert_eq!(state.live.snapshot().host("n1").unwrap().ip, Some([10, 0, 0, 7].into()));
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", r#"{"ip":null}"#).await.0, 200);
    assert_eq!(state.live.snapshot().host("n1").unwrap().ip, None);
    let options = r#"{"options":{"42":["10.0.0.1"],"ipv6-only-preferred":1800},"boot_files":{"bios":"x"}}"#;
    assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", options).await.0, 200);
    let less = r#"{"set_options":{"ntp-servers":null},"set_vendor_options":{"1":"u8:7"}}"#;
    let (_, shown) = ask(&control, "PATCH", "/api/v1/hosts/n1", "", less).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["options"], json!({ "ipv6-only-preferred": "1800" }));
    assert_eq!(
        (&shown["vendor_options"], &shown["boot_files"]),
        (&json!({ "1": "u8:7" }), &json!({ "bios": "x" }))
    );
    let (_, events) = ask(&control, "GET", "/api/v1/events?last=2", "", "").await;
    assert!(events.ends_with("}\n") && events.contains("\"host n1 set\""), "{events}");
    assert!(events.contains("uid 0: PATCH /api/v1/hosts/n1, 200: host n1 set\""), "{events}");
}

#[tokio::test]
async fn many_changes_are_made_as_one_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let control = control(state.clone());
    let add =
        |i: u8| json!({ "add": { "name": format!("n{i}"), "macs": [format!("52:54:00:00:00:{i:02x}")] } });
    let patch = |name: &str| json!({ "patch": [name, { "boot": "once", "labels": { "rack": "7" } }] });
    let batch = |changes: Value, more: &str| format!("{{\"changes\": {changes}{more}}}");
    let send = async |body: String| {
        let (status, text) = ask(&control, "POST", "/api/v1/changes", "", &body).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };

    let wrong = json!([add(1), patch("nobody"), add(2)]);
    let (status, answer) = send(batch(wrong.clone(), "")).await;
    assert_eq!((status, &answer["made"], &answer["hosts"]), (409, &json!(false), &json!([])));
    let refused = json!([{ "index": 1, "name": "nobody", "reasons": ["there is no host nobody"] }]);
    assert_eq!(
        (&answer["refused"], &answer["error"]),
        (&refused, &json!("nothing was changed: 1 of 3 changes can't be made"))
    );
    let (status, answer) = send(batch(wrong.clone(), ", \"dry_run\": true")).await;
    assert_eq!((status, &answer["made"], &answer["hosts"][1]["what"]), (200, &json!(false), &json!("added")));
    assert_eq!(state.live.snapshot().hosts().len(), 0);

    let (status, answer) = send(batch(wrong, ", \"fitting\": true")).await;
    assert_eq!((status, &answer["made"], &answer["refused"]), (200, &json!(true), &refused));
    let (status, answer) =
        send(batch(json!([patch("n1"), { "remove": "n2" }, { "put": add(3)["add"] }]), "")).await;
    assert_eq!((status, &answer["error"]), (200, &Value::Null));
    assert_eq!(answer["hosts"][0]["fields"]["labels.rack"], json!({ "old": null, "new": "7" }));
    let names: Vec<String> = state.live.snapshot().hosts().map(|host| host.name.clone()).collect();
    assert_eq!(names, ["n1", "n3"]);
    let (_, events) = ask(&control, "GET", "/api/v1/events", "", "").await;
    for text in ["hosts n[1-2] added", "host n1 set", "host n2 removed", "host n3 added"] {
        assert!(events.contains(text), "{text}: {events}");
    }
    // More than the two megabytes that other requests may have.
    let long = json!({ "put": { "name": "long", "macs": ["52:54:00:00:00:09"], "labels": { "x": "y".repeat(3 << 20) } } });
    assert_eq!(send(batch(json!([long]), "")).await.0, 200);
    assert_eq!(send("{\"changes\": [{\"frobnicate\": 1}]}".to_owned()).await.0, 400);
}

#[tokio::test]
async fn boot_once_installs_again_once() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let (public, control) = (public(state.clone()), control(state.clone()));
    ask(&control, "POST", "/api/v1/hosts", "", &host("profile")).await;
    let rescue = r#"{"profile":"rescue","boot":"once"}"#;
    for _ in 0..2 {
        assert_eq!(ask(&control, "PATCH", "/api/v1/hosts/n1", "", rescue).await.0, 200);
        for lost in [true, false] {
            let (_, script) = ask(&public, "GET", IPXE, "", "").await;
            assert!(script.contains("vmlinuz") && !script.contains("token"), "{lost}: {script}");
        }
        let kernel = Observation::Kernel { file: "/assets/vmlinuz".into(), bytes: 1 };
        state.machines.observe(Who::Mac(MAC), Lane::Http, &kernel).unwrap();
        assert_eq!(ask(&public, "GET", IPXE, "", "").await.1, "#!ipxe\nexit 1\n");
    }
}

#[tokio::test]
async fn a_connection_closes_after_its_answer_and_readiness_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let request = || "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
    let answer = ask_raw(public(state.clone()), request()).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable"), "{answer}");
    // The next request may be for a file, which these routes don't know: the client has to come anew.
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    state.set_ready();
    let answer = ask_raw(public(state), request()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn the_script_of_a_machine_is_for_its_address_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let (public, control) = (public(state.clone()), control(state.clone()));
    let reserved = json!({ "name": "n1", "macs": [MAC.to_string()], "ip": "10.0.0.9" }).to_string();
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &reserved).await.0, 201);
    let (status, text) = ask(&public, "GET", IPXE, "", "").await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("127.0.0.1 asked for the script of 52:54:00:00:00:01"), "{text}");
    assert!(state.machines.machine(MAC).is_none(), "nothing was observed of the machine itself");
    let leased = Observation::Dhcp {
        kind: "ack",
        class: "bios",
        ip: Some([127, 0, 0, 1].into()),
        named: Named::Unasked,
    };
    state.machines.observe(Who::Mac(MAC), Lane::Xdp, &leased).unwrap();
    assert_eq!(ask(&public, "GET", IPXE, "", "").await.0, 200, "the address that it was given last");
}

#[tokio::test]
async fn a_machine_is_explained_by_its_name_or_its_mac() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let control = control(state);
    let (first, second) = ("52:54:00:00:00:01", "52:54:00:00:00:02");
    let two_ports = json!({ "name": "n1", "macs": [first, second], "boot": "profile" }).to_string();
    ask(&control, "POST", "/api/v1/hosts", "", &two_ports).await;
    for (name, mac) in [("n1", first), (first, first), (second, second)] {
        let path = format!("/api/v1/explain/{name}?class=efi-x64");
        let (status, text) = ask(&control, "GET", &path, "", "").await;
        assert_eq!(status, 200, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["asked"], json!([mac, "efi-x64"]));
        assert_eq!((&value["host"]["name"], &value["host"]["origin"]), (&json!("n1"), &json!("store")));
        assert_eq!(value["boots"], "profile install");
    }
    let (status, text) = ask(&control, "GET", "/api/v1/explain/n1?class=toaster", "", "").await;
    assert!(status == 400 && text.contains("there are plain, bios, efi-ia32"), "{text}");
}

#[tokio::test]
async fn the_control_socket_is_its_owners_and_taken_over_only_when_dead() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/control.sock");
    let first = bind_control(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(bind_control(&path).unwrap_err(), ControlError::InUse { .. }));
    drop(first);
    assert!(path.exists());
    drop(bind_control(&path).unwrap());
    let listener = bind_control(&path).unwrap();
    serve_control(listener, &path, Router::new(), async {}).await.unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind_control(&path).unwrap_err(), ControlError::Occupied { .. }));
}

//! The API by HTTPS: who may do what, and changes that meet.

use std::collections::BTreeSet;

use super::super::audit::Record;
use super::super::roles::Role;
use super::super::routes::{BASE, ROUTES, Route, Verb};
use super::leases::lease;
use super::*;
use crate::inventory::Host;
use crate::inventory::group::Groups;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn etag(&self) -> &str {
        self.field("etag").unwrap_or_else(|| panic!("no ETag: {} {}", self.head, self.body))
    }
}

/// A site whose API has a token for each role.
pub(super) struct Api {
    pub(super) state: Arc<ApiState>,
    pub(super) router: Router,
    secrets: Vec<(Role, String)>,
    _dir: tempfile::TempDir,
}

impl Api {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let secret = |role: Role| (role, state.tokens.add(role.name(), role, None, now()).unwrap());
        let secrets = Role::ALL.into_iter().map(secret).collect();
        Self { router: public(state.clone()), state, secrets, _dir: dir }
    }

    pub(super) fn secret(&self, role: Role) -> &str {
        &self.secrets.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// By HTTPS, with these fields.
    pub(super) async fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        self.ask_by(true, method, path, fields, body).await
    }

    pub(super) async fn ask_by(
        &self,
        by_tls: bool,
        method: &str,
        path: &str,
        fields: &str,
        body: &str,
    ) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = ask_by(by_tls, self.router.clone(), request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// As an administrator, with more fields.
    pub(super) async fn admin(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        self.ask(method, path, &format!("{}{fields}", bearer(self.secret(Role::Admin))), body).await
    }

    pub(super) fn events(&self, kind: &str) -> Vec<String> {
        let (events, _) = self.state.events.follow(KEPT_ALL);
        events.iter().filter(|event| event.kind == kind).map(|event| event.text.clone()).collect()
    }
}

pub(super) fn bearer(secret: &str) -> String {
    format!("Authorization: Bearer {secret}\r\n")
}

/// A path of this route, of things that are not there.
pub(super) fn path(route: &Route) -> String {
    let parts = route.path.split('/').map(|part| if part.starts_with('{') { "10.9.9.9" } else { part });
    format!("{BASE}{}", parts.collect::<Vec<_>>().join("/"))
}

#[tokio::test]
async fn every_route_is_for_its_role_and_those_above_it_alone() {
    let api = Api::new();
    let description = api.admin("GET", "/api/v1/openapi.json", "", "").await.json();
    // Each answer is one that is described, and of the type that is.
    let described = |route: &Route, answer: &Answer| {
        let (verb, status) = (route.verb.name().to_lowercase(), answer.status.to_string());
        let described = &description["paths"][route.path][verb.as_str()]["responses"][status.as_str()];
        assert!(described.is_object(), "{verb} {}: {status} {}", route.path, answer.body);
        let types = described["content"].as_object().and_then(|types| types.keys().next().cloned());
        assert_eq!(answer.field("content-type").map(str::to_owned), types, "{verb} {}: {status}", route.path);
    };
    for route in ROUTES {
        let (method, path) = (route.verb.name(), path(route));
        let plain = api.ask_by(false, method, &path, &bearer(api.secret(Role::Admin)), "").await;
        assert_eq!(plain.status, 403, "{method} {path} by plain HTTP: {}", plain.body);
        assert!(plain.body.contains("use https://"), "{}", plain.body);
        let nobody = api.ask(method, &path, "", "").await;
        assert_eq!(nobody.status, 401, "{method} {path} without a token: {}", nobody.body);
        assert_eq!(nobody.field("www-authenticate"), Some("Bearer realm=\"netboot\""));
        described(route, &nobody);
        for role in Role::ALL {
            // What goes on would not end; its role is looked at before its query.
            let path = if path.ends_with("/watch") { format!("{path}?kinds=none") } else { path.clone() };
            let answer = api.ask(method, &path, &bearer(api.secret(role)), "").await;
            let words = format!("needs the role {}: token {role} has the role {role}", route.role);
            let is_refused = answer.status == 403 && answer.body.contains(&words);
            assert_eq!(
                is_refused,
                role < route.role,
                "{method} {path} as {role}: {} {}",
                answer.status,
                answer.body
            );
            described(route, &answer);
            // It got as far as its handler.
            let went_on = [200, 204, 400, 404, 409].contains(&answer.status);
            assert_eq!(
                went_on,
                role >= route.role,
                "{method} {path} as {role}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_route_is_nobodys_to_know_of() {
    let api = Api::new();
    for (method, path) in [
        ("GET", "/api/v1"),
        ("GET", "/api/v1/"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/hosts/a/b"),
        ("POST", "/api/v1/status"),
    ] {
        assert_eq!(api.ask(method, path, "", "").await.status, 401, "{path}");
        assert_eq!(api.ask_by(false, method, path, "", "").await.status, 403, "{path}");
        let known = api.admin(method, path, "", "").await;
        assert_eq!(known.status, if method == "POST" { 405 } else { 404 }, "{path}: {}", known.body);
    }
    // What machines ask is as it was.
    assert_eq!(api.ask("GET", "/boot.ipxe", "", "").await.status, 200);
    assert_eq!(api.ask_by(false, "GET", "/healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn the_control_socket_is_for_root_and_its_owner() {
    let api = Api::new();
    let status = async |router: Router| ask(&router, "GET", "/api/v1/hosts", "", "").await.0;
    assert_eq!(status(control(api.state.clone())).await, 200);
    // Without the system's word on who it is, nobody.
    assert_eq!(status(super::super::control(api.state.clone())).await, 403);
    let other = axum::extract::ConnectInfo(auth::Peer::of(u32::MAX - 1));
    let theirs = super::super::control(api.state.clone()).layer(axum::Extension(other));
    assert_eq!(status(theirs).await, 403);
}

#[tokio::test]
async fn a_removed_or_expired_token_opens_nothing() {
    let api = Api::new();
    let expired = api.state.tokens.add("old", Role::Admin, Some(60), now() - 61).unwrap();
    let answer = api.ask("GET", "/api/v1/status", &bearer(&expired), "").await;
    assert_eq!(
        (answer.status, answer.field("www-authenticate")),
        (401, Some("Bearer realm=\"netboot\", error=\"invalid_token\""))
    );
    let made =
        api.admin("POST", "/api/v1/tokens", "", r#"{"name": "new", "role": "view", "expires_in": 60}"#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made = made.json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(api.ask("GET", "/api/v1/status", &bearer(&secret), "").await.status, 200);
    let listed = api.admin("GET", "/api/v1/tokens", "", "").await;
    assert!(listed.body.contains("\"new\"") && !listed.body.contains(&secret), "{}", listed.body);
    assert_eq!(api.admin("DELETE", "/api/v1/tokens/new", "", "").await.status, 204);
    assert_eq!(api.ask("GET", "/api/v1/status", &bearer(&secret), "").await.status, 401);
    for refused in
        [r#"{"name": "view", "role": "view"}"#, r#"{"name": "x", "role": "root"}"#, r#"{"name": "x"}"#]
    {
        assert!(
            [400, 409].contains(&api.admin("POST", "/api/v1/tokens", "", refused).await.status),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn who_tries_tokens_is_barred_and_told_of() {
    let api = Api::new();
    let (good, bad) = (bearer(api.secret(Role::View)), bearer("netboot_00"));
    let (began, mut tried) = (Instant::now(), 0);
    loop {
        match api.ask("GET", "/api/v1/status", &bad, "").await.status {
            401 => tried += 1,
            429 => break,
            other => panic!("{other}"),
        }
        assert_eq!(api.ask("GET", "/api/v1/status", &good, "").await.status, 200, "after {tried}");
    }
    // One more for each six seconds that this may have taken.
    let more = began.elapsed().as_secs() / 6 + 1;
    assert!((10..=10 + more).contains(&tried), "{tried}");
    // So many that it is barred for longer than this takes.
    let now = api.state.started.elapsed().as_secs();
    (0..100).for_each(|_| assert!(api.state.tries.failed([127, 0, 0, 1].into(), now) < 10));
    let barred = api.ask("GET", "/api/v1/status", &bad, "").await;
    assert_eq!(barred.status, 429, "{}", barred.body);
    assert!(barred.field("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    let status = api.ask("GET", "/api/v1/status", &good, "").await.status;
    assert_eq!(status, 200, "who has a right one is not locked out by others of the same address");
    let told = api.events("refused");
    assert_eq!(told.len() as u64, tried, "no more than it has tries: {told:?}");
    assert!(told[9].contains("127.0.0.1 tried a token that is none"), "{told:?}");
    assert!(!told.concat().contains("netboot_"), "what was tried is in no event");
}

#[tokio::test]
async fn a_role_that_boots_machines_changes_nothing_else_of_them() {
    let api = Api::new();
    assert_eq!(api.admin("POST", "/api/v1/hosts", "", &host("local")).await.status, 201);
    let boot = bearer(api.secret(Role::Boot));
    let patch = async |body: &str| api.ask("PATCH", "/api/v1/hosts/n1", &boot, body).await;
    let batch = async |change: Value| {
        api.ask("POST", "/api/v1/changes", &boot, &json!({ "changes": [change] }).to_string()).await
    };
    assert_eq!(patch(r#"{"boot": "once"}"#).await.json()["boot"], "once");
    assert_eq!(patch(r#"{"reinstall": true}"#).await.status, 200);
    assert_eq!(batch(json!({ "patch": ["n1", { "boot": "local" }] })).await.status, 200);
    for refused in [
        patch(r#"{"boot": "once", "profile": "rescue"}"#).await,
        patch(r#"{"cmdline": "init=/bin/sh"}"#).await,
        batch(json!({ "patch": ["n1", { "boot": "once", "ip": null }] })).await,
        batch(json!({ "remove": "n1" })).await,
        batch(json!({ "merge": ["n2", { "boot": "once" }] })).await,
    ] {
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(
            refused.body.contains("needs the role admin: token boot has the role boot"),
            "{}",
            refused.body
        );
    }
    assert_eq!(api.state.live.snapshot().host("n1").unwrap().boot, crate::inventory::Boot::Local);
}

#[tokio::test]
async fn every_change_is_in_the_audit_with_who_made_it() {
    let api = Api::new();
    api.admin("POST", "/api/v1/hosts", "", &host("profile")).await;
    api.admin("PUT", "/api/v1/hosts/n2", "", "{}").await;
    let boot = bearer(api.secret(Role::Boot));
    api.ask("PATCH", "/api/v1/hosts/n1", &boot, r#"{"boot": "once"}"#).await;
    api.ask("DELETE", "/api/v1/hosts/n1", &boot, "").await;
    api.admin("GET", "/api/v1/hosts", "", "").await;
    let batch = json!({ "changes": [{ "remove": "n1" }] }).to_string();
    let own = control(api.state.clone());
    assert_eq!(ask(&own, "POST", "/api/v1/changes", "", &batch).await.0, 200);
    let audit = api.admin("GET", "/api/v1/audit?last=9", "", "").await.json();
    let records: Vec<Record> = serde_json::from_value(audit).unwrap();
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.who.as_str(), record.method.as_str(), record.status, record.what.as_str()))
        .collect();
    let uid = records[3].who.clone();
    assert_eq!(
        told,
        [
            ("token admin", "POST", 201, "host n1 added"),
            ("token admin", "PUT", 400, ""),
            ("token boot", "PATCH", 200, "host n1 set"),
            (uid.as_str(), "POST", 200, "hosts n1 removed"),
        ]
    );
    assert!(uid.starts_with("uid ") && records[3].address.is_none(), "{records:?}");
    assert_eq!((records[0].address.as_deref(), records[0].role), (Some("127.0.0.1"), Some(Role::Admin)));
    assert!(records[0].time > 1_000_000_000_000);
    let events = api.events("audit");
    assert_eq!(events[2], "token boot: PATCH /api/v1/hosts/n1, 200: host n1 set");
    assert!(api.events("refused")[0].contains("DELETE /api/v1/hosts/n1 needs the role admin"));
}

#[tokio::test]
async fn a_change_is_made_and_recorded_though_its_client_is_gone() {
    let api = Api::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut ends = Ends::of(&stream).unwrap();
    ends.local.by_tls = true;
    let body = host("profile");
    let request = format!(
        "POST /api/v1/hosts HTTP/1.1\r\nHost: b\r\n{}Content-Length: {}\r\n\r\n{body}",
        bearer(api.secret(Role::Admin)),
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let served = tokio::spawn(serve_connection(stream, ends, Vec::new(), None, times(), api.router.clone()));
    let (mut feed, state) = (api.state.events.follow(0).1, api.state.clone());
    // Begun, and its connection ends: whether by its client or by us is one.
    while state.live.snapshot().host("n1").is_none() {
        tokio::task::yield_now().await;
    }
    served.abort();
    loop {
        let event = feed.others.recv().await.unwrap();
        if event.kind == "audit" {
            assert!(event.text.contains("201: host n1 added"), "{}", event.text);
            break;
        }
    }
    assert_eq!(api.state.audit.last(9).unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_shown_has_a_tag_and_is_not_sent_twice() {
    let api = Api::new();
    // A list of nothing would be the same whatever is said of each.
    api.state.store.put_leases(&[lease(&api.state, 9)]).unwrap();
    let seen = Observation::Dhcp { kind: "ack", class: "bios", ip: None, named: Named::Unasked };
    api.state.machines.observe(Who::Mac(MAC), Lane::Xdp, &seen).unwrap();
    let added = api.admin("POST", "/api/v1/hosts", "", &host("profile")).await;
    assert_eq!((added.status, added.field("location")), (201, Some("/api/v1/hosts/n1")));
    let shown = api.admin("GET", "/api/v1/hosts/n1", "", "").await;
    assert_eq!((added.etag(), added.field("content-location")), (shown.etag(), Some("/api/v1/hosts/n1")));
    assert!(shown.etag().starts_with('"') && shown.field("cache-control") == Some("private, no-cache"));
    let head = api.admin("HEAD", "/api/v1/hosts/n1", "", "").await;
    assert_eq!((head.status, head.etag(), head.body.as_str()), (200, shown.etag(), ""));
    for route in
        ["/hosts", "/hosts/n1", "/profiles", "/profiles/install", "/machines", "/leases", "/openapi.json"]
    {
        let path = format!("{BASE}{route}");
        let first = api.admin("GET", &path, "", "").await;
        assert_eq!(first.status, 200, "{path}: {}", first.body);
        let again = api.admin("GET", &path, &format!("If-None-Match: W/{}\r\n", first.etag()), "").await;
        assert_eq!((again.status, again.etag(), again.body.as_str()), (304, first.etag(), ""), "{path}");
    }
    let other = api.admin("PATCH", "/api/v1/hosts/n1", "", r#"{"cmdline": "x"}"#).await;
    assert_ne!(other.etag(), shown.etag());
    let fresh =
        api.admin("GET", "/api/v1/hosts/n1", &format!("If-None-Match: {}\r\n", shown.etag()), "").await;
    assert_eq!((fresh.status, fresh.etag()), (200, other.etag()));
}

#[tokio::test]
async fn a_change_of_what_was_changed_meanwhile_is_refused_with_what_it_is_now() {
    let api = Api::new();
    let first = api.admin("PUT", "/api/v1/hosts/n1", "If-None-Match: *\r\n", &host("profile")).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let second = api.admin("PUT", "/api/v1/hosts/n1", "If-None-Match: *\r\n", &host("local")).await;
    assert_eq!((second.status, second.etag()), (412, first.etag()));
    let as_read = format!("If-Match: {}\r\n", first.etag());
    let set = api.admin("PATCH", "/api/v1/hosts/n1", &as_read, r#"{"cmdline": "x"}"#).await;
    assert_eq!(set.status, 200, "{}", set.body);
    for (method, body) in [
        ("PUT", host("local")),
        ("PATCH", "{}".into()),
        ("PATCH", r#"{"reinstall": true}"#.into()),
        ("DELETE", String::new()),
    ] {
        let late = api.admin(method, "/api/v1/hosts/n1", &as_read, &body).await;
        assert_eq!((late.status, late.etag()), (412, set.etag()), "{method}: {}", late.body);
        assert!(late.body.contains("read it again"), "{}", late.body);
    }
    // What was shown can be sent back.
    let shown = api.admin("GET", "/api/v1/hosts/n1", "", "").await;
    let mut value = shown.json();
    value["cmdline"] = json!("y");
    let put = api
        .admin("PUT", "/api/v1/hosts/n1", &format!("If-Match: {}\r\n", shown.etag()), &value.to_string())
        .await;
    assert_eq!((put.status, &put.json()["cmdline"]), (200, &json!("y")), "{}", put.body);
    let gone = api.admin("DELETE", "/api/v1/hosts/n1", &format!("If-Match: {}\r\n", put.etag()), "").await;
    assert_eq!(gone.status, 204, "{}", gone.body);
    let missing = api.admin("PATCH", "/api/v1/hosts/n1", "If-Match: *\r\n", "{}").await;
    assert_eq!((missing.status, missing.field("etag")), (412, None));
}

#[tokio::test]
async fn profiles_and_groups_are_changed_under_the_same_conditions() {
    let api = Api::new();
    let cases = [
        ("/api/v1/profiles/p", json!({ "local": true }), json!({ "ipxe": "#!ipxe\nexit\n" })),
        ("/api/v1/groups/g", json!({ "selector": { "rack": "7" } }), json!({ "selector": { "rack": "8" } })),
    ];
    for (path, first, second) in cases {
        let (first, second) = (first.to_string(), second.to_string());
        let made = api.admin("PUT", path, "If-None-Match: *\r\n", &first).await;
        assert_eq!((made.status, made.field("content-location")), (201, Some(path)), "{}", made.body);
        assert_eq!(api.admin("GET", path, "", "").await.etag(), made.etag());
        assert_eq!(api.admin("PUT", path, "If-None-Match: *\r\n", &second).await.status, 412);
        let bound = format!("If-Match: {}\r\n", made.etag());
        let set = api.admin("PUT", path, &bound, &second).await;
        assert_eq!(set.status, 200, "{}", set.body);
        for (method, body) in [("PUT", first.as_str()), ("DELETE", "")] {
            let late = api.admin(method, path, &bound, body).await;
            assert_eq!((late.status, late.etag()), (412, set.etag()), "{method} {path}");
        }
        let bound = format!("If-Match: {}\r\n", set.etag());
        assert_eq!(api.admin("DELETE", path, &bound, "").await.status, 204);
        assert_eq!(api.admin("GET", path, "", "").await.status, 404);
    }
    let (changes, _) = api.state.live.revisions().after(api.state.live.revisions().now().at(0), 99).unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.kind.name(), change.name.to_string(), json!(change.fate)))
        .collect();
    let fates = ["added", "changed", "removed"];
    let of = |kind: &'static str, name: &str| fates.map(|fate| (kind, name.to_owned(), json!(fate)));
    assert_eq!(told, [of("profile", "p"), of("group", "g")].concat());
    let audit = api.state.audit.last(99).unwrap();
    assert_eq!((audit.len(), audit[0].what.as_str()), (12, "profile p set"));
}

#[tokio::test]
async fn a_group_that_a_host_needs_for_its_replies_to_fit_is_a_conflict() {
    let api = Api::new();
    let (path, of) = ("/api/v1/groups/g", |profile: &str| {
        json!({ "selector": { "hostname": "n9" }, "profile": profile }).to_string()
    });
    assert_eq!(api.admin("PUT", path, "", &of("rescue")).await.status, 201);
    let host = json!({ "macs": ["52:54:00:00:00:09"] }).to_string();
    assert_eq!(api.admin("PUT", "/api/v1/hosts/n9", "", &host).await.status, 201);
    let profiles = ["install", "rescue"].map(|name| Profile { name: name.into(), ..Profile::default() });
    let configured = Snapshot::new(Vec::new(), profiles.to_vec()).unwrap();
    let narrow = |host: &Host, groups: &Groups| match groups.profile_of(Some(host), None) {
        Some("rescue") => Ok(()),
        _ => Err("options: too much".to_owned()),
    };
    api.state.live.reconfigure(configured, narrow, |_| Ok(())).unwrap();
    let shown = api.admin("GET", path, "", "").await.json();
    for (method, body) in [("DELETE", String::new()), ("PUT", of("install"))] {
        let refused = api.admin(method, path, "", &body).await;
        assert_eq!(refused.status, 409, "{method}: {}", refused.body);
        assert!(
            refused.body.contains("host n9 would get what does not fit: options: too much"),
            "{}",
            refused.body
        );
        assert_eq!(api.admin("GET", path, "", "").await.json(), shown, "{method}");
    }
    assert_eq!(api.admin("DELETE", "/api/v1/hosts/n9", "", "").await.status, 204);
    assert_eq!(api.admin("DELETE", path, "", "").await.status, 204);
}

#[tokio::test]
async fn what_is_shown_can_be_put_as_it_is() {
    let api = Api::new();
    let cases = [
        ("/api/v1/hosts/n9", json!({ "macs": ["52:54:00:00:00:09"] })),
        ("/api/v1/profiles/p", json!({ "local": true })),
        ("/api/v1/groups/g", json!({ "selector": { "rack": "7" } })),
    ];
    for (path, entry) in cases {
        assert_eq!(api.admin("PUT", path, "", &entry.to_string()).await.status, 201, "{path}");
        let shown = api.admin("GET", path, "", "").await;
        let put = api.admin("PUT", path, "", &shown.body).await;
        assert_eq!((put.status, put.json()), (200, shown.json()), "{path}");
    }
}

/// Each adds one to what it has read, until that was accepted: what was lost would be missing from the sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_changes_at_once_none_is_lost() {
    const WRITERS: usize = 8;
    const EACH: usize = 12;
    let api = Arc::new(Api::new());
    assert_eq!(api.admin("POST", "/api/v1/hosts", "", &host("profile")).await.status, 201);
    let count =
        |shown: &Value| shown["labels"]["count"].as_str().map_or(0, |text| text.parse::<usize>().unwrap());
    let writers = (0..WRITERS).map(|_| {
        let api = api.clone();
        tokio::spawn(async move {
            let (mut made, mut refused) = (0, 0);
            while made < EACH {
                let shown = api.admin("GET", "/api/v1/hosts/n1", "", "").await;
                let more =
                    json!({ "relabel": { "count": (count(&shown.json()) + 1).to_string() } }).to_string();
                let bound = format!("If-Match: {}\r\n", shown.etag());
                match api.admin("PATCH", "/api/v1/hosts/n1", &bound, &more).await.status {
                    200 => made += 1,
                    412 => refused += 1,
                    other => panic!("{other}"),
                }
            }
            refused
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut refused = 0;
    for writer in writers {
        refused += writer.await.unwrap();
    }
    let shown = api.admin("GET", "/api/v1/hosts/n1", "", "").await;
    assert_eq!(count(&shown.json()), WRITERS * EACH);
    assert!(refused > 0, "they never met: nothing was tried");
}

#[test]
fn no_two_rows_are_of_one_route() {
    let all: BTreeSet<_> = ROUTES.iter().map(|route| (route.verb.name(), route.path)).collect();
    assert_eq!(all.len(), ROUTES.len());
    let reads = |route: &&Route| route.verb == Verb::Get;
    let secret: Vec<&str> =
        ROUTES.iter().filter(reads).filter(|r| r.role > Role::View).map(|r| r.path).collect();
    assert_eq!(
        secret,
        ["/render/{name}/{kind}", "/tokens", "/audit"],
        "of the rest, what may be secret is left out"
    );
    assert!(ROUTES.iter().filter(|route| !reads(route)).all(|route| route.role > Role::View));
}

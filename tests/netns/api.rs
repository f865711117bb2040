//! The API from another machine: curl and `netboot --server`, by HTTPS with tokens.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Guard, MAC, Side, said};
use crate::site::{NETBOOT, Site, refused};

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, xdp: off, subnet: 10.77.0.0/24, range: 10.77.0.100-10.77.0.110 }
http: { listen: '10.77.0.1:8080', https: { listen: '10.77.0.1:8443' } }
tftp: { root: ., listen: '10.77.0.1:0' }
assets: assets
ipxe: .
default_profile: rescue
profiles:
  - { name: rescue, kernel: kernel, initrd: kernel, cmdline: quiet }
paths: { state: state, control: control.sock, pins: PINS }
";
const BASE: &str = "https://10.77.0.1:8443/api/v1";

/// A site with a certificate, and a token for each role in a file of its name.
fn site() -> Site {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    std::fs::create_dir(site.path("assets")).unwrap();
    std::fs::write(site.path("assets/kernel"), [7; 300]).unwrap();
    std::fs::write(site.path("assets/kernel.sha256"), format!("{}  kernel\n", "ab".repeat(32))).unwrap();
    site.configure(CONFIG);
    site.client("ip", &["address", "add", "10.77.0.2/24", "dev", "eth0"]);
    let config = site.path("netboot.yaml").display().to_string();
    let init = site
        .lab
        .command(Side::Server, NETBOOT)
        .args(["tls", "init", "10.77.0.1", "--config", &config])
        .output();
    assert!(init.as_ref().unwrap().status.success(), "{}", said(&init.unwrap()));
    site.serve();
    for role in ["view", "boot", "admin"] {
        let secret = site.done(&["token", "add", role, "--role", role, "--expires", "1h"]);
        assert_eq!(secret.lines().count(), 1, "a secret and nothing else: {secret}");
        let path = site.path(role);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    site
}

fn ca(site: &Site) -> String {
    site.path("tls/ca.crt").display().to_string()
}

fn secret(site: &Site, role: &str) -> String {
    std::fs::read_to_string(site.path(role)).unwrap().trim().to_owned()
}

/// Status, and body, of a request by curl.
fn curl(site: &Site, role: &str, arguments: &[&str]) -> (u16, String) {
    let (ca, bearer) = (ca(site), format!("Authorization: Bearer {}", secret(site, role)));
    let fixed = ["-sS", "--max-time", "30", "-w", "\n%{http_code}", "--cacert", &ca, "-H", &bearer];
    let answer = site.client("curl", &[&fixed[..], arguments].concat());
    let (body, status) = answer.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The command, on another machine.
fn remote(site: &Site, role: &str, words: &[&str]) -> Output {
    let mut netboot = site.lab.command(Side::Clients, NETBOOT);
    let (server, ca, token) = ("https://10.77.0.1:8443", ca(site), site.path(role));
    netboot.env("NETBOOT_SERVER", server).env("NETBOOT_CA", ca).env("NETBOOT_TOKEN_FILE", token);
    netboot.args(words).env_remove("NETBOOT_CONTROL").output().unwrap()
}

fn done(site: &Site, role: &str, words: &[&str]) -> String {
    let output = remote(site, role, words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn curl_reads_and_changes_a_site_by_https_with_a_token() {
    let mut site = site();
    let url = |path: &str| format!("{BASE}{path}");
    let host = json!({ "macs": [MAC], "ip": "10.77.0.21" }).to_string();
    let put = ["-X", "PUT", "--data", &host, "-H", "If-None-Match: *", &url("/hosts/n1")];
    assert_eq!(curl(&site, "view", &put).0, 403);
    let (status, body) = curl(&site, "admin", &put);
    assert_eq!(status, 201, "{body}");
    assert_eq!(curl(&site, "admin", &put).0, 412);
    assert_eq!(site.json(&["host", "show", "n1", "--json"])["ip"], "10.77.0.21");

    // As a browser would keep it: asked again, it is not sent again.
    let tags = site.path("tags").display().to_string();
    let ask = |more: &[&str]| curl(&site, "view", &[more, &[&url("/hosts/n1")]].concat());
    assert_eq!(ask(&["--etag-save", &tags]).0, 200);
    assert_eq!(ask(&["--etag-compare", &tags]), (304, String::new()));
    let tag = std::fs::read_to_string(&tags).unwrap();
    let bound = format!("If-Match: {}", tag.trim());
    let patch = ["-X", "PATCH", "--data", "{\"boot\": \"once\"}", "-H", &bound, &url("/hosts/n1")];
    assert_eq!(curl(&site, "boot", &patch).0, 200);
    assert_eq!(curl(&site, "boot", &patch).0, 412, "it is another one now");
    assert_eq!(ask(&["--etag-compare", &tags]).0, 200);

    let (_, assets) = curl(&site, "view", &[&url("/assets/files")]);
    let assets: Value = serde_json::from_str(&assets).unwrap();
    assert_eq!(
        (&assets[0]["name"], &assets[0]["size"], &assets[0]["sha256"]),
        (&json!("kernel"), &json!(300), &json!("ab".repeat(32)))
    );
    let (_, described) = curl(&site, "view", &[&url("/openapi.json")]);
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["paths"]["/hosts/{name}"]["patch"]["x-role"], "boot");

    // By plain HTTP it leads nowhere, and says where it would.
    let bearer = format!("Authorization: Bearer {}", secret(&site, "admin"));
    let plain = site.client("curl", &["-sS", "-H", &bearer, "http://10.77.0.1:8080/api/v1/hosts"]);
    assert!(plain.contains("use https://"), "{plain}");

    let audit = site.path("state/audit.jsonl");
    assert_eq!(std::fs::metadata(&audit).unwrap().permissions().mode() & 0o777, 0o600);
    let records = lines(&audit);
    let who: Vec<_> = records
        .iter()
        .map(|record| (record["who"].as_str().unwrap(), record["status"].as_u64().unwrap()))
        .collect();
    // Three tokens were made by the socket before.
    assert_eq!(
        who[3..],
        [("token admin", 201), ("token admin", 412), ("token boot", 200), ("token boot", 412)]
    );
    assert_eq!((&records[3]["address"], &records[3]["what"]), (&json!("10.77.0.2"), &json!("host n1 set")));

    // Tokens outlive the daemon, and end with their removal.
    site.kill();
    site.serve();
    assert_eq!(curl(&site, "view", &[&url("/hosts")]).0, 200);
    site.done(&["token", "remove", "view"]);
    assert_eq!(curl(&site, "view", &[&url("/hosts")]).0, 401);
}

#[test]
fn commands_ask_a_server_of_another_machine() {
    let site = site();
    let added = ["host", "add", "n1", "--mac", MAC, "--ip", "10.77.0.21"];
    refused(&remote(&site, "view", &added), 1, "needs the role admin: token view has the role view");
    done(&site, "admin", &added);
    assert!(done(&site, "view", &["host", "list"]).contains("10.77.0.21"));
    done(&site, "boot", &["host", "set", "n1", "--boot", "once"]);
    refused(&remote(&site, "boot", &["host", "set", "n1", "--no-ip"]), 1, "needs the role admin");
    done(&site, "admin", &["config", "reload"]);
    assert!(done(&site, "view", &["status"]).contains("ready: true"));
    assert!(done(&site, "view", &["events", "--last", "5"]).contains("host n1 set"));
    assert!(done(&site, "admin", &["token", "list"]).contains("boot   boot"));
    let audit = done(&site, "admin", &["audit"]);
    assert!(
        audit.contains("token boot") && audit.contains("10.77.0.2") && audit.contains("host n1 set"),
        "{audit}"
    );
    refused(&remote(&site, "view", &["audit"]), 1, "needs the role admin");

    // A socket that is named by flag is asked, whatever the environment says.
    let socket = site.path("control.sock").display().to_string();
    done(&site, "nobody", &["--control", &socket, "status"]);
    let netboot = |words: &[&str]| {
        let mut netboot = site.lab.command(Side::Clients, NETBOOT);
        netboot.args(words).env_remove("NETBOOT_CONTROL").output().unwrap()
    };
    let (token, ca) = (site.path("view").display().to_string(), ca(&site));
    let server = ["--server", "https://10.77.0.1:8443", "status"];
    refused(&netboot(&server), 1, "--server needs --token-file");
    refused(&netboot(&[&server[..], &["--token-file", &token]].concat()), 1, "--ca");
    let named_otherwise =
        ["--server", "https://10.77.0.1:8080", "status", "--token-file", &token, "--ca", &ca];
    refused(&netboot(&named_otherwise), 1, "shaking hands with https://10.77.0.1:8080");
    std::fs::set_permissions(site.path("view"), std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&remote(&site, "view", &["status"]), 1, "chmod 600");
}

#[test]
fn a_lease_is_ended_and_what_changes_is_followed_from_another_machine() {
    let site = site();
    let mut curl_ = site.lab.command(Side::Clients, "curl");
    curl_.args(["-sSN", "--max-time", "60", "--cacert", &ca(&site), "-H"]);
    curl_
        .arg(format!("Authorization: Bearer {}", secret(&site, "view")))
        .arg(format!("{BASE}/watch?kinds=host,lease"));
    let mut follower = Guard(curl_.stdout(Stdio::piped()).spawn().unwrap());
    let mut feed = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = |event: &str| -> Value {
        let wanted = format!("event: {event}");
        feed.find(|line| *line.as_ref().unwrap() == wanted).unwrap().unwrap();
        serde_json::from_str(feed.next().unwrap().unwrap().strip_prefix("data: ").unwrap()).unwrap()
    };
    next("revision");
    done(&site, "admin", &["host", "add", "n1", "--mac", "52:54:00:00:00:99"]);
    let told = next("change");
    assert_eq!(
        (&told["kind"], &told["name"], &told["what"]),
        (&json!("host"), &json!("n1"), &json!("added"))
    );

    let script = site.path("lease.sh");
    crate::clients::write_script(&script, "#!/bin/sh\nexit 0\n");
    site.client("udhcpc", &["-i", "eth0", "-q", "-n", "-f", "-s", &script.display().to_string()]);
    let leased = next("change");
    let address = leased["name"].as_str().unwrap().to_owned();
    assert_eq!((leased["kind"].as_str(), &address[..9]), (Some("lease"), "10.77.0.1"), "{leased}");
    assert_eq!(lease(&site, &address)["state"], "bound");
    refused(&remote(&site, "boot", &["lease", "release", &address]), 1, "needs the role admin");
    done(&site, "admin", &["lease", "release", &address]);
    assert_eq!(next("change")["name"], address.as_str());
    let deadline = Instant::now() + Duration::from_secs(30);
    while lease(&site, &address)["state"] != "released" {
        assert!(Instant::now() < deadline, "{}", lease(&site, &address));
    }
    refused(&remote(&site, "admin", &["lease", "release", &address]), 1, "is leased to nobody now");
}

fn lease(site: &Site, address: &str) -> Value {
    let (status, body) = curl(site, "view", &[&format!("{BASE}/leases/{address}")]);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

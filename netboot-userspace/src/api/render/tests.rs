//! Data folders as their programs' own tests have them, over a real connection.
#![allow(clippy::unwrap_used)]

mod bound;
mod folders;

use std::path::Path;
use std::process::Command;

use super::super::public;
use super::super::tests::{MAC, ask, ask_raw, control, state};
use super::*;
use crate::inventory::machines::Who;
use crate::inventory::observed::{Named, Observation};

/// A site with a data folder of these files.
struct Site {
    state: Arc<ApiState>,
    router: Router,
    data: tempfile::TempDir,
    _store: tempfile::TempDir,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = state(store.path());
        let folder = Some(Arc::new(Folder::new(data.path().to_owned())));
        state.set_rendering(Rendering { folder, signer: None });
        let site = Self { router: public(state.clone()), state, data, _store: store };
        files.iter().for_each(|(name, text)| site.write(name, text));
        site
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.data.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn get(&self, path: &str) -> (u16, String) {
        ask(&self.router, "GET", path, "", "").await
    }

    async fn assert(&self, path: &str, status: u16, contains: &str) {
        let (got, text) = self.get(path).await;
        assert!(got == status && text.contains(contains), "{path}: {got} {text}");
    }

    /// A DHCP server of ours gave the machine that address.
    fn has_address(&self, mac: Mac, address: &str) {
        let ip = address.parse().ok();
        let seen = Observation::Dhcp { kind: "ack", class: "efi-x64", ip, named: Named::Unasked };
        self.state.machines.observe(Who::Mac(mac), Lane::Xdp, &seen).unwrap();
    }
}

const GROUPS: &[(&str, &str)] = &[
    ("groups/default.json", r#"{"id": "default", "profile": "install"}"#),
    (
        "groups/node1.json",
        r#"{"id": "node1", "name": "Node 1", "profile": "g1h2i3j4", "selector": {"uuid": "a1b2c3d4"},
            "metadata": {"pod_network": "10.2.0.0/16", "service_name": "etcd2", "nested": {"list": ["a", "b"]}}}"#,
    ),
    (
        "profiles/g1h2i3j4.json",
        r#"{"id": "g1h2i3j4", "ignition_id": "file.ign", "cloud_id": "cloud-config.tmpl", "generic_id": "generic.tmpl",
            "boot": {"kernel": "/image/kernel", "initrd": ["/image/initrd_a", "/image/initrd_b"], "args": ["a=b", "c"]}}"#,
    ),
    ("profiles/install.json", r#"{"id": "install", "boot": {"kernel": "k", "args": ["u=${uuid}"]}}"#),
    (
        "cloud/cloud-config.tmpl",
        "#cloud-config\ncoreos:\n  etcd2:\n    name: {{.uuid}}\n  units:\n    - name: {{.service_name}}\n    - name: {{.request.query.foo}}\n",
    ),
    ("generic/generic.tmpl", "{{.request.raw_query}} {{range $i, $e := .nested.list}}{{$i}}{{$e}}{{end}}\n"),
    ("ignition/file.ign", V33),
];

/// matchbox's own.
const V33: &str = r#"{"ignition":{"config":{"replace":{"verification":{}}},"proxy":{},"security":{"tls":{}},"timeouts":{},"version":"3.3.0"},"kernelArguments":{},"passwd":{"users":[{"name":"core","sshAuthorizedKeys":["key"]}]},"storage":{},"systemd":{"units":[{"enabled":false,"name":"docker.service"}]}}"#;

/// BC-21, BC-27 to BC-33: the cases of matchbox's own tests.
#[tokio::test]
async fn a_folder_of_matchbox_is_served_as_matchbox_serves_it() {
    let site = Site::new(GROUPS);
    let ipxe = "#!ipxe\nkernel /image/kernel a=b c\ninitrd /image/initrd_a\ninitrd /image/initrd_b\nboot\n";
    assert_eq!(site.get("/ipxe?uuid=a1b2c3d4").await, (200, ipxe.to_owned()));
    site.assert(
        "/ipxe?uuid=a1b2c3d4&platform=efi",
        200,
        "kernel /image/kernel initrd=initrd_a initrd=initrd_b a=b c\n",
    )
    .await;
    site.assert("/grub?uuid=a1b2c3d4", 200, "\nlinuxefi \"/image/kernel\" a=b c\n").await;
    site.assert("/pxelinux?uuid=a1b2c3d4", 200, "\n  INITRD /image/initrd_a,/image/initrd_b\n").await;
    let cloud = "#cloud-config\ncoreos:\n  etcd2:\n    name: a1b2c3d4\n  units:\n    - name: etcd2\n    - name: some-param\n";
    assert_eq!(site.get("/cloud?uuid=a1b2c3d4&foo=some-param").await, (200, cloud.to_owned()));
    let generic = (200, "uuid=a1b2c3d4&foo=%20x 0a1b\n".to_owned());
    assert_eq!(site.get("/generic?uuid=a1b2c3d4&foo=%20x").await, generic);
    assert_eq!(site.get("/ignition?uuid=a1b2c3d4").await, (200, V33.to_owned()));
    let metadata = "NESTED_LIST_0=a\nNESTED_LIST_1=b\nPOD_NETWORK=10.2.0.0/16\nREQUEST_QUERY_UUID=a1b2c3d4\n\
                    REQUEST_RAW_QUERY=uuid=a1b2c3d4\nSERVICE_NAME=etcd2\nUUID=a1b2c3d4\n";
    assert_eq!(site.get("/metadata?uuid=a1b2c3d4").await, (200, metadata.to_owned()));
    for name in ["/boot.ipxe", "/boot.ipxe.0"] {
        assert_eq!(site.get(name).await, (200, script::CHAIN.to_owned()));
    }
    // BC-10, BC-25: the default group; what iPXE expands stays.
    assert_eq!(site.get("/ipxe").await, (200, "#!ipxe\nkernel k u=${uuid}\nboot\n".to_owned()));
}

#[tokio::test]
async fn answers_say_what_they_are() {
    let site = Site::new(GROUPS);
    let asked = |path: &str, more: &str| {
        format!("GET {path}?uuid=a1b2c3d4&foo=1 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n{more}\r\n")
    };
    let cases = [
        ("/ignition", "", "200 OK", "content-type: application/json\r\n", "\"version\":\"3.3.0\""),
        ("/metadata", "", "200 OK", "content-type: text/plain; charset=utf-8\r\n", "POD_NETWORK="),
        // BC-07, BC-31.
        (
            "/cloud",
            "Range: bytes=1-12\r\n",
            "206 Partial",
            "content-range: bytes 1-12/",
            "\r\n\r\ncloud-config",
        ),
        // RFC 9110 section 13.1.5: of what nobody vouches for as unchanged all is sent.
        ("/cloud", "Range: bytes=1-12\r\nIf-Range: \"1\"\r\n", "200 OK", "accept-ranges", "\r\n\r\n#cloud"),
        ("/cloud", "Range: bytes=9999-\r\n", "416 Range", "content-range: bytes */", ""),
    ];
    for (path, more, status, field, body) in cases {
        let answer = ask_raw(site.router.clone(), asked(path, more)).await;
        let is = answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is && answer.contains(field) && answer.contains(body), "{path}: {answer}");
    }
}

/// BC-26.
#[tokio::test]
async fn who_asks_whether_matchbox_is_there_is_told_so_where_its_folder_is() {
    let site = Site::new(GROUPS);
    assert_eq!(site.get("/").await, (200, "matchbox\n".to_owned()));
    site.state.set_rendering(Rendering::default());
    site.assert("/", 404, "machines begin at /boot.ipxe").await;
}

/// Lesson 24 of section 6, and where BC-28 to BC-34 answered 404 without a reason.
#[tokio::test]
async fn what_is_wrong_is_said_with_its_cause() {
    let site = Site::new(GROUPS);
    site.assert(
        "/cloud?uuid=a1b2c3d4",
        500,
        "cloud/cloud-config.tmpl:7:29: map has no entry for key \\\"foo\\\"",
    )
    .await;
    site.assert("/cloud", 404, "profile install has no cloud_id").await;
    site.assert("/generic", 404, "profile install has no generic_id").await;
    site.write(
        "profiles/g1h2i3j4.json",
        r#"{"id": "p", "ignition_id": "b.yaml", "cloud_id": "../x", "generic_id": "none"}"#,
    );
    site.assert("/cloud?uuid=a1b2c3d4", 500, "leads out of").await;
    site.assert("/generic?uuid=a1b2c3d4", 404, "there is no generic/none in ").await;
    site.write("cloud/plain", "hello\n");
    site.write("ignition/c.ign", "{\"ignition\": {}}");
    site.write("ignition/b.yaml", "variant: {{.nope}}\n");
    site.assert("/ignition?uuid=a1b2c3d4", 500, "ignition/b.yaml:1:12: map has no entry").await;
    site.write("profiles/g1h2i3j4.json", r#"{"id": "p", "ignition_id": "c.ign", "cloud_id": "plain"}"#);
    site.assert("/cloud?uuid=a1b2c3d4", 500, "cloud/plain is neither cloud-config").await;
    site.assert("/ignition?uuid=a1b2c3d4", 500, "ignition/c.ign has no `ignition.version`").await;
    site.write("profiles/g1h2i3j4.json", "{");
    site.assert("/ipxe?uuid=a1b2c3d4", 500, "profiles/g1h2i3j4.json: EOF").await;
    std::fs::remove_file(site.data.path().join("profiles/g1h2i3j4.json")).unwrap();
    site.assert("/ipxe?uuid=a1b2c3d4", 404, "group node1: there is no profiles/g1h2i3j4.json").await;
    std::fs::remove_file(site.data.path().join("groups/default.json")).unwrap();
    site.assert("/metadata?uuid=other", 404, "no group has a machine with uuid=other").await;
}

/// BC-21, BC-22: files are what they are now; a group that was broken stays what it was, and one that never was whole stops all.
#[tokio::test]
async fn a_folder_is_read_as_it_is_now() {
    let site = Site::new(GROUPS);
    site.assert("/metadata?uuid=a1b2c3d4", 200, "SERVICE_NAME=etcd2\n").await;
    let changed =
        r#"{"id": "node1", "profile": "install", "selector": {"uuid": "a1b2c3d4"}, "metadata": {"a": 1}}"#;
    site.write("groups/node1.json", changed);
    site.assert("/metadata?uuid=a1b2c3d4", 200, "A=1\n").await;
    site.write("groups/node1.json", r#"{"id": "node1", "#);
    site.assert("/metadata?uuid=a1b2c3d4", 200, "A=1\n").await;
    site.write("groups/new.json", r#"{"selector": {"mac": "no"}}"#);
    site.assert("/metadata?uuid=a1b2c3d4", 500, "groups/new.json: selector.mac").await;
    site.write("groups/new.json", r#"{"selector": {"a": "b"}}"#);
    std::fs::remove_file(site.data.path().join("groups/node1.json")).unwrap();
    site.assert("/ipxe?uuid=a1b2c3d4", 200, "kernel k u=${uuid}").await;
}

/// BC-02 to BC-07.
#[tokio::test]
async fn a_folder_of_bootcfg_is_served_as_bootcfg_serves_it() {
    let boot = |kernel: &str| {
        format!(r#"{{"kernel": "{kernel}", "initrd": ["i"], "cmdline": {{"c": "", "a": "b"}}}}"#)
    };
    let site = Site::new(&[
        ("boot/uuid/A-1", &boot("by-uuid")),
        ("boot/mac/52:54:00:00:00:07", &boot("by-mac")),
        ("boot/default", &boot("by-default")),
        ("cloud/mac/52:54:00:00:00:07", "#!/bin/sh\necho {{.}}\n"),
        ("secret", "no"),
    ]);
    let script = |kernel: &str| (200, format!("#!ipxe\nkernel {kernel} a=b c\ninitrd i\nboot\n"));
    assert_eq!(site.get("/ipxe?uuid=..%2F..%2Fsecret").await, script("by-default"));
    assert_eq!(site.get("/ipxe?uuid=A-1&mac=52-54-00-00-00-07").await, script("by-uuid"));
    assert_eq!(site.get("/ipxe?uuid=other&mac=52-54-00-00-00-07").await, script("by-mac"));
    assert_eq!(site.get("/ipxe?mac=nonsense").await, script("by-default"));
    assert_eq!(site.get("/cloud?mac=52-54-00-00-00-07").await, (200, "#!/bin/sh\necho {{.}}\n".to_owned()));
    site.assert(
        "/cloud?mac=52-54-00-00-00-08",
        404,
        "there is none of cloud/mac/52:54:00:00:00:08, cloud/default",
    )
    .await;
    site.assert("/metadata", 404, "a folder of bootcfg has no metadata").await;
    site.write("boot/uuid/folder/file", "");
    let folder = "/ipxe?uuid=folder&mac=52-54-00-00-00-08";
    assert_eq!(site.get(folder).await, script("by-default"), "regular files alone");
    site.write("boot/default", "{");
    site.assert("/ipxe", 500, "boot/default: EOF").await;
}

/// Whoever has another machine's address, or says another's name, gets none of its secrets.
#[tokio::test]
async fn a_configuration_is_for_its_machine_alone() {
    let other = "52:54:00:00:00:02";
    let site = Site::new(&[
        (
            "groups/a.json",
            &format!(
                r#"{{"profile": "p", "selector": {{"mac": "{other}"}}, "metadata": {{"secret": "two"}}}}"#
            ),
        ),
        ("groups/default.json", r#"{"profile": "p", "metadata": {"secret": "none"}}"#),
        ("profiles/p.json", r#"{"id": "p", "generic_id": "g", "boot": {"kernel": "k"}}"#),
        ("generic/g", "{{.secret}}"),
    ]);
    // Nobody knows whose address this is: as in proxy mode.
    site.assert(&format!("/generic?mac={other}"), 200, "two").await;
    // The machine that asks has it from us.
    site.has_address(MAC, "127.0.0.1");
    site.assert(&format!("/generic?mac={MAC}"), 200, "none").await;
    for path in ["/generic", "/metadata"] {
        site.assert(&format!("{path}?mac={other}"), 403, "is the address of 52:54:00:00:00:01").await;
    }
    // The other has one from us, too.
    site.has_address(other.parse().unwrap(), "10.0.0.2");
    site.assert(&format!("/ipxe?mac={other}"), 403, "which has the address 10.0.0.2").await;
    // By the other's name, or its UUID.
    let (control, uuid) = (control(site.state.clone()), "77000000-0000-4000-8000-000000000002");
    let host = format!(r#"{{"name": "n2", "macs": ["{other}"], "uuid": "{uuid}"}}"#);
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    site.assert("/generic?hostname=n2", 403, "which has the address 10.0.0.2").await;
    site.assert(&format!("/generic?uuid={uuid}"), 403, "which has the address 10.0.0.2").await;
    // By what it never said of itself, and then did.
    for query in ["hostname=n1", "serial=S-2", "uuid=U-3", "Uuid=U-3", "SERIAL=S-2"] {
        site.assert(&format!("/generic?{query}"), 403, "which is not known of it, and is the address of")
            .await;
    }
    site.assert(&format!("/ipxe?mac={MAC}&hostname=n1&serial=S-1&uuid="), 200, "kernel k").await;
    site.assert("/generic?hostname=n1&serial=S-1&uuid=", 200, "none").await;
    site.assert("/generic?hostname=n1&serial=S-2", 403, "asked by serial=S-2").await;
}

/// The inventory's hosts are its own; the folder's are the others, and what the folder lacks the site's default boots.
#[tokio::test]
async fn hosts_of_the_inventory_come_before_the_folder() {
    let site = Site::new(GROUPS);
    let control = control(site.state.clone());
    let host = format!(r#"{{"name": "n1", "macs": ["{MAC}"], "profile": "rescue"}}"#);
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    site.assert(&format!("/ipxe?mac={MAC}"), 200, "# n1: profile rescue").await;
    site.assert("/ipxe?mac=52-54-00-00-00-05", 200, "kernel k u=${uuid}\n").await;
    let (_, machine) = ask(&control, "GET", "/api/v1/machines/52:54:00:00:00:05", "", "").await;
    assert!(machine.contains("\"state\":\"script\""), "{machine}");
    site.assert(
        &format!("/grub?mac={MAC}"),
        200,
        "linuxefi \"(http,boot:8080)/assets/vmlinuz\" quiet BOOTIF=01-",
    )
    .await;
}

/// DESIGN section 3: a profile's configurations, filled in with what group, profile and host say.
#[tokio::test]
async fn profiles_of_the_inventory_have_configurations_of_their_own() {
    let site = Site::new(&[]);
    site.state.set_rendering(Rendering::default());
    let control = control(site.state.clone());
    let cloud = "#cloud-config\nhostname: {{.hostname}}\ndns: {{range .net.dns}}{{.}} {{end}}\nrole: {{.role}} in {{.rack}}\nkeys: {{len .ssh_authorized_keys}}\nmac: {{.mac}}\n";
    let profile = serde_json::json!({
        "name": "web", "kernel": "http://h/k", "metadata": { "net": { "dns": ["10.0.0.1"] }, "role": "none" },
        "configs": { "cloud": cloud, "ignition": "{\"ignition\": {\"version\": \"3.4.0\"},\n \"name\": \"{{.hostname}}\"}\n", "generic": "{{.nope}}\n" },
    });
    let group = serde_json::json!({ "name": "rack7", "selector": { "rack": "7" }, "profile": "web", "metadata": { "role": "rack" } });
    let host = serde_json::json!({
        "name": "n1", "macs": [MAC.to_string()], "ip": "127.0.0.1", "labels": { "rack": "7" }, "metadata": { "role": "web" },
        "ssh_authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q a@b"],
    });
    for (path, object) in [("profiles/web", &profile), ("groups/rack7", &group), ("hosts/n1", &host)] {
        let (status, text) = ask(&control, "PUT", &format!("/api/v1/{path}"), "", &object.to_string()).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
    }
    let want =
        "#cloud-config\nhostname: n1\ndns: 10.0.0.1 \nrole: web in 7\nkeys: 1\nmac: 52:54:00:00:00:01\n";
    // By its address alone, and by its MAC.
    for path in ["/cloud".to_owned(), format!("/cloud?mac={MAC}")] {
        assert_eq!(site.get(&path).await, (200, want.to_owned()), "{path}");
    }
    site.assert("/ignition", 200, "\"name\": \"n1\"").await;
    site.assert("/generic", 500, "profile web: configs.generic:1:3: map has no entry for key \\\"nope\\\"")
        .await;
    site.assert(
        "/metadata",
        200,
        "HOSTNAME=n1\nIP=127.0.0.1\nMAC=52:54:00:00:00:01\nNET_DNS_0=10.0.0.1\nRACK=7\n",
    )
    .await;
    // Another machine's, by its MAC or its name.
    let other = serde_json::json!({ "name": "n2", "macs": ["52:54:00:00:00:02"], "ip": "10.0.0.2", "profile": "web" });
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &other.to_string()).await.0, 201);
    site.assert("/cloud?mac=52:54:00:00:00:02", 403, "which has the address 10.0.0.2").await;
    site.assert("/cloud?hostname=n2", 403, "which has the address 10.0.0.2").await;
    site.assert("/metadata?mac=52:54:00:00:00:02", 403, "which has the address 10.0.0.2").await;
    let (_, shown) = ask(&control, "GET", "/api/v1/render/n2/metadata", "", "").await;
    assert!(shown.contains("ROLE=none"), "{shown}");
}

/// A key of gpg's, its ring, and its home.
fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args(["--batch", "--quiet"]);
    let output = command.args(["--pinentry-mode", "loopback"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// BC-36: GnuPG itself verifies.
#[tokio::test]
async fn gpg_verifies_what_is_signed() {
    let site = Site::new(GROUPS);
    site.assert("/metadata.sig?uuid=a1b2c3d4", 404, "matchbox.key_ring").await;
    let home = tempfile::tempdir().unwrap();
    let home_mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(home.path(), home_mode).unwrap();
    for (name, algorithm) in [("rsa", "rsa2048"), ("ed", "ed25519")] {
        gpg(
            home.path(),
            &["--passphrase", "open sesame", "--quick-gen-key", name, algorithm, "sign", "never"],
        );
        let ring = home.path().join(name);
        let exported =
            gpg(home.path(), &["--passphrase", "open sesame", "--export-secret-keys", "--armor", name]);
        std::fs::write(&ring, exported).unwrap();
        let wrong = Signer::open(&ring, Some("other")).unwrap_err().to_string();
        assert!(
            wrong.contains("its first key does not sign") && wrong.contains("NETBOOT_PASSPHRASE"),
            "{wrong}"
        );
        let signer = Signer::open(&ring, Some("open sesame")).unwrap();
        let folder = site.state.rendering.load().folder.clone();
        site.state.set_rendering(Rendering { folder, signer: Some(signer) });
        for path in
            ["/boot.ipxe", "/boot.ipxe.0", "/ipxe", "/grub", "/cloud", "/ignition", "/generic", "/metadata"]
        {
            let query = "?uuid=a1b2c3d4&foo=x";
            let (_, body) = site.get(&format!("{path}{query}")).await;
            let (status, signature) = site.get(&format!("{path}.asc{query}")).await;
            assert_eq!(status, 200, "{path}: {signature}");
            verify(home.path(), &body, signature.as_bytes());
        }
        let rendering = site.state.rendering.load();
        let binary = rendering.signer.as_ref().unwrap().sign(b"some bytes", Seal::Binary).unwrap();
        verify(home.path(), "some bytes", &binary);
    }
    assert!(Signer::open(&home.path().join("none"), None).unwrap_err().to_string().contains("can't be read"));
    let public = gpg(home.path(), &["--export", "rsa"]);
    std::fs::write(home.path().join("public"), public).unwrap();
    assert!(Signer::open(&home.path().join("public"), None).unwrap_err().to_string().contains("public key"));
    // An error is not signed: it is an error.
    site.assert("/cloud.asc?uuid=a1b2c3d4", 500, "map has no entry for key").await;
    let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
}

fn verify(home: &Path, body: &str, signature: &[u8]) {
    std::fs::write(home.join("body"), body).unwrap();
    std::fs::write(home.join("body.sig"), signature).unwrap();
    let (body, signature) = (home.join("body"), home.join("body.sig"));
    gpg(home, &["--verify", signature.to_str().unwrap(), body.to_str().unwrap()]);
}

/// A one-time token is in no two scripts: what would be signed is not what was served.
#[tokio::test]
async fn the_script_of_an_installation_has_no_signature() {
    let site = Site::new(&[("groups/x.json", "{}"), ("profiles/x", "")]);
    let control = control(site.state.clone());
    let host = format!(r#"{{"name": "n1", "macs": ["{MAC}"]}}"#);
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    let signed = body(&site.state, Kind::Script(Form::Ipxe), None, &request()).unwrap();
    assert!(String::from_utf8(signed).unwrap().contains("netboot.token="));
    let rendering = site.state.rendering.load();
    let refused =
        rendered(&site.state, &rendering, Kind::Script(Form::Ipxe), &request(), Purpose::Sign).unwrap_err();
    assert_eq!(
        (refused.status, refused.message.contains("a token of its own")),
        (StatusCode::CONFLICT, true)
    );
    // Nor has that which an operator looks at.
    let shown = ask(&control, "GET", "/api/v1/render/n1/ipxe", "", "").await;
    assert!(
        shown.1.contains("http://SERVER/assets/vmlinuz") && shown.1.contains("netboot.token=TOKEN"),
        "{shown:?}"
    );
}

/// `netboot render`: from wherever it is asked, and nothing is observed of it.
#[tokio::test]
async fn operators_see_what_a_machine_would_get() {
    let site = Site::new(GROUPS);
    let control = control(site.state.clone());
    let render = |path: &str| format!("/api/v1/render/52:54:00:00:00:05/{path}");
    for (path, want) in [
        ("ipxe", "kernel k u=${uuid}"),
        ("ipxe?uuid=a1b2c3d4&platform=efi", "kernel /image/kernel initrd=initrd_a"),
        ("cloud?uuid=a1b2c3d4&foo=bar", "name: bar"),
        ("metadata?uuid=a1b2c3d4", "SERVICE_NAME=etcd2"),
        ("metadata", "REQUEST_RAW_QUERY=mac=52:54:00:00:00:05\\n"),
        ("generic?uuid=a1b2c3d4&x=%20", "mac=52:54:00:00:00:05&uuid=a1b2c3d4&x=%20 0a1b"),
        ("cloud", "profile install has no cloud_id"),
        ("nothing", "there are boot.ipxe, boot.ipxe.0, ipxe, grub"),
    ] {
        let (_, text) = ask(&control, "GET", &render(path), "", "").await;
        assert!(text.contains(want), "{path}: {text}");
    }
    assert!(site.state.machines.machine("52:54:00:00:00:05".parse().unwrap()).is_none());
}

fn request() -> Request {
    let local = Local { address: ([127, 0, 0, 1], 8080).into(), by_tls: false };
    let uri = format!("/ipxe?mac={MAC}").parse().unwrap();
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("boot:8080"))]);
    Request::new([127, 0, 0, 1].into(), local, &uri, &headers).unwrap()
}

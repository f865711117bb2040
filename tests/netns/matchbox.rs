//! A data folder of matchbox, served by the real binary: with what it signs by, and what it is reloaded with.

use std::fs;

use crate::lab::said;
use crate::site::Site;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, range: 10.77.0.100-10.77.0.199, xdp: off }
http: { listen: ':8080' }
tftp: { root: assets, kernel: off }
assets: assets
matchbox: { data: matchbox, key_ring: ring }
ipxe: .
paths: { state: state, control: control.sock, pins: PINS }
";

/// The lab's folder, with a group, its profile, and a key of gpg's with a passphrase.
fn site() -> Site {
    let site = Site { daemon: None, lab: crate::lab::Lab::new() };
    for (name, text) in [
        ("groups/all.json", r#"{"id": "all", "profile": "p", "metadata": {"role": "worker"}}"#),
        (
            "profiles/p.json",
            r#"{"id": "p", "generic_id": "g", "boot": {"kernel": "k", "args": ["u=${uuid}"]}}"#,
        ),
        ("generic/g", "{{.role}} {{.request.query.os}}\n"),
    ] {
        let path = site.path(&format!("matchbox/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for folder in ["assets", "gnupg"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    fs::set_permissions(site.path("gnupg"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    gpg(&site, &["--passphrase", "open sesame", "--quick-gen-key", "site", "rsa2048", "sign", "never"]);
    let ring = site.path("ring").display().to_string();
    gpg(&site, &["--passphrase", "open sesame", "--output", &ring, "--export-secret-keys", "site"]);
    site.configure(CONFIG);
    site.client("ip", &["address", "add", "10.77.0.2/24", "dev", "eth0"]);
    site
}

fn gpg(site: &Site, arguments: &[&str]) {
    let home = site.path("gnupg").display().to_string();
    let words = ["--homedir", &home, "--batch", "--quiet", "--pinentry-mode", "loopback"];
    site.client("gpg", &[&words, arguments].concat());
}

fn get(site: &Site, path: &str) -> String {
    site.client("curl", &["-sS", "--max-time", "20", &format!("http://10.77.0.1:8080{path}")])
}

#[test]
fn a_folder_of_matchbox_is_served_and_signed_by_the_daemon() {
    let mut site = site();
    // BC-20: a wrong passphrase is said at the start, and not when the first machine asks.
    let without = site.server().env_remove("NETBOOT_PASSPHRASE").output().unwrap();
    assert!(
        !without.status.success() && said(&without).contains("matchbox.key_ring: "),
        "{}",
        said(&without)
    );
    // Who only looks has no passphrase; what is wrong in the folder is said before anybody asks.
    let file = site.path("netboot.yaml").display().to_string();
    let check = ["config", "check", "--config", &file];
    let checked = site.netboot(&check);
    assert!(
        checked.status.success() && said(&checked).contains("NETBOOT_PASSPHRASE is not set here"),
        "{}",
        said(&checked)
    );
    fs::write(
        site.path("matchbox/groups/lost.json"),
        r#"{"id": "lost", "profile": "none", "selector": {"rack": "7"}}"#,
    )
    .unwrap();
    site.refused(&check, 1, "group lost (groups/lost.json): there is no profiles/none.json");
    fs::remove_file(site.path("matchbox/groups/lost.json")).unwrap();
    let mut server = site.server();
    server.env("NETBOOT_PASSPHRASE", "open sesame");
    site.serve_by(server);
    assert_eq!(get(&site, "/ipxe?mac=52-54-00-00-00-09"), "#!ipxe\nkernel k u=${uuid}\nboot\n");
    assert_eq!(get(&site, "/generic?os=x"), "worker x\n");
    assert!(get(&site, "/generic").contains("generic/g:1:27: map has no entry for key \\\"os\\\""));
    assert_eq!(site.done(&["render", "52:54:00:00:00:09", "generic", "--label", "os=y"]), "worker y\n");
    for suffix in ["sig", "asc"] {
        let signature = site.path("signature").display().to_string();
        let url = format!("http://10.77.0.1:8080/ipxe.{suffix}");
        site.client("curl", &["-sS", "--fail", "--max-time", "20", "-o", &signature, &url]);
        let body = site.path("body").display().to_string();
        site.client("curl", &["-sS", "--fail", "-o", &body, "http://10.77.0.1:8080/ipxe"]);
        gpg(&site, &["--verify", &signature, &body]);
    }
    // Another folder, while it serves; what is not there is refused, and the one before stays.
    fs::create_dir_all(site.path("old/boot")).unwrap();
    fs::write(site.path("old/boot/default"), r#"{"kernel": "seed", "cmdline": {"b": "", "a": "1"}}"#)
        .unwrap();
    site.configure(
        &CONFIG.replace("matchbox: { data: matchbox, key_ring: ring }", "matchbox: { data: none }"),
    );
    site.refused(&["config", "reload"], 1, "matchbox.data");
    assert_eq!(get(&site, "/generic?os=x"), "worker x\n");
    site.configure(
        &CONFIG.replace("matchbox: { data: matchbox, key_ring: ring }", "matchbox: { data: old }"),
    );
    site.done(&["config", "reload"]);
    assert_eq!(get(&site, "/ipxe"), "#!ipxe\nkernel seed a=1 b\nboot\n");
    assert!(get(&site, "/ipxe.sig").contains("there is no matchbox.key_ring"));
}

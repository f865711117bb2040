//! The registry of LiveBOOTP, its folders as its container has them, served by the real binary.

use std::fs;
use std::time::{Duration, Instant};

use crate::clients::{answered_by_kernel, udhcpc, value};
use crate::lab::{MAC, Side, run};
use crate::site::Site;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, xdp: generic, subnet: 10.77.0.0/24, router: 10.77.0.1, dns: [10.77.0.1],
      range: 10.77.0.100-10.77.0.103 }
http: { listen: ':8080' }
tftp: { root: . }
assets: assets
ipxe: .
limits: { client: off }
livebootp: { config: registry/config, images: registry/images, ssh_authorized_keys: registry/ssh-authorized-keys }
paths: { state: state, control: control.sock, pins: PINS }
";

const DEFAULTS: &str = "domain-name-servers: []\nlog-level: info\n";

const HOSTS: &str = "\
domain-name-servers: [10.77.0.53, 10.77.0.54]
hosts:
  my-web-server:
    hardware-ethernet: \"52:54:00:77:00:01\"
    fixed-address: 10.77.0.51
    image-name: web-server/test
    ssh-authorized-keys: default
    cmdline-append: debug
  second:
    hardware-ethernet: \"52:54:00:77:00:02\"
    fixed-address: 10.77.0.52
    image-name: web-server/test
    ssh-authorized-keys: others
";

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q";

/// A site whose client is at the addresses of both hosts, and at one of nobody's.
fn serving() -> Site {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    for (name, text) in [
        ("config/config-default.yml", DEFAULTS),
        ("config/config.yml", HOSTS),
        ("images/web-server/test/vmlinuz", "the kernel"),
        ("images/web-server/test/initrd.img", "the initrd"),
        ("images/web-server/test/filesystem.squashfs", "the squashfs"),
        ("ssh-authorized-keys/default", &format!("# who works here\n{KEY} first\n")),
        ("ssh-authorized-keys/others", &format!("{KEY} second\n")),
    ] {
        let path = site.path("registry").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir(site.path("assets")).unwrap();
    site.configure(CONFIG);
    site.serve();
    site
}

fn take_addresses(site: &Site) {
    for address in ["10.77.0.51/24", "10.77.0.52/24", "10.77.0.9/24"] {
        run(site.lab.command(Side::Clients, "ip").args(["address", "add", address, "dev", "eth0"]));
    }
}

/// Status and body of what a client at `address` gets.
fn get(site: &Site, address: &str, path: &str) -> (u16, String) {
    let url = if path.contains("://") { path.to_owned() } else { format!("http://10.77.0.1:8080{path}") };
    let words = ["-sS", "--max-time", "20", "--interface", address, "-w", "\n%{http_code}", &url];
    let said = site.client("curl", &words);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn word(script: &str, start: &str) -> String {
    let word = script.split_whitespace().find_map(|word| word.strip_prefix(start));
    word.unwrap_or_else(|| panic!("no {start} in {script}")).to_owned()
}

/// LB-20 to LB-23.
#[test]
fn a_machine_of_livebootps_registry_is_leased_and_booted_as_its_block_says() {
    let site = serving();
    let lease = udhcpc(&site, &[]);
    for (name, want) in [
        ("ip", "10.77.0.51"),
        ("hostname", "my-web-server"),
        ("dns", "10.77.0.53 10.77.0.54"),
        ("router", "10.77.0.1"),
    ] {
        assert_eq!(value(&lease, name), want, "{name}");
    }
    answered_by_kernel(&site);

    take_addresses(&site);
    let (status, script) = get(&site, "10.77.0.51", "/ipxe?mac=52-54-00-77-00-01&platform=pcbios");
    assert_eq!(status, 200, "{script}");
    let kernel = script.lines().find_map(|line| line.strip_prefix("kernel ")).unwrap();
    let (kernel, words) = kernel.split_once(' ').unwrap();
    assert!(words.contains("boot=live ") && words.contains(" hostname=my-web-server "), "{words}");
    assert!(words.ends_with(" debug BOOTIF=01-52-54-00-77-00-01"), "{words}");
    let initrd = word(&script, "http://10.77.0.1:8080/assets/web-server/test/init");
    let files = [
        (kernel.to_owned(), "the kernel"),
        (format!("http://10.77.0.1:8080/assets/web-server/test/init{initrd}"), "the initrd"),
        (word(&script, "fetch="), "the squashfs"),
        ("/images/web-server/test/filesystem.squashfs".to_owned(), "the squashfs"),
    ];
    for (url, want) in files {
        assert_eq!(get(&site, "10.77.0.51", &url), (200, want.to_owned()), "{url}");
    }
    let part = site.client("curl", &["-sS", "-r", "4-7", &word(&script, "fetch=")]);
    assert_eq!(part, "squa");

    let explained = site.done(&["host", "explain", "my-web-server"]);
    let live = "fetch=http://SERVER/assets/web-server/test/filesystem.squashfs";
    for told in [live, "config.yml:3)", "config.yml:6)"] {
        assert!(explained.contains(told), "{told}: {explained}");
    }
    let (_, offer) = get(&site, "10.77.0.9", "/pixiecore/v1/boot/52-54-00-77-00-01");
    let own = words.strip_prefix("initrd=initrd.img ").unwrap();
    assert!(offer.contains(&format!("\"cmdline\":\"{own}\"")), "{own}: {offer}");
    // Of who is not listed the registry says nothing.
    let (status, reason) = get(&site, "10.77.0.9", "/ipxe?mac=52-54-00-77-00-03");
    assert_eq!(status, 404, "{reason}");
}

/// LB-10, LB-22: fetched at every start of the machine; a key that was taken out opens nothing any more.
#[test]
fn each_machine_of_livebootps_registry_is_given_its_own_authorized_keys_as_they_are_now() {
    let site = serving();
    take_addresses(&site);
    let (_, script) = get(&site, "10.77.0.51", "/ipxe?mac=52-54-00-77-00-01&platform=pcbios");
    let own = word(&script, "netboot.authorized_keys=");
    assert_eq!(get(&site, "10.77.0.51", &own), (200, format!("{KEY} first\n")));
    assert_eq!(
        get(&site, "10.77.0.52", "/authorized_keys"),
        (200, format!("{KEY} second\n")),
        "by its address"
    );
    for (address, path) in [
        ("10.77.0.52", own.as_str()),
        ("10.77.0.9", own.as_str()),
        ("10.77.0.51", "/authorized_keys?mac=52-54-00-77-00-02"),
        ("10.77.0.51", "/authorized_keys?hostname=second"),
    ] {
        let (status, reason) = get(&site, address, path);
        assert!(status == 403 && !reason.contains(KEY), "{address} {path}: {status} {reason}");
    }
    let (status, reason) = get(&site, "10.77.0.9", "/authorized_keys");
    assert_eq!(status, 400, "{reason}");
    // No folder of the registry is served as it is.
    for path in [
        "/assets/default",
        "/images/../ssh-authorized-keys/default",
        "/images/web-server/test/../../../config/config.yml",
    ] {
        let words = [
            "-sS",
            "--path-as-is",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("http://10.77.0.1:8080{path}"),
        ];
        let status = site.client("curl", &words);
        assert!(["400", "404"].contains(&status.as_str()), "{path}: {status}");
    }
    assert_eq!(site.done(&["render", MAC, "authorized_keys"]), format!("{KEY} first\n"));

    fs::write(site.path("registry/ssh-authorized-keys/default"), "").unwrap();
    wait(&site, || get(&site, "10.77.0.51", &own) == (200, String::new()));
    // What is wrong is refused with its place, and what was before stays.
    let config = site.path("registry/config/config.yml");
    fs::write(&config, HOSTS.replace("0.51", "9.51")).unwrap();
    site.refused(&["config", "reload"], 1, "config.yml:5:20: hosts.my-web-server.fixed-address: ");
    assert_eq!(udhcpc_address(&site), "10.77.0.51");
    // It is taken up once there is what it lacks beside it.
    let moved = HOSTS.replace("0.51", "0.61").replace("keys: others", "keys: new");
    fs::write(&config, moved).unwrap();
    site.refused(&["config", "reload"], 1, "new can't be read: not found");
    fs::write(site.path("registry/ssh-authorized-keys/new"), format!("{KEY} third\n")).unwrap();
    wait(&site, || get(&site, "10.77.0.52", "/authorized_keys") == (200, format!("{KEY} third\n")));
    assert_eq!(udhcpc_address(&site), "10.77.0.61");
}

/// LB-10: images are built while the registry serves: one that is not whole is its own machines' concern.
#[test]
fn an_image_of_livebootps_registry_that_is_not_whole_stops_nobody_else() {
    let mut site = serving();
    take_addresses(&site);
    let (config, images) = (site.path("registry/config/config.yml"), site.path("registry/images/web-server"));
    let script = |site: &Site, host: &str| {
        let (address, mac) = (format!("10.77.0.5{host}"), format!("52-54-00-77-00-0{host}"));
        get(site, &address, &format!("/ipxe?mac={mac}&platform=pcbios"))
    };
    let assert_one_is_broken = |site: &Site| {
        let (status, reason) = script(site, "1");
        assert!(status == 404 && reason.contains("web-server/2 can't be read"), "{status} {reason}");
        let (status, script) = script(site, "2");
        assert!(status == 200 && script.contains("/assets/web-server/test/vmlinuz"), "{status} {script}");
        let status = site.json(&["status", "--json"]);
        let faults = status["configuration"]["faults"].to_string();
        assert!(faults.contains("config.yml:6:17: hosts.my-web-server.image-name: "), "{status}");
        let file = site.path("netboot.yaml").display().to_string();
        site.refused(
            &["config", "check", "--config", &file],
            1,
            "config.yml:6:17: hosts.my-web-server.image-name: ",
        );
    };
    fs::write(&config, HOSTS.replacen("web-server/test", "web-server/2", 1)).unwrap();
    site.done(&["config", "reload"]);
    assert_one_is_broken(&site);
    assert_eq!(udhcpc_address(&site), "10.77.0.51");
    assert!(site.stop().success());
    site.serve();
    assert_one_is_broken(&site);
    // Nobody tells it that the image was built.
    fs::create_dir(images.join("new")).unwrap();
    for name in ["vmlinuz", "initrd.img", "filesystem.squashfs"] {
        fs::write(images.join("new").join(name), "built").unwrap();
    }
    fs::rename(images.join("new"), images.join("2")).unwrap();
    wait(&site, || script(&site, "1").1.contains("/assets/web-server/2/vmlinuz"));
    assert_eq!(get(&site, "10.77.0.51", "/assets/web-server/2/vmlinuz"), (200, "built".to_owned()));
    // Nor that it is being built again, file by file.
    fs::remove_file(images.join("2/filesystem.squashfs")).unwrap();
    wait(&site, || {
        site.json(&["status", "--json"])["configuration"]["faults"].to_string().contains("has no squashfs")
    });
    fs::write(images.join("2/filesystem.squashfs"), "again").unwrap();
    wait(&site, || site.json(&["status", "--json"])["configuration"]["faults"] == serde_json::json!([]));
}

fn wait(site: &Site, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn udhcpc_address(site: &Site) -> String {
    value(&udhcpc(site, &[]), "ip").to_owned()
}

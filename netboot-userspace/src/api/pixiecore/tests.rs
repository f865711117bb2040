//! The routes, over real connections.
#![allow(clippy::unwrap_used)]

use axum::http::request::Parts;

use super::*;
use crate::api::public;
use crate::api::tests::{ask, policy, state_where};
use crate::inventory::machines::Policy;
use crate::inventory::observed::Named;
use crate::pixiecore::seal::KEY;

/// Says which file it would send.
struct Told;

impl Files for Told {
    fn has(&self, name: &str) -> bool {
        name == "kernel"
    }

    fn answer(&self, place: Place, request: Parts) -> Answering {
        Box::pin(async move { format!("{} {place:?}", request.method).into_response() })
    }
}

fn named(name: &str) -> Place {
    Place::Named(name.to_owned())
}

fn linux() -> Linux {
    let initrd = vec![Place::Remote("http://far/i".to_owned())];
    Linux { kernel: named("kernel"), initrd, cmdline: Vec::new(), message: String::new() }
}

/// Everybody boots this.
fn serving(dir: &std::path::Path, boot: Boot, bootif: bool) -> axum::Router {
    public(site(dir, boot, bootif))
}

fn site(dir: &std::path::Path, boot: Boot, bootif: bool) -> Arc<ApiState> {
    let state = state_where(dir, policy());
    let (booter, sealer) = (Booter::Same(Arc::new(boot)), Sealer::new(&[7; KEY]));
    let lifetime = Duration::from_secs(3600);
    let pixiecore = Pixiecore { booter, files: Arc::new(Told), sealer, lifetime, bootif };
    state.pixiecore.set(Arc::new(pixiecore)).unwrap();
    state
}

const IPXE: &str = "/_/ipxe?mac=52:54:00:00:00:01&arch=1";

#[tokio::test]
async fn px_31_and_32_a_script_and_the_files_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let router = serving(dir.path(), Boot::Linux(linux()), true);
    let (status, script) = ask(&router, "GET", IPXE, "", "").await;
    assert_eq!(status, 200, "{script}");
    let names: Vec<&str> =
        script.split("/_/file?name=").skip(1).filter_map(|rest| rest.split('&').next()).collect();
    assert_eq!(names[0], "kernel");
    assert!(script.ends_with("boot kernel initrd=initrd0 BOOTIF=01-52-54-00-00-00-01\n"), "{script}");
    for (name, method, want) in
        [("kernel", "GET", r#"GET Named("kernel")"#), (names[1], "GET", r#"GET Remote("http://far/i")"#)]
    {
        let path = format!("/_/file?name={name}&type=kernel&mac=52%3A54%3A00%3A00%3A00%3A01");
        assert_eq!(ask(&router, method, &path, "", "").await, (200, want.to_owned()));
    }
    for (path, status, words) in [
        ("/_/file", 400, "name is missing"),
        ("/_/file?name=other", 403, "none that this server"),
        ("/_/ipxe?arch=1", 400, "mac is missing"),
        ("/_/ipxe?mac=52:54:00:00:00:01", 400, "arch is missing"),
        ("/_/ipxe?mac=52:54:00:00:00:01&arch=x", 400, "arch=x is not known"),
        ("/_/ipxe?mac=1&arch=1", 400, "mac=1"),
        ("/_/booting?mac=52:54:00:00:00:01", 200, "# Booting"),
        // Whatever it is asked, it can't stop a boot.
        ("/_/booting", 200, "# Booting"),
        ("/pixiecore/v1/boot/52:54:00:00:00:01", 404, "another Pixiecore has nothing to ask it"),
    ] {
        let (got, body) = ask(&router, "GET", path, "", "").await;
        assert!(got == status && body.contains(words), "{path}: {got} {body}");
    }
    // The script of those that come by our own chain is the same.
    let (status, chained) = ask(&router, "GET", "/ipxe?mac=52-54-00-00-00-01&arch=x86_64", "", "").await;
    assert_eq!((status, chained.lines().count()), (200, script.lines().count()));
}

/// Anybody may have a file; it says of nobody but who asks that he boots, and nothing in his own words.
#[tokio::test]
async fn who_asks_for_a_file_in_anothers_name_marks_no_machine() {
    let dir = tempfile::tempdir().unwrap();
    let state = site(dir.path(), Boot::Linux(linux()), true);
    let router = public(state.clone());
    let other: Mac = "52:54:00:00:00:02".parse().unwrap();
    let ip = "10.0.0.9".parse().ok();
    let ack = Observation::Dhcp { kind: "ack", class: "bios", ip, named: Named::Unasked };
    let script =
        Observation::Script { profile: "boot".into(), installs: false, once: false, shown: Shown::default() };
    for seen in [&ack, &script] {
        state.machines.observe(Who::Mac(other), Lane::Xdp, seen).unwrap();
    }
    assert_eq!(ask(&router, "GET", IPXE, "", "").await.0, 200);
    let file = |mac: &str, kind: &str| format!("/_/file?name=kernel&type={kind}&mac={mac}");
    for (mac, kind, want) in [
        ("52:54:00:00:00:01", "kernel", ("kernel", "kernel")),
        ("52:54:00:00:00:01", &"x".repeat(300), ("kernel", "file")),
        ("52:54:00:00:00:02", "kernel", ("script", "script")),
    ] {
        assert_eq!(ask(&router, "GET", &file(mac, kind), "", "").await.0, 200);
        let machine = state.machines.machine(mac.parse().unwrap()).unwrap();
        assert_eq!((machine.state.name(), machine.step.as_str()), want, "{mac}");
    }
}

#[tokio::test]
async fn px_56_a_script_is_sent_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let router = serving(dir.path(), Boot::Script("#!ipxe\nshell\n".to_owned()), true);
    assert_eq!(ask(&router, "GET", IPXE, "", "").await, (200, "#!ipxe\nshell\n".to_owned()));
}

#[tokio::test]
async fn who_has_told_which_interface_it_is_is_told_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let cmdline = vec![Part::Text("BOOTIF=x".to_owned())];
    let router = serving(dir.path(), Boot::Linux(Linux { cmdline, ..linux() }), true);
    assert!(ask(&router, "GET", IPXE, "", "").await.1.ends_with("initrd=initrd0 BOOTIF=x\n"));
    let dir = tempfile::tempdir().unwrap();
    let router = serving(dir.path(), Boot::Linux(linux()), false);
    assert!(ask(&router, "GET", IPXE, "", "").await.1.ends_with("boot kernel initrd=initrd0 \n"));
}

#[tokio::test]
async fn bc_06_what_we_would_boot_is_pixiecore_s_json() {
    let dir = tempfile::tempdir().unwrap();
    let rescue = Policy { boot_unknown: true, default_profile: Some("rescue".into()), ..Policy::default() };
    let router = public(state_where(dir.path(), rescue));
    let (status, body) = ask(&router, "GET", "/pixiecore/v1/boot/52:54:00:00:00:01", "", "").await;
    let want = "{\"kernel\":\"http://boot:8080/assets/vmlinuz\",\"initrd\":[\"http://boot:8080/assets/initrd.img\"],\
                \"cmdline\":\"quiet BOOTIF=01-52-54-00-00-00-01\"}\n";
    assert_eq!((status, body.as_str()), (200, want));
    let (dashes, body) = ask(&router, "GET", "/pixiecore/v1/boot/52-54-00-00-00-01", "", "").await;
    assert_eq!((dashes, body.as_str()), (200, want));
    for (path, status, words) in [
        ("/pixiecore/v1/boot/", 400, "invalid MAC address /"),
        ("/pixiecore/v1/boot/nonsense", 400, "invalid MAC address nonsense"),
        ("/_/ipxe?mac=52:54:00:00:00:01&arch=1", 404, "boots by its inventory"),
        ("/_/file?name=kernel", 404, "boots by its inventory"),
    ] {
        let (got, body) = ask(&router, "GET", path, "", "").await;
        assert!(got == status && body.contains(words), "{path}: {got} {body}");
    }
}

#[tokio::test]
async fn bc_06_without_a_boot_for_a_machine_the_answer_is_404_with_its_cause() {
    for (boot_unknown, words) in [(false, "unknown machines are ignored"), (true, "one-time token")] {
        let dir = tempfile::tempdir().unwrap();
        let state = state_where(dir.path(), Policy { boot_unknown, ..policy() });
        let router = public(state.clone());
        let (status, body) = ask(&router, "GET", "/pixiecore/v1/boot/52:54:00:00:00:01", "", "").await;
        assert!(status == 404 && body.contains(words), "{status} {body}");
        let (told, _) = state.events.follow(9);
        assert!(told.iter().any(|event| event.kind == "refused" && event.text.contains(words)));
    }
}

//! What a data folder gives beside scripts for those who ask for them, and what is said of what is wrong in it.

use super::*;
use crate::inventory::boots::Breaker;
use crate::inventory::machines::{Asking, Decision, Policy};

/// BC-06, BC-37: a Pixiecore beside the folder is told what that says, in bootcfg's order.
#[tokio::test]
async fn a_pixiecore_that_asks_is_told_what_a_data_folder_says() {
    let path = "/pixiecore/v1/boot/52:54:00:00:00:07";
    let site = Site::new(&[(
        "boot/mac/52:54:00:00:00:07",
        r#"{"kernel": "/k", "initrd": ["http://h/i"], "cmdline": {"c": "", "a": "b"}}"#,
    )]);
    let want = "{\"kernel\":\"http://boot:8080/k\",\"initrd\":[\"http://h/i\"],\"cmdline\":\"a=b c\"}\n";
    assert_eq!(site.get(path).await, (200, want.to_owned()));
    site.assert("/pixiecore/v1/boot/52:54:00:00:00:08", 404, "unknown machines are ignored").await;
    site.write("boot/default", "{");
    site.assert("/pixiecore/v1/boot/52:54:00:00:00:08", 500, "boot/default: EOF").await;
    let site = Site::new(GROUPS);
    let want = "{\"kernel\":\"http://boot:8080/k\",\"initrd\":[],\"cmdline\":\"u=${uuid}\"}\n";
    assert_eq!(site.get(path).await, (200, want.to_owned()));
    let host = r#"{"name": "n7", "macs": ["52:54:00:00:00:07"], "profile": "rescue"}"#;
    assert_eq!(ask(&control(site.state.clone()), "POST", "/api/v1/hosts", "", host).await.0, 201);
    site.assert(path, 200, "http://boot:8080/assets/vmlinuz").await;
}

/// GRUB's own parser takes what arguments become.
#[tokio::test]
async fn grub_reads_every_script() {
    let profile = r##"{"id": "install", "boot": {"kernel": "k", "initrd": ["a\"b"], "args": ["ds=nocloud;s=http://h/", "a='b", "{ | & #", "u=${uuid}"]}}"##;
    let site = Site::new(GROUPS);
    site.write("profiles/install.json", profile);
    let (status, text) = site.get("/grub").await;
    let file = site.data.path().join("grub.cfg");
    std::fs::write(&file, &text).unwrap();
    let checked = Command::new("grub-script-check").arg(&file).output().unwrap();
    assert!(status == 200 && checked.status.success(), "{text}{}", String::from_utf8_lossy(&checked.stderr));
}

/// Of what is wrong the answer, and whoever follows events, is told the place, and no value.
#[tokio::test]
async fn what_is_wrong_is_told_without_what_stands_there() {
    let site = Site::new(GROUPS);
    site.write(
        "groups/default.json",
        r#"{"id": "default", "profile": "p", "metadata": {"secret": "hunter2", "number": 271828}}"#,
    );
    site.write("profiles/p.json", r#"{"id": "p", "generic_id": "t", "cloud_id": "t"}"#);
    std::fs::create_dir_all(site.data.path().join("generic")).unwrap();
    for text in [
        "{{range .secret}}{{end}}",
        "{{index .request.raw_query .number}}",
        "{{slice .secret .number}}",
        "{{.secret.x}}",
        "{{eq .secret 1}}",
        "{{printf \"%*d\" .number 1}}",
        "{{index .secret .secret}}",
    ] {
        site.write("generic/t", text);
        let (status, answer) = site.get("/generic").await;
        assert_eq!(status, 500, "{text}: {answer}");
        assert!(!answer.contains("hunter2") && !answer.contains("271828"), "{answer}");
    }
    for text in ["#cloud-config\n{{.secret}}: 1\n{{.secret}}: 2\n", "#cloud-config\na: [{{.secret}}\n"] {
        site.write("cloud/t", text);
        let (status, answer) = site.get("/cloud").await;
        assert!(status == 200 || !answer.contains("hunter2"), "{answer}");
    }
    let (events, _) = site.state.events.follow(99);
    assert!(events.iter().any(|event| event.kind == "refused"));
    assert!(events.iter().all(|event| !event.text.contains("hunter2")), "{events:?}");
}

/// One that never could be read is said once, however often it is met; a link may lead about in the folder, and not out of it.
#[tokio::test]
async fn a_folders_groups_are_kept_while_no_file_is_changed() {
    let site = Site::new(GROUPS);
    let groups = || site.state.rendering.load().folder.as_ref().unwrap().kept();
    site.assert("/metadata?uuid=a1b2c3d4", 200, "SERVICE_NAME=etcd2\n").await;
    let first = groups();
    site.assert("/metadata?uuid=a1b2c3d4", 200, "SERVICE_NAME=etcd2\n").await;
    assert_eq!(groups(), first);
    site.write("groups/new.json", "{");
    site.assert("/metadata?uuid=a1b2c3d4", 500, "groups/new.json: ").await;
    let broken = groups();
    assert_ne!(broken, first);
    site.assert("/metadata?uuid=a1b2c3d4", 500, "groups/new.json: ").await;
    assert_eq!(groups(), broken, "nothing new is said of it");
    std::fs::remove_file(site.data.path().join("groups/new.json")).unwrap();
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, site.data.path().join(from)).unwrap();
    link("../generic/generic.tmpl", "groups/new.json");
    site.assert("/metadata?uuid=a1b2c3d4", 500, "groups/new.json: key must be").await;
    std::fs::remove_file(site.data.path().join("groups/new.json")).unwrap();
    link("/etc/hostname", "groups/new.json");
    site.assert("/metadata?uuid=a1b2c3d4", 500, "groups/new.json: access violation").await;
}

/// One decision for a boot, in one record, whoever says what is booted; what is obeyed by one service is obeyed by all.
#[tokio::test]
async fn machines_of_a_folder_boot_by_one_decision() {
    let site = Site::new(GROUPS);
    let machine = "52:54:00:00:00:07";
    let (mac, script) = (machine.parse().unwrap(), format!("/ipxe?mac={machine}"));
    site.state.machines.set_policy(Policy { breaker: Some(Breaker::default()), ..Policy::default() });
    let discover = || {
        let (ip, named) = (None, Named::Unasked);
        let seen = Observation::Dhcp { kind: "offer", class: "bios", ip, named };
        site.state.machines.observe(Who::Mac(mac), Lane::Xdp, &seen).unwrap();
        site.has_address(mac, "127.0.0.1");
    };
    site.state.refresh_folder();
    discover();
    let control = control(site.state.clone());
    let (_, explained) = ask(&control, "GET", &format!("/api/v1/explain/{machine}"), "", "").await;
    assert!(
        explained.contains("profile install (profiles/install.json) by group default (groups/default.json)"),
        "{explained}"
    );
    site.assert(&script, 200, "kernel k u=${uuid}\n").await;
    // What is changed meanwhile counts at once, for configurations are of this moment, too, …
    site.write("profiles/install.json", r#"{"id": "install", "boot": {"kernel": "other"}}"#);
    site.assert(&script, 200, "kernel other\n").await;
    // … unless it can't be read: what was decided holds. …
    site.write("groups/new.json", "{");
    site.state.refresh_folder();
    let obeyed =
        || site.state.machines.obey(mac, Shown::default(), &Labels::default(), Asking::Agent).decision;
    assert!(matches!(obeyed(), Decision::Profile { .. }), "{:?}", obeyed());
    std::fs::remove_file(site.data.path().join("groups/new.json")).unwrap();
    // What it says of itself counts at once, too.
    site.assert(&format!("{script}&uuid=a1b2c3d4"), 200, "kernel /image/kernel a=b c\n").await;
    let (_, boots) = ask(&control, "GET", "/api/v1/boots", "", "").await;
    assert!(boots.contains("profile g1h2i3j4 instead of profile install"), "{boots}");
    // The third boot that bears no fruit is stopped here, too.
    discover();
    site.assert(&script, 200, "kernel other\n").await;
    discover();
    site.assert(&script, 200, "#!ipxe\niseq ${platform} efi").await;
    site.assert(&format!("/pixiecore/v1/boot/{machine}"), 404, "its own disk").await;
}

/// Who has nothing from the folder has all from the inventory, and not its script alone.
#[tokio::test]
async fn what_a_folder_has_no_group_for_has_its_configurations_of_the_inventory() {
    let site = Site::new(&GROUPS[1..]);
    let policy = Policy { boot_unknown: true, default_profile: Some("web".into()), ..Policy::default() };
    site.state.machines.set_policy(policy);
    let web = serde_json::json!({ "name": "web", "kernel": "http://h/k", "configs": { "generic": "for {{.mac}}\n" } });
    let control = control(site.state.clone());
    assert_eq!(ask(&control, "PUT", "/api/v1/profiles/web", "", &web.to_string()).await.0, 201);
    let machine = "?mac=52:54:00:00:00:07";
    site.assert(&format!("/ipxe{machine}"), 200, "kernel http://h/k").await;
    site.assert(&format!("/generic{machine}"), 200, "for 52:54:00:00:00:07").await;
    site.assert(&format!("/metadata{machine}"), 200, "MAC=52:54:00:00:00:07\n").await;
    site.assert(&format!("/cloud{machine}"), 404, "no group has a machine with mac=52:54:00:00:00:07").await;
    site.assert(&format!("/generic{machine}&uuid=a1b2c3d4"), 200, "mac=52:54:00:00:00:07&uuid=a1b2c3d4 0a1b")
        .await;
}

/// As bootcfg and matchbox do it: from where somebody asked before in a machine's name, others may ask.
#[tokio::test]
async fn who_names_no_machine_is_answered_by_the_query_alone() {
    let site = Site::new(GROUPS);
    site.assert("/ipxe?mac=52:54:00:00:00:07&uuid=a1b2c3d4", 200, "kernel /image/kernel a=b c\n").await;
    site.assert("/ipxe", 200, "kernel k u=${uuid}\n").await;
    site.assert("/ipxe?mac=none", 200, "kernel k u=${uuid}\n").await;
    std::fs::remove_file(site.data.path().join("groups/default.json")).unwrap();
    site.assert("/ipxe", 404, "no group has a machine with").await;
}

/// From where a host asked before in its own name, others may ask: they get nothing of it.
#[tokio::test]
async fn an_address_that_a_host_asked_from_is_not_the_host_for_who_names_none() {
    let site = Site::new(&GROUPS[1..]);
    let control = control(site.state.clone());
    let host =
        format!(r#"{{"name": "n1", "macs": ["{MAC}"], "profile": "rescue", "metadata": {{"secret": "s"}}}}"#);
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    site.assert(&format!("/ipxe?mac={MAC}"), 200, "# n1: profile rescue").await;
    site.assert(&format!("/metadata?mac={MAC}"), 200, "SECRET=s").await;
    for path in ["/ipxe", "/metadata", "/ipxe?uuid=x", "/metadata?uuid=x"] {
        site.assert(path, 404, "no group has a machine with").await;
    }
    site.assert("/ipxe?uuid=a1b2c3d4", 200, "kernel /image/kernel").await;
    // Where it has the address from us, it is.
    site.has_address(MAC, "127.0.0.1");
    site.assert("/ipxe", 200, "# n1: profile rescue").await;
}

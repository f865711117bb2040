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

impl Site {
    fn readings(&self) -> u64 {
        self.state.rendering.load().folder.as_ref().unwrap().readings()
    }

    /// Has the files be older than what a clock's tick may hide: this path costs no look at the whole folder any more.
    async fn settle(&self, path: &str) {
        for _ in 0..200 {
            let before = self.readings();
            self.get(path).await;
            if self.readings() == before {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{path} costs a look at all files");
    }
}

/// A folder with a file for each machine costs a request what its own machine's files cost, and shows each change at once.
#[tokio::test]
async fn a_request_looks_at_its_own_machines_files_and_sees_every_change() {
    let boot = |kernel: &str| format!(r#"{{"kernel": "{kernel}"}}"#);
    let (seven, eight) = ("boot/mac/52:54:00:00:00:07", "boot/mac/52:54:00:00:00:08");
    let site =
        Site::new(&[(seven, &boot("/7a")), ("boot/uuid/A1B2", &boot("/ua")), ("boot/default", &boot("/da"))]);
    let (by_mac, by_uuid, other) =
        ("/ipxe?mac=52:54:00:00:00:07", "/ipxe?uuid=a1b2", "/ipxe?mac=52:54:00:00:00:08");
    site.settle(by_mac).await;
    let (whole, wants) = (site.readings(), |kernel: &str| format!("kernel {kernel}\n"));
    for (path, kernel) in [(by_mac, "/7a"), (by_uuid, "/ua"), (other, "/da"), ("/ipxe", "/da")] {
        site.assert(path, 200, &wants(kernel)).await;
    }
    assert_eq!(site.readings(), whole, "what nobody has changed is looked at by nobody");
    // What is changed is another machine's; then who has it asks.
    site.write("boot/uuid/A1B2", &boot("/ub"));
    site.assert(by_mac, 200, &wants("/7a")).await;
    assert_eq!(site.readings(), whole);
    site.assert(by_uuid, 200, &wants("/ub")).await;
    assert!(site.readings() > whole);
    site.write("boot/default", &boot("/db"));
    site.assert(other, 200, &wants("/db")).await;
    site.write(eight, &boot("/8a"));
    site.assert(other, 200, &wants("/8a")).await;
    std::fs::rename(site.data.path().join(seven), site.data.path().join(eight)).unwrap();
    site.assert(other, 200, &wants("/7a")).await;
    site.assert(by_mac, 200, &wants("/db")).await;
    // By a link, too, wherever in the folder it leads.
    site.write("kept/7", &boot("/7c"));
    std::os::unix::fs::symlink("../../kept/7", site.data.path().join(seven)).unwrap();
    site.assert(by_mac, 200, &wants("/7c")).await;
    site.settle(by_mac).await;
    site.write("kept/7", &boot("/7d"));
    site.assert(by_mac, 200, &wants("/7d")).await;
}

/// What a machine said before leads to a file as well as what it says now.
#[tokio::test]
async fn what_is_known_of_a_machine_leads_to_its_file_as_it_is_now() {
    const UUID: &str = "4c4c4544-0034-4d10-8058-b7c04f4e3132";
    let boot = |kernel: &str| format!(r#"{{"kernel": "{kernel}"}}"#);
    let file = format!("boot/uuid/{UUID}");
    let site = Site::new(&[(&file, &boot("/ua")), ("boot/default", &boot("/d"))]);
    let (mac, pixiecore) = ("/ipxe?mac=52:54:00:00:00:07", "/pixiecore/v1/boot/52:54:00:00:00:07");
    site.assert(&format!("{mac}&uuid={UUID}"), 200, "kernel /ua\n").await;
    site.settle(mac).await;
    for (kernel, path, want) in [("/ub", mac, "kernel /ub\n"), ("/uc", pixiecore, "/uc\"")] {
        site.write(&file, &boot(kernel));
        site.assert(path, 200, want).await;
        site.settle(mac).await;
    }
}

/// matchbox's folder has `cloud`, too: while its groups are being exchanged it is not bootcfg's.
#[tokio::test]
async fn groups_that_are_gone_make_no_other_programs_folder() {
    let site = Site::new(GROUPS);
    site.assert("/ipxe", 200, "kernel k u=${uuid}\n").await;
    let exchange = |from: &str, to: &str| {
        std::fs::rename(site.data.path().join(from), site.data.path().join(to)).unwrap();
    };
    for name in ["groups", "profiles"] {
        exchange(name, &format!("{name}.old"));
    }
    site.assert("/ipxe", 500, "has neither groups nor profiles any more").await;
    for name in ["groups", "profiles"] {
        exchange(&format!("{name}.old"), name);
    }
    site.assert("/ipxe", 200, "kernel k u=${uuid}\n").await;
}

/// A machine of the folder's whose operator chose one of the inventory's profiles from a menu is set up by that, not by the folder.
#[tokio::test]
async fn what_is_chosen_from_a_menu_has_its_own_configurations() {
    let site = Site::new(&[
        ("groups/default.json", r#"{"id": "default", "profile": "install", "metadata": {"of": "folder"}}"#),
        ("profiles/install.json", r#"{"id": "install", "generic_id": "g", "boot": {"kernel": "k"}}"#),
        ("generic/g", "folder\n"),
    ]);
    let web = r#"{"name": "web", "kernel": "http://h/k", "configs": {"generic": "web of {{.mac}}\n"}}"#;
    let control = control(site.state.clone());
    assert_eq!(ask(&control, "PUT", "/api/v1/profiles/web", "", web).await.0, 201);
    let (machine, mac) = ("?mac=52:54:00:00:00:07", "52:54:00:00:00:07".parse().unwrap());
    site.assert(&format!("/ipxe{machine}"), 200, "kernel k\n").await;
    site.assert(&format!("/generic{machine}"), 200, "folder\n").await;
    site.state.machines.choose(mac, Some("web"));
    site.assert(&format!("/ipxe{machine}"), 200, "kernel http://h/k").await;
    site.assert(&format!("/generic{machine}"), 200, "web of 52:54:00:00:00:07\n").await;
    site.assert(&format!("/metadata{machine}"), 200, "MAC=52:54:00:00:00:07\n").await;
    assert!(!site.get(&format!("/metadata{machine}")).await.1.contains("OF=folder"));
    // Of another machine, and without the choice, it is the folder's.
    site.assert("/generic?mac=52:54:00:00:00:08", 200, "folder\n").await;
    site.state.machines.choose(mac, None);
    site.assert(&format!("/ipxe{machine}"), 200, "kernel k\n").await;
    site.assert(&format!("/generic{machine}"), 200, "folder\n").await;
    // A choice that is no profile counts for nothing.
    site.state.machines.choose(mac, Some("gone"));
    site.assert(&format!("/ipxe{machine}"), 200, "kernel k\n").await;
    site.assert(&format!("/generic{machine}"), 200, "folder\n").await;
}

/// As matchbox's own examples ask for a machine.
#[tokio::test]
async fn a_host_that_is_named_by_its_uuid_alone_is_no_machine_of_the_folders() {
    const UUID: &str = "4c4c4544-0034-4d10-8058-b7c04f4e3132";
    let site = Site::new(GROUPS);
    let control = control(site.state.clone());
    let host = format!(
        r#"{{"name": "n1", "macs": ["{MAC}"], "uuid": "{UUID}", "profile": "rescue", "metadata": {{"of": "n1"}}}}"#
    );
    assert_eq!(ask(&control, "POST", "/api/v1/hosts", "", &host).await.0, 201);
    for uuid in [UUID.to_owned(), UUID.to_uppercase()] {
        site.assert(&format!("/ipxe?uuid={uuid}"), 200, "# n1: profile rescue").await;
        site.assert(&format!("/metadata?uuid={uuid}"), 200, "OF=n1").await;
    }
    site.assert("/metadata?uuid=4c4c4544-0034-4d10-8058-b7c04f4e3133", 200, "UUID=4c4c4544").await;
}

/// What is wrong in a folder, before the first machine asks.
#[test]
fn all_that_is_wrong_in_a_folder_is_told_at_once() {
    let site = Site::new(GROUPS);
    let faults = || site.state.rendering.load().folder.as_ref().unwrap().faults();
    assert_eq!(faults(), Vec::<String>::new());
    site.write("groups/broken.json", "{");
    site.write("groups/lost.json", r#"{"id": "lost", "profile": "none"}"#);
    site.write(
        "profiles/install.json",
        r#"{"id": "install", "generic_id": "gone", "cloud_id": "t", "ignition_id": "file.ign"}"#,
    );
    site.write("cloud/t", "{{if}}");
    let want = [
        "groups/broken.json: ",
        "group lost (groups/lost.json): there is no profiles/none.json",
        "profile install: cloud/t:1:",
        "profile install: there is no generic/gone",
    ];
    let told = faults();
    let is_told = |want: &&str| told.iter().any(|fault| fault.contains(want));
    assert!(want.iter().all(|want| is_told(&want)) && told.len() == want.len(), "{told:?}");
    let site = Site::new(&[("boot/mac/52:54:00:00:00:07", "{"), ("cloud/default", "x")]);
    let told = site.state.rendering.load().folder.as_ref().unwrap().faults();
    assert!(told.len() == 1 && told[0].starts_with("boot/mac/52:54:00:00:00:07: "), "{told:?}");
}

//! Hosts from and for other programs, and lists of names: the operator's commands, against a daemon that answers no DHCP.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cli::SITE;
use crate::lab::said;
use crate::site::{NETBOOT, Site, refused};

const DNSMASQ: &str = "\
52:54:00:77:01:01,10.77.0.21,kvm-1,infinite
52:54:00:77:01:02,10.77.0.22,kvm-2,45m
";

/// Writes a file of the site's folder; its path.
fn file(site: &Site, name: &str, text: &str) -> String {
    std::fs::create_dir_all(site.path(name).parent().unwrap()).unwrap();
    std::fs::write(site.path(name), text).unwrap();
    site.path(name).display().to_string()
}

fn names(site: &Site) -> Vec<String> {
    let hosts = site.json(&["host", "list", "--json"]);
    hosts.as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_dry_run_shows_each_difference_and_changes_nothing() {
    let site = Site::start(SITE);
    let file = file(&site, "dhcp_hosts", DNSMASQ);
    let import = ["host", "import", "--from", "dnsmasq", &file];
    let dry_run = ["host", "import", "--from", "dnsmasq", &file, "--dry-run"];
    site.done(&[
        "host",
        "add",
        "kvm-2",
        "--mac",
        "52:54:00:77:01:02",
        "--ip",
        "10.77.0.99",
        "--profile",
        "rescue",
    ]);

    let said_before = said(&site.netboot(&dry_run));
    for line in [
        "+ kvm-1  +ip 10.77.0.21  +macs 52:54:00:77:01:01\n",
        "~ kvm-2  ~ip 10.77.0.99 -> 10.77.0.22  =macs,profile\n",
        "1 added, 1 changed, 0 unchanged (dry run: nothing was changed)\n",
        "dhcp_hosts:2: notice: host kvm-2: 45m: the time of a lease is its subnet's\n",
    ] {
        assert!(said_before.contains(line), "{line} is not in: {said_before}");
    }
    assert_eq!(names(&site), ["kvm-2"]);

    assert_eq!(site.done(&import), "1 added, 1 changed, 0 unchanged\n");
    assert_eq!(site.json(&["host", "show", "kvm-2", "--json"])["profile"], "rescue");
    assert_eq!(site.done(&dry_run), "0 added, 0 changed, 2 unchanged (dry run: nothing was changed)\n");
    // The audit has who asked, also where nothing was changed.
    let happened = || {
        let events = site.done(&["events"]);
        let others = events.lines().filter(|line| !line.contains(" audit "));
        others.map(|line| format!("{line}\n")).collect::<String>()
    };
    let before = happened();
    assert_eq!(site.done(&import), "0 added, 0 changed, 2 unchanged\n");
    assert_eq!(happened(), before);
    assert!(before.contains("host kvm-1 added"), "{before}");
}

#[test]
fn an_entry_that_can_not_be_taken_leaves_nothing_imported_unless_told_to_skip_it() {
    let site = Site::start(SITE);
    let text = format!(
        "{DNSMASQ}52:54:00:*:*:*,10.77.0.23,wild\n52:54:00:77:01:04,10.78.0.24,far\n52:54:00:77:01:05,10.77.0.21,double\n"
    );
    let path = file(&site, "dhcp_hosts", &text);
    let import = ["host", "import", "--from", "dnsmasq", &path];
    for words in [
        "dhcp_hosts:3: refused: host wild: 52:54:00:*:*:* has wildcards in it",
        "dhcp_hosts:4: refused: host far: ip: 10.78.0.24 is outside every subnet (there are: 10.77.0.0/24)",
        "dhcp_hosts:5: refused: host double has the address 10.77.0.21 of host kvm-1, at ",
        "nothing was imported: 3 of 5 entries can't be taken",
    ] {
        site.refused(&import, 1, words);
    }
    assert_eq!(names(&site), [""; 0]);

    let skip = ["host", "import", "--from", "dnsmasq", &path, "--skip", "--json", "--label", "from=dnsmasq"];
    let done = site.json(&skip);
    assert_eq!((&done["made"], &done["hosts"][1]["what"]), (&true.into(), &"added".into()));
    let lines: Vec<&Value> =
        done["refused"].as_array().unwrap().iter().map(|refused| &refused["line"]).collect();
    assert_eq!(
        (json!(lines), names(&site)),
        (json!([3, 4, 5]), vec!["kvm-1".to_owned(), "kvm-2".to_owned()])
    );
    assert_eq!(site.json(&["host", "show", "kvm-1", "--json"])["labels"]["from"], "dnsmasq");

    // What the daemon alone can know: the name of a profile, and hosts that are there already.
    site.refused(
        &["host", "import", "--from", "dnsmasq", &path, "--skip", "--profile", "x"],
        0,
        "there are: rescue",
    );
    let other = file(&site, "other", "\n52:54:00:77:01:01,other\n");
    let import = ["host", "import", "--from", "dnsmasq", &other];
    site.refused(&import, 1, "other:2: refused: host other has the MAC 52:54:00:77:01:01 of host kvm-1");
    site.refused(&["host", "import", "--from", "csv", "/nonexistent"], 1, "/nonexistent can't be read");
    site.refused(&["host", "import", "--from", "csv", "/"], 1, "/ is a folder");
    site.refused(&["host", "import", "--from", "tsv", &other], 2, "[possible values: dnsmasq, kea, isc,");
}

#[test]
fn hosts_go_out_in_every_format_and_come_back_as_they_were() {
    let site = Site::start(SITE);
    site.done(&[
        "host",
        "add",
        "n1",
        "--mac",
        "52:54:00:77:01:01",
        "--ip",
        "10.77.0.21",
        "--cmdline",
        "--x=1 y",
    ]);
    site.done(&[
        "host",
        "add",
        "n2",
        "--mac",
        "52:54:00:77:01:02",
        "--profile",
        "rescue",
        "--label",
        "rack=7, left",
    ]);
    site.done(&["host", "add", "n3", "--uuid", "00112233-4455-6677-8899-aabbccddeeff"]);
    let before = site.json(&["host", "list", "--json"]);
    for (format, lost) in [
        ("json", ""),
        ("yaml", ""),
        ("csv", ""),
        ("kea", "netboot: kea: left out: n3: Kea knows hosts by MAC, client identifier and circuit only"),
        ("isc", "netboot: isc: no place for profile: n2"),
        ("dnsmasq", "netboot: dnsmasq: no place for the label rack: n2"),
        ("livebootp", "netboot: livebootp: left out: n3: LiveBOOTP knows hosts by MAC only"),
    ] {
        let path = site.path("exported").display().to_string();
        let exported = site.netboot(&["host", "export", "--to", format, "--output", &path]);
        let remarks = said(&exported);
        assert!(exported.status.success() && remarks.contains(lost), "{format}: {remarks}");
        assert_eq!(remarks.is_empty(), lost.is_empty(), "{format}: {remarks}");
        let imported = site.done(&["host", "import", "--from", format, &path]);
        assert!(imported.starts_with("0 added, 0 changed, "), "{format}: {imported}");
        if lost.is_empty() {
            site.done(&["host", "remove", "n[1-3]"]);
            assert_eq!(
                site.done(&["host", "import", "--from", format, &path]),
                "3 added, 0 changed, 0 unchanged\n"
            );
        }
        assert_eq!(site.json(&["host", "list", "--json"]), before, "{format}");
    }
    assert_eq!(
        site.done(&["host", "export", "--to", "dnsmasq", "n1"]),
        "dhcp-host=52:54:00:77:01:01,10.77.0.21,n1\n"
    );
    site.refused(&["host", "export", "--to", "csv", "n[1-5]"], 1, "there is no host n[4-5]");
    site.refused(
        &["host", "export", "--to", "csv", "--output", "/nonexistent/x"],
        1,
        "writing /nonexistent/x",
    );

    // dnsmasq itself takes what is meant for it.
    let conf = site.path("exported").display().to_string();
    site.done(&["host", "export", "--to", "dnsmasq", "--output", &conf]);
    let checked = Command::new("dnsmasq")
        .args(["--test", &format!("--conf-file={conf}")])
        .output()
        .expect("dnsmasq is there");
    assert!(checked.status.success(), "{}", said(&checked));
}

#[test]
fn matchboxes_data_folder_and_standard_input_are_read() {
    let site = Site::start(SITE);
    file(
        &site,
        "matchbox/groups/a.json",
        r#"{"id": "a", "profile": "rescue", "selector": {"mac": "52-54-00-77-01-01"}}"#,
    );
    file(&site, "matchbox/boot/mac/52-54-00-77-01-02", "{}");
    file(&site, "matchbox/assets/groups/vmlinuz", "\u{1}");
    std::fs::write(site.path("matchbox/assets/groups/initrd"), [0xff, 0xfe]).unwrap();
    let folder = site.path("matchbox").display().to_string();
    assert_eq!(
        site.done(&["host", "import", "--from", "bootcfg", &folder]),
        "2 added, 0 changed, 0 unchanged\n"
    );
    assert_eq!(names(&site), ["a", "host-525400770102"]);
    assert_eq!(site.json(&["host", "show", "a", "--json"])["profile"], "rescue");

    let table = std::fs::File::open(file(&site, "table", "name,mac\nb,52:54:00:77:01:03\n,\n")).unwrap();
    let mut piped = Command::new(NETBOOT);
    piped.args(["host", "import", "--from", "csv", "-", "--skip"]).stdin(Stdio::from(table));
    let piped = piped.env("NETBOOT_CONTROL", site.path("control.sock")).output().unwrap();
    refused(&piped, 0, "standard input:3: refused: name: \"\" is not a host name");
    assert_eq!(names(&site), ["a", "b", "host-525400770102"]);
}

#[test]
fn lists_of_names_are_taken_by_every_command_for_hosts() {
    let site = Site::start(SITE);
    let table: String = (1..=20).map(|i| format!("n{i:02},52:54:00:77:01:{i:02x}\n")).collect();
    let path = file(&site, "table", &format!("name,mac\n{table}"));
    assert_eq!(site.done(&["host", "import", "--from", "csv", &path]), "20 added, 0 changed, 0 unchanged\n");
    assert!(site.done(&["events"]).contains("hosts n[01-20] added"));

    let set = site.done(&["host", "set", "n[01-10],-n05", "--profile", "rescue", "--label", "rack=7"]);
    assert_eq!(set.matches("rescue").count(), 9, "{set}");
    assert_eq!(site.json(&["host", "show", "n05", "--json"])["profile"], Value::Null);
    let shown = site.json(&["host", "show", "n[04-05]", "n20", "--json"]);
    let shown: Vec<&Value> = shown.as_array().unwrap().iter().map(|host| &host["name"]).collect();
    assert_eq!(json!(shown), json!(["n04", "n05", "n20"]));
    site.done(&["host", "set", "n04", "n06", "--no-label", "rack"]);
    assert_eq!(site.json(&["host", "show", "n04", "--json"])["labels"], Value::Null);
    assert_eq!(site.done(&["host", "list", "n1[1-3]"]).lines().count(), 4);

    // All of them or none.
    site.refused(&["host", "remove", "n[19-22]"], 1, "there is no host n[21-22]");
    site.refused(&["host", "set", "n[19-22]", "--boot", "local"], 1, "2 of 4 changes can't be made");
    site.refused(
        &["host", "set", "n[01-02]", "--ip", "10.77.0.9"],
        1,
        "--ip is one machine's: it can't be given to 2",
    );
    site.refused(&["host", "show", "n[19-22]"], 1, "there is no host n[21-22]");
    site.refused(&["host", "list", "n[2-1]"], 2, "is no range");
    site.refused(&["host", "list", "n[1-1000001]"], 2, "1000000 is the most at once");
    assert_eq!(site.json(&["host", "show", "n19", "--json"])["boot"], "profile");
    site.done(&["host", "remove", "n[01-20],-n07"]);
    assert_eq!(names(&site), ["n07"]);
}

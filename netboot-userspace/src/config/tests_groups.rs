//! Groups, and what profiles and hosts say for a first boot: from files to [`Checked`] or [`Errors`].
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::tests::{LEAST, site};
use super::*;
use crate::inventory::configs::Kind;
use crate::inventory::labels::Labels;
use crate::inventory::{ProfileBoot, Snapshot};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q me";

#[test]
fn groups_of_the_main_file_and_of_the_folder_are_read() {
    let main = format!(
        "{LEAST}groups:\n  - name: rack7\n    selector: {{ mac: [52-54-00-00-00-01, 005056000001], region: 7 }}\n    \
         profile: discover\n    cmdline: console=ttyS0\n    \
         metadata: {{ count: 3, on: true, text: \"3\", list: [1, a], deep: {{ mac: 005056000001 }} }}\n"
    );
    let (dir, loaded) = site(
        &main,
        &[("groups.d/x.yaml", "- { name: all }\n- { name: n, selector: { hostname: 'node[1-3]' } }\n")],
    );
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<&str> = checked.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["rack7", "all", "n"]);
    let want = json!({
        "name": "rack7",
        "selector": { "mac": ["52:54:00:00:00:01", "00:50:56:00:00:01"], "region": "7" },
        "profile": "discover",
        "cmdline": "console=ttyS0",
        "metadata": { "count": 3, "on": true, "text": "3", "list": [1, "a"], "deep": { "mac": "005056000001" } },
        "origin": format!("{}:18", dir.path().join("netboot.yaml").display()),
    });
    assert_eq!(show(&checked)["groups"][0], want);
    let groups = checked.groups.into_iter().map(std::sync::Arc::new);
    let snapshot = Snapshot::new(checked.hosts, checked.profiles).unwrap().with_groups(groups).unwrap();
    let of = |key, value| snapshot.groups().of(&Labels::of_query([(key, value)])).unwrap().name.clone();
    assert_eq!([of("hostname", "node2"), of("mac", "005056000001")], ["n", "all"]);
}

#[test]
fn all_that_is_wrong_with_groups_is_said_at_its_place() {
    let groups = "- { name: a, selector: { mac: nonsense, region: [], hostname: 'n[3-1]' } }\n\
                  - { name: b, profile: nope, cmdline: 'a && b' }\n\
                  - { name: b, selectors: {} }\n\
                  - { name: c d, metadata: { request: 1 } }\n\
                  - { name: e, selector: { x: { y: 1 } }, metadata: [1] }\n\
                  - { name: f }\n";
    let (_dir, loaded) = site(LEAST, &[("groups.d/x.yaml", groups)]);
    let errors = loaded.unwrap_err();
    let want = [
        (1, "[0].selector.mac", "\"nonsense\" is not a MAC address"),
        (1, "[0].selector.region", "takes a value, or a list"),
        (1, "[0].selector.hostname", "is no range"),
        (2, "[1].profile", "there is no profile \"nope\"; known: discover"),
        (2, "[1].cmdline", "has the word &&"),
        (3, "[2]", "the group b is there already, at "),
        (3, "[2].selectors", "unknown key `selectors`; did you mean `selector`?"),
        (3, "[2]", "has no selectors, nor has the group at "),
        (4, "[3].name", "is not a group's name"),
        (4, "[3].metadata", "has the key `request`"),
        (5, "[4].selector.x", "takes a list, not a mapping"),
        (5, "[4].metadata", "takes a mapping of keys to values, not a list"),
        (6, "[5]", "has no selectors, nor has the group at "),
    ];
    for (line, field, message) in want {
        let found = errors.iter().any(|f| f.line == line && f.field == field && f.message.contains(message));
        assert!(found, "{line} {field} {message}: {errors}");
    }
    assert_eq!(errors.len(), want.len(), "{errors}");
}

#[test]
fn profiles_boot_efi_binaries_and_name_templates_that_are_there() {
    let profiles = "- name: uki\n  efi: vmlinuz\n  cmdline: quiet\n  metadata: { a: 1 }\n  \
                    configs: { cloud: sub/web.yaml, ignition: '{\"ignition\": {}}', generic: \"a\\nb\" }\n";
    let files = [
        ("profiles.d/p.yaml", profiles),
        ("templates/sub/web.yaml", "#cloud-config"),
        ("templates/.hidden", "x"),
    ];
    let (dir, loaded) = site(LEAST, &files);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let profile = &checked.profiles[1];
    assert_eq!(profile.boot, ProfileBoot::Efi { binary: "vmlinuz".into(), cmdline: "quiet".into() });
    let text = |kind| profile.configs.get(kind).map(|config| config.text(&checked.template_files).unwrap());
    assert_eq!(Kind::ALL.map(text), [Some("#cloud-config"), Some("{\"ignition\": {}}"), Some("a\nb")]);
    assert_eq!(checked.template_files.keys().collect::<Vec<_>>(), ["sub/web.yaml"]);
    assert_eq!(checked.templates, dir.path().join("templates"));
    let shown = &show(&checked)["profiles"][1];
    assert_eq!((&shown["efi"], &shown["configs"]["cloud"]), (&json!("vmlinuz"), &json!("sub/web.yaml")));

    let wrong = "- { name: p, efi: vmlinuz, kernel: vmlinuz }\n\
                 - { name: q, efi: missing.efi }\n\
                 - { name: r, local: true, configs: { cloud: gone.yaml, clowd: x } }\n";
    let (_dir, loaded) = site(LEAST, &[("profiles.d/p.yaml", wrong), ("templates/x.bin", "\u{7f}")]);
    let errors = loaded.unwrap_err();
    let want = [
        (1, "exactly one of `kernel`, `ipxe`, `efi` and `local: true`"),
        (2, "missing.efi can't be read"),
        (3, "\"gone.yaml\" is no file of the templates folder (there are x.bin)"),
        (3, "unknown key `clowd`; did you mean `cloud`?"),
    ];
    for (line, message) in want {
        assert!(errors.iter().any(|f| f.line == line && f.message.contains(message)), "{message}: {errors}");
    }
    assert_eq!(errors.len(), want.len(), "{errors}");
}

#[test]
fn hosts_have_a_serial_number_metadata_and_public_keys() {
    let hosts = format!(
        "- {{ name: a, mac: 52:54:00:00:00:01, serial: 0017, metadata: {{ n: 1 }}, ssh_authorized_keys: ['{KEY}'] }}\n"
    );
    let (_dir, loaded) = site(LEAST, &[("hosts.d/x.yaml", &hosts)]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let host = &show(&checked)["hosts"][0];
    let want = (&json!("0017"), &json!({ "n": 1 }), &json!([KEY]));
    assert_eq!((&host["serial"], &host["metadata"], &host["ssh_authorized_keys"]), want);

    let wrong =
        "- { name: a, mac: 52:54:00:00:00:01, serial: '', metadata: x, ssh_authorized_keys: [default] }\n";
    let (_dir, loaded) = site(LEAST, &[("hosts.d/x.yaml", wrong)]);
    let errors = loaded.unwrap_err();
    for field in ["[0].serial", "[0].metadata", "[0].ssh_authorized_keys[0]"] {
        assert!(errors.iter().any(|fault| fault.field == field), "{field}: {errors}");
    }
    assert_eq!(errors.len(), 3, "{errors}");
}

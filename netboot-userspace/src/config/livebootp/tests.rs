//! Folders as the container of LiveBOOTP's registry has them mounted (LB-23), and what is wrong with them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::config::{Checked, load};
use crate::inventory::{Profile, ProfileBoot};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q me@desk";

const MAIN: &str = "\
interfaces: [{ name: eth1, dhcp: server, subnet: 172.18.0.0/24, dns: [172.18.0.1] }]
assets: assets
livebootp: { config: config, images: images, ssh_authorized_keys: keys }
profiles: [{ name: own, kernel: k, live: deep/x.squashfs }]
";

/// LB-22, as its page has it.
const HOSTS: &str = "\
domain-name-servers: [172.18.0.53, 1.1.1.1]
hosts:
  my-nginx-web-server:
    hardware-ethernet: \"52:54:00:12:34:56\"
    fixed-address: 172.18.0.10
    image-name: nginx-web-server/test
    ssh-authorized-keys: default
    cmdline-append: debug
";

/// A folder with the files of `MAIN`, and these in place of them or beside them: nothing takes one away.
fn site(files: &[(&str, Option<&str>)]) -> (tempfile::TempDir, Result<Checked, String>) {
    let dir = tempfile::tempdir().unwrap();
    let keys = format!("# us\n\n{KEY}\n");
    let usual = [
        ("netboot.yaml", MAIN),
        ("assets/k", ""),
        ("assets/deep/x.squashfs", ""),
        ("config/config.yml", HOSTS),
        ("images/nginx-web-server/test/vmlinuz", "kernel"),
        ("images/nginx-web-server/test/initrd.img", "initrd"),
        ("images/nginx-web-server/test/filesystem.squashfs", "squashfs"),
        ("keys/default", &keys),
    ];
    for (name, text) in usual {
        write(dir.path(), name, text);
    }
    for (name, text) in files {
        match text {
            Some(text) => write(dir.path(), name, text),
            None => fs::remove_file(dir.path().join(name)).unwrap(),
        }
    }
    let loaded = load(&dir.path().join("netboot.yaml"));
    let loaded = loaded.map_err(|errors| errors.to_string().replace(&dir.path().display().to_string(), "."));
    (dir, loaded)
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn profile<'a>(checked: &'a Checked, name: &str) -> &'a Profile {
    checked.profiles.iter().find(|profile| profile.name == name).unwrap()
}

#[test]
fn lb_20_to_23_the_registrys_folders_are_hosts_and_profiles() {
    let (dir, loaded) = site(&[]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let [host] = checked.hosts.as_slice() else { panic!("{:?}", checked.hosts) };
    assert_eq!(
        (host.name.as_str(), host.macs[0].to_string().as_str()),
        ("my-nginx-web-server", "52:54:00:12:34:56")
    );
    assert_eq!((host.ip, host.cmdline.as_str()), (Some([172, 18, 0, 10].into()), "debug"));
    assert_eq!(
        (host.profile.as_deref(), host.ssh_authorized_keys.as_slice()),
        (Some("nginx-web-server_test"), &[KEY.to_owned()][..])
    );
    assert_eq!(host.labels["image-name"], "nginx-web-server/test");
    let config = dir.path().join("config/config.yml");
    assert_eq!(host.origin, format!("{}:3", config.display()));

    let image = profile(&checked, "nginx-web-server_test");
    let below = |name: &str| format!("nginx-web-server/test/{name}");
    let (kernel, initrd) = (below("vmlinuz"), vec![below("initrd.img")]);
    assert_eq!(image.boot, ProfileBoot::Linux { kernel, initrd, cmdline: String::new() });
    assert_eq!(
        (image.live.clone(), image.origin.as_str()),
        (Some(below("filesystem.squashfs")), format!("{}:6", config.display()).as_str())
    );
    // LB-21
    assert_eq!(image.settings.options.get(6), Some(&[172, 18, 0, 53, 1, 1, 1, 1][..]));
    assert_eq!(profile(&checked, "own").live.as_deref(), Some("deep/x.squashfs"));

    let registry = checked.livebootp.unwrap();
    let short = |path: &std::path::PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
    let followed: Vec<_> = registry.files.iter().chain(&registry.folders).map(short).collect();
    assert_eq!(
        followed,
        ["config/config-default.yml", "config/config.yml", "keys/default", "images/nginx-web-server/test"]
    );
    assert_eq!(registry.faults, []);
}

/// LB-20: key by key; what the defaults have beside what we know is LiveBOOTP's own.
#[test]
fn lb_20_config_yml_is_laid_over_its_defaults() {
    let default = "\
registry:
  interface: auto
  subnet: { netmask: ~ }
  domain-name-servers: 9.9.9.9
nodes:
  my-nginx-web-server: { cmdline-append: quiet, ssh-authorized-keys: default, fixed-address: 172.18.0.99 }
";
    let own = "\
registry: { interface: eth7 }
here:
  my-nginx-web-server: { hardware-ethernet: '52:54:00:12:34:56', fixed-address: 172.18.0.10, image-name: nginx-web-server/test }
  plain: { hardware-ethernet: [52-54-00-12-34-57, 525400123458], image-name: nginx-web-server/test }
";
    let files = [("config/config-default.yml", Some(default)), ("config/config.yml", Some(own))];
    let (_dir, loaded) = site(&files);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let [host, plain] = checked.hosts.as_slice() else { panic!("{:?}", checked.hosts) };
    assert_eq!((host.ip, host.cmdline.as_str()), (Some([172, 18, 0, 10].into()), "quiet"));
    assert_eq!(host.ssh_authorized_keys.len(), 1);
    assert!(host.origin.ends_with("config.yml:3"), "{}", host.origin);
    assert_eq!((plain.macs.len(), plain.ip, plain.ssh_authorized_keys.len()), (2, None, 0));
    assert_eq!(profile(&checked, "nginx-web-server_test").settings.options.get(6), Some(&[9, 9, 9, 9][..]));
    assert_eq!(checked.profiles.len(), 2, "an image of two hosts is one profile");
    // Without them nothing is taken for LiveBOOTP's own.
    let (_dir, loaded) = site(&[("config/config.yml", Some(own))]);
    assert!(loaded.unwrap_err().contains(
        "config.yml:1:13: registry.interface: unknown key; known here: domain-name-servers, and hosts"
    ));
}

#[test]
fn lb_20_a_registry_may_have_no_host() {
    for own in ["{}", "hosts:\n", "hosts: {}\n"] {
        let (_dir, loaded) = site(&[("config/config.yml", Some(own))]);
        let checked = loaded.unwrap_or_else(|errors| panic!("{own}: {errors}"));
        assert_eq!(checked.hosts.len(), 0, "{own}");
    }
}

#[test]
fn lb_20_names_of_files_are_those_that_builders_give() {
    for (kernel, initrd, squashfs) in [
        ("kernel", "initrd", "squashfs"),
        ("vmlinuz-4.4.0-131-generic", "initrd.img-4.4.0-131-generic", "nginx.squashfs"),
        ("kernel-4.4", "initramfs.cpio.gz", "rootfs.squashfs"),
    ] {
        let of = |name: &str| format!("images/other/1.0/{name}");
        let files = [kernel, initrd, squashfs, "packages.txt"].map(of);
        let files = files.each_ref().map(|name| (name.as_str(), Some("")));
        let own = HOSTS.replace("nginx-web-server/test", "other/1.0");
        let (_dir, loaded) = site(&[&files[..], &[("config/config.yml", Some(own.as_str()))]].concat());
        let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(profile(&checked, "other_1.0").live, Some(format!("other/1.0/{squashfs}")));
    }
}

/// One change to what is right, and what is said of it.
#[test]
fn lb_20_to_23_what_is_wrong_is_said_at_its_line_with_what_would_be_right() {
    const MAC: &str = "\"52:54:00:12:34:56\"";
    let own = |from: &str, to: &str| {
        assert!(HOSTS.contains(from), "{from}");
        HOSTS.replace(from, to)
    };
    let cases = [
        (
            own("hardware-ethernet", "hardware-ethernt"),
            "config.yml:4:5: hosts.my-nginx-web-server.hardware-ethernt: unknown key `hardware-ethernt`; did you mean `hardware-ethernet`?",
        ),
        (
            own("hardware-ethernet", "hardware-ethernt"),
            "config.yml:3:3: hosts.my-nginx-web-server: `hardware-ethernet` is missing: add it, as in `hardware-ethernet: \"52:54:00:12:34:56\"`",
        ),
        (
            own("domain-name-servers", "domain-name-server"),
            "config.yml:1:1: domain-name-server: unknown key; known here: domain-name-servers, and hosts by their names, with hardware-ethernet, ",
        ),
        (own("[172.18.0.53, 1.1.1.1]", "dns.example"), "config.yml:1:"),
        (
            own("hosts:", "more: { domain-name-servers: 1.1.1.1 }\nhosts:"),
            "config.yml:2:9: more.domain-name-servers: is there already, at ./config/config.yml:1",
        ),
        (own("34:56", "34"), "config.yml:4:24: hosts.my-nginx-web-server.hardware-ethernet: "),
        (
            own("172.18.0.10", "172.19.0.10"),
            "config.yml:5:20: hosts.my-nginx-web-server.fixed-address: 172.19.0.10 is outside every subnet",
        ),
        (
            own("my-nginx-web-server", "my_server"),
            "config.yml:3:3: hosts.my_server: \"my_server\" is not a host name",
        ),
        (own("debug", "a || b"), "hosts.my-nginx-web-server.cmdline-append: has the word || in it"),
        (
            own("    image-name: nginx-web-server/test\n", ""),
            "config.yml:3:3: hosts.my-nginx-web-server: `image-name` is missing",
        ),
        (
            own("nginx-web-server/test", "../images/nginx-web-server"),
            "image-name: \"../images/nginx-web-server\" is no image: write TARGET/VERSION, as in nginx-web-server/1.0.0, two folders of ./images",
        ),
        (own("nginx-web-server/test", "nginx-web-server/.."), "is no image"),
        (own("nginx-web-server/test", "/etc"), "is no image"),
        (own("nginx-web-server/test", "nginx-web-server"), "is no image"),
        (own("keys: default", "keys: sub/x"), "\"sub/x\" is no file of ./keys"),
        (
            own("keys: default", "keys: ../keys/default"),
            "config.yml:7:26: hosts.my-nginx-web-server.ssh-authorized-keys: \"../keys/default\" is no file of ./keys: write its name alone, as in default",
        ),
        (own("keys: default", "keys: none"), "ssh-authorized-keys: ./keys/none can't be read: not found"),
        (
            format!(
                "{HOSTS}  b: {{ hardware-ethernet: '52:54:00:12:34:56', fixed-address: 172.18.0.11, image-name: nginx-web-server/test }}\n"
            ),
            "52:54:00:12:34:56 belongs to host b",
        ),
        (
            format!(
                "{HOSTS}  b: {{ hardware-ethernet: '52:54:00:12:34:57', fixed-address: 172.18.0.10, image-name: nginx-web-server/test }}\n"
            ),
            "172.18.0.10 belongs to host b",
        ),
        (
            format!("{HOSTS}again: {{ my-nginx-web-server: {{ image-name: x/y }} }}\n"),
            "the host my-nginx-web-server is there already, at ./config/config.yml:3",
        ),
        ("- a\n".to_owned(), "config.yml:1:1: takes a mapping"),
        (String::new(), "config.yml: is empty: write {} where there is no host"),
        ("# soon\n".to_owned(), "config.yml: is empty: write {} where there is no host"),
        (own(MAC, ""), "hardware-ethernet: is empty"),
        (own(MAC, "[]"), "hardware-ethernet: is empty"),
    ];
    for (text, want) in cases {
        let (_dir, loaded) = site(&[("config/config.yml", Some(&text))]);
        let fault = loaded.unwrap_err();
        assert!(fault.contains(want), "{text}\nwants {want}\n{fault}");
    }
}

#[test]
fn lb_23_what_is_wrong_with_images_keys_and_folders_is_said() {
    let no_images = MAIN.replace("images: images, ", "");
    let no_keys = MAIN.replace(", ssh_authorized_keys: keys", "");
    let taken = MAIN.replace("own,", "nginx-web-server_test,");
    let cases: [(&str, Option<&str>, String); 6] = [
        (
            "keys/default",
            Some("ssh-ed25519 AAAA\n"),
            "./keys/default:1:1: \"ssh-ed25519 AAAA\" … is no public key".into(),
        ),
        ("config/config.yml", None, "./config/config.yml: can't be read: ".into()),
        ("config/config-default.yml", Some("a: ["), "./config/config-default.yml:1:".into()),
        ("netboot.yaml", Some(&no_images), "netboot.yaml:3:12: livebootp: `images` is missing".into()),
        (
            "netboot.yaml",
            Some(&no_keys),
            "ssh-authorized-keys: needs `ssh_authorized_keys` of `livebootp`".into(),
        ),
        (
            "netboot.yaml",
            Some(&taken),
            "the profile nginx-web-server_test is there already, at ./netboot.yaml:4".into(),
        ),
    ];
    for (name, text, want) in cases {
        let (_dir, loaded) = site(&[(name, text)]);
        let fault = loaded.unwrap_err();
        assert!(fault.contains(&want), "{name}: wants {want}\n{fault}");
    }
    let alone = MAIN.replace("kernel: k, live", "local: true, live");
    let (_dir, loaded) = site(&[("netboot.yaml", Some(&alone))]);
    let fault = loaded.unwrap_err();
    assert!(fault.contains("profiles[0].live: goes with `kernel`, which is missing here"), "{fault}");
}

/// What is wrong with an image, and that it has its own machines boot nothing, and no others.
fn assert_broken(folder: &Path, checked: &Checked, name: &str, want: &str) {
    let faults: Vec<String> = checked.faults().map(ToString::to_string).collect();
    let faults = faults.join("\n").replace(&folder.display().to_string(), ".");
    assert!(faults.contains(want), "wants {want}\n{faults}");
    let image = profile(checked, name);
    assert!(matches!(image.boot, ProfileBoot::Broken(_)) && image.live.is_none(), "{image:?}");
    assert!(matches!(profile(checked, "own").boot, ProfileBoot::Linux { .. }));
    assert_eq!((checked.hosts.len(), checked.hosts[0].profile.as_deref()), (1, Some(name)));
}

#[test]
fn lb_20_an_image_that_is_not_whole_is_no_fault_of_others() {
    let image = |name: &str| format!("images/nginx-web-server/test/{name}");
    let (kernel, squashfs) = (image("vmlinuz"), image("filesystem.squashfs"));
    let (second, asset) = (image("kernel"), "assets/nginx-web-server/test/vmlinuz");
    let other = HOSTS.replace("nginx-web-server/test", "nginx-web-server/2");
    let at = "config.yml:6:17: hosts.my-nginx-web-server.image-name: ./images/nginx-web-server";
    let (test, two) = ("nginx-web-server_test", "nginx-web-server_2");
    let cases: [(&str, Option<&str>, &str, String); 6] = [
        (
            &kernel,
            None,
            test,
            format!("{at}/test has no kernel (kernel, vmlinuz); it has: filesystem.squashfs, initrd.img"),
        ),
        (&squashfs, None, test, format!("{at}/test has no squashfs; it has: initrd.img, vmlinuz")),
        (
            &second,
            Some(""),
            test,
            format!("{at}/test has more than one kernel (kernel, vmlinuz): kernel, vmlinuz; leave the one"),
        ),
        (
            asset,
            Some(""),
            test,
            "nginx-web-server/test/vmlinuz is also in ./assets, which is looked into first".into(),
        ),
        ("config/config.yml", Some(&other), two, format!("{at}/2 can't be read: ")),
        ("config/config.yml", Some(&other), two, "; there are: nginx-web-server/test".into()),
    ];
    for (name, text, image, want) in cases {
        let (dir, loaded) = site(&[(name, text)]);
        let checked = loaded.unwrap_or_else(|errors| panic!("{name}: {errors}"));
        assert_broken(dir.path(), &checked, image, &want);
    }
    // What is served follows no link, and so what is a link is no file of an image.
    let (dir, loaded) = site(&[]);
    loaded.unwrap_or_else(|errors| panic!("{errors}"));
    fs::rename(dir.path().join(&kernel), dir.path().join("outside")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("outside"), dir.path().join(&kernel)).unwrap();
    let checked = load(&dir.path().join("netboot.yaml")).unwrap();
    assert_broken(dir.path(), &checked, test, "has no kernel");
    // One folder may be both.
    let (_dir, loaded) = site(&[
        ("netboot.yaml", Some(&MAIN.replace("images: images", "images: assets"))),
        (asset, Some("")),
        ("assets/nginx-web-server/test/initrd", Some("")),
        ("assets/nginx-web-server/test/squashfs", Some("")),
    ]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(checked.faults().count(), 0);
    assert_eq!(profile(&checked, test).live.as_deref(), Some("nginx-web-server/test/squashfs"));
}

/// LB-20: an empty list counts, too, and a key without a value is as one that is not there.
#[test]
fn lb_20_nothing_in_config_yml_counts_for_more_than_its_defaults() {
    let default = "\
domain-name-servers: [9.9.9.9]
host-defaults: { cmdline-append: quiet, ssh-authorized-keys: default }
nodes: { n1: { cmdline-append: quiet } }
";
    let of = |servers: &str| {
        let own = format!(
            "{servers}nodes: {{ n1: {{ hardware-ethernet: '52:54:00:12:34:56', fixed-address: ~, cmdline-append: ~, image-name: nginx-web-server/test }} }}\n"
        );
        let files = [("config/config-default.yml", Some(default)), ("config/config.yml", Some(own.as_str()))];
        let (_dir, loaded) = site(&files);
        let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let [host] = checked.hosts.as_slice() else { panic!("{:?}", checked.hosts) };
        assert_eq!((host.ip, host.cmdline.as_str()), (None, ""));
        profile(&checked, "nginx-web-server_test").settings.options.get(6).map(<[u8]>::to_vec)
    };
    assert_eq!(of(""), Some(vec![9, 9, 9, 9]));
    assert_eq!(of("domain-name-servers: 1.1.1.1\n"), Some(vec![1, 1, 1, 1]));
    for none in ["domain-name-servers: []\n", "domain-name-servers:\n"] {
        assert_eq!(of(none), None, "{none}");
    }
}

/// What a refused configuration looked for is followed: it may be mended there.
#[test]
fn what_a_refused_registry_looked_for_is_told() {
    let dir = site(&[("config/config.yml", Some(&HOSTS.replace("keys: default", "keys: new")))]).0;
    let errors = load(&dir.path().join("netboot.yaml")).unwrap_err();
    let wanted: Vec<_> =
        errors.looked_for().iter().map(|path| path.strip_prefix(dir.path()).unwrap()).collect();
    let want = ["config/config-default.yml", "config/config.yml", "keys/new"].map(Path::new);
    assert_eq!(wanted, want);
}

/// All at once, each file's.
#[test]
fn lb_20_every_fault_of_every_file_is_said_at_once() {
    let own =
        HOSTS.replace("nginx-web-server/test", "../b").replace("34:56", "34").replace("debug", "a && b");
    let files = [("config/config.yml", Some(own.as_str())), ("keys/default", Some("no key\nnor this\n"))];
    let (_dir, loaded) = site(&files);
    let fault = loaded.unwrap_err();
    for want in [
        "hardware-ethernet: ",
        "image-name: ",
        "cmdline-append: ",
        "keys/default:1:1: ",
        "keys/default:2:1: ",
    ] {
        assert!(fault.contains(want), "{want}: {fault}");
    }
}

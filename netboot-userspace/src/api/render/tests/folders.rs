//! What a data folder gives beside scripts for those who ask for them, and what is said of what is wrong in it.

use super::*;

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

//! The iPXE scripts. Pure: what is known in, text out.

use std::fmt::Write;

use netboot_common::Mac;

use crate::inventory::boots::BootId;
use crate::inventory::group::Group;
use crate::inventory::layered::Layered;
use crate::inventory::{Host, Profile, ProfileBoot};
use crate::render::loaders;
use crate::template::{is_unreserved, percent};

/// The first script: tells us who asks. iPXE fills in the settings; a name that isn't set stays empty.
pub const CHAIN: &str = "\
#!ipxe
chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}\
&arch=${buildarch:uristring}&platform=${platform}
";

/// iPXE's `${platform}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    Bios,
    Efi,
    /// The script asks iPXE itself.
    #[default]
    Unknown,
}

impl Platform {
    pub fn from_name(name: &str) -> Self {
        match name {
            "pcbios" => Self::Bios,
            "efi" => Self::Efi,
            _ => Self::Unknown,
        }
    }
}

/// Which loader a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Ipxe,
    Grub,
    Pxelinux,
}

/// Leaves the loader, so that the firmware goes on with its next boot device: the disk. From iPXE, UEFI goes on only after a failure.
pub const fn local(form: Form, platform: Platform) -> &'static str {
    match (form, platform) {
        (Form::Ipxe, Platform::Bios) => "#!ipxe\nexit\n",
        (Form::Ipxe, Platform::Efi) => "#!ipxe\nexit 1\n",
        (Form::Ipxe, Platform::Unknown) => "#!ipxe\niseq ${platform} efi && exit 1 || exit 0\n",
        (Form::Grub, _) => loaders::GRUB_LOCAL,
        (Form::Pxelinux, _) => loaders::PXELINUX_LOCAL,
    }
}

/// Who boots, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The boot's record: named where we, our agent and whoever reads the screen see it, and not on the command line of a system.
    pub id: Option<BootId>,
    pub mac: Mac,
    pub host: Option<&'a Host>,
    /// The one that counts for it.
    pub group: Option<&'a Group>,
    /// `http://10.10.0.1:8080`
    pub server: &'a str,
    /// The same for our agent, which resolves no names: an address.
    pub agent_server: &'a str,
    /// The agent's one-time token.
    pub token: Option<&'a str>,
    /// What stands in the place of `${token}`, where the profile's configurations are bound to one.
    pub configure: Option<&'a str>,
    pub platform: Platform,
}

impl Boot<'_> {
    /// What the profile says, for this boot.
    fn said(&self, text: &str) -> String {
        self.configure.map_or_else(|| text.to_owned(), |token| text.replace("${token}", token))
    }
}

/// The script of a profile. Other loaders than iPXE run neither its scripts nor EFI binaries: there is none for them then.
pub fn profile(form: Form, profile: &Profile, boot: &Boot<'_>) -> Option<String> {
    let cmdline = boot.said(&Layered::of(boot.group, Some(profile), boot.host).cmdline());
    let (kernel, initrd) = match &profile.boot {
        ProfileBoot::Linux { kernel, initrd, .. } => {
            (boot.said(kernel), initrd.iter().map(|initrd| boot.said(initrd)).collect::<Vec<_>>())
        }
        ProfileBoot::Ipxe(script) => return (form == Form::Ipxe).then(|| boot.said(script)),
        ProfileBoot::Efi { binary, .. } => {
            return (form == Form::Ipxe).then(|| efi(&boot.said(binary), &cmdline, &profile.name, boot));
        }
        ProfileBoot::Given(given) => return Some(self::given(form, given, boot.platform)),
        // Nobody decides for one.
        ProfileBoot::Broken(_) => return None,
        ProfileBoot::Local => return Some(local(form, boot.platform).to_owned()),
    };
    let url = |path: &String| url(path, boot.server);
    let own = |path: &String| if form == Form::Grub { loaders::grub_url(&url(path)) } else { url(path) };
    let other = |cmdline| crate::render::Boot {
        kernel: own(&kernel),
        initrd: initrd.iter().map(own).collect(),
        args: words(profile, cmdline, boot),
    };
    Some(match form {
        Form::Ipxe => linux(&kernel, &initrd, cmdline, profile, boot),
        Form::Grub => loaders::grub(&other(cmdline)),
        Form::Pxelinux => loaders::pxelinux(&other(cmdline)),
    })
}

/// What another program's folder says, as that program has it.
pub fn given(form: Form, boot: &crate::render::Boot, platform: Platform) -> String {
    match form {
        Form::Ipxe => loaders::ipxe(boot, platform == Platform::Efi),
        Form::Grub => loaders::grub(boot),
        Form::Pxelinux => loaders::pxelinux(boot),
    }
}

/// UEFI hands the kernel its initrds by the names in `initrd=`; BIOS hands it all that were fetched.
fn linux(kernel: &str, initrd: &[String], cmdline: String, profile: &Profile, boot: &Boot<'_>) -> String {
    let names = names(initrd);
    let mut all: Vec<String> = names.iter().map(|name| format!("initrd={name}")).collect();
    all.extend(words(profile, cmdline, boot));

    let mut script = head(&profile.name, boot);
    // Of what others serve, nobody would make use of it. Writing to a String can't fail.
    let query = boot.id.filter(|_| !kernel.contains("://")).map(|id| format!("?boot={id}"));
    let kernel = url(kernel, boot.server) + &query.unwrap_or_default();
    let _ = writeln!(script, "kernel {kernel} {}", all.join(" "));
    for (name, path) in names.iter().zip(initrd) {
        let _ = writeln!(script, "initrd --name {name} {}", url(path, boot.server));
    }
    script.push_str("boot\n");
    script
}

/// The kernel's arguments: those of all levels, and what we have to say to it ourselves.
fn words(profile: &Profile, cmdline: String, boot: &Boot<'_>) -> Vec<String> {
    let live = live(profile, boot.mac, boot.host, boot.agent_server).unwrap_or_default();
    let mut words = vec![boot.said(&live), cmdline, format!("BOOTIF=01-{}", boot.mac.hyphenated())];
    if let Some(token) = boot.token {
        words.push(format!("netboot.server={} netboot.token={token}", boot.agent_server));
        words.extend(boot.id.map(|id| format!("netboot.boot={id}")));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the initrd of a live system is told, as live-boot(7) and live-config(7) have it: where its root is, and what its machine is
/// called; and, as ours, where the keys of those are who may log in. Initrds have no resolver: `server` is an address. What is typed stands
/// behind it, and so counts for more.
pub(super) fn live(profile: &Profile, mac: Mac, host: Option<&Host>, server: &str) -> Option<String> {
    let path = profile.live.as_ref()?;
    let mut words = format!("boot=live fetch={}", url(path, server));
    if !path.ends_with(SQUASHFS) && !path.contains("://") {
        // By its end live-boot tells what it fetches.
        let _ = write!(words, "?{SQUASHFS}");
    }
    if let Some(host) = host {
        let keys = format!("{server}/authorized_keys?mac={}", mac.hyphenated());
        let _ = write!(words, " hostname={} netboot.authorized_keys={keys}", host.name);
    }
    Some(words)
}

const SQUASHFS: &str = ".squashfs";

/// Who this script is for.
fn head(profile: &str, boot: &Boot<'_>) -> String {
    let name = boot.host.map_or_else(|| boot.mac.to_string(), |host| host.name.clone());
    let id = boot.id.map(|id| format!(", boot {id}")).unwrap_or_default();
    format!("#!ipxe\n# {name}: profile {profile}{id}\n")
}

/// What UEFI itself loads.
fn efi(binary: &str, cmdline: &str, profile: &str, boot: &Boot<'_>) -> String {
    let chain = format!("chain {} {cmdline}", url(binary, boot.server));
    format!("{}{}\n", head(profile, boot), chain.trim_end())
}

/// A name for each initrd that is a word to iPXE and to the kernel: its file name, if no other has it.
fn names(initrd: &[String]) -> Vec<String> {
    let file_name = |path: &String| {
        let last = path.rsplit('/').next().unwrap_or_default();
        last.split(['?', '#']).next().unwrap_or_default().to_owned()
    };
    let all: Vec<String> = initrd.iter().map(file_name).collect();
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
    };
    let unique = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let number = |(i, name): (usize, &String)| {
        if plain(name) && unique(name) { name.clone() } else { format!("initrd{i}") }
    };
    all.iter().enumerate().map(number).collect()
}

/// A URL as it is; a path under `/assets/`, percent-encoded (RFC 3986 section 2.1).
pub fn url(path: &str, server: &str) -> String {
    if path.contains("://") {
        return path.to_owned();
    }
    format!("{server}/assets/{}", percent(path, |byte| byte == b'/' || is_unreserved(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn linux(kernel: &str, initrd: &[&str], cmdline: &str) -> Profile {
        let initrd = initrd.iter().map(|path| (*path).to_owned()).collect();
        let boot = ProfileBoot::Linux { kernel: kernel.into(), initrd, cmdline: cmdline.into() };
        Profile { name: "p".into(), boot, ..Profile::default() }
    }

    fn host() -> Host {
        Host {
            name: "node1".into(),
            macs: vec![MAC],
            client_id: None,
            uuid: None,
            circuit: None,
            duid: None,
            serial: None,
            ip: None,
            ip6: None,
            profile: None,
            boot: crate::inventory::Boot::Profile,
            cmdline: "console=ttyS0".into(),
            labels: BTreeMap::new(),
            metadata: Default::default(),
            ssh_authorized_keys: Vec::new(),
            settings: Default::default(),
            origin: String::new(),
        }
    }

    fn boot<'a>(host: Option<&'a Host>, token: Option<&'a str>) -> Boot<'a> {
        let (server, agent_server) = ("http://10.10.0.1:8080", "http://10.10.0.1:8080");
        let (configure, platform) = (None, Platform::Bios);
        Boot { id: None, mac: MAC, host, group: None, server, agent_server, token, configure, platform }
    }

    #[test]
    fn the_chain_is_one_command() {
        assert_eq!(
            CHAIN,
            "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}\
             &serial=${serial}&arch=${buildarch:uristring}&platform=${platform}\n"
        );
    }

    #[test]
    fn an_installing_host() {
        let profile = linux("debian/vmlinuz", &["debian/initrd.img"], "quiet");
        assert_eq!(
            super::profile(Form::Ipxe, &profile, &boot(Some(&host()), Some("t0k"))).unwrap(),
            "#!ipxe\n\
             # node1: profile p\n\
             kernel http://10.10.0.1:8080/assets/debian/vmlinuz initrd=initrd.img quiet console=ttyS0 \
             BOOTIF=01-52-54-00-12-34-56 netboot.server=http://10.10.0.1:8080 netboot.token=t0k\n\
             initrd --name initrd.img http://10.10.0.1:8080/assets/debian/initrd.img\n\
             boot\n"
        );
    }

    #[test]
    fn a_boot_is_named_to_the_reader_to_us_and_to_our_agent() {
        let id = "6567a10000000001".parse().ok();
        let named = |kernel, token| {
            super::profile(Form::Ipxe, &linux(kernel, &["i"], "quiet"), &Boot { id, ..boot(None, token) })
                .unwrap()
        };
        let own = named("k", Some("t0k"));
        assert!(own.starts_with("#!ipxe\n# 52:54:00:12:34:56: profile p, boot 6567a10000000001\n"), "{own}");
        assert!(
            own.contains("kernel http://10.10.0.1:8080/assets/k?boot=6567a10000000001 initrd=i"),
            "{own}"
        );
        assert!(own.contains("netboot.token=t0k netboot.boot=6567a10000000001\n"), "{own}");
        let others = named("http://mirror/k", None);
        assert!(
            others.contains("kernel http://mirror/k initrd=i quiet BOOTIF=01-52-54-00-12-34-56\n"),
            "{others}"
        );
    }

    #[test]
    fn an_unknown_machine_and_awkward_names() {
        let initrd = ["a/i.img", "b/i.img", "https://h/x.img?y", "a b/$z"];
        assert_eq!(
            super::profile(Form::Ipxe, &linux("my kernel", &initrd, ""), &boot(None, None)).unwrap(),
            "#!ipxe\n\
             # 52:54:00:12:34:56: profile p\n\
             kernel http://10.10.0.1:8080/assets/my%20kernel initrd=initrd0 initrd=initrd1 initrd=x.img \
             initrd=initrd3 BOOTIF=01-52-54-00-12-34-56\n\
             initrd --name initrd0 http://10.10.0.1:8080/assets/a/i.img\n\
             initrd --name initrd1 http://10.10.0.1:8080/assets/b/i.img\n\
             initrd --name x.img https://h/x.img?y\n\
             initrd --name initrd3 http://10.10.0.1:8080/assets/a%20b/%24z\n\
             boot\n"
        );
    }

    #[test]
    fn what_is_bound_to_a_token_has_it_where_the_profile_says() {
        let url = "ignition.config.url=http://s/ignition?token=${token}&uuid=${uuid}";
        let bound = |boot, configure| {
            let profile = Profile { boot, ..linux("", &[], "") };
            super::profile(Form::Ipxe, &profile, &Boot { configure, ..self::boot(None, None) }).unwrap()
        };
        let script = ProfileBoot::Ipxe(format!("#!ipxe\nkernel k {url}\n"));
        let efi = ProfileBoot::Efi { binary: "k".into(), cmdline: url.into() };
        for boot in [linux("k", &[], url).boot, script, efi] {
            let script = bound(boot.clone(), Some("t0k"));
            assert!(script.contains("?token=t0k&uuid=${uuid}"), "{script}");
            assert!(bound(boot, None).contains("?token=${token}&uuid=${uuid}"), "it is iPXE's");
        }
        // What is fetched by a URL is asked for by it, too, by every loader.
        let at = |name: &str| format!("http://h/{name}?mac=${{mac}}&token=${{token}}");
        let urls = linux(&at("k"), &[&at("i"), &at("j")], "").boot;
        let script = bound(urls.clone(), Some("t0k"));
        for (word, name) in [("kernel", "k"), ("initrd --name i", "i"), ("initrd --name j", "j")] {
            assert!(script.contains(&format!("{word} http://h/{name}?mac=${{mac}}&token=t0k")), "{script}");
        }
        let profile = Profile { boot: urls, ..linux("", &[], "") };
        let bound_to = Boot { configure: Some("t0k"), ..boot(None, None) };
        for form in [Form::Grub, Form::Pxelinux] {
            let script = super::profile(form, &profile, &bound_to).unwrap();
            assert!(script.matches("&token=t0k").count() >= 3 && !script.contains("${token}"), "{script}");
        }
        let efi = ProfileBoot::Efi { binary: at("x.efi"), cmdline: String::new() };
        assert!(bound(efi, Some("t0k")).contains("chain http://h/x.efi?mac=${mac}&token=t0k\n"));
    }

    #[test]
    fn an_efi_binary_is_chained_with_what_all_levels_add() {
        let entry = serde_json::json!({ "name": "g", "cmdline": "console=tty0" });
        let entry: crate::inventory::group::GroupEntry = serde_json::from_value(entry).unwrap();
        let group = entry.check("test:1").unwrap();
        let (binary, cmdline) = ("uki/linux.efi".into(), "quiet".into());
        let efi = Profile { boot: ProfileBoot::Efi { binary, cmdline }, ..linux("", &[], "") };
        let host = host();
        let grouped = Boot { group: Some(&group), ..boot(Some(&host), None) };
        assert_eq!(
            super::profile(Form::Ipxe, &efi, &grouped).unwrap(),
            "#!ipxe\n# node1: profile p\n\
             chain http://10.10.0.1:8080/assets/uki/linux.efi console=tty0 quiet console=ttyS0\n"
        );
        let script = super::profile(Form::Ipxe, &linux("k", &[], "quiet"), &grouped).unwrap();
        assert!(script.contains("/assets/k console=tty0 quiet console=ttyS0 BOOTIF="), "{script}");
        let bare = ProfileBoot::Efi { binary: "http://h/shell.efi".into(), cmdline: String::new() };
        let profile = Profile { boot: bare, ..linux("", &[], "") };
        let script = super::profile(Form::Ipxe, &profile, &boot(None, None)).unwrap();
        assert_eq!(script, "#!ipxe\n# 52:54:00:12:34:56: profile p\nchain http://h/shell.efi\n");
    }

    #[test]
    fn the_disk_by_platform_and_a_script_as_it_is() {
        let local = |name| super::local(Form::Ipxe, Platform::from_name(name));
        assert_eq!(local("pcbios"), "#!ipxe\nexit\n");
        assert_eq!(local("efi"), "#!ipxe\nexit 1\n");
        assert_eq!(local(""), "#!ipxe\niseq ${platform} efi && exit 1 || exit 0\n");
        let boot_kind = ProfileBoot::Ipxe("#!ipxe\nshell\n".into());
        let profile = Profile { boot: boot_kind, ..linux("", &[], "") };
        assert_eq!(super::profile(Form::Ipxe, &profile, &boot(None, None)).unwrap(), "#!ipxe\nshell\n");
        let other = |form| super::profile(form, &profile, &boot(None, None));
        assert_eq!((other(Form::Grub), other(Form::Pxelinux)), (None, None));
        let profile = Profile { boot: ProfileBoot::Local, ..linux("", &[], "") };
        let local = |form| super::profile(form, &profile, &boot(None, None)).unwrap();
        assert_eq!(local(Form::Ipxe), "#!ipxe\nexit\n");
        assert_eq!(local(Form::Grub), "exit\n");
        assert!(local(Form::Pxelinux).contains("LOCALBOOT 0"));
    }

    /// LB-10, LB-22: what the initrd of a live system fetches, and what it is called; what is typed stands behind it.
    #[test]
    fn lb_22_a_live_system_is_told_where_its_root_is_who_it_is_and_whose_keys_count() {
        let live = |path: &str| Profile {
            live: Some(path.into()),
            ..linux("t/1/vmlinuz", &["t/1/initrd"], "quiet")
        };
        let host = host();
        let boot = |host| Boot { server: "http://boot.example:8080", ..boot(host, None) };
        let script = super::profile(Form::Ipxe, &live("t/1/root.squashfs"), &boot(Some(&host))).unwrap();
        let words = "boot=live fetch=http://10.10.0.1:8080/assets/t/1/root.squashfs hostname=node1 \
                     netboot.authorized_keys=http://10.10.0.1:8080/authorized_keys?mac=52-54-00-12-34-56 \
                     quiet console=ttyS0 BOOTIF=01-52-54-00-12-34-56";
        assert!(
            script.contains(&format!(
                "kernel http://boot.example:8080/assets/t/1/vmlinuz initrd=initrd {words}\n"
            )),
            "{script}"
        );
        let pxelinux =
            super::profile(Form::Pxelinux, &live("t/1/root.squashfs"), &boot(Some(&host))).unwrap();
        assert!(pxelinux.contains(&format!("APPEND {words}\n")), "{pxelinux}");
        let grub = super::profile(Form::Grub, &live("t/1/root.squashfs"), &boot(Some(&host))).unwrap();
        assert!(
            grub.contains(
                " 'netboot.authorized_keys=http://10.10.0.1:8080/authorized_keys?mac=52-54-00-12-34-56' quiet"
            ),
            "{grub}"
        );
        // A machine that is no host has no name from us, and nobody's keys; live-boot knows a squashfs by its URL's end.
        let script = super::profile(Form::Ipxe, &live("t/1/squashfs"), &boot(None)).unwrap();
        assert!(
            script.contains(
                " boot=live fetch=http://10.10.0.1:8080/assets/t/1/squashfs?.squashfs quiet BOOTIF="
            ),
            "{script}"
        );
    }

    #[test]
    fn grub_and_pxelinux_boot_the_same() {
        let profile = linux("vmlinuz", &["a/i.img", "https://h/x.img"], "quiet");
        let script = |form| super::profile(form, &profile, &boot(Some(&host()), None)).unwrap();
        let (grub, pxelinux) = (script(Form::Grub), script(Form::Pxelinux));
        let words = "quiet console=ttyS0 BOOTIF=01-52-54-00-12-34-56\n";
        assert!(
            grub.contains(&format!("linuxefi \"(http,10.10.0.1:8080)/assets/vmlinuz\" {words}")),
            "{grub}"
        );
        assert!(
            grub.contains("\ninitrd  \"(http,10.10.0.1:8080)/assets/a/i.img\" \"https://h/x.img\"\n"),
            "{grub}"
        );
        assert!(pxelinux.contains("\n  KERNEL http://10.10.0.1:8080/assets/vmlinuz\n"), "{pxelinux}");
        assert!(pxelinux.contains(&format!("\n  APPEND {words}")), "{pxelinux}");
    }
}

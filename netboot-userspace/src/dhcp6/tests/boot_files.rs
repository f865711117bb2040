//! Boot files that the operator sets, by class of client and level.

use std::sync::Arc;

use dhcproto::v6::DhcpOption;
use dhcproto::v6::MessageType::Solicit;
use netboot_common::Mac;

use super::super::tables::Changed;
use super::{
    HOST, SITE, STRANGER, Site, anonymous, bytes, decode, iana, link_local, message, oro, raw, value,
};
use crate::inventory::Profile;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::entry::HostEntry;
use crate::inventory::group::{GroupEntry, Grouped, Groups};
use crate::inventory::identity::Uuid;
use crate::inventory::labels::Labels;

const EFI_X64: &[u8] = &[0, 7];
const EFI_X64_HTTP: &[u8] = &[0, 16];

fn site() -> Site {
    let set = "
boot_files: { efi-x64: site.efi, efi-x64-http: site.efi }
default_profile: plain
profiles:
  - { name: plain, kernel: http://boot.example/kernel }
  - { name: own, kernel: http://boot.example/kernel, boot_files: { efi-x64: /profile/own.efi } }
";
    let host =
        "ip6: 2001:db8::51, profile: own, boot_files: { efi-x64-http: 'https://boot.example/host.efi' }";
    Site::of(&format!("{}{set}", SITE.replace("ip6: 2001:db8::51", host)))
}

fn url(site: &mut Site, mac: Mac, arch: &[u8]) -> Option<String> {
    let solicit = message(mac, Solicit, [iana(1, &[]), oro(&[59]), raw(61, arch)]);
    value(&site.ask(mac, &solicit), 59).map(|url| String::from_utf8(url).unwrap())
}

#[test]
fn boot_files_of_host_profile_and_site_are_what_is_fetched() {
    let mut site = site();
    let cases = [
        (HOST, EFI_X64_HTTP, Some("https://boot.example/host.efi"), "the host's"),
        (HOST, EFI_X64, Some("tftp://[2001:db8::1]/profile/own.efi"), "its profile's"),
        (STRANGER, EFI_X64, Some("tftp://[2001:db8::1]/site.efi"), "the site's"),
        (STRANGER, EFI_X64_HTTP, Some("http://[2001:db8::1]:8080/loaders/site.efi"), "by HTTP"),
        (STRANGER, &[0, 11], Some("tftp://[2001:db8::1]/snponly-arm64.efi"), "of another class: ours"),
        (STRANGER, &[0, 10], None, "of a class that does not boot"),
    ];
    for (mac, arch, want, story) in cases {
        assert_eq!(url(&mut site, mac, arch).as_deref(), want, "{story}");
    }
}

#[test]
fn boot_files_are_those_of_the_profile_that_a_hosts_group_gives_it() {
    let set = "
default_profile: plain
profiles:
  - { name: plain, kernel: http://boot.example/kernel, boot_files: { efi-x64: plain.efi } }
  - { name: own, kernel: http://boot.example/kernel, boot_files: { efi-x64: own.efi } }
groups:
  - { name: racks, selector: { rack: '7' }, profile: own }
";
    let mut site = Site::of(&format!(
        "{}{set}",
        SITE.replace("ip6: 2001:db8::51", "ip6: 2001:db8::51, labels: { rack: '7' }")
    ));
    let is = |site: &mut Site, mac, file: &str| {
        assert_eq!(url(site, mac, EFI_X64), Some(format!("tftp://[2001:db8::1]/{file}")));
    };
    is(&mut site, HOST, "own.efi");
    is(&mut site, STRANGER, "plain.efi");
    let host = HostEntry { name: "n".into(), macs: vec![HOST.to_string()], ..HostEntry::default() };
    let host = Arc::new(host.check("test").unwrap());
    // As the host is now, no group of the site has it; and of other groups one does.
    site.machine.apply(&[Changed { new: Some(host.clone()), ..Changed::default() }]);
    is(&mut site, HOST, "plain.efi");
    let named = GroupEntry { name: "n".into(), profile: Some("own".into()), ..GroupEntry::default() };
    let groups = Arc::new(Groups::new([Arc::new(named.check("test").unwrap())]));
    site.machine.hosts.regroup(&groups, Grouped::of(&groups));
    site.machine.hosts.insert(&host);
    is(&mut site, HOST, "own.efi");
    is(&mut site, STRANGER, "own.efi");
}

#[test]
fn a_machine_without_an_entry_has_the_boot_files_of_its_groups_profile() {
    let set = "
unknown: ignore
default_profile: plain
profiles:
  - { name: plain, kernel: http://boot.example/kernel, boot_files: { efi-x64: plain.efi, efi-x64-http: plain.efi } }
  - { name: mac, kernel: http://boot.example/kernel, boot_files: { efi-x64: mac.efi } }
  - { name: uuid, kernel: http://boot.example/kernel, boot_files: { efi-x64: uuid.efi } }
groups:
  - { name: by-mac, selector: { mac: '52:54:00:77:00:09', arch: x86_64 }, profile: mac }
  - { name: by-uuid, selector: { uuid: 00112233-4455-6677-8899-aabbccddeeff }, profile: uuid }
";
    let mut site =
        Site::of(&format!("{}{set}", SITE.replace("ip6: 2001:db8::51", "ip6: 2001:db8::51, profile: plain")));
    site.machine.serve_unknown = false;
    let fetched = |site: &mut Site, duid: &[u8], mac| {
        let id = DhcpOption::ClientId(duid.to_vec());
        let solicit = anonymous(Solicit, [id, iana(1, &[]), oro(&[59]), raw(61, EFI_X64)]);
        let reply = site.send(&bytes(&solicit), link_local(mac)).reply;
        (!reply.is_empty()).then(|| String::from_utf8(value(&decode(&reply), 59).unwrap()).unwrap())
    };
    let duid = |uuid: [u8; 16]| [&[0, 4][..], &uuid].concat();
    let uuid: Uuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
    let other = Mac([0x52, 0x54, 0, 0x77, 0, 10]);
    let cases = [
        (duid([7; 16]), STRANGER, Some("mac.efi"), "by its MAC, and the architecture that it says"),
        ([&[0, 3, 0, 1], &STRANGER.0[..]].concat(), other, Some("mac.efi"), "by its DUID, from another port"),
        (duid([7; 16]), HOST, Some("plain.efi"), "a host, by its entry"),
        (duid(uuid.0), other, Some("uuid.efi"), "by its UUID, as iPXE sends it"),
        (duid(uuid.to_wire()), other, Some("uuid.efi"), "and as firmware does"),
        (duid([7; 16]), other, None, "no group asks for it"),
    ];
    for (duid, mac, want, story) in cases {
        let want = want.map(|file| format!("tftp://[2001:db8::1]/{file}"));
        assert_eq!(fetched(&mut site, &duid, mac), want, "{story}");
    }
    site.machine.elsewhere = Some(Arc::new(Folder("arch", "x86_64")));
    let plain = Some("tftp://[2001:db8::1]/plain.efi".to_owned());
    assert_eq!(fetched(&mut site, &duid([7; 16]), other), plain, "a folder boots it");
    let text = "10213243-5465-7687-98a9-bacbdcedfe0f";
    site.machine.elsewhere = Some(Arc::new(Folder("uuid", text)));
    let uuid: Uuid = text.parse().unwrap();
    for (sent, want) in [(uuid.0, &plain), (uuid.to_wire(), &plain), ([7; 16], &None)] {
        assert_eq!(fetched(&mut site, &duid(sent), other), *want, "{sent:?}");
    }
}

/// It has something for all that say this.
#[derive(Debug)]
struct Folder(&'static str, &'static str);

impl Elsewhere for Folder {
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String> {
        Ok((labels.get(self.0) == Some(self.1)).then(Default::default))
    }
}

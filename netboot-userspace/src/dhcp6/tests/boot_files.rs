//! Boot files that the operator sets, by class of client and level.

use dhcproto::v6::MessageType::Solicit;
use netboot_common::Mac;

use super::{HOST, SITE, STRANGER, Site, iana, message, oro, raw, value};

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

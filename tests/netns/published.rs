//! What the systems that we take over from publish of themselves: their tests' cases, the examples of their pages, their operators'
//! files. Each is a [story](story) of `tests/golden/published`; the real binary serves, and curl asks.

mod story;

use crate::lab::Side;
use crate::site::{NETBOOT, Site};
use story::play;

/// Another server gives out the addresses, as all of them would have it.
const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: proxy, subnet: 10.77.0.0/24, xdp: off }
http: { listen: ':8080' }
tftp: { root: tftp, kernel: off }
assets: assets
ipxe: .
paths: { state: state, control: control.sock, pins: PINS }
";

fn serve(site: &mut Site, more: &str) {
    for folder in ["tftp", "assets"] {
        std::fs::create_dir_all(site.path(folder)).unwrap();
    }
    site.configure(&format!("{CONFIG}{more}"));
    site.serve();
}

/// A command that needs no configuration, run in the lab's folder.
fn run(site: &mut Site, words: &[&str]) {
    run_as(site, &[words, &["--interface", "eth0", "--xdp", "off", "--ipxe", "."]].concat());
}

fn run_as(site: &mut Site, words: &[&str]) {
    let mut command = site.lab.command(Side::Server, NETBOOT);
    command.current_dir(site.lab.folder.path()).args(words);
    command.env("NETBOOT_CONTROL", site.path("control.sock"));
    site.serve_by(command);
}

/// BC-02 to BC-08, BC-10.
#[test]
fn a_folder_as_bootcfg_s_page_shows_it() {
    play("bootcfg.story", |site| serve(site, "matchbox: { data: data }\n"));
}

/// BC-21 to BC-38.
#[test]
fn the_cases_of_matchbox_s_own_tests() {
    play("matchbox.story", |site| serve(site, "matchbox: { data: data }\n"));
}

/// BC-23, BC-28 to BC-30, BC-41.
#[test]
fn the_examples_of_matchbox_s_pages() {
    play("matchbox-pages.story", |site| serve(site, "matchbox: { data: data }\n"));
}

/// PX-31, PX-32, PX-50 to PX-59.
#[test]
fn the_examples_of_pixiecore_s_api() {
    play("pixiecore-api.story", |site| {
        std::fs::create_dir_all(site.path("files")).unwrap();
        run(site, &["api", "http://10.77.0.2/base", "--files", "files", "--state", "state"]);
    });
}

/// PX-01, PX-02, PX-31 to PX-33, PX-36.
#[test]
fn pixiecore_s_static_mode() {
    play("pixiecore-boot.story", |site| {
        let cmdline = "thing={{ ID \"./kickstart.txt\" }} foo=bar";
        let words = ["boot", "vmlinuz", "initrd.0", "initrd.1", "--cmdline", cmdline];
        run(site, &[&words[..], &["--bootmsg", "Hello from testing world!"]].concat());
    });
}

/// PX-06.
#[test]
fn the_command_line_of_pixiecore_s_first_version() {
    play("pixiecore-v1.story", |site| {
        let files = ["-kernel", "vmlinuz", "-initrd", "initrd.0,initrd.1", "-cmdline", "console=ttyS0 quiet"];
        run_as(site, &[&files[..], &["-listen-addr", "10.77.0.1", "-port-http", "8080"]].concat());
    });
}

/// BD-10 to BD-13.
#[test]
fn menus_of_booddies_for_each_machine() {
    play("booddies.story", |site| {
        serve(site, "profiles: [{ name: local, local: true }]\ndefault_profile: local\n")
    });
}

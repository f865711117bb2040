//! Real TFTP clients through the kernel's lane: the same bytes, and userspace has seen no request.

use std::fs;

use crate::clients::SITE;
use crate::lab::{Lab, SERVER, Side, run};
use crate::site::Site;

/// A server with these files, and clients that have an address.
fn site(files: &[(&str, &[u8])]) -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(
        &SITE.replace("tftp: { root: . }", "tftp: { root: tftp }").replace("ipxe: .", "ipxe: tftp"),
    );
    fs::create_dir(site.path("tftp")).unwrap();
    for (name, content) in files {
        fs::write(site.path("tftp").join(name), content).unwrap();
    }
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
    site.serve();
    site
}

/// What is in no other file, and differs at each place.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(byte).collect()
}

#[test]
fn tftp_hpa_gets_a_loader_from_the_kernel() {
    let loader = content(300_001);
    let site = site(&[("loader.efi", &loader)]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let got = site.path("got");
    let command = format!("get loader.efi {}", got.display());
    site.client("tftp", &["-m", "octet", SERVER, "-c", "get", "loader.efi", &got.display().to_string()]);
    drop(command);
    eprintln!("{}", site.done(&["status", "--json"]));
    eprintln!("{}", site.log());
    assert!(fs::read(&got).unwrap() == loader);
    assert_eq!(site.count("tftp", "done"), 1);
}

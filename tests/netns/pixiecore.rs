//! `netboot api` and `netboot boot` as Pixiecore's users know them: an API that is asked, a machine that asks us.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Side, run, said};
use crate::malformed::{Wire, message};
use crate::site::{NETBOOT, Site};

const MAC: &str = "52:54:00:77:00:02";
const BOOTS: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 2];
const OTHER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 3];
const BROKEN: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 4];
/// PXE firmware of 64-bit UEFI.
const EFI: [&[u8]; 3] = [&[53, 1, 1, 60, 9], b"PXEClient", &[93, 2, 0, 7]];
/// The iPXE that it starts, which fetches by HTTP.
const IPXE: [&[u8]; 4] =
    [&[53, 1, 1, 60, 9], b"PXEClient", &[93, 2, 0, 7, 77, 4], b"iPXE\xaf\x03\x13\x01\x01"];

/// The API, at 10.77.0.2:80 on the clients' side, and its files; what it was asked.
pub(crate) struct Api(Arc<Mutex<Vec<String>>>);

impl Api {
    /// In its answers, FOLDER is the lab's.
    fn start(lab: &Lab) -> Self {
        let boot = BOOT.replace("/FOLDER", &lab.path("files").display().to_string());
        Self::start_as(lab, move |target| match target.split('?').next().unwrap_or_default() {
            "/base/v1/boot/52:54:00:77:00:02" => (200, boot.as_bytes().to_vec()),
            "/base/v1/boot/52:54:00:77:00:04" => (200, br#"{"kernel": 7}"#.to_vec()),
            "/kernel" => (200, kernel()),
            "/file" => (200, target.as_bytes().to_vec()),
            _ => (404, b"no".to_vec()),
        })
    }

    /// One that `says` a status and a body for what it is asked.
    pub(crate) fn start_as(lab: &Lab, says: impl Fn(&str) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Self {
        run(lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
        let listener = lab.inside(Side::Clients, || TcpListener::bind("10.77.0.2:80").unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (told, says) = (asked.clone(), Arc::new(says));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told, says) = (stream.unwrap(), told.clone(), says.clone());
                // Whoever has had enough of it hangs up.
                std::thread::spawn(move || drop(answer(stream, &told, &*says)));
            }
        });
        Self(asked)
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    told: &Mutex<Vec<String>>,
    says: &dyn Fn(&str) -> (u16, Vec<u8>),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    told.lock().unwrap().push(target.clone());
    let (status, body) = says(&target);
    // Of files, no length: they end when the connection does.
    let length = if target.starts_with("/base") {
        format!("Content-Length: {}\r\n", body.len())
    } else {
        String::new()
    };
    write!(stream, "HTTP/1.1 {status} X\r\n{length}Connection: close\r\n\r\n")?;
    stream.write_all(&body)
}

const BOOT: &str = r#"{
  "kernel": "/kernel",
  "initrd": ["file:///FOLDER/initrd", "http://10.77.0.2/file?name=a%20b&x=/1"],
  "cmdline": "quiet ks={{ URL \"/file?ks\" }} plain=http://10.77.0.2/x",
  "message": "Hello from the API"
}"#;

fn kernel() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

/// `netboot api`, with its folder in the place of FOLDER.
fn api(site: &mut Site, more: &[&str]) {
    let mut api = site.lab.command(Side::Server, NETBOOT);
    api.args(["api", "http://10.77.0.2/base", "--interface", "eth0", "--xdp", "generic", "--state"]);
    api.arg(site.path("state"))
        .args(["--ipxe", "."])
        .args(more)
        .env("NETBOOT_CONTROL", site.path("control.sock"));
    site.serve_by(api);
}

/// What curl got: the status, and the body.
fn get(site: &Site, url: &str, more: &[&str]) -> (u16, Vec<u8>) {
    let mut curl = site.lab.command(Side::Clients, "curl");
    let to = site.path("got");
    let _ = fs::remove_file(&to);
    curl.args(["-sS", "--max-time", "60", "-o"]).arg(&to).args(["-w", "%{http_code}"]).args(more).arg(url);
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{url}: {}", said(&output));
    let status = String::from_utf8_lossy(&output.stdout).parse().unwrap();
    (status, fs::read(to).unwrap_or_default())
}

fn text(site: &Site, url: &str) -> (u16, String) {
    let (status, body) = get(site, url, &[]);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The offer that a message gets.
fn offered(site: &Site, mac: [u8; 6], xid: u32, options: &[&[u8]]) -> Option<Vec<u8>> {
    site.lab.inside(Side::Clients, || Wire::open().ask(&message(mac, xid, &options.concat())))
}

fn has(frame: &[u8], part: &str) -> bool {
    frame.windows(part.len()).any(|window| window == part.as_bytes())
}

fn refusals(site: &Site) -> Vec<String> {
    let events = site.done(&["events", "--json"]);
    let all = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = all.filter(|event| event["kind"] == "refused");
    refused.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn files_of_this_host_are_an_api_s_only_in_the_folder_that_is_named() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let asks = Api::start(&site.lab);
    api(&mut site, &[]);
    assert!(offered(&site, BOOTS, 1, &EFI).is_none());
    assert_eq!(asks.asked(), [format!("/base/v1/boot/{MAC}?arch=x86_64")]);
    let refused = refusals(&site);
    assert!(refused[0].contains("initrd[0]") && refused[0].contains("--files"), "{refused:?}");
}

#[test]
fn a_boot_by_an_api_from_the_offer_to_the_files_and_over_a_restart() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let asks = Api::start(&site.lab);
    serve_files(&mut site);
    asks.asked();

    let offer = offered(&site, BOOTS, 1, &EFI).expect("an offer");
    assert!(has(&offer, "snponly.efi"), "{offer:02x?}");
    let offer = offered(&site, BOOTS, 2, &IPXE).expect("an offer to iPXE");
    assert!(has(&offer, "http://10.77.0.1:8080/boot.ipxe"), "{offer:02x?}");
    let (status, script) = text(&site, &format!("http://10.77.0.1:8080/_/ipxe?mac={MAC}&arch=1"));
    assert_eq!(status, 200, "{script}");
    let by_chain = text(&site, "http://10.77.0.1:8080/ipxe?mac=52-54-00-77-00-02&arch=x86_64");
    assert_eq!(asks.asked(), [format!("/base/v1/boot/{MAC}?arch=x86_64")], "one boot, one question");

    let urls = urls(&script);
    let mac_text = "52%3A54%3A00%3A77%3A00%3A02";
    let of = |n: usize| format!("http://10.77.0.1:8080/_/file?name={}", urls[n]);
    let golden = format!(
        "#!ipxe\n\
         echo Hello from the API\n\
         kernel --name kernel {}&type=kernel&mac={mac_text}\n\
         initrd --name initrd0 {}&type=initrd&mac={mac_text}\n\
         initrd --name initrd1 {}&type=initrd&mac={mac_text}\n\
         imgfetch --name ready http://10.77.0.1:8080/_/booting?mac={mac_text} ||\n\
         imgfree ready ||\n\
         boot kernel initrd=initrd0 initrd=initrd1 quiet ks={} plain=http://10.77.0.2/x\n",
        of(0),
        of(1),
        of(2),
        of(3)
    );
    assert_eq!(script, golden);
    assert!(by_chain.1 != script && by_chain.1.len() == script.len(), "the same boot, with names of its own");

    // Whole, in part, by its head; with a length though its server gives none.
    let (status, body) = get(&site, &of(0), &[]);
    let told = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    assert!(status == 200 && body == kernel(), "{status} {} {told} {}", body.len(), site.log());
    assert!(
        get(&site, &of(0), &["-r", "1000000-1000003"]) == (206, kernel()[1_000_000..=1_000_003].to_vec())
    );
    let (_, head) = get(&site, &of(0), &["-I"]);
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.contains("content-length: 1200000\r\n"), "{head}");
    assert_eq!(text(&site, &of(1)), (200, "initrd of this host".to_owned()));
    assert_eq!(text(&site, &of(2)), (200, "/file?name=a%20b&x=/1".to_owned()));
    assert_eq!(text(&site, &of(3)), (200, "/file?ks".to_owned()));
    let fetched = asks.asked();
    assert_eq!(fetched.iter().filter(|path| *path == "/kernel").count(), 1, "{fetched:?}");
    assert_eq!(
        text(&site, &format!("http://10.77.0.1:8080/_/booting?mac={MAC}")),
        (200, "# Booting".to_owned())
    );

    // A name with one letter changed leads nowhere, and neither does a file that nobody has named.
    let (first, rest) = urls[0].split_at(1);
    let forged = if first == "A" { format!("B{rest}") } else { format!("A{rest}") };
    for name in [forged.as_str(), "/etc/passwd", "kernel", "file:///etc/passwd"] {
        let (status, cause) = text(&site, &format!("http://10.77.0.1:8080/_/file?name={name}"));
        assert!(status == 403 && cause.contains("none that this server"), "{name}: {status} {cause}");
    }
    assert_eq!(text(&site, "http://10.77.0.1:8080/_/file").0, 400);

    // An old name is good after a restart.
    assert!(site.stop().success(), "{}", site.log());
    serve_files(&mut site);
    assert_eq!(text(&site, &of(1)), (200, "initrd of this host".to_owned()));
    assert!(get(&site, &of(0), &[]) == (200, kernel()));
    assert!(!site.log().contains("boots nothing"), "{}", site.log());
}

#[test]
fn machines_that_an_api_has_nothing_for_are_offered_nothing() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let asks = Api::start(&site.lab);
    serve_files(&mut site);
    assert!(offered(&site, OTHER, 1, &EFI).is_none());
    assert!(offered(&site, BROKEN, 2, &EFI).is_none());
    let refused = refusals(&site);
    assert!(refused[0].contains("52:54:00:77:00:03") && refused[0].contains("answered 404"), "{refused:?}");
    assert!(refused[1].contains("kernel: is a number"), "{refused:?}");
    assert_eq!(site.count("userspace", "boots_nothing"), 2);
    assert!(site.log().contains("reason=\"boots_nothing\""), "{}", site.log());
    let (status, cause) = text(&site, "http://10.77.0.1:8080/_/ipxe?mac=52:54:00:77:00:03&arch=0");
    assert!(status == 404 && cause.contains("answered 404"), "{status} {cause}");
    for (query, words) in [
        ("arch=1", "mac is missing"),
        ("mac=x&arch=1", "mac=x"),
        ("mac=52:54:00:77:00:02", "arch is missing"),
        ("mac=52:54:00:77:00:02&arch=9", "arch=9 is not known"),
    ] {
        let (status, cause) = text(&site, &format!("http://10.77.0.1:8080/_/ipxe?{query}"));
        assert!(status == 400 && cause.contains(words), "{query}: {status} {cause}");
    }
    drop(asks);
}

/// Lesson 1 of those who used Pixiecore: where there is no DHCP server, nothing boots, and nobody says why.
#[test]
fn a_network_without_a_dhcp_server_is_told_of() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let _asks = Api::start(&site.lab);
    serve_files(&mut site);
    for xid in 1..=3 {
        assert!(!site.log().contains("no other server seems to give it an address"), "{xid}");
        assert!(offered(&site, BOOTS, xid, &EFI).is_some(), "{xid}");
    }
    let told = |kind: &str| site.done(&["events", "--json"]).contains(&format!("\"kind\":\"{kind}\""));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(told("unleased") && site.log().contains("no other server seems to give it an address")) {
        assert!(Instant::now() < deadline, "{}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_files_of_netboot_boot_are_read_anew_at_each_request() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.client("ip", &["address", "add", "10.77.0.2/24", "dev", "eth0"]);
    for (name, content) in [("vmlinuz", "kernel"), ("a.img", "one"), ("b.img", "two"), ("ks", "text")] {
        fs::write(site.path(name), content).unwrap();
    }
    let mut boot = site.lab.command(Side::Server, NETBOOT);
    boot.current_dir(site.lab.folder.path());
    boot.args(["boot", "vmlinuz", "a.img", "b.img", "--cmdline", "quiet ks={{ ID \"./ks\" }}"]);
    boot.args(["--interface", "eth0", "--xdp", "off"]).env("NETBOOT_CONTROL", site.path("control.sock"));
    site.serve_by(boot);
    let (status, script) = text(&site, &format!("http://10.77.0.1:8080/_/ipxe?mac={MAC}&arch=0"));
    assert_eq!(status, 200, "{script}");
    assert_eq!(urls(&script), ["kernel", "initrd-0", "initrd-1", "other-0"]);
    let last = "boot kernel initrd=initrd0 initrd=initrd1 quiet \
                ks=http://10.77.0.1:8080/_/file?name=other-0 BOOTIF=01-52-54-00-77-00-02\n";
    assert!(script.ends_with(last), "{script}");
    let of = |name: &str| text(&site, &format!("http://10.77.0.1:8080/_/file?name={name}"));
    for (name, content) in
        [("kernel", "kernel"), ("initrd-0", "one"), ("initrd-1", "two"), ("other-0", "text")]
    {
        assert_eq!(of(name), (200, content.to_owned()));
    }
    fs::write(site.path("new"), "another kernel").unwrap();
    fs::rename(site.path("new"), site.path("vmlinuz")).unwrap();
    assert_eq!(of("kernel"), (200, "another kernel".to_owned()));
    fs::remove_file(site.path("a.img")).unwrap();
    assert_eq!(of("initrd-0").0, 404);
}

/// `netboot api` with the folder of files that the API names.
fn serve_files(site: &mut Site) {
    let folder = site.path("files");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("initrd"), "initrd of this host").unwrap();
    api(site, &["--files", folder.to_str().unwrap()]);
}

/// The names of files in a script, in their order.
fn urls(script: &str) -> Vec<String> {
    let names = script.split("/_/file?name=").skip(1);
    names.map(|rest| rest.split(['&', ' ', '\n']).next().unwrap_or_default().to_owned()).collect()
}

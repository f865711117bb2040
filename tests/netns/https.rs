//! HTTPS as an operator sets it up: `netboot tls init`, a listener, clients that trust it, and another certificate while it serves.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use netboot_userspace::http::tls::authority;
use serde_json::Value;

use crate::lab::{Guard, MAC, Side, run, said};
use crate::site::{NETBOOT, Site};

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: off, xdp: off, subnet: 10.77.0.0/24 }
http: { listen: '10.77.0.1:8080', https: { listen: '10.77.0.1:8443' } }
tftp: { root: ., listen: '10.77.0.1:0' }
assets: assets
ipxe: .
default_profile: rescue
profiles:
  - { name: rescue, kernel: kernel, initrd: kernel, cmdline: quiet }
paths: { state: state, control: control.sock, pins: PINS }
";

/// A site whose files are there; nothing serves it yet.
fn site() -> Site {
    let site = Site { daemon: None, lab: crate::lab::Lab::new() };
    std::fs::create_dir(site.path("assets")).unwrap();
    std::fs::write(site.path("assets/kernel"), vec![7; 3 << 20]).unwrap();
    site.configure(CONFIG);
    site.client("ip", &["address", "add", "10.77.0.2/24", "dev", "eth0"]);
    site
}

/// A command about this site's files, in the server's network.
fn tls(site: &Site, words: &[&str]) -> Output {
    let config = site.path("netboot.yaml");
    let mut netboot = site.lab.command(Side::Server, NETBOOT);
    netboot.arg("tls").args(words).arg("--config").arg(config).output().unwrap()
}

fn done(site: &Site, words: &[&str]) -> Value {
    let output = tls(site, &[words, &["--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn curl(site: &Site, arguments: &[&str]) -> String {
    let ca = site.path("tls/ca.crt").display().to_string();
    site.client("curl", &[&["-sS", "--max-time", "30", "--cacert", &ca], arguments].concat())
}

/// The SHA-256 of the certificate that a client is shown.
fn shown(site: &Site) -> String {
    let ask =
        "openssl s_client -connect 10.77.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint";
    run(site.lab.command(Side::Clients, "sh").args(["-c", ask]))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn owners_alone(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn a_site_makes_its_own_authority_and_serves_by_it() {
    let mut site = site();
    // What the configuration names is not there yet: it says where it comes from.
    let check = ["config", "check", "--config", &site.path("netboot.yaml").display().to_string()];
    site.refused(&check, 1, "http.https: ");
    site.refused(&check, 1, "`netboot tls init` makes");

    let told = tls(&site, &["init", "--folder", &site.path("elsewhere").display().to_string(), "a.test"]);
    let told = String::from_utf8(told.stdout).unwrap();
    let (ca, der) = (site.path("elsewhere/ca.crt"), site.path("elsewhere/ca.der"));
    for next in
        [format!("--cacert {} https://a.test:8443/", ca.display()), format!("enrol {} in", der.display())]
    {
        assert!(told.contains(&next), "{told}");
    }
    let made = done(&site, &["init"]);
    let names = made["server"]["names"].as_array().unwrap();
    assert!(names.contains(&"10.77.0.1".into()) && names.len() >= 2, "{made}");
    assert_eq!(made["authority"]["certificate"], site.path("tls/ca.crt").display().to_string());
    assert!(owners_alone(&site.path("tls/ca.key")) && owners_alone(&site.path("tls/server.key")));
    let again = tls(&site, &["init"]);
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    assert_eq!(done(&site, &["show"]), made, "nothing was touched");
    assert!(!said(&tls(&site, &["init", "--force", "not a name"])).contains("panicked"));
    assert_eq!(done(&site, &["show"]), made, "nor by what is wrong");
    site.done(&check);

    site.serve();
    assert!(site.log().contains("HTTPS on 10.77.0.1:8443, as "), "{}", site.log());
    assert_eq!(curl(&site, &["https://10.77.0.1:8443/healthz"]), "ok\n");
    assert_eq!(
        curl(&site, &["https://10.77.0.1:8443/assets/kernel", "-o", "/dev/null", "-w", "%{size_download}"]),
        "3145728"
    );
    let chain = "/boot.ipxe";
    let plain = site.client("curl", &["-sS", &format!("http://10.77.0.1:8080{chain}")]);
    assert_eq!(curl(&site, &[&format!("https://10.77.0.1:8443{chain}")]), plain);
    // A script that came by TLS leads to what comes by TLS; our agent has none.
    let script = curl(&site, &[&format!("https://10.77.0.1:8443/ipxe?mac={MAC}")]);
    assert!(script.contains("kernel https://10.77.0.1:8443/assets/kernel?boot="), "{script}");
    assert!(script.contains("initrd --name kernel https://10.77.0.1:8443/assets/kernel"), "{script}");
    let status = site.json(&["status", "--json"]);
    assert_eq!(
        (&status["https"]["failed"], &status["https"]["names"]),
        (&0.into(), &made["server"]["names"])
    );
    assert!(status["degraded"].as_array().unwrap().is_empty(), "{status}");

    // Who trusts the authority before is refused from then on, and `status` says why.
    let (before, old) = (shown(&site), site.path("old.crt"));
    std::fs::copy(site.path("tls/ca.crt"), &old).unwrap();
    // As from nothing: the folder that is followed is another one then.
    std::fs::remove_dir_all(site.path("tls")).unwrap();
    let anew = done(&site, &["init", "10.77.0.1"]);
    assert_ne!(anew["authority"]["sha256"], made["authority"]["sha256"]);
    wait_for("shown", || shown(&site) != before);
    let url = "https://10.77.0.1:8443/healthz";
    assert_eq!(curl(&site, &[url]), "ok\n");
    let mut refused = site.lab.command(Side::Clients, "curl");
    let refused = refused.args(["-sS", "--cacert"]).arg(&old).arg(url).output().unwrap();
    assert_eq!(refused.status.code(), Some(60), "{}", said(&refused));
    wait_for("told", || site.json(&["status", "--json"])["https"]["last_failure"].to_string().contains("CA"));
}

#[test]
fn what_the_configuration_names_is_renewed_unless_it_is_another_authoritys() {
    let site = site();
    let named = "https: { certificate: own/a.crt, key: own/a.key, listen";
    site.configure(&CONFIG.replace("https: { listen", named));
    let made = done(&site, &["init", "10.77.0.1"]);
    let certificate = site.path("own/a.crt");
    assert_eq!(made["server"]["certificate"], certificate.display().to_string());
    let first = std::fs::read(&certificate).unwrap();
    done(&site, &["renew"]);
    assert_ne!(std::fs::read(&certificate).unwrap(), first);
    // Another authority's, as if it had been bought.
    let other = site.path("other").display().to_string();
    done(&site, &["init", "10.77.0.1", "--folder", &other]);
    std::fs::copy(site.path("other/server.crt"), &certificate).unwrap();
    let refused = tls(&site, &["renew"]);
    assert!(
        !refused.status.success() && said(&refused).contains("is not of the authority"),
        "{}",
        said(&refused)
    );
    assert_eq!(std::fs::read(&certificate).unwrap(), std::fs::read(site.path("other/server.crt")).unwrap());
    std::fs::remove_file(site.path("tls/ca.crt")).unwrap();
    let shown = done(&site, &["show"]);
    assert!(shown["authority"].is_null() && shown["server"]["names"][0] == "10.77.0.1", "{shown}");
}

#[test]
fn a_certificate_is_exchanged_while_a_download_runs_and_a_bad_one_is_refused() {
    let mut site = site();
    done(&site, &["init", "10.77.0.1"]);
    let large = std::fs::File::create(site.path("assets/large")).unwrap();
    large.set_len(1 << 30).unwrap();
    site.serve();
    let first = shown(&site);
    let mut download = download(&site);
    wait_for("it runs", || site.path("got").metadata().is_ok_and(|file| file.size() > 0));

    // By itself: what it watches has changed.
    done(&site, &["renew"]);
    wait_for("renewed", || shown(&site) != first);
    let second = shown(&site);
    assert!(site.log().contains("is in force"), "{}", site.log());

    // The key of another one.
    let key = std::fs::read(site.path("tls/server.key")).unwrap();
    let made = done(&site, &["init", "10.77.0.1", "--folder", &site.path("other").display().to_string()]);
    std::fs::copy(made["server"]["key"].as_str().unwrap(), site.path("tls/server.key")).unwrap();
    let refusal = |site: &Site| site.json(&["status", "--json"])["configuration"]["refused"].to_string();
    wait_for("refused", || refusal(&site).contains("is the key of another certificate"));
    assert_eq!(shown(&site), second, "what was before stays");
    let reload =
        site.netboot(&["config", "reload", "--config", &site.path("netboot.yaml").display().to_string()]);
    assert!(!reload.status.success() && said(&reload).contains("another certificate"), "{}", said(&reload));

    std::fs::write(site.path("tls/server.key"), key).unwrap();
    wait_for("in order", || refusal(&site) == "null");
    assert_eq!(shown(&site), second);
    // More than all sockets on the way hold.
    let before = site.path("got").metadata().unwrap().len();
    wait_for("it goes on", || site.path("got").metadata().unwrap().len() > before + (16 << 20));
    assert!(download.0.try_wait().unwrap().is_none(), "it was not through yet");
}

/// So slow that it outlives what happens meanwhile.
fn download(site: &Site) -> Guard {
    let ca = site.path("tls/ca.crt");
    let mut curl: Command = site.lab.command(Side::Clients, "curl");
    curl.args(["-sS", "--limit-rate", "4M", "--cacert"]).arg(ca).arg("-o").arg(site.path("got"));
    Guard(curl.arg("https://10.77.0.1:8443/assets/large").spawn().unwrap())
}

#[test]
fn a_certificate_that_has_expired_is_told_of_and_served_all_the_same() {
    let mut site = site();
    // Of September 2001, for two years.
    let authority = authority::authority("a test's", 1_000_000_000).unwrap();
    let server = authority::server(&authority, &["10.77.0.1".to_owned()], 1_000_000_000).unwrap();
    std::fs::create_dir(site.path("tls")).unwrap();
    for (name, text) in [("ca.crt", &authority.certificate), ("server.crt", &server.certificate)] {
        std::fs::write(site.path("tls").join(name), text).unwrap();
    }
    std::fs::write(site.path("tls/server.key"), &server.key).unwrap();
    std::fs::set_permissions(site.path("tls/server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let told =
        "the certificate is refused by its clients, for it has expired on Tue, 09 Sep 2003 01:46:40 GMT";
    let config = site.path("netboot.yaml").display().to_string();
    let check = site.netboot(&["config", "check", "--config", &config]);
    assert!(check.status.success() && said(&check).contains(told), "{}", said(&check));

    site.serve();
    assert!(site.log().contains(told), "{}", site.log());
    let status = site.json(&["status", "--json"]);
    let degraded = status["degraded"].to_string();
    assert!(degraded.contains(told) && degraded.contains("netboot tls renew"), "{degraded}");
    assert_eq!(status["https"]["until"], 1_063_072_000);
    // Who does not look at its time, as firmware without a clock, boots as before; who does, does not.
    let url = "https://10.77.0.1:8443/healthz";
    assert_eq!(site.client("curl", &["-sS", "--insecure", url]), "ok\n");
    let mut refused = site.lab.command(Side::Clients, "curl");
    let refused = refused.args(["-sS", "--cacert"]).arg(site.path("tls/ca.crt")).arg(url).output().unwrap();
    assert!(refused.status.code() == Some(60) && said(&refused).contains("expired"), "{}", said(&refused));

    // Another one is in force without a restart, and nothing is told of any more.
    done(&site, &["init", "10.77.0.1", "--force"]);
    wait_for("in order", || site.json(&["status", "--json"])["degraded"] == serde_json::json!([]));
    assert_eq!(curl(&site, &[url]), "ok\n");
}

//! Clients that systems run as daemons: each takes a whole lease, of a reservation from the kernel's lanes and of the pool from
//! userspace, and those that can be told to ask for option 58 renew it. Each has a mount namespace of its own, in which `/run` is a folder of the lab: nothing of the
//! system's own daemons is seen or changed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::clients::{SITE, answered_by_kernel, reserve, value, variables, write_script};
use crate::lab::{Guard, Side, run};
use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server whose clients renew after two seconds.
fn site() -> Site {
    let site = Site::start(&format!("{SITE}options: {{ renewal-time: 2 }}\n"));
    for folder in ["run", "var"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    site
}

/// A program of the clients' side in mount and process namespaces of its own, with the lab's `run` as `/run`: whatever it starts
/// ends with it. `prepare` is shell, run before it.
fn private(site: &Site, prepare: &str, program: &str) -> Command {
    let mut command = site.lab.command(Side::Clients, "unshare");
    let run = site.path("run").display().to_string();
    // Not the namespace's process 1, which some programs take for more than that.
    let script = format!("mount --bind {run} /run\n{prepare}\n{program}\nexit $?");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--", "sh", "-ec", &script]).stdout(Stdio::null());
    command
}

/// A daemon, whose words go to a file of its own.
fn start(site: &Site, mut command: Command) -> Guard {
    let log = fs::File::options().create(true).append(true).open(site.path("client.log")).unwrap();
    Guard(command.stderr(log).spawn().unwrap())
}

/// What `read` finds, as soon as it finds it.
fn await_some<T>(site: &Site, what: &str, read: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = read() {
            return found;
        }
        let log = || fs::read_to_string(site.path("client.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "no {what}: {}\n{}", log(), site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An ACK more than now. Leases of a client identifier (RFC 4361) are renewed by userspace.
fn await_renewal(site: &Site) {
    let acks =
        || ["xdp", "tcx", "userspace"].iter().map(|lane| site.count(lane, "answered_ack")).sum::<u64>();
    let before = acks();
    await_some(site, "renewal", || (acks() > before).then_some(()));
}

fn expect(lease: &[(String, String)], wanted: &[(&str, &str)]) {
    for (name, want) in wanted {
        assert_eq!(value(lease, name), *want, "{name}");
    }
}

/// Starts it, and what its hook was told when it had its lease.
fn dhcpcd(site: &Site) -> (Guard, Vec<(String, String)>) {
    let (hook, lease) = (site.path("dhcpcd.sh"), site.path("dhcpcd.lease"));
    let _ = fs::remove_file(&lease);
    let lines = format!("[ \"$reason\" = BOUND ] && env > {0}.new && mv {0}.new {0}", lease.display());
    write_script(&hook, &format!("#!/bin/sh\n{lines}\nexit 0\n"));
    fs::write(
        site.path("dhcpcd.conf"),
        "option subnet_mask, routers, domain_name_servers, host_name, dhcp_renewal_time\nduid\nnoarp\nnoipv4ll\n",
    )
    .unwrap();
    let (hook, conf) = (hook.display().to_string(), site.path("dhcpcd.conf").display().to_string());
    let prepare = format!("mount --bind {} /var/lib/dhcpcd", site.path("var").display());
    let program = format!("dhcpcd --nobackground --ipv4only --config {conf} --script {hook} eth0");
    let client = start(site, private(site, &prepare, &program));
    let lease = await_some(site, "lease of dhcpcd", || fs::read_to_string(&lease).ok());
    (client, variables(&lease))
}

#[test]
fn dhcpcd_takes_a_reservation_from_the_kernel_and_a_lease_from_the_pool() {
    let site = site();
    let (client, lease) = dhcpcd(&site);
    let ip = value(&lease, "new_ip_address").to_owned();
    assert!(ip.starts_with("10.77.0.10"), "{ip}");
    assert_eq!(site.count("userspace", "answered_ack"), 1);
    await_renewal(&site);
    drop(client);

    let site = self::site();
    reserve(&site);
    let (_client, lease) = dhcpcd(&site);
    expect(
        &lease,
        &[
            ("new_ip_address", "10.77.0.51"),
            ("new_subnet_mask", "255.255.255.0"),
            ("new_routers", "10.77.0.1"),
            ("new_domain_name_servers", "10.77.0.1"),
            ("new_dhcp_lease_time", "3600"),
            ("new_dhcp_server_identifier", "10.77.0.1"),
            ("new_host_name", "node1"),
        ],
    );
    await_renewal(&site);
    answered_by_kernel(&site);
}

/// Starts it, and its own record of its lease.
fn networkd(site: &Site) -> (Guard, Vec<(String, String)>) {
    let leases = site.path("run/systemd/netif/leases");
    let _ = fs::remove_dir_all(site.path("run/systemd"));
    for folder in ["run/systemd/netif/leases", "run/systemd/netif/links", "run/systemd/network"] {
        fs::create_dir_all(site.path(folder)).unwrap();
    }
    let network = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
                   [DHCPv4]\nRequestOptions=58\n";
    fs::write(site.path("run/systemd/network/10-eth0.network"), network).unwrap();
    // It reads of which devices it may take charge from udev, unless /sys is read-only, as in a container.
    let prepare = "mount -t sysfs -o ro sysfs /sys\nchown -R systemd-network: /run/systemd/netif";
    let client = start(site, private(site, prepare, "/lib/systemd/systemd-networkd"));
    let read = || {
        let lease = fs::read_dir(&leases).ok()?.flatten().next()?;
        let text = fs::read_to_string(lease.path()).ok()?;
        text.contains("ADDRESS=").then(|| variables(&text))
    };
    let lease = await_some(site, "lease of systemd-networkd", read);
    (client, lease)
}

#[test]
fn networkd_takes_a_reservation_from_the_kernel_and_a_lease_from_the_pool() {
    let site = site();
    let (client, lease) = networkd(&site);
    let ip = value(&lease, "ADDRESS").to_owned();
    assert!(ip.starts_with("10.77.0.10"), "{ip}");
    assert_eq!(site.count("userspace", "answered_ack"), 1);
    await_renewal(&site);
    drop(client);

    let site = self::site();
    reserve(&site);
    let (_client, lease) = networkd(&site);
    expect(
        &lease,
        &[
            ("ADDRESS", "10.77.0.51"),
            ("NETMASK", "255.255.255.0"),
            ("ROUTER", "10.77.0.1"),
            ("DNS", "10.77.0.1"),
            ("LIFETIME", "3600"),
            ("SERVER_ADDRESS", "10.77.0.1"),
            ("HOSTNAME", "node1"),
        ],
    );
    await_renewal(&site);
    answered_by_kernel(&site);
}

/// NetworkManager with its own DHCP client, on a system bus of its own.
struct Manager<'a> {
    site: &'a Site,
    _daemons: [Guard; 2],
}

impl<'a> Manager<'a> {
    fn start(site: &'a Site) -> Self {
        let written = |name: &str, text: &str| -> PathBuf {
            let path = site.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let bus = written(
            "bus.conf",
            "<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>\n\
             <policy context='default'><allow own='*'/><allow eavesdrop='true'/>\n\
             <allow send_destination='*' eavesdrop='true'/></policy></busconfig>\n",
        );
        let bus = format!("dbus-daemon --nofork --nopidfile --config-file={}", bus.display());
        let bus = start(site, private(site, "", &bus));
        await_some(site, "bus", || site.path("run/bus").exists().then_some(()));
        let connections = site.path("connections");
        let connection = written(
            "connections/eth0.nmconnection",
            "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=disabled\n",
        );
        // It takes no connection that others may read.
        run(Command::new("chmod").args(["600", &connection.display().to_string()]));
        let config = written(
            "NetworkManager.conf",
            &format!(
                "[main]\ndhcp=internal\nplugins=keyfile\ndns=none\n[keyfile]\npath={}\n",
                connections.display()
            ),
        );
        let (config, none) = (config.display().to_string(), site.path("none").display().to_string());
        let var = site.path("var").display().to_string();
        let prepare = format!(
            "mount -t sysfs -o ro sysfs /sys\nmount --bind {var} /var/lib/NetworkManager\n\
             export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus"
        );
        let program = format!(
            "NetworkManager --no-daemon --config={config} --config-dir={none} --system-config-dir={none} --intern-config={none}"
        );
        let manager = start(site, private(site, &prepare, &program));
        Self { site, _daemons: [manager, bus] }
    }

    /// What it says of its lease, as soon as it has one.
    fn lease(&self) -> Vec<(String, String)> {
        let bus = format!("unix:path={}", self.site.path("run/bus").display());
        let ask = || {
            let mut nmcli = self.site.lab.command(Side::Clients, "nmcli");
            nmcli.args(["--terse", "--fields", "DHCP4", "device", "show", "eth0"]);
            let said = nmcli.env("DBUS_SYSTEM_BUS_ADDRESS", &bus).output().unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            // `DHCP4.OPTION[1]:ip_address = 10.77.0.51`
            let options = said.lines().filter_map(|line| line.split_once(':')?.1.split_once(" = "));
            let options: Vec<_> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (!options.is_empty()).then_some(options)
        };
        await_some(self.site, "lease of NetworkManager", ask)
    }
}

/// Where it isn't installed, which `cargo xtask setup` leaves to others, this says so and shows nothing.
#[test]
fn network_manager_takes_a_reservation_from_the_kernel_and_a_lease_from_the_pool() {
    for program in ["NetworkManager", "nmcli", "dbus-daemon"] {
        if Command::new(program).arg("--version").output().is_err() {
            return eprintln!("{program} is not installed: nothing is shown here");
        }
    }
    let site = site();
    let manager = Manager::start(&site);
    let lease = manager.lease();
    let ip = value(&lease, "ip_address").to_owned();
    assert!(ip.starts_with("10.77.0.10"), "{ip}");
    assert_eq!(site.count("userspace", "answered_ack"), 1);
    drop(manager);

    let site = self::site();
    reserve(&site);
    let manager = Manager::start(&site);
    expect(
        &manager.lease(),
        &[
            ("ip_address", "10.77.0.51"),
            ("subnet_mask", "255.255.255.0"),
            ("routers", "10.77.0.1"),
            ("domain_name_servers", "10.77.0.1"),
            ("dhcp_lease_time", "3600"),
            ("dhcp_server_identifier", "10.77.0.1"),
            ("host_name", "node1"),
        ],
    );
    answered_by_kernel(&site);
}

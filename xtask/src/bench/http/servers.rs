//! The servers, each on a network of its own, with the settings under which it is fastest: a worker for each core.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::measure::Bench;
use super::settings::{Mode, Setting};
use crate::bench::cgroup::Group;
use crate::bench::lab::{End, Lab, Offloads, SERVER};
use crate::bench::site::{self, Rights, Site};
use crate::shell::sh;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// `netboot serve`.
    Netboot,
    /// The least that can be called a server.
    Bare,
    /// nginx with `sendfile on`.
    Nginx,
    /// nginx with `sendfile off`.
    NginxCopy,
}

/// The port of all.
pub(super) const PORT: u16 = 8080;
/// Where the generator's clients are.
const MACHINES: &str = "10.65.0.0/16";
const FIRST: &str = "10.65.0.0";

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Netboot => "netboot",
            Self::Bare => "bare sendfile",
            Self::Nginx => "nginx, sendfile on",
            Self::NginxCopy => "nginx, sendfile off",
        }
    }

    /// Whether it answers this: the bare one has one answer, and takes what it reads for a request.
    pub(super) fn does(self, mode: Mode) -> bool {
        self != Self::Bare || !matches!(mode, Mode::Range | Mode::Beside)
    }

    /// What its log is called.
    const fn log(self) -> &'static str {
        match self {
            Self::Netboot => "netboot",
            Self::Bare => "bare",
            Self::Nginx | Self::NginxCopy => "nginx",
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) lab: Lab,
    /// Dropped behind the lab: it ends what the server's own end has left.
    pub(super) group: Group,
}

impl Server {
    /// Starts it, and returns when it takes connections.
    pub(super) fn start(bench: &Bench<'_>, kind: Kind, setting: &Setting) -> Result<Self> {
        let lab = Lab::new(Offloads::On)?;
        lab.populate(MACHINES)?;
        lab.send_by_cubic()?;
        let mut server = Self { group: Group::new(lab.id())?, lab };
        launch(&mut server.lab, bench, kind, setting)?;
        server.group.add(server.lab.pid().context("it was not started")?)?;
        let waited = bench.clients.run(&server.lab, End::Clients, &["wait", "--server", &address()]);
        server.lab.must_run()?;
        waited.with_context(|| server.lab.said(kind.log()))?;
        // Children that it had before it was in its group.
        for pid in sh("ip", &["netns", "pids", &server.lab.namespace(End::Server)])?.split_whitespace() {
            server.group.add(pid.parse()?)?;
        }
        Ok(server)
    }
}

/// Where it serves.
pub(super) fn address() -> String {
    format!("{SERVER}:{PORT}")
}

/// What tells the generator whom to ask for a file, and from which addresses.
pub(super) fn asking(bench: &Bench<'_>, setting: &Setting) -> Vec<String> {
    let file = bench.files.path(setting.file).display().to_string();
    let (server, path) = (address(), setting.file.url_path());
    let words = ["--server", &server, "--from", FIRST, "--file", &file, "--path", &path];
    words.map(str::to_owned).to_vec()
}

/// As many as there are cores.
pub(super) fn workers() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn launch(lab: &mut Lab, bench: &Bench<'_>, kind: Kind, setting: &Setting) -> Result<()> {
    match kind {
        Kind::Netboot => {
            let assets = Some(bench.files.folder());
            Site { xdp: "off", pool: None, tftp: None, assets }.write(lab)?;
            site::serve(lab, bench.netboot, Rights::NoPrograms)
        }
        Kind::Bare => lab.start(End::Server, kind.log(), bench.clients.path(), &bare(bench, setting)),
        Kind::Nginx | Kind::NginxCopy => {
            let config = lab.folder.join("nginx.conf");
            fs::write(&config, nginx(&lab.folder, bench.files.root(), kind == Kind::Nginx))?;
            let program: PathBuf = bench.peers.program("nginx", "usr/sbin/nginx")?;
            let [folder, config] = [&lab.folder, &config].map(|path| path.display().to_string());
            let words = ["-e", "stderr", "-p", &folder, "-c", &config].map(str::to_owned);
            lab.start(End::Server, kind.log(), &program, &words)
        }
    }
}

/// As many open files as systemd lets a service have.
const OPEN_FILES: &str = "524288";

/// Has ourselves, and so all servers and the generator, have as many open files as a service: shells give fewer, and a server may
/// divide what it has. How many it became: a container may forbid to have more.
pub(super) fn raise_open_files() -> Result<String> {
    let pid = std::process::id().to_string();
    let raise = |limit: &str| sh("prlimit", &["--pid", &pid, &format!("--nofile={limit}:{limit}")]);
    if raise(OPEN_FILES).is_ok() {
        return Ok(OPEN_FILES.to_owned());
    }
    let asked = sh("prlimit", &["--pid", &pid, "--nofile", "--output", "HARD", "--noheadings"])?;
    let most = asked.trim();
    raise(most)?;
    println!(
        "only {most} open files are allowed here (a service has {OPEN_FILES}): who divides them may turn crowds away"
    );
    Ok(most.to_owned())
}

fn bare(bench: &Bench<'_>, setting: &Setting) -> Vec<String> {
    let (listen, workers) = (address(), workers().to_string());
    let file = bench.files.path(setting.file).display().to_string();
    let words = ["bare", "--listen", &listen, "--file", &file, "--workers", &workers];
    let close = (setting.mode == Mode::Fresh).then_some("--close");
    words.into_iter().chain(close).map(str::to_owned).collect()
}

/// Without a log of each request, and with what is open kept open. `tcp_nopush` would hold small files up.
fn nginx(folder: &Path, root: &Path, sendfile: bool) -> String {
    let (folder, root, workers) = (folder.display(), root.display(), workers());
    let sendfile = if sendfile { "on" } else { "off" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes {workers};
events {{ worker_connections 16384; multi_accept on; use epoll; }}
http {{
  access_log off;
  sendfile {sendfile};
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_timeout 600;
  keepalive_requests 1000000000;
  open_file_cache max=100 inactive=600s;
  open_file_cache_valid 600s;
  default_type application/octet-stream;
{temporary}  server {{ listen {SERVER}:{PORT} reuseport backlog=65535; root {root}; }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_nginx_differ_in_sendfile_alone() {
        let config = |sendfile| nginx(Path::new("/lab"), Path::new("/files"), sendfile);
        assert!(config(true).contains("sendfile on;") && config(true).contains("root /files;"));
        assert_eq!(config(true).replace("sendfile on", "sendfile off"), config(false));
    }

    #[test]
    fn the_bare_server_is_measured_where_it_has_an_answer() {
        assert!(Kind::Bare.does(Mode::Keep) && !Kind::Bare.does(Mode::Range));
        assert!(Kind::value_variants().iter().all(|kind| *kind == Kind::Bare || kind.does(Mode::Range)));
    }
}

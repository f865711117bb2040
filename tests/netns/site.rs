//! A `netboot serve` in a lab, and the operator's commands to it.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{Guard, Lab, Side, run, said};

pub(crate) const NETBOOT: &str = env!("CARGO_BIN_EXE_netboot");

/// A server whose folder is its lab's.
#[derive(Debug)]
pub(crate) struct Site {
    // First, so that it ends before its namespace goes.
    pub(crate) daemon: Option<Guard>,
    pub(crate) lab: Lab,
}

impl Site {
    /// Serves `config`, in which `PINS` stands for a folder of the lab's own.
    pub(crate) fn start(config: &str) -> Self {
        let mut site = Self { daemon: None, lab: Lab::new() };
        site.configure(config);
        site.serve();
        site
    }

    /// Writes `netboot.yaml`.
    pub(crate) fn configure(&self, config: &str) {
        self.configure_as("netboot.yaml", config);
    }

    /// The same, as another file.
    pub(crate) fn configure_as(&self, name: &str, config: &str) {
        let config = config.replace("PINS", &self.lab.pins().display().to_string());
        std::fs::write(self.path(name), config).expect("our folder can be written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.lab.path(name)
    }

    /// The command that serves it.
    pub(crate) fn server(&self) -> Command {
        let mut server = self.lab.command(Side::Server, NETBOOT);
        server.args(&self.server_words()[1..]).env_remove("NETBOOT_CONTROL");
        server
    }

    /// The same, as words for another program to run.
    pub(crate) fn server_words(&self) -> [String; 4] {
        let config = self.path("netboot.yaml").display().to_string();
        [NETBOOT.to_owned(), "serve".to_owned(), "--config".to_owned(), config]
    }

    /// The same, without these capabilities (`bpf,perfmon`).
    pub(crate) fn server_without(&self, capabilities: &str) -> Command {
        let dropped: Vec<String> = capabilities.split(',').map(|name| format!("-{name}")).collect();
        let mut server = self.lab.command(Side::Server, "setpriv");
        server.args(["--bounding-set", &dropped.join(","), "--"]).args(self.server_words());
        server
    }

    /// Starts the server, and waits until it is ready.
    pub(crate) fn serve(&mut self) {
        self.serve_by(self.server());
    }

    pub(crate) fn serve_by(&mut self, mut server: Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log"));
        let daemon = server.stderr(log.expect("our folder can be written")).spawn();
        self.daemon = Some(Guard(daemon.expect("netboot can be started")));
        // Of 100,000 hosts, not optimised, beside other tests.
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.is_ready() {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.0.try_wait().ok().flatten());
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let status = self.netboot(&["status", "--json"]);
        serde_json::from_slice(&status.stdout).is_ok_and(|status: Value| status["ready"] == true)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.daemon = None;
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("it was started");
        kill_process(Pid::from_child(&daemon.0), Signal::TERM).expect("it is our child");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match daemon.0.try_wait().expect("it is our child") {
                Some(status) => return status,
                None => assert!(Instant::now() < deadline, "SIGTERM did not end it: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn netboot(&self, arguments: &[&str]) -> Output {
        netboot(&self.path("control.sock").display().to_string(), arguments)
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.netboot(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    pub(crate) fn refused(&self, arguments: &[&str], code: i32, words: &str) {
        refused(&self.netboot(arguments), code, words);
    }

    /// How often `lane` came to `outcome`.
    pub(crate) fn count(&self, lane: &str, outcome: &str) -> u64 {
        self.json(&["status", "--json"])["counters"][lane][outcome].as_u64().unwrap_or(0)
    }

    /// A program of the clients' side that must succeed.
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> String {
        run(self.lab.command(Side::Clients, program).args(arguments))
    }
}

/// Runs the binary, with this control socket.
pub(crate) fn netboot(control: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(NETBOOT);
    command.args(arguments).env("NETBOOT_CONTROL", control).stdin(Stdio::null());
    command.output().expect("netboot can be started")
}

/// It must have ended with `code`, and said `words`.
pub(crate) fn refused(output: &Output, code: i32, words: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{words:?} is not in: {said}");
}

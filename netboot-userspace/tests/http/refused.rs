//! A kernel that has no io_uring, or does not let us have it.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use netboot_userspace::http::{Config, Error, Server};
use netboot_userspace::uring::Choice;

use super::site::*;

const NAME: &str = "refused::where_io_uring_is_refused_epoll_serves";

/// What follows runs where io_uring_setup(2), which is 425 on every architecture, fails with this error: a filter of seccomp(2), installed by the
/// perl that each Debian has, as that takes a system call that no safe crate here has. 157 is prctl(2) of x86-64.
const REFUSING: &str = "\
my ($error, @command) = @ARGV;
my $filter = pack '(S C C L)4', 0x20, 0, 0, 0, 0x15, 0, 1, 425, 0x06, 0, 0, 0x50000 | $error, 0x06, 0, 0, 0x7fff0000;
my $program = pack 'S x![Q] P', 4, $filter;
syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, $program) == 0 or die \"seccomp: $!\";
exec @command or die \"$command[0]: $!\";
";

fn inside(reason: &str) {
    let site = site(Choice::Auto);
    let engine = site.server.engine().to_string();
    assert!(engine.starts_with(&format!("epoll (io_uring refused: {reason}")), "{engine}");
    let mut stream = site.connect();
    for size in SIZES {
        let want = site.put("file", size);
        stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_answer(&mut stream).1 == want, "{size} bytes");
        stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).1, b"axum: GET /api/x ");
    }
    // Whoever insists is told.
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    config.engine = Choice::Uring;
    let error = Server::start(config, Arc::new(|_| {}), Arc::new(|_| {})).unwrap_err();
    assert!(matches!(&error, Error::Engine(source) if source.to_string().starts_with(reason)), "{error}");
}

#[test]
fn where_io_uring_is_refused_epoll_serves() {
    if let Ok(reason) = std::env::var(NAME) {
        return inside(&reason);
    }
    for (error, reason) in [("1", "Operation not permitted"), ("38", "Function not implemented")] {
        let mut alone = Command::new("perl");
        alone.args(["-e", REFUSING, error]).arg(std::env::current_exe().unwrap());
        alone.args(["--exact", NAME, "--nocapture"]).env(NAME, reason);
        assert!(alone.status().unwrap().success(), "{reason}");
    }
}

use super::*;
use crate::image::testing::{self, Server as Scripted};
use std::cell::Cell;

fn console() -> Arc<Console> {
    Arc::new(Console::stderr())
}

#[test]
fn an_installed_machine_waits_until_the_server_recorded_it_or_never_will() {
    for last in [204, 401, 403] {
        let mut refusals = 2;
        let server = Scripted::answering(move |_| {
            let status = if refusals > 0 { 503 } else { last };
            refusals -= i32::from(refusals > 0);
            testing::answer(status, b"")
        });
        let mut reporter = Reporter::new(console(), Some(Server::new(server.url("/"))));
        reporter.done(Step::Head, "");
        until_recorded(&reporter, Duration::from_millis(20));
        let asked = server.requests();
        assert_eq!(asked.len(), 3, "{last}");
        assert!(asked[2].contains(r#""step":"head","status":"done""#), "{}", asked[2]);
    }
}

#[test]
fn a_machine_that_is_told_to_reboot_reports_no_installation() {
    let server = Scripted::answering(|request| match request.starts_with("GET /agent/v1/instructions") {
        true => testing::answer(200, br#"{"action":"reboot"}"#),
        false => testing::answer(204, b""),
    });
    obey(&Server::new(server.url("/")), &console(), &mut Settling::new(Instant::now(), &[]));
    std::thread::sleep(Duration::from_millis(200)); // a report would be under way
    let requests = server.requests();
    assert!(!requests.iter().any(|request| request.contains(r#""step":"reboot""#)), "{requests:?}");
}

fn disk(name: &str) -> DiskFound {
    let (name, device) = (name.to_owned(), std::path::PathBuf::new());
    let (size, block, removable, read_only) = (1 << 30, 512, false, false);
    DiskFound { name, size, block, removable, read_only, serial: None, model: None, wwid: None, device }
}

fn wanted(disk: protocol::Disk) -> Install {
    let (image, sha256, on_failure) = ("http://10.0.0.1/i".into(), "0".repeat(64), OnFailure::Reboot);
    Install { image, sha256, size: None, disk, on_failure }
}

const QUICK: Timing = Timing {
    appear: Duration::from_millis(300),
    settle: Duration::from_millis(150),
    step: Duration::from_millis(10),
};

#[test]
fn the_only_disk_is_the_only_one_when_no_other_has_followed_it() {
    let only = wanted(protocol::Disk::Only);
    let start = Instant::now();
    let at = |late: u64| move || start.elapsed() >= Duration::from_millis(late);
    let (first, second) = (at(20), at(100));
    let look = || {
        let found = [first().then(|| disk("sda")), second().then(|| disk("sdb"))];
        found.into_iter().flatten().collect()
    };
    let error = find_disk(&only, &mut Settling::new(start, &[]), QUICK, look).unwrap_err();
    assert!(matches!(&error, PlanError::Several(both) if both.len() == 2), "{error}");

    let (disk, settled) =
        find_disk(&only, &mut Settling::new(Instant::now(), &[]), QUICK, || vec![self::disk("sda")]).unwrap();
    assert!(disk.name == "sda" && settled >= QUICK.settle, "{settled:?}");

    // Settled while the network came up, or named: no wait.
    let before = Instant::now().checked_sub(QUICK.settle).unwrap();
    let mut settling = Settling::new(before, &[self::disk("sda")]);
    let looks = Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        vec![self::disk("sda")]
    };
    find_disk(&only, &mut settling, QUICK, look).unwrap();
    let named = wanted(protocol::Disk::Path("/dev/sda".into()));
    find_disk(&named, &mut Settling::new(Instant::now(), &[]), QUICK, look).unwrap();
    assert_eq!(looks.get(), 2);
}

#[test]
fn disks_that_keep_changing_are_none_to_choose_from() {
    let turn = Cell::new(0);
    let look = || {
        turn.set(turn.get() + 1);
        vec![DiskFound { size: turn.get() << 20, ..disk("sda") }]
    };
    let mut settling = Settling::new(Instant::now(), &[]);
    let error = find_disk(&wanted(protocol::Disk::Only), &mut settling, QUICK, look).unwrap_err();
    assert!(matches!(error, PlanError::Unsettled(_)), "{error}");
}

#[test]
fn a_choice_that_no_longer_holds_opens_nothing() {
    let only = wanted(protocol::Disk::Only);
    assert!(still_chosen(&only, &disk("sda"), &[disk("sda")]).is_ok());
    let swapped = DiskFound { serial: Some("other".into()), ..disk("sda") };
    for (found, says) in [
        (vec![disk("sda"), disk("sdb")], "2 disks could be meant"),
        (vec![swapped], "now it is /dev/sda (1.0 GiB, serial other)"),
        (vec![], "the kernel shows none"),
    ] {
        let error = still_chosen(&only, &disk("sda"), &found).unwrap_err().to_string();
        assert!(error.contains("no longer the disk to write") && error.contains(says), "{error}");
    }
}

#[test]
fn a_server_hears_what_is_wrong_with_its_instructions_once() {
    let mut answers =
        [&br#"{"action":"dance"}"#[..], br#"{"action":"dance"}"#, br#"{"action":"reboot"}"#].into_iter();
    let server =
        Scripted::answering(move |request| match request.starts_with("GET /agent/v1/instructions") {
            true => testing::answer(200, answers.next().unwrap()),
            false => testing::answer(204, b""),
        });
    obey(&Server::new(server.url("/")), &console(), &mut Settling::new(Instant::now(), &[]));
    let failed = |request: &&String| request.contains(r#""step":"plan","status":"failed""#);
    let requests = server.requests();
    let failed: Vec<&String> = requests.iter().filter(failed).collect();
    assert!(failed.len() == 1 && failed[0].contains("dance"), "{requests:?}");
}

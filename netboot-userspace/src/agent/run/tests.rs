use super::*;
use crate::image::testing::{self, Server as Scripted};

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
    obey(&Server::new(server.url("/")), &console());
    std::thread::sleep(Duration::from_millis(200)); // a report would be under way
    let requests = server.requests();
    assert!(!requests.iter().any(|request| request.contains(r#""step":"reboot""#)), "{requests:?}");
}

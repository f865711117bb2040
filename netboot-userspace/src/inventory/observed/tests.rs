use super::*;

fn dhcp(class: &'static str) -> Observation {
    let ip = Some(IpAddr::from([10, 0, 0, 9]));
    Observation::Dhcp { kind: "ack", class, ip, named: Named::V4(None) }
}

fn loader() -> Observation {
    Observation::Loader { file: "undionly.kpxe".into(), bytes: 70_000 }
}

fn script() -> Observation {
    Observation::Script { profile: "install".into(), installs: true, once: false, shown: Shown::default() }
}

fn kernel() -> Observation {
    Observation::Kernel { file: "vmlinuz".into(), bytes: 1 }
}

fn agent(step: Step, status: Status) -> Observation {
    Observation::Agent(Report {
        step,
        status,
        bytes: 5,
        total: Some(10),
        bytes_per_second: 1,
        eta_seconds: Some(5),
        message: format!("{step:?}"),
    })
}

/// From, what is seen, to.
#[test]
fn every_observation_in_the_states_where_it_matters() {
    use State::*;
    let table = [
        (Seen, dhcp("plain"), Dhcp),
        (Seen, dhcp("bios"), Dhcp),
        (Dhcp, dhcp("bios"), Dhcp),
        (Dhcp, loader(), Loader),
        (Loader, dhcp("ipxe-bios"), Loader),
        (Loader, dhcp("bios"), Dhcp),
        (Script, dhcp("ipxe-efi-x64"), Dhcp),
        (Kernel, dhcp("plain"), Kernel),
        (Installing, dhcp("plain"), Installing),
        (Agent, loader(), Agent),
        (Installing, loader(), Installing),
        (Installed, loader(), Installed),
        (Local, loader(), Local),
        (Installing, dhcp("efi-x64"), Dhcp),
        (Installed, dhcp("bios"), Dhcp),
        (Local, dhcp("plain"), Local),
        (Local, dhcp("bios"), Dhcp),
        (Dhcp, script(), Script),
        (Loader, script(), Script),
        (Dhcp, Observation::Local { shown: Shown::default() }, Local),
        (Script, kernel(), Kernel),
        (Installing, kernel(), Installing),
        (Local, kernel(), Local),
        (Kernel, agent(Step::Start, Status::Started), Agent),
        (Agent, agent(Step::Plan, Status::Done), Agent),
        (Agent, agent(Step::Write, Status::Started), Installing),
        (Installing, agent(Step::Write, Status::Progress), Installing),
        (Installing, agent(Step::Verify, Status::Done), Installing),
        (Installing, agent(Step::Head, Status::Started), Installing),
        (Installing, agent(Step::Head, Status::Done), Installed),
        (Installing, agent(Step::Head, Status::Failed), Failed),
        (Installed, agent(Step::Reboot, Status::Started), Installed),
        (Installed, agent(Step::Reboot, Status::Failed), Installed),
        (Agent, agent(Step::Plan, Status::Failed), Failed),
        (Installing, agent(Step::Write, Status::Failed), Failed),
        (Failed, agent(Step::Plan, Status::Started), Agent),
        (Failed, dhcp("bios"), Dhcp),
    ];
    for (from, seen, to) in table {
        let mut machine = Machine { state: from, since: 1, ..Machine::default() };
        machine.observe(&seen, 7);
        assert_eq!(machine.state, to, "{from:?} + {seen:?}");
        assert_eq!(machine.since, if from == to { 1 } else { 7 }, "{from:?} + {seen:?}");
    }
}

#[test]
fn a_loader_for_somebody_else_leaves_what_runs_as_it_is() {
    for step in [Step::Plan, Step::Write, Step::Head] {
        let mut machine = Machine::default();
        machine.observe(&agent(step, Status::Done), 1);
        let before = machine.clone();
        machine.observe(&loader(), 1);
        assert_eq!(machine, before);
    }
}

#[test]
fn the_name_that_dhcp_knows_stays_until_firmware_begins_anew() {
    let dhcp = |class, named| Observation::Dhcp { kind: "ack", class, ip: None, named };
    let named = |name: &str| Some(name.to_owned());
    let mut machine = Machine::default();
    assert_eq!(machine.observe(&dhcp("bios", Named::V4(named("n1"))), 1), Keep::Later);
    assert_eq!(machine.observe(&dhcp("ipxe-bios", Named::V4(None)), 2), Keep::No);
    machine.observe(&dhcp("plain", Named::V4(None)), 3);
    machine.observe(&dhcp("bios", Named::Unasked), 4);
    machine.observe(&dhcp("efi-x64", Named::V6(named("n2"))), 5);
    assert_eq!(machine.names().collect::<Vec<_>>(), ["n1", "n2"]);
    assert_eq!(machine.observe(&dhcp("bios", Named::V4(None)), 6), Keep::Later);
    assert_eq!(machine.names().collect::<Vec<_>>(), ["n2"]);
}

#[test]
fn the_uuid_is_kept_where_it_tells_machines_apart_and_survives_with_an_installation() {
    let uuid = |text: &str| Shown { uuid: text.parse().ok(), peer: None };
    let script = |shown, installs| Observation::Script { profile: "p".into(), installs, once: false, shown };
    let mut machine = Machine::default();
    for blank in ["00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009"] {
        assert_eq!(machine.observe(&script(uuid(blank), true), 1), Keep::No);
        assert_eq!(machine.uuid, None);
    }
    let real = uuid("77000000-0000-4000-8000-000000000001");
    assert_eq!(machine.observe(&script(real, false), 2), Keep::No);
    assert_eq!(machine.observe(&script(Shown::default(), true), 3), Keep::Now);
    assert_eq!(machine.uuid, real.uuid);
}

#[test]
fn what_must_survive_says_so() {
    let mut machine = Machine::default();
    assert_eq!(machine.observe(&dhcp("bios"), 1), Keep::No);
    assert_eq!(machine.observe(&agent(Step::Write, Status::Progress), 2), Keep::No);
    assert_eq!((machine.bytes, machine.total, machine.eta_seconds), (5, Some(10), Some(5)));
    assert_eq!(machine.observe(&agent(Step::Head, Status::Done), 3), Keep::Now);
    assert_eq!(machine.installed, Some(3));
    assert_eq!(machine.observe(&agent(Step::Reboot, Status::Started), 4), Keep::No);
    // What every boot does is not written: a storm must not become one of disk syncs.
    assert_eq!(machine.observe(&dhcp("bios"), 5), Keep::No);
    assert_eq!(machine.observe(&Observation::Local { shown: Shown::default() }, 6), Keep::No);
    assert_eq!(machine.installed, Some(3));
}

#[test]
fn a_machine_that_only_rebooted_is_not_installed() {
    for state in [State::Agent, State::Failed, State::Local] {
        let mut machine = Machine { state, ..Machine::default() };
        machine.observe(&agent(Step::Reboot, Status::Done), 1);
        assert_eq!((machine.state, machine.installed), (state, None));
    }
    let mut machine = Machine { state: State::Installing, ..Machine::default() };
    machine.observe(&agent(Step::Reboot, Status::Started), 1);
    assert_eq!(machine.installed, Some(1), "the report of the head was lost");
}

#[test]
fn an_installation_once_is_used_up_by_its_success_only() {
    let once =
        Observation::Script { profile: "p".into(), installs: true, once: true, shown: Shown::default() };
    let mut machine = Machine::default();
    assert_eq!(machine.observe(&once, 1), Keep::Now);
    machine.observe(&agent(Step::Write, Status::Failed), 2);
    assert!(!machine.once_is_used(None));
    assert_eq!(machine.observe(&agent(Step::Head, Status::Done), 3), Keep::Now);
    assert!(machine.once_is_used(None) && machine.once_pending.is_none());
    assert_eq!(machine.observe(&script(), 4), Keep::Now);
    assert!(!machine.once_done);
}

#[test]
fn any_other_boot_once_is_used_up_by_its_kernel_and_not_by_its_script() {
    let once =
        Observation::Script { profile: "p".into(), installs: false, once: true, shown: Shown::default() };
    let boot = "0000000100000001".parse().ok();
    let mut machine = Machine { boot, ..Machine::default() };
    assert_eq!(machine.observe(&once, 1), Keep::Now);
    assert!(!machine.once_is_used(boot), "the answer may have been lost");
    assert!(machine.once_is_used(None), "of that boot only, also where the kernel is not ours to serve");
    assert_eq!(machine.observe(&once, 10), Keep::No);
    assert_eq!(machine.observe(&kernel(), 11), Keep::Now);
    assert!(machine.once_is_used(boot));
}

#[test]
fn a_failure_keeps_its_reason_until_the_next_try() {
    let mut machine = Machine::default();
    assert_eq!(machine.observe(&agent(Step::Write, Status::Failed), 1), Keep::Later);
    assert_eq!((machine.message.as_str(), machine.step.as_str()), ("Write", "write"));
    machine.observe(&dhcp("bios"), 2);
    assert_eq!(machine.message, "");
}

#[test]
fn a_record_of_an_older_version_is_read() {
    let machine: Machine = serde_json::from_str(r#"{"mac":"52:54:00:00:00:01","installed":7}"#).unwrap();
    assert_eq!((machine.installed, machine.state), (Some(7), State::Seen));
}

//! Machines that a group asks for are known.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::inventory::group::{GroupEntry, Groups};

#[test]
fn where_unknown_machines_are_ignored_those_that_a_group_asks_for_are_answered() {
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let groups = json!([
        { "name": "by-mac", "selector": { "mac": ["52:54:00:00:00:01", "52:54:00:00:00:02"], "os": "installed" } },
        { "name": "by-uuid", "selector": { "uuid": uuid } },
        { "name": "by-arch", "selector": { "arch": "x86_64" } },
        { "name": "all" },
    ]);
    let groups: Vec<GroupEntry> = serde_json::from_value(groups).unwrap();
    let groups = Groups::new(groups.iter().map(|group| Arc::new(group.check("test:1").unwrap())));
    let mut lane = Lane::new(config(), Vec::new());
    lane.machine.serve_unknown = false;
    let option_97 = [&[0][..], &uuid.parse::<crate::inventory::identity::Uuid>().unwrap().to_wire()].concat();
    let asks =
        || [Ask::new(DISCOVER, 1), Ask::new(DISCOVER, 2), Ask::new(DISCOVER, 4).option(97, &option_97)];
    for ask in asks() {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.regroup(&groups);
    for ask in asks() {
        lane.answered(&ask);
    }
    for ask in [Ask::new(DISCOVER, 3), Ask::new(DISCOVER, 3).option(93, &[0, 7])] {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.regroup(&Groups::default());
    lane.left(&Ask::new(DISCOVER, 1), Leave::UnknownIgnored);
}

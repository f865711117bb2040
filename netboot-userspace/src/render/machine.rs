//! What templates know of one machine of the inventory. Pure.

use netboot_common::Mac;
use serde_json::{Map, Value};

use super::asked::Asked;
use crate::inventory::Host;
use crate::inventory::group::Group;
use crate::inventory::labels::Labels;

/// Who a machine is.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    pub mac: Option<Mac>,
    pub host: Option<&'a Host>,
    /// The one that counts for it.
    pub group: Option<&'a Group>,
    pub labels: &'a Labels,
}

impl Machine<'_> {
    /// The metadata of its levels; of what its group selects by, what the machine has; where no metadata says otherwise, who it is; and
    /// the request.
    pub fn data(&self, mut metadata: Map<String, Value>, asked: &Asked) -> Map<String, Value> {
        let mut own = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                metadata.entry(key).or_insert(value);
            }
        };
        own("mac", self.mac.map(|mac| mac.to_string().into()));
        if let Some(host) = self.host {
            own("hostname", Some(host.name.as_str().into()));
            own("uuid", host.uuid.map(|uuid| uuid.to_string().into()));
            own("ip", host.ip.map(|ip| ip.to_string().into()));
            own("ip6", host.ip6.map(|ip| ip.to_string().into()));
            own("ssh_authorized_keys", Some(host.ssh_authorized_keys.clone().into()));
        }
        let selector = self.group.map(|group| group.selector.typed()).unwrap_or_default();
        let selected_by = selector.into_keys().filter_map(|key| {
            let value = Value::from(self.labels.get(&key)?);
            Some((key, value))
        });
        asked.data(metadata, selected_by)
    }
}

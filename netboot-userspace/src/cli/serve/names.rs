//! What TFTP's names mean at this site: by the configuration's map, and to PXELINUX what the inventory says.

use std::net::IpAddr;
use std::sync::Arc;

use netboot_common::Mac;

use crate::config::Rule;
use crate::inventory::events::Lane;
use crate::inventory::labels::Labels;
use crate::inventory::machines::{Asking, Decision, Machines, Who};
use crate::inventory::observed::{Observation, Shown};
use crate::inventory::{Live, Snapshot};
use crate::tftp::pxelinux::{self, Asked};
use crate::tftp::{Found, Site, Turn};

/// See the top of this file.
pub(super) struct Names {
    map: Vec<Rule>,
    machines: Arc<Machines>,
    live: Arc<Live>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("map", &self.map).finish_non_exhaustive()
    }
}

impl Names {
    pub(super) fn new(map: Vec<Rule>, machines: Arc<Machines>, live: Arc<Live>) -> Self {
        Self { map, machines, live }
    }

    /// The first rule that fits decides.
    fn mapped(&self, name: &str, client: IpAddr) -> Option<String> {
        let mut class = None;
        self.map.iter().find_map(|rule| {
            let file = rule.file_of(name)?;
            let mut is = |wanted: &str| *class.get_or_insert_with(|| self.class(client)) == *wanted;
            rule.class.is_none_or(|wanted| is(wanted.name())).then_some(file)
        })
    }

    /// As DHCP last saw the client.
    fn class(&self, client: IpAddr) -> String {
        let machine = self.machines.mac_at(client).and_then(|mac| self.machines.machine(mac));
        machine.map(|machine| machine.class).unwrap_or_default()
    }

    /// The configuration of one machine, for nobody but itself.
    fn configuration(&self, asked: Asked, client: IpAddr) -> Option<String> {
        let snapshot = self.live.snapshot();
        let mut shown = Shown { uuid: None, peer: Some(client) };
        let mac = match asked {
            Asked::Uuid(uuid) => {
                let host = uuid.as_told().into_iter().find_map(|uuid| snapshot.host_by_uuid(uuid))?;
                shown.uuid = host.uuid;
                // An entry need not have a MAC; a machine that speaks DHCP does.
                self.machines.macs_of(host).first().copied().or_else(|| self.machines.mac_at(client))
            }
            Asked::Mac(mac) => Some(mac),
            Asked::Address(address) if client == address => self.mac_at(&snapshot, client),
            Asked::Address(_) => None,
            // Of one that nobody knows iPXE says more.
            Asked::Default => match self.mac_at(&snapshot, client) {
                Some(mac) => Some(mac),
                None => return Some(pxelinux::chain("a machine that is not known by its address")),
            },
        }?;
        if self.machines.may_ask(mac, shown).is_err() {
            return None;
        }
        match self.machines.obey(mac, shown, &Labels::default(), Asking::Loader).decision {
            Decision::Profile { profile, host, .. } => {
                let name = host.map_or_else(|| mac.to_string(), |host| host.name.clone());
                Some(pxelinux::chain(&format!("{name}: profile {}", profile.name)))
            }
            Decision::Local => {
                // It asks for nothing more.
                self.machines.note(Who::Mac(mac), Lane::Tftp, Observation::Local { shown });
                Some(pxelinux::LOCAL.to_owned())
            }
            Decision::Ignore | Decision::Nothing(_) => None,
        }
    }

    fn mac_at(&self, snapshot: &Snapshot, client: IpAddr) -> Option<Mac> {
        let reserved = snapshot.host_at(client).and_then(|host| host.macs.first().copied());
        reserved.or_else(|| self.machines.mac_at(client))
    }
}

impl Site for Names {
    fn turn(&self, name: &str) -> Turn {
        if self.map.iter().any(|rule| rule.file_of(name).is_some()) {
            return Turn::First;
        }
        Asked::parse(name).map_or(Turn::Never, |_| Turn::Last)
    }

    fn find(&self, name: &str, client: IpAddr) -> Found {
        if let Some(file) = self.mapped(name, client) {
            return Found::File(file);
        }
        let text = Asked::parse(name).and_then(|asked| self.configuration(asked, client));
        text.map_or(Found::Nothing, |text| Found::Bytes(text.into_bytes().into()))
    }
}

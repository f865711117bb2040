//! What the layers say of themselves, for `netboot status`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::stats::{Lane, Leave, Note, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::https;
use super::Later;
use super::loaders::Shown;
use super::reload::Reloader;
use crate::api::Site;
use crate::dhcp::explain::{Explanation, Would};
use crate::dhcp::observed::Observed;
use crate::fastpath::files::FileCounters;
use crate::fastpath::{self, Attachment, Counters, Room, counter_name};
use crate::http::tls::{Counts, Identity, Listener};
use crate::http::upstream::Mirror;
use crate::inventory::settings::Settings;
use crate::{dhcp, dhcp6, http, tftp};

/// The running layers.
#[derive(Default)]
pub(super) struct Layers {
    kernel: Later<Kernels>,
    reloader: Later<Arc<Reloader>>,
    servers: Mutex<Option<Servers>>,
    /// The files that the kernel serves by TFTP.
    in_kernel: Later<Shown>,
    /// The folder that is served as `/assets/`.
    assets: Later<PathBuf>,
    /// The cache of upstreams, or why there is none.
    mirror: Later<Result<Arc<Mirror>, String>>,
    /// What is wrong with an interface, by its name.
    ill: Mutex<BTreeMap<String, String>>,
}

/// The kernel's lanes.
pub(super) enum Kernels {
    With {
        attachments: Mutex<Vec<Attachment>>,
        counters: Counters,
        tftp: Box<FileCounters>,
    },
    /// Why not.
    Without(String),
}

struct Servers {
    http: http::Server,
    tftp: tftp::Server,
    dhcp: Arc<dhcp::Server>,
    dhcp6: Option<Arc<dhcp6::Server>>,
}

impl Layers {
    pub(super) fn set_kernel(&self, kernel: Kernels) {
        // Set once, by the one thread that starts the layers.
        let _ = self.kernel.set(kernel);
    }

    pub(super) fn set_assets(&self, folder: PathBuf) {
        // As above.
        let _ = self.assets.set(folder);
    }

    pub(super) fn set_in_kernel(&self, files: Shown) {
        // As above.
        let _ = self.in_kernel.set(files);
    }

    pub(super) fn set_mirror(&self, mirror: Result<Arc<Mirror>, String>) {
        // As above.
        let _ = self.mirror.set(mirror);
    }

    fn mirror(&self) -> Option<&Arc<Mirror>> {
        self.mirror.get()?.as_ref().ok()
    }

    /// How an interface's programs are attached now.
    pub(super) fn attached(&self, attachment: Attachment) {
        let Some(Kernels::With { attachments, .. }) = self.kernel.get() else { return };
        let mut attachments = attachments.lock().unwrap_or_else(PoisonError::into_inner);
        attachments.retain(|other| other.name != attachment.name);
        attachments.push(attachment);
    }

    /// What is wrong with interfaces now. What was, until now.
    pub(super) fn set_ill(&self, ill: BTreeMap<String, String>) -> BTreeMap<String, String> {
        std::mem::replace(&mut *self.ill.lock().unwrap_or_else(PoisonError::into_inner), ill)
    }

    /// Everything that keeps this server from serving as it should, a line each.
    fn degraded(&self) -> Vec<String> {
        let ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let interfaces = ill.iter().map(|(name, reason)| format!("interface {name}: {reason}"));
        let room = self.room().filter(Room::is_scarce).map(|Room { entries, max, refused }| {
            format!("the kernel's table of hosts holds {entries} of {max}, {refused} found no room: userspace answers those")
        });
        let behind = self.of_servers(|servers| servers.dhcp.behind()).map(|error| {
            format!("the kernel's tables lack something, and are told everything again until they have it: {error}")
        });
        let failing = self.of_servers(|servers| servers.dhcp.failing());
        let failing =
            failing.map(|error| format!("no new lease is given, for it could not be made durable: {error}"));
        let mirror = match self.mirror.get() {
            Some(Ok(mirror)) => mirror.ill(),
            Some(Err(reason)) => vec![reason.clone()],
            None => Vec::new(),
        };
        interfaces
            .chain(room)
            .chain(behind)
            .chain(failing)
            .chain(mirror)
            .chain(self.https_warning())
            .collect()
    }

    fn room(&self) -> Option<Room> {
        self.of_servers(|servers| servers.dhcp.room())
    }

    pub(super) fn set_reloader(&self, reloader: Arc<Reloader>) {
        // As above.
        let _ = self.reloader.set(reloader);
    }

    pub(super) fn set(
        &self,
        http: http::Server,
        tftp: tftp::Server,
        dhcp: Arc<dhcp::Server>,
        dhcp6: Option<Arc<dhcp6::Server>>,
    ) {
        let servers = Servers { http, tftp, dhcp, dhcp6 };
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = Some(servers);
    }

    pub(super) fn http_engine(&self) -> String {
        self.of_servers(|servers| servers.http.engine().to_string())
    }

    pub(super) fn announce_https(&self) {
        self.of_servers(|servers| {
            let Some(tls) = servers.http.tls() else { return };
            let identity = tls.identity();
            tracing::info!("HTTPS on {}, as {}", tls.local_addr(), identity.facts().names.join(", "));
        });
        self.warn_https();
    }

    /// Who enciphers, where there is HTTPS.
    pub(super) fn https_engine(&self) -> Option<String> {
        self.of_servers(|servers| servers.http.tls().map(|tls| tls.engine().to_string()))
    }

    pub(super) fn warn_https(&self) {
        self.https_warning().into_iter().for_each(|warning| tracing::warn!("{warning}"));
    }

    fn https_warning(&self) -> Option<String> {
        self.of_servers(|servers| https::warning(&servers.http.tls()?.identity()))
    }

    /// HTTPS shows this certificate from now on.
    pub(super) fn show(&self, identity: Arc<Identity>) {
        match self.of_servers(|servers| servers.http.tls().map(|tls| tls.replace(identity))) {
            Some(Ok(true)) => self.announce_https(),
            Some(Err(error)) => tracing::error!("the certificate that was shown stays: {error}"),
            Some(Ok(false)) | None => {}
        }
    }

    pub(super) fn tftp_engine(&self) -> String {
        self.of_servers(|servers| servers.tftp.engine().to_string())
    }

    /// Other networks than those that TFTP answers now.
    pub(super) fn serve_tftp_to(&self, sources: Vec<(IpAddr, u8)>) {
        self.of_servers(|servers| servers.tftp.serve_only(sources));
    }

    /// Ends their threads.
    pub(super) fn shutdown(&self) {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Servers { http, tftp, dhcp, dhcp6 }) = servers {
            http.shutdown();
            tftp.shutdown();
            dhcp.shutdown();
            if let Some(dhcp6) = dhcp6 {
                dhcp6.shutdown();
            }
        }
    }

    fn of_servers<T: Default>(&self, of: impl FnOnce(&Servers) -> T) -> T {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(of).unwrap_or_default()
    }
}

impl Site for Layers {
    fn status(&self) -> Value {
        let (kernel, mut counters) = match self.kernel.get() {
            Some(Kernels::With { attachments, counters, tftp }) => {
                let attachments = attachments.lock().unwrap_or_else(PoisonError::into_inner);
                (json!(*attachments), of_kernel(counters, tftp))
            }
            Some(Kernels::Without(reason)) => (json!({ "off": reason }), BTreeMap::new()),
            None => (Value::Null, BTreeMap::new()),
        };
        counters.insert(Lane::Userspace.name(), self.of_servers(|servers| of_userspace(&servers.dhcp)));
        if let Some(counts) = self.of_servers(|servers| servers.dhcp6.as_ref().map(|dhcp6| dhcp6.counts())) {
            counters.insert("dhcp6", json!(counts.into_iter().collect::<BTreeMap<_, _>>()));
        }
        let lost = counters.values().filter_map(|lane| lane[Note::Untold.name()].as_u64()).sum::<u64>();
        json!({
            "degraded": self.degraded(),
            "kernel_hosts": self.room(),
            "kernel_files": self.in_kernel.get().map(|files| json!(**files.load())),
            "lost_events": lost,
            "configuration": self.reloader.get().map(|reloader| reloader.status()),
            "interfaces": kernel,
            "counters": counters,
            "http": self.of_servers(|servers| of_http(&servers.http)),
            "https": self.of_servers(|servers| servers.http.tls().map(of_https)),
            "tftp": self.of_servers(|servers| of_tftp(&servers.tftp)),
            "upstreams": self.mirror().map(|mirror| json!(mirror.stats().collect::<BTreeMap<_, _>>())),
        })
    }

    fn reload(&self) -> Result<Value, String> {
        let reloader = self
            .reloader
            .get()
            .ok_or("it serves without a configuration file: there is nothing to reload")?;
        reloader.reload().map(|changed| json!(changed)).map_err(|error| format!("{error:#}"))
    }

    fn observed(&self) -> Value {
        let observed = self.of_servers(|servers| servers.dhcp.observed());
        let one = |(mac, seen): &(Mac, Observed)| {
            let mut value = json!(seen);
            value["mac"] = json!(mac.to_string());
            value["differences"] = json!(seen.differences());
            value
        };
        json!(observed.iter().map(one).collect::<Vec<_>>())
    }

    fn release(&self, address: IpAddr) -> Result<bool, String> {
        let IpAddr::V4(address) = address else {
            return Err(format!("{address}: leases of IPv6 end by themselves, or by their clients"));
        };
        let released = self.of_servers(|servers| Some(servers.dhcp.release(address)));
        released.unwrap_or(Ok(false)).map_err(|error| format!("{address}: {error}"))
    }

    fn assets(&self) -> Option<PathBuf> {
        self.assets.get().cloned()
    }

    fn cache(&self) -> Option<Router> {
        self.mirror().map(|mirror| mirror.control())
    }

    fn explain(&self, mac: Mac, class: Class) -> Value {
        self.of_servers(|servers| {
            let explained = servers.dhcp.explain(mac, class);
            let refused = servers.dhcp.refusal(mac).map(|refusal| {
                json!({
                    "time": refusal.time,
                    "lane": refusal.lane.name(),
                    "reason": refusal.leave.name(),
                    "interface": refusal.interface,
                    "count": refusal.count,
                })
            });
            json!({ "interfaces": explained.iter().map(explanation).collect::<Vec<_>>(), "refused": refused })
        })
    }
}

fn explanation(explained: &Explanation) -> Value {
    let would = |would: &Result<Would, Leave>| match would {
        Ok(Would { kind, yiaddr, siaddr, file, options }) => json!({
            "answer": kind, "yiaddr": yiaddr, "siaddr": siaddr, "file": file, "options": options,
        }),
        Err(leave) => json!({ "left": leave.name() }),
    };
    let lease = explained.lease.as_ref().map(|lease| json!({ "ip": lease.ip, "until": lease.until }));
    json!({
        "name": explained.interface,
        "vlan": explained.vlan,
        "kernel": would(&explained.kernel),
        "userspace": would(&explained.userspace),
        "lease": lease,
        "levels": explained.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

fn level((name, settings): &(String, Settings)) -> Value {
    let mut typed = json!({});
    settings.show_in(&mut typed);
    json!({ "level": name, "settings": typed })
}

fn of_kernel(counters: &Counters, tftp: &FileCounters) -> BTreeMap<&'static str, Value> {
    fn value<T: Serialize>(read: Result<T, fastpath::Error>) -> Value {
        read.map_or_else(|error| json!({ "error": error.to_string() }), |all| json!(all))
    }
    let lanes = Lane::KERNEL.into_iter().map(|lane| (lane.name(), value(counters.lane(lane))));
    lanes.chain([("tftp", value(tftp.all()))]).collect()
}

fn of_userspace(dhcp: &dhcp::Server) -> Value {
    let named = (0..Outcome::COUNT).filter_map(|index| Some((counter_name(index)?, dhcp.count(index))));
    let counts = named.filter(|(_, count)| *count > 0);
    json!(counts.collect::<BTreeMap<_, _>>())
}

fn of_http(server: &http::Server) -> Value {
    let named = |stats: http::Stats| stats.named().collect::<BTreeMap<_, _>>();
    let mut value = json!(named(server.stats()));
    value["listen"] = json!(server.local_addr().to_string());
    value["engine"] = json!(server.engine().to_string());
    let slowed = server.paces().into_iter().map(|(client, pace)| json!({ "client": client, "pace": pace }));
    value["stalling"] = slowed.collect();
    value["workers"] = server.worker_stats().into_iter().map(named).map(|stats| json!(stats)).collect();
    value
}

fn of_https(listener: &Listener) -> Value {
    let Counts { done, by_kernel, failed, late, over_limit, last_failure } = listener.counts();
    let identity = listener.identity();
    json!({
        "listen": listener.local_addr().to_string(),
        "names": identity.facts().names,
        "until": identity.facts().not_after,
        "engine": listener.engine().to_string(),
        "handshakes": done,
        "by_kernel": by_kernel,
        "failed": failed,
        "late": late,
        "over_limit": over_limit,
        "last_failure": last_failure,
    })
}

fn of_tftp(server: &tftp::Server) -> Value {
    let stats = server.stats();
    json!({
        "listen": server.local_addr().to_string(),
        "engine": server.engine().to_string(),
        "requests": stats.requests,
        "active": stats.active,
        "done": stats.done,
        "aborted": stats.aborted,
        "not_found": stats.not_found,
        "refused": stats.refused,
        "failed": stats.failed,
        "dropped": stats.dropped,
        "broadcast": stats.broadcast,
        "evicted": stats.evicted,
        "full": stats.full,
        "client_full": stats.client_full,
        "silenced": stats.silenced,
        "strays": stats.strays,
        "guessed": stats.guessed,
        "unsent": stats.unsent,
        "as_one": stats.as_one,
        "apart": stats.apart,
        "paced": stats.paced,
        "written": stats.written,
        "bytes": stats.bytes,
        "resent": stats.resent,
    })
}

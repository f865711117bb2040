//! Hosts and profiles, from the main file's lists and from the drop-in folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::errors::{Errors, Fault, Source};
use super::reader::{Field, Place, Placed, Section};
use super::yaml::Node;
use super::{Cache, files, net, settings};
use crate::image::http::Url;
use crate::image::protocol::{Disk, OnFailure};
use crate::inventory::configs::{Config, Configs, Kind, Templates};
use crate::inventory::{Bind, Boot, Host, Install, Profile, ProfileBoot, entry, group, keys};

/// A host, with the places of what is checked against other things later.
#[derive(Debug)]
pub(super) struct HostAt {
    pub(super) host: Host,
    pub(super) place: Place,
    pub(super) macs: Vec<Place>,
    pub(super) ip: Option<Place>,
    pub(super) ip6: Option<Place>,
    pub(super) profile: Option<Place>,
}

pub(super) fn host(field: &Field<'_>, errors: &mut Errors) -> Option<HostAt> {
    let mut section = field.section(errors)?;
    let name = section.required("name", "node1", errors).and_then(|f| f.parse(errors, entry::host_name));
    let client_id = section.take("client_id").and_then(|f| f.parse(errors, str::parse));
    let uuid = section.take("uuid").and_then(|f| f.parse(errors, str::parse));
    let circuit = section.take("circuit").and_then(|f| f.parse(errors, str::parse));
    let duid = section.take("duid").and_then(|f| f.parse(errors, str::parse));
    let otherwise_known = client_id.is_some() || uuid.is_some() || circuit.is_some() || duid.is_some();
    let macs = macs(&mut section, otherwise_known, errors);
    let serial = section.take("serial").and_then(|f| f.parse(errors, entry::serial));
    let ip = placed(section.take("ip"), errors, entry::address);
    let ip6 = placed(section.take("ip6"), errors, entry::address6);
    let profile = placed(section.take("profile"), errors, |text| Ok(text.to_owned()));
    let boot = section.take("boot").and_then(|f| f.word(errors, &BOOT)).unwrap_or_default();
    let cmdline = cmdline(&mut section, errors);
    let labels = labels(&mut section, errors);
    let metadata = metadata(&mut section, errors);
    let ssh_authorized_keys = ssh_keys(&mut section, errors);
    let settings = settings::read(&mut section, errors);
    let place = section.place.clone();
    section.finish(errors);
    let host = Host {
        name: name?,
        macs: macs.iter().map(|mac| mac.value).collect(),
        client_id,
        uuid,
        circuit,
        duid,
        serial,
        ip: ip.as_ref().map(|ip| ip.value),
        ip6: ip6.as_ref().map(|ip| ip.value),
        profile: profile.as_ref().map(|profile| profile.value.clone()),
        boot,
        cmdline,
        labels,
        metadata,
        ssh_authorized_keys,
        settings,
        origin: place.origin(),
    };
    let macs = macs.into_iter().map(|mac| mac.place).collect();
    let (ip, ip6) = (ip.map(|ip| ip.place), ip6.map(|ip| ip.place));
    Some(HostAt { host, place, macs, ip, ip6, profile: profile.map(|profile| profile.place) })
}

const BOOT: [(&str, Boot); 4] =
    [("profile", Boot::Profile), ("local", Boot::Local), ("once", Boot::Once), ("ignore", Boot::Ignore)];

/// `mac: one`, `mac: [some]` or `macs: [some]`: at least one, unless the host is `otherwise_known`. Those that are none are
/// reported.
fn macs(
    section: &mut Section<'_>,
    otherwise_known: bool,
    errors: &mut Errors,
) -> Vec<Placed<netboot_common::Mac>> {
    let there = |field: &Field<'_>| !field.is_empty();
    let (one, many) = (section.take("mac").filter(there), section.take("macs").filter(there));
    if one.is_none() && many.is_none() && !otherwise_known {
        let what = "`mac` is missing: add it, as in `mac: 52:54:00:12:34:56`, or `client_id`, `duid`, `uuid` or `circuit`";
        section.place.fault(errors, what);
    }
    let fields = [one, many].into_iter().flatten();
    let fields: Vec<_> = fields.flat_map(|field| field.one_or_more(errors)).collect();
    fields.into_iter().filter_map(|field| placed(Some(field), errors, entry::mac)).collect()
}

fn labels(section: &mut Section<'_>, errors: &mut Errors) -> BTreeMap<String, String> {
    let pairs = section.take("labels").map(|field| field.pairs(errors)).unwrap_or_default();
    pairs.into_iter().filter_map(|(key, f)| Some((key.to_owned(), f.text(errors)?.to_owned()))).collect()
}

/// A mapping of anything.
pub(super) fn metadata(section: &mut Section<'_>, errors: &mut Errors) -> Map<String, Value> {
    let Some(field) = section.take("metadata") else { return Map::new() };
    let metadata = field.mapping(errors).unwrap_or_default();
    if let Err(fault) = group::metadata(&metadata) {
        field.place.fault(errors, fault);
    }
    metadata
}

fn ssh_keys(section: &mut Section<'_>, errors: &mut Errors) -> Vec<String> {
    let fields = section.take("ssh_authorized_keys").map(|field| field.one_or_more(errors));
    fields.unwrap_or_default().iter().filter_map(|field| field.parse(errors, keys::public_key)).collect()
}

fn cmdline(section: &mut Section<'_>, errors: &mut Errors) -> String {
    section.take("cmdline").and_then(|f| f.parse(errors, entry::cmdline)).unwrap_or_default()
}

/// A profile, by its name alone where more of it is wrong: that is no reason to miss it elsewhere, too.
#[derive(Debug)]
pub(super) struct ProfileAt {
    pub(super) name: String,
    pub(super) profile: Option<Profile>,
    pub(super) place: Place,
}

/// The files that profiles may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    pub(super) folder: &'a Path,
    pub(super) cache: &'a Cache,
    pub(super) templates: &'a Templates,
}

impl Files<'_> {
    /// What an upstream has is not looked for before somebody asks.
    fn check(&self, path: &str) -> Result<(), String> {
        match self.cache.upstream(path) {
            Some(_) => Ok(()),
            None => readable(&self.folder.join(path)),
        }
    }
}

/// The same, for whoever reads a profile that was typed elsewhere.
#[derive(Clone, Debug)]
pub struct Named {
    /// The folder of the assets.
    pub assets: PathBuf,
    pub cache: Cache,
    pub templates: Templates,
}

impl Default for Named {
    fn default() -> Self {
        Self { assets: PathBuf::new(), cache: Cache::none(), templates: Templates::new() }
    }
}

/// A profile that was typed elsewhere: JSON with the keys of the configuration, and what a shown one has beside them.
///
/// # Errors
/// All that is wrong, a line each, each beginning with its field.
pub fn typed_profile(typed: &Value, named: &Named) -> Result<Profile, Vec<String>> {
    let mut typed = typed.clone();
    if let Value::Object(keys) = &mut typed {
        keys.retain(|key, value| key != "origin" && !value.is_null());
        if let Some(Value::Object(install)) = keys.get_mut("install") {
            install.retain(|_, value| !value.is_null());
        }
    }
    let (node, mut errors) = (Node::from(&typed), Errors::default());
    let field = Field::document(Rc::new(Source::new(Path::new(""), "")), &node);
    let Named { assets, cache, templates } = named;
    let files = Files { folder: assets, cache, templates };
    let profile = profile(&field, &files, &mut errors).and_then(|read| read.profile);
    let said = |fault: &Fault| match fault.field.as_str() {
        "" => fault.message.clone(),
        field => format!("{field}: {}", fault.message),
    };
    match profile.filter(|_| errors.is_empty()) {
        Some(profile) => Ok(profile),
        None => Err(errors.iter().map(said).collect()),
    }
}

/// Reads a profile; files that it names are looked up in `assets`.
pub(super) fn profile(field: &Field<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<ProfileAt> {
    let mut section = field.section(errors)?;
    let name = section.required("name", "install", errors).and_then(|f| f.parse(errors, entry::profile_name));
    let boot = boot(&mut section, assets, errors);
    let live = live(&mut section, assets, errors);
    let install = section.take("install").and_then(|field| install(&field, assets, errors));
    let configs = configs(&mut section, assets.templates, errors);
    let bind = section.take("bind").and_then(|field| field.parse(errors, bind)).unwrap_or_default();
    let metadata = metadata(&mut section, errors);
    let settings = settings::read(&mut section, errors);
    if install.is_some() && boot.as_ref().is_some_and(|boot| !matches!(boot, ProfileBoot::Linux { .. })) {
        section.place.fault(errors, "`install` needs `kernel`: it is our agent that installs");
    }
    let place = section.place.clone();
    section.finish(errors);
    let (name, origin) = (name?, place.origin());
    let profile =
        |boot| Profile { name: name.clone(), boot, live, install, configs, bind, metadata, settings, origin };
    let profile = boot.map(profile);
    Some(ProfileAt { name, profile, place })
}

/// The file of a live system's root.
fn live(section: &mut Section<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<String> {
    let field = section.take("live")?;
    if section.take("kernel").is_none() {
        field.place.fault(errors, "goes with `kernel`, which is missing here");
    }
    file(&field, assets, errors)
}

/// `configs: { cloud: web.yaml, ignition: |…, generic: … }`
fn configs(section: &mut Section<'_>, templates: &Templates, errors: &mut Errors) -> Configs {
    let mut configs = Configs::default();
    let Some(mut section) = section.take("configs").and_then(|field| field.section(errors)) else {
        return configs;
    };
    for kind in Kind::ALL {
        let read = |text: &str| {
            let config = Config::from(text.to_owned());
            config.text(templates).map(drop)?;
            Ok(config)
        };
        configs.set(kind, section.take(kind.name()).and_then(|field| field.parse(errors, read)));
    }
    section.finish(errors);
    configs
}

fn bind(text: &str) -> Result<Bind, String> {
    match text {
        "address" => Ok(Bind::Address),
        "token" => Ok(Bind::Token),
        _ => Err(format!("{text:?} binds nothing: write address, or token")),
    }
}

/// Exactly one of `kernel`, `ipxe`, `efi` and `local`.
fn boot(section: &mut Section<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<ProfileBoot> {
    let (kernel, ipxe) = (section.take("kernel"), section.take("ipxe"));
    let (efi, local) = (section.take("efi"), section.take("local"));
    let initrd = section.take("initrd");
    let cmdline = cmdline(section, errors);
    if kernel.is_none()
        && let Some(initrd) = &initrd
    {
        initrd.place.fault(errors, "goes with `kernel`, which is missing here");
    }
    match (kernel, ipxe, efi, local) {
        (Some(kernel), None, None, None) => {
            let initrds = initrd.map(|field| field.one_or_more(errors)).unwrap_or_default();
            let initrd = initrds.iter().filter_map(|field| file(field, assets, errors)).collect();
            Some(ProfileBoot::Linux { kernel: file(&kernel, assets, errors)?, initrd, cmdline })
        }
        (None, Some(script), None, None) => script.parse(errors, entry::ipxe_script).map(ProfileBoot::Ipxe),
        (None, None, Some(binary), None) => {
            file(&binary, assets, errors).map(|binary| ProfileBoot::Efi { binary, cmdline })
        }
        (None, None, None, Some(local)) => local
            .parse(errors, |text| match text {
                "true" => Ok(()),
                _ => Err("takes only `true`; leave it out otherwise".to_owned()),
            })
            .map(|()| ProfileBoot::Local),
        _ => {
            let what = "boots nothing, or more than one thing: it takes exactly one of `kernel`, `ipxe`, `efi` and `local: true`";
            section.place.fault(errors, what);
            None
        }
    }
}

fn install(field: &Field<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<Install> {
    let mut section = field.section(errors)?;
    let image =
        section.required("image", "images/debian.img.zst", errors).and_then(|f| image(&f, assets, errors));
    let sha256 = section
        .required("sha256", "<64 hex digits of the decompressed image>", errors)
        .and_then(|field| field.parse(errors, entry::sha256));
    let size = section.take("size").and_then(|field| field.parse(errors, entry::size));
    let disk = section.take("disk").and_then(|field| field.parse(errors, entry::disk)).unwrap_or(Disk::Only);
    let on_failure = on_failure(&mut section, errors);
    section.finish(errors);
    Some(Install { image: image?, sha256: sha256?, size, disk, on_failure })
}

/// `on_failure: retry` (then `retry: 30s` is the wait) or `on_failure: reboot`.
fn on_failure(section: &mut Section<'_>, errors: &mut Errors) -> OnFailure {
    let reboot =
        section.take("on_failure").and_then(|f| f.word(errors, &[("retry", false), ("reboot", true)]));
    let limits = Duration::from_secs(1)..=Duration::from_secs(86400);
    let retry =
        section.take("retry").and_then(|f| f.parse(errors, |text| net::duration(text, limits.clone())));
    match reboot {
        Some(true) => OnFailure::Reboot,
        _ => OnFailure::Retry { retry_seconds: retry.map_or(30, |wait| wait.as_secs()) },
    }
}

/// A URL as it is, or a path under `assets` that names a file we can read.
fn file(field: &Field<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<String> {
    field.parse(errors, |text| {
        let path = entry::asset(text)?;
        if let Some(path) = path {
            assets.check(path)?;
        }
        Ok(text.to_owned())
    })
}

/// The same, of a URL that the agent can fetch: it has no resolver, and no TLS.
fn image(field: &Field<'_>, assets: &Files<'_>, errors: &mut Errors) -> Option<String> {
    let text = file(field, assets, errors)?;
    if text.contains("://")
        && let Err(fault) = text.parse::<Url>()
    {
        field.place.fault(errors, format!("{fault}; or put the image under the assets folder"));
    }
    Some(text)
}

/// True for a file that opens for reading; the reason otherwise.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    let unreadable =
        |error| format!("{} can't be read: {error}; put it there, or name a URL", path.display());
    files::regular(path).map(drop).map_err(unreadable)
}

pub(super) fn placed<T>(
    field: Option<Field<'_>>,
    errors: &mut Errors,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<Placed<T>> {
    let field = field?;
    let value = field.parse(errors, read)?;
    Some(Placed { value, place: field.place })
}

/// A folder that was typed: relative ones start from the configuration's own folder.
pub(super) fn folder(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.is_empty() { Err("takes a path".to_owned()) } else { Ok(base.join(text)) }
}

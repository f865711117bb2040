//! `livebootp`: the registry of LiveBOOTP. Its host blocks are hosts here, its images profiles; all that is asked of a configuration is asked
//! of them, and what is wrong is said at its line of `config.yml`.

mod blocks;
mod image;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::blocks::{Block, Blocks};
use self::image::{Images, Parts};
use self::keys::Keys;
use super::check::folder_of;
use super::entries::{self, HostAt, ProfileAt};
use super::errors::{Errors, Fault};
use super::reader::{Field, Placed, Section};
use crate::inventory::settings::Settings;
use crate::inventory::{Boot, Host, Profile, ProfileBoot, entry};
use crate::sys::open;

/// What the registry's container has mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Livebootp {
    /// The folder of `config.yml`, and of `config-default.yml` below it.
    pub config: PathBuf,
    /// Images, each in a folder `TARGET/VERSION`. `/images/` and `/assets/` show them.
    pub images: PathBuf,
    /// Which folder that is, by device and inode: another of the same name is another.
    pub images_at: Option<(u64, u64)>,
    /// Files of public keys.
    pub ssh_authorized_keys: Option<PathBuf>,
    /// All that was read, or looked for: a change of one is a change of the configuration.
    pub files: Vec<PathBuf>,
    /// The folders of images: of these, what is in them is, and not what that says.
    pub folders: Vec<PathBuf>,
    /// What is wrong with images that are named: their machines boot nothing meanwhile.
    pub faults: Vec<Fault>,
}

/// The registry, as meant.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) typed: Option<Livebootp>,
    pub(super) hosts: Vec<HostAt>,
    pub(super) profiles: Vec<ProfileAt>,
}

/// `assets`: the folder whose files are shown in place of those of images with the same path.
pub(super) fn read(top: &mut Section<'_>, base: &Path, assets: &Path, errors: &mut Errors) -> Registry {
    let Some(mut section) = top.take("livebootp").and_then(|field| field.section(errors)) else {
        return Registry::default();
    };
    let before = errors.len();
    let is_there = |field: Field<'_>, errors: &mut Errors| field.parse(errors, |text| folder_of(text, base));
    let config = section.required("config", "/opt/bootp-registry/config", errors);
    let config = config.and_then(|field| is_there(field, errors));
    let images = section.required("images", "/opt/bootp-registry/images", errors);
    let images = images.and_then(|field| is_there(field, errors));
    let keys = section.take("ssh_authorized_keys").and_then(|field| is_there(field, errors));
    section.finish(errors);
    match (config, images) {
        (Some(config), Some(images)) if errors.len() == before => registry(
            Livebootp {
                config,
                images_at: open::identity(&images).ok().map(|folder| (folder.device, folder.inode)),
                images,
                ssh_authorized_keys: keys,
                files: Vec::new(),
                folders: Vec::new(),
                faults: Vec::new(),
            },
            assets,
            errors,
        ),
        _ => Registry::default(),
    }
}

fn registry(typed: Livebootp, assets: &Path, errors: &mut Errors) -> Registry {
    let files = [blocks::DEFAULT, blocks::OWN].map(|name| typed.config.join(name));
    let [default, own] = files.each_ref().map(|path| blocks::document(path, errors));
    let blocks = Blocks::of(default.as_ref(), own.as_ref(), errors);
    let name_servers = blocks.name_servers.as_ref().map(|field| name_servers(field, errors));
    let mut reader = Reader {
        images: Images::new(&typed.images, assets),
        keys: Keys::new(typed.ssh_authorized_keys.as_deref()),
        settings: name_servers.unwrap_or_default(),
        profiles: BTreeMap::new(),
        faults: Vec::new(),
    };
    let read = |(name, block): (&&str, &Block<'_>)| reader.host(name, block, errors);
    let hosts: Vec<HostAt> = blocks.hosts.iter().filter_map(read).collect();
    let files: Vec<PathBuf> = files.into_iter().chain(reader.keys.files()).collect();
    errors.look_for(&files);
    let folders = reader.images.folders().collect();
    let (profiles, faults) = (reader.profiles.into_values().collect(), reader.faults);
    Registry { typed: Some(Livebootp { files, folders, faults, ..typed }), hosts, profiles }
}

/// One or several, as a list or as ISC's dhcpd writes them: `10.0.0.1, 10.0.0.2`.
fn name_servers(field: &Field<'_>, errors: &mut Errors) -> Settings {
    let mut settings = Settings::default();
    if field.is_empty() {
        // None, in place of those of the defaults.
        return settings;
    }
    let typed: Vec<&str> = field.one_or_more(errors).iter().filter_map(|item| item.text(errors)).collect();
    let separate = |text| str::split(text, [',', ' ']).filter(|address| !address.is_empty());
    let addresses: Vec<&str> = typed.into_iter().flat_map(separate).collect();
    if let Err(fault) = settings.options.set(blocks::NAME_SERVERS, &addresses) {
        field.place.fault(errors, fault);
    }
    settings
}

/// Makes hosts of blocks, and profiles of what they boot.
struct Reader<'a> {
    images: Images<'a>,
    keys: Keys<'a>,
    /// Of every profile.
    settings: Settings,
    /// By the names of their images.
    profiles: BTreeMap<String, ProfileAt>,
    /// What is wrong with images.
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn host(&mut self, name: &str, block: &Block<'_>, errors: &mut Errors) -> Option<HostAt> {
        let name = entry::host_name(name).map_err(|fault| block.place.fault(errors, fault)).ok();
        let macs = block.required("hardware-ethernet", "\"52:54:00:12:34:56\"", errors);
        if let Some(field) = macs.as_ref().filter(|field| field.is_empty()) {
            field.place.fault(errors, "is empty: a host without a MAC would be whoever has its address");
        }
        let macs = macs.map(|field| field.one_or_more(errors)).unwrap_or_default();
        let macs: Vec<Placed<_>> =
            macs.into_iter().filter_map(|mac| entries::placed(Some(mac), errors, entry::mac)).collect();
        let ip = entries::placed(block.get("fixed-address"), errors, entry::address);
        let image = block.required("image-name", "nginx-web-server/1.0.0", errors);
        let image = image.and_then(|field| self.profile(&field, errors));
        let keys = block.get("ssh-authorized-keys").map(|field| self.keys.get(&field, errors));
        let cmdline = block.get("cmdline-append").and_then(|field| field.parse(errors, entry::cmdline));
        let host = Host {
            name: name?,
            macs: macs.iter().map(|mac| mac.value).collect(),
            client_id: None,
            uuid: None,
            circuit: None,
            duid: None,
            serial: None,
            ip: ip.as_ref().map(|ip| ip.value),
            ip6: None,
            profile: image.as_ref().map(|image| image.value.clone()),
            boot: Boot::default(),
            cmdline: cmdline.unwrap_or_default(),
            labels: block.labels(),
            metadata: Default::default(),
            ssh_authorized_keys: keys.unwrap_or_default(),
            settings: Settings::default(),
            origin: block.place.origin(),
        };
        Some(HostAt {
            host,
            place: block.place.clone(),
            macs: macs.into_iter().map(|mac| mac.place).collect(),
            ip: ip.map(|ip| ip.place),
            ip6: None,
            profile: image.map(|image| image.place),
        })
    }

    /// The name of the profile that boots an image.
    fn profile(&mut self, field: &Field<'_>, errors: &mut Errors) -> Option<Placed<String>> {
        let image = field.parse(errors, |name| self.images.get(name))?;
        // `/` has no place in the name of a profile.
        let name = field.parse(errors, |name| entry::profile_name(&name.replace('/', "_")))?;
        let place = field.place.clone();
        self.profiles.entry(image.name).or_insert_with(|| {
            let (boot, live) = match image.parts {
                Ok(Parts { kernel, initrd, squashfs }) => {
                    let (initrd, cmdline) = (vec![initrd], String::new());
                    (ProfileBoot::Linux { kernel, initrd, cmdline }, Some(squashfs))
                }
                Err(fault) => {
                    self.faults.push(place.as_fault(fault.clone()));
                    (ProfileBoot::Broken(fault), None)
                }
            };
            let profile = Profile {
                name: name.clone(),
                boot,
                live,
                settings: self.settings.clone(),
                origin: place.origin(),
                ..Profile::default()
            };
            ProfileAt { name: name.clone(), profile: Some(profile), place: place.clone() }
        });
        Some(Placed { value: name, place })
    }
}

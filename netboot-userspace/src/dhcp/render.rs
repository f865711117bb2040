//! Reply templates: the options of each (network, class, kind), encoded once by dhcproto.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};
use dhcproto::{Encodable, Encoder};
use netboot_common::class::Class;
use netboot_common::maps::{BadTemplate, Kind, Mode, TEMPLATE_OPTIONS_MAX, Template};
use netboot_common::wire::dhcp::{self, option};
use netboot_common::wire::pxe::{self, BootItem};

use crate::config::Subnet;
use crate::inventory::menu::{Boots, Menu};
use crate::inventory::options::Options;
use crate::inventory::settings::Settings;

/// What every template of one interface shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Our address there: option 54, `siaddr`, and the host of every URL.
    pub address: Ipv4Addr,
    pub mode: Mode,
    pub http_port: u16,
    /// These clients reach our port 4011: a DHCP server that shares its host with a boot server says so by option 60
    /// (PXE 2.1 section 2.2.3), and firmware neither waits for a proxy then nor looks for one.
    pub boot_server: bool,
}

/// What every template of one group shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// `None`: a proxy's clients, of whose network we know nothing.
    pub network: Option<NetworkFacts>,
    pub site: Settings,
    /// What the host sets, over what its profile sets.
    pub upper: Settings,
    /// Option 15.
    pub domain: Option<String>,
}

/// A subnet, as far as replies show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkFacts {
    pub network: Ipv4Addr,
    pub prefix: u8,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub settings: Settings,
}

impl NetworkFacts {
    pub fn of(subnet: &Subnet) -> Self {
        let Subnet { network, prefix, router, dns, settings, .. } = subnet;
        let (network, prefix, router) = (*network, *prefix, *router);
        Self { network, prefix, router, dns: dns.clone(), settings: settings.clone() }
    }

    /// Without the addresses, which are all of the same length.
    pub(super) fn shape(mut self) -> Self {
        (self.network, self.prefix) = (Ipv4Addr::UNSPECIFIED, 0);
        self.router = self.router.map(|_| Ipv4Addr::UNSPECIFIED);
        self.dns.fill(Ipv4Addr::UNSPECIFIED);
        self
    }
}

impl Facts {
    /// Site, subnet, profile, host: the nearer level wins.
    pub fn settings(&self) -> Settings {
        match &self.network {
            Some(network) => self.upper.over(&network.settings.over(&self.site)),
            None => self.upper.over(&self.site),
        }
    }
}

/// Why a template can't be made: an option that can't be encoded, or too much of all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("encoding DHCP options for {class} clients: {source}")]
    Encode { class: Class, source: dhcproto::error::EncodeError },
    #[error(
        "the DHCP options for {class} clients take {options} bytes, and a reply has room for {TEMPLATE_OPTIONS_MAX}"
    )]
    TooLong { class: Class, options: usize },
    #[error(
        "the boot file name for {class} clients has {length} bytes, and a reply has room for 127: {name}"
    )]
    File { class: Class, length: usize, name: String },
    #[error(
        "{class} clients are told to boot {url}, whose host has a name, and no DNS server to look it up: set `dns` of their subnet"
    )]
    NoResolver { class: Class, url: String },
    #[error("option 66 says {name}, and option 150 does not list it")]
    TftpServers { name: String },
    #[error("there are more than 65,536 {what}")]
    TooMany { what: &'static str },
}

/// The template of one kind of reply for one class of client.
pub fn template(site: &Site, facts: &Facts, class: Class, kind: Kind) -> Result<Template, Error> {
    let settings = facts.settings();
    agree(&settings.options)?;
    let boot = boot_file(site, &settings, class).filter(|_| kind != Kind::Nak);
    resolvable(facts, &settings, class, boot.as_deref())?;
    let menu = menu(&settings, class).map(|menu| menu.to_wire(site.address));
    let template = with_boot(site, facts, class, kind, boot.as_deref(), menu.as_deref())?;
    // Whoever chooses does so on port 4011.
    let flags = if menu.is_some() && kind == Kind::ProxyAck { Template::MENU } else { 0 };
    Ok(template.with_flags(flags))
}

/// The answer to a choice from the menu (PXE 2.1 section 2.2.4); `None`: it is none that there is.
pub fn chosen(site: &Site, facts: &Facts, class: Class, item: BootItem) -> Option<Chosen> {
    let settings = facts.settings();
    let boots = menu(&settings, class)?.chosen(item)?;
    let boot = match boots {
        Boots::Local => return None,
        Boots::File(file) => file.clone(),
        // It is iPXE that asks for the profile, whatever this class boots otherwise.
        Boots::Profile(_) => boot_file(site, &Settings::default(), class)?,
    };
    let template = with_boot(site, facts, class, Kind::ProxyAck, Some(&boot), Some(&item.to_wire())).ok()?;
    Some(Chosen { template, boots: boots.clone() })
}

/// What a choice is answered with.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub template: Template,
    pub boots: Boots,
}

/// Of BIOS clients alone: an EFI that finds an option 43 ignores the offer, and iPXE has scripts.
fn menu(settings: &Settings, class: Class) -> Option<&Menu> {
    settings.menu.as_ref().filter(|menu| class == Class::Bios && !menu.is_empty())
}

/// `menu`: option 43, in place of what tells a client to ask nobody.
fn with_boot(
    site: &Site,
    facts: &Facts,
    class: Class,
    kind: Kind,
    boot: Option<&str>,
    menu: Option<&[u8]>,
) -> Result<Template, Error> {
    let settings = facts.settings();
    let mut bytes = encode(class, &options(site, facts, class, kind, boot, menu))?;
    if kind != Kind::Nak {
        push_set(&mut bytes, &settings, class, kind);
    }
    let file = padded(class, boot.unwrap_or_default())?;
    let siaddr = if boot.is_some() { site.address.octets() } else { [0; 4] };
    let template = Template::new(siaddr, &[0; dhcp::SNAME], &file, &bytes)
        .map_err(|BadTemplate::TooLong { options }| Error::TooLong { class, options })?;
    let wait = settings.options.v6_only_wait().filter(|_| class == Class::Plain);
    Ok(template.with_v6_only_wait(wait.unwrap_or(0)))
}

/// What each class is told to fetch first.
pub fn boot_file(site: &Site, settings: &Settings, class: Class) -> Option<String> {
    let base = format!("http://{}:{}", site.address, site.http_port);
    let file = match class {
        Class::Plain | Class::Unknown => return None,
        _ if settings.boot_files.contains_key(&class) => settings.boot_files[&class].clone(),
        Class::Bios => "undionly.kpxe".to_owned(),
        Class::EfiIa32 => "ipxe32.efi".to_owned(),
        Class::EfiX64 => "snponly.efi".to_owned(),
        Class::EfiArm64 => "snponly-arm64.efi".to_owned(),
        Class::EfiIa32Http => format!("{base}/loaders/ipxe32.efi"),
        Class::EfiX64Http => format!("{base}/loaders/snponly.efi"),
        Class::EfiArm64Http => format!("{base}/loaders/snponly-arm64.efi"),
        Class::IpxeBios
        | Class::IpxeEfiIa32
        | Class::IpxeEfiX64
        | Class::IpxeEfiArm64
        | Class::NetbootIpxe => {
            format!("{base}/boot.ipxe")
        }
    };
    Some(file)
}

fn options(
    site: &Site,
    facts: &Facts,
    class: Class,
    kind: Kind,
    boot: Option<&str>,
    menu: Option<&[u8]>,
) -> Vec<DhcpOption> {
    let message_type = match kind {
        Kind::Offer | Kind::ProxyOffer => Some(MessageType::Offer),
        Kind::Ack | Kind::InformAck | Kind::ProxyAck => Some(MessageType::Ack),
        Kind::Nak => Some(MessageType::Nak),
        // RFC 1534 section 2: no DHCP options to a BOOTP client.
        Kind::Bootp => None,
    };
    let mut options: Vec<DhcpOption> = message_type.map(DhcpOption::MessageType).into_iter().collect();
    if message_type.is_some() {
        options.push(DhcpOption::ServerIdentifier(site.address));
    }
    match kind {
        // RFC 2131 table 3: nothing but 53, 54, 56 and what the tail echoes.
        Kind::Nak => options.push(DhcpOption::Message("wrong address for this network".to_owned())),
        Kind::Offer | Kind::Ack | Kind::InformAck | Kind::Bootp => {
            options.extend(facts.network.iter().flat_map(|network| network_options(facts, network)));
            options.extend(boot_options(site, class, boot, menu, false));
        }
        Kind::ProxyOffer | Kind::ProxyAck => {
            options.extend(boot_options(site, class, boot, menu, true));
        }
    }
    options
}

fn network_options(facts: &Facts, network: &NetworkFacts) -> Vec<DhcpOption> {
    let set = facts.settings().options;
    let is_ours = |code: u8| set.get(code).is_none();
    let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
    let mut options = vec![DhcpOption::SubnetMask(mask.into())];
    if is_ours(3) {
        options.extend(network.router.map(|router| DhcpOption::Router(vec![router])));
    }
    if is_ours(6) && !network.dns.is_empty() {
        options.push(DhcpOption::DomainNameServer(network.dns.clone()));
    }
    if is_ours(15) {
        options.extend(facts.domain.clone().map(DhcpOption::DomainName));
    }
    options
}

/// What operators set, behind what is ours. A proxy says nothing about the network: that is the DHCP server's.
fn push_set(bytes: &mut Vec<u8>, settings: &Settings, class: Class, kind: Kind) {
    if matches!(kind, Kind::ProxyOffer | Kind::ProxyAck) {
        return;
    }
    for (code, value) in settings.options.iter() {
        // 108 is for those who ask for it, and 43 of firmware is PXE's own: an EFI that finds another one ignores the offer.
        let withheld = code == option::V6_ONLY || (code == option::VENDOR_SPECIFIC && class != Class::Plain);
        if !withheld {
            push_long(bytes, code, value);
        }
    }
}

/// RFC 3396 section 5: what is longer than 255 bytes goes in parts, one behind the other.
fn push_long(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    for part in value.chunks(u8::MAX.into()) {
        bytes.extend([code, part.len() as u8]);
        bytes.extend(part);
    }
}

/// RFC 5859 section 4: option 150 lists the servers of which option 66 names one.
fn agree(options: &Options) -> Result<(), Error> {
    let (Some(name), Some(list)) = (options.get(66), options.get(150)) else { return Ok(()) };
    let name = String::from_utf8_lossy(name);
    match name.parse::<Ipv4Addr>() {
        Ok(one) if !list.chunks(4).any(|ip| ip == one.octets()) => {
            Err(Error::TftpServers { name: name.into_owned() })
        }
        // A host's name is the client's to look up.
        _ => Ok(()),
    }
}

/// UEFI specification section 24.7.3.1: firmware that is given a name in a URL looks it up at the servers of option 6. A proxy's
/// clients have it from their DHCP server.
fn resolvable(facts: &Facts, settings: &Settings, class: Class, boot: Option<&str>) -> Result<(), Error> {
    let (Some(network), Some(url)) = (&facts.network, boot.filter(|_| class.boots_by_http())) else {
        return Ok(());
    };
    let is_served = !network.dns.is_empty() || settings.options.get(6).is_some();
    if is_served || !has_named_host(url) {
        return Ok(());
    }
    Err(Error::NoResolver { class, url: url.to_owned() })
}

fn has_named_host(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    !authority.starts_with('[') && host.parse::<Ipv4Addr>().is_err()
}

/// What tells firmware and iPXE that this is for them. The file name itself is in `file`, and once more as option 67 where the
/// client looks only there.
fn boot_options(
    site: &Site,
    class: Class,
    boot: Option<&str>,
    menu: Option<&[u8]>,
    proxied: bool,
) -> Vec<DhcpOption> {
    let Some(boot) = boot else { return Vec::new() };
    let mut options = Vec::new();
    let is_boot_server = proxied || (site.boot_server && is_pxe(class));
    if class.boots_by_http() {
        options.push(DhcpOption::ClassIdentifier(pxe::HTTP_CLIENT.to_vec()));
        options.push(DhcpOption::BootfileName(boot.as_bytes().to_vec()));
    } else if is_boot_server || menu.is_some() {
        options.push(DhcpOption::ClassIdentifier(pxe::PXE_CLIENT.to_vec()));
    }
    match menu {
        Some(menu) => options.push(DhcpOption::VendorExtensions(menu.to_vec())),
        None if matches!(class, Class::Bios | Class::IpxeBios) && is_boot_server => {
            options.push(DhcpOption::VendorExtensions(pxe::BOOT_AT_ONCE.to_vec()));
        }
        None => {}
    }
    if is_ipxe(class) && !proxied {
        options.push(DhcpOption::Unknown(dhcproto::v4::UnknownOption::new(
            option::IPXE.into(),
            vec![pxe::ipxe::NO_PXEDHCP, 1, 1],
        )));
    }
    options
}

/// Firmware's own PXE.
const fn is_pxe(class: Class) -> bool {
    matches!(class, Class::Bios | Class::EfiIa32 | Class::EfiX64 | Class::EfiArm64)
}

const fn is_ipxe(class: Class) -> bool {
    matches!(
        class,
        Class::IpxeBios | Class::IpxeEfiIa32 | Class::IpxeEfiX64 | Class::IpxeEfiArm64 | Class::NetbootIpxe
    )
}

fn encode(class: Class, options: &[DhcpOption]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    for option in options {
        option.encode(&mut encoder).map_err(|source| Error::Encode { class, source })?;
    }
    Ok(bytes)
}

/// `file` is a C string: the last byte stays zero.
fn padded(class: Class, name: &str) -> Result<[u8; dhcp::FILE], Error> {
    let mut file = [0; dhcp::FILE];
    match file[..dhcp::FILE - 1].get_mut(..name.len()) {
        Some(room) => room.copy_from_slice(name.as_bytes()),
        None => return Err(Error::File { class, length: name.len(), name: name.to_owned() }),
    }
    Ok(file)
}

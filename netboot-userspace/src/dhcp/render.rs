//! Reply templates: the options of each (network, class, kind), encoded once by dhcproto.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};
use dhcproto::{Encodable, Encoder};
use netboot_common::class::Class;
use netboot_common::maps::{BadTemplate, Kind, Mode, Template};
use netboot_common::wire::{dhcp, pxe};

use crate::config::Subnet;

/// What every template of one interface shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Our address there: option 54, `siaddr`, and the host of every URL.
    pub address: Ipv4Addr,
    pub mode: Mode,
    pub http_port: u16,
    /// Option 15.
    pub domain: Option<String>,
    /// A ProxyDHCP or DHCP server shares this host (PXE 2.1 section 2.2.3: option 60 in our offers).
    pub proxy_here: bool,
}

/// Why a template can't be made: an option that can't be encoded, or too much of all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("encoding DHCP options for {class} clients: {source}")]
    Encode { class: Class, source: dhcproto::error::EncodeError },
    #[error("the DHCP options for {class} clients take {options} bytes, and a reply has room for 309")]
    TooLong { class: Class, options: usize },
    #[error(
        "the boot file name for {class} clients has {length} bytes, and a reply has room for 127: {name}"
    )]
    File { class: Class, length: usize, name: String },
}

/// The template of one kind of reply for one class of client, in `subnet` (`None`: a proxy that knows no subnet).
pub fn template(site: &Site, subnet: Option<&Subnet>, class: Class, kind: Kind) -> Result<Template, Error> {
    let boot = boot_file(site, class).filter(|_| kind != Kind::Nak);
    let options = encode(class, &options(site, subnet, class, kind, boot.as_deref()))?;
    let file = padded(class, boot.as_deref().unwrap_or_default())?;
    let siaddr = if boot.is_some() { site.address.octets() } else { [0; 4] };
    Template::new(siaddr, &[0; dhcp::SNAME], &file, &options)
        .map_err(|BadTemplate::TooLong { options }| Error::TooLong { class, options })
}

/// What each class is told to fetch first.
pub fn boot_file(site: &Site, class: Class) -> Option<String> {
    let base = format!("http://{}:{}", site.address, site.http_port);
    let file = match class {
        Class::Plain | Class::Unknown => return None,
        Class::Bios => "undionly.kpxe".to_owned(),
        Class::EfiIa32 => "ipxe32.efi".to_owned(),
        Class::EfiX64 => "snponly.efi".to_owned(),
        Class::EfiArm64 => "snponly-arm64.efi".to_owned(),
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
    subnet: Option<&Subnet>,
    class: Class,
    kind: Kind,
    boot: Option<&str>,
) -> Vec<DhcpOption> {
    let message_type = match kind {
        Kind::Offer | Kind::ProxyOffer => MessageType::Offer,
        Kind::Ack | Kind::InformAck | Kind::ProxyAck => MessageType::Ack,
        Kind::Nak => MessageType::Nak,
    };
    let mut options = vec![DhcpOption::MessageType(message_type), DhcpOption::ServerIdentifier(site.address)];
    match kind {
        // RFC 2131 table 3: nothing but 53, 54, 56 and what the tail echoes.
        Kind::Nak => options.push(DhcpOption::Message("wrong address for this network".to_owned())),
        Kind::Offer | Kind::Ack | Kind::InformAck => {
            options.extend(subnet.into_iter().flat_map(|subnet| network_options(site, subnet)));
            options.extend(boot_options(site, class, boot, false));
        }
        Kind::ProxyOffer | Kind::ProxyAck => options.extend(boot_options(site, class, boot, true)),
    }
    options
}

fn network_options(site: &Site, subnet: &Subnet) -> Vec<DhcpOption> {
    let mut options = vec![DhcpOption::SubnetMask(subnet.mask())];
    options.extend(subnet.router.map(|router| DhcpOption::Router(vec![router])));
    if !subnet.dns.is_empty() {
        options.push(DhcpOption::DomainNameServer(subnet.dns.clone()));
    }
    options.extend(site.domain.clone().map(DhcpOption::DomainName));
    options
}

/// What tells firmware and iPXE that this is for them. The file name itself is in `file`, and once more as option 67 where the
/// client looks only there.
fn boot_options(site: &Site, class: Class, boot: Option<&str>, proxied: bool) -> Vec<DhcpOption> {
    let Some(boot) = boot else { return Vec::new() };
    let mut options = Vec::new();
    match class {
        Class::EfiX64Http | Class::EfiArm64Http => {
            options.push(DhcpOption::ClassIdentifier(pxe::HTTP_CLIENT.to_vec()));
            options.push(DhcpOption::BootfileName(boot.as_bytes().to_vec()));
        }
        _ if proxied || site.proxy_here => {
            options.push(DhcpOption::ClassIdentifier(pxe::PXE_CLIENT.to_vec()))
        }
        _ => {}
    }
    if matches!(class, Class::Bios | Class::IpxeBios) && proxied {
        options.push(DhcpOption::VendorExtensions(pxe::BOOT_AT_ONCE.to_vec()));
    }
    if is_ipxe(class) && !proxied {
        options.push(DhcpOption::Unknown(dhcproto::v4::UnknownOption::new(
            dhcp::option::IPXE.into(),
            vec![pxe::ipxe::NO_PXEDHCP, 1, 1],
        )));
    }
    options
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

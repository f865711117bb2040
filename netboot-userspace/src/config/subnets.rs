//! Subnets: of an interface, and behind relay agents.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::DEFAULT_LEASE;
use super::errors::Errors;
use super::net::{self, Subnet};
use super::reader::{Field, Placed, Section};
use super::settings;
use crate::inventory::entry;

/// The items of `subnets`.
pub(super) fn list(section: &mut Section<'_>, errors: &mut Errors) -> Vec<Placed<Subnet>> {
    let items = section.take("subnets").map(|field| field.list(errors)).unwrap_or_default();
    items.iter().filter_map(|field| item(field, errors)).collect()
}

fn item(field: &Field<'_>, errors: &mut Errors) -> Option<Placed<Subnet>> {
    let mut section = field.section(errors)?;
    let place = section.place.clone();
    let subnet = read(&mut section, errors);
    section.finish(errors);
    if subnet.is_none() {
        place.fault(errors, "`subnet` is missing: add it, as in `subnet: 10.20.0.0/24`");
    }
    Some(Placed { value: subnet?, place })
}

/// The keys of a subnet, in an interface or in an item of `subnets`; `None` if `subnet` itself is missing or wrong.
pub(super) fn read(section: &mut Section<'_>, errors: &mut Errors) -> Option<Subnet> {
    let typed = section.take("subnet");
    let (range, exclude, router) = (section.take("range"), section.take("exclude"), section.take("router"));
    let (dns, lease, relays) = (section.take("dns"), section.take("lease"), section.take("relays"));
    let network = typed.as_ref().and_then(|field| field.parse(errors, net::network));
    if typed.is_none() {
        for field in [&range, &exclude, &router, &lease, &relays].into_iter().flatten() {
            field.place.fault(errors, "goes with `subnet`, which is missing here");
        }
    }
    let limits = Duration::from_secs(60)..=Duration::from_secs(365 * 86400);
    let lease = lease.and_then(|f| f.parse(errors, |text| net::duration(text, limits)));
    let dns = addresses(dns, errors);
    let relays = addresses(relays, errors);
    let settings = settings::read(section, errors);
    let (network, prefix) = network?;
    let mut subnet = Subnet::new(network, prefix, lease.unwrap_or(DEFAULT_LEASE));
    (subnet.dns, subnet.relays, subnet.settings) = (dns, relays, settings);
    subnet.router = router.and_then(|f| f.parse(errors, |text| inside(entry::address(text)?, &subnet)));
    subnet.pools = ranges(range, errors, |text| pool(net::range(text)?, &subnet));
    subnet.excluded = ranges(exclude, errors, |text| excluded(text, &subnet));
    if let Some(pool) = subnet.overlapping_pools() {
        section
            .place
            .fault(errors, format!("two of its ranges share {pool}: each address is in one of them"));
    }
    Some(subnet)
}

fn addresses(field: Option<Field<'_>>, errors: &mut Errors) -> Vec<Ipv4Addr> {
    let items = field.map(|field| field.one_or_more(errors)).unwrap_or_default();
    items.iter().filter_map(|field| field.parse(errors, entry::address)).collect()
}

type Range = (Ipv4Addr, Ipv4Addr);

fn ranges(
    field: Option<Field<'_>>,
    errors: &mut Errors,
    read: impl Fn(&str) -> Result<Range, String>,
) -> Vec<Range> {
    let items = field.map(|field| field.one_or_more(errors)).unwrap_or_default();
    items.iter().filter_map(|field| field.parse(errors, &read)).collect()
}

/// Whether `ip` may be a machine's in `subnet`.
pub(super) fn inside(ip: Ipv4Addr, subnet: &Subnet) -> Result<Ipv4Addr, String> {
    if subnet.is_usable(ip) {
        return Ok(ip);
    }
    let why = if subnet.contains(ip) { "is no machine's address in" } else { "is outside" };
    Err(format!("{ip} {why} the subnet {subnet}: it takes {}", usable(subnet)))
}

/// `10.10.0.1 to 10.10.255.254`
fn usable(subnet: &Subnet) -> String {
    let spare = u32::from(subnet.prefix <= 30);
    let first = Ipv4Addr::from_bits(subnet.network.to_bits() + spare);
    format!("{first} to {}", Ipv4Addr::from_bits(subnet.broadcast().to_bits() - spare))
}

fn pool((first, last): Range, subnet: &Subnet) -> Result<Range, String> {
    inside(first, subnet)?;
    inside(last, subnet)?;
    match subnet.router {
        Some(router) if (first..=last).contains(&router) => Err(format!(
            "{first}-{last} has the router {router} in it: start behind it, or end in front of it"
        )),
        _ => Ok((first, last)),
    }
}

/// One address, or a range.
fn excluded(text: &str, subnet: &Subnet) -> Result<Range, String> {
    let (first, last) = match text.parse() {
        Ok(one) => (one, one),
        Err(_) => net::range(text).map_err(|why| format!("{why}; or one address"))?,
    };
    for ip in [first, last] {
        if !subnet.contains(ip) {
            return Err(format!("{ip} is outside the subnet {subnet}: there is nothing to exclude"));
        }
    }
    Ok((first, last))
}

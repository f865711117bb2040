//! A lease of DHCPv6, and its bytes in the store.

use std::net::Ipv6Addr;

use netboot_common::Mac;
use serde::Serialize;

use super::lease::SHORT;
use super::{Dated, LeaseState};

/// An IPv6 address promised to an identity association of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease6 {
    pub ip: Ipv6Addr,
    /// The client's DUID.
    pub client: Vec<u8>,
    pub iaid: u32,
    /// `None`: nothing told it.
    #[serde(serialize_with = "as_text")]
    pub mac: Option<Mac>,
    /// Unix time, seconds: when this was put down.
    #[serde(skip)]
    pub written: u64,
    /// Unix time, seconds.
    pub expires: u64,
    /// Empty: none.
    pub hostname: String,
    pub state: LeaseState,
}

impl Dated for Lease6 {
    fn written(&self) -> u64 {
        self.written
    }

    fn ends(&self) -> Option<u64> {
        (self.state != LeaseState::Released).then_some(self.expires)
    }

    fn with_dates(&self, written: u64, expires: u64) -> Self {
        Self { written, expires, ..self.clone() }
    }
}

fn as_text<S: serde::Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => serializer.collect_str(mac),
        None => serializer.serialize_none(),
    }
}

const VERSION: u8 = 2;

/// version, state, ip (16), mac (6, zeros for none), written (8, big-endian), expires (8, big-endian), IAID (4), client length (2),
/// client, hostname.
pub(super) fn encode(lease: &Lease6) -> Vec<u8> {
    let client = &lease.client[..lease.client.len().min(usize::from(u16::MAX))];
    let mut bytes = Vec::with_capacity(46 + client.len() + lease.hostname.len());
    bytes.extend([VERSION, lease.state.number()]);
    bytes.extend(lease.ip.octets());
    bytes.extend(lease.mac.unwrap_or_default().0);
    bytes.extend(lease.written.to_be_bytes());
    bytes.extend(lease.expires.to_be_bytes());
    bytes.extend(lease.iaid.to_be_bytes());
    bytes.extend((client.len() as u16).to_be_bytes());
    bytes.extend(client);
    bytes.extend(lease.hostname.as_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Lease6, &'static str> {
    let (&[version, state], bytes) = bytes.split_first_chunk().ok_or(SHORT)?;
    if !(1..=VERSION).contains(&version) {
        return Err("it is of another version");
    }
    let state = LeaseState::from_number(state).ok_or("its state is unknown")?;
    let (&ip, bytes) = bytes.split_first_chunk::<16>().ok_or(SHORT)?;
    let (&mac, bytes) = bytes.split_first_chunk::<6>().ok_or(SHORT)?;
    // Version 1 did not say when it was written.
    let (&written, bytes) =
        if version == 1 { (&[0; 8], bytes) } else { bytes.split_first_chunk().ok_or(SHORT)? };
    let (&expires, bytes) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
    let (&iaid, bytes) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
    let (&length, bytes) = bytes.split_first_chunk::<2>().ok_or(SHORT)?;
    let (client, hostname) = bytes.split_at_checked(u16::from_be_bytes(length).into()).ok_or(SHORT)?;
    Ok(Lease6 {
        ip: ip.into(),
        client: client.to_vec(),
        iaid: u32::from_be_bytes(iaid),
        mac: Some(Mac(mac)).filter(|mac| mac.is_unicast()),
        written: u64::from_be_bytes(written),
        expires: u64::from_be_bytes(expires),
        hostname: String::from_utf8(hostname.to_vec()).map_err(|_| "its host name is not text")?,
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_is_refused_or_shortens_the_name_only() {
        for mac in [None, Some(Mac([2, 0, 0, 0, 0, 1]))] {
            let lease = Lease6 {
                ip: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
                client: vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1],
                iaid: 7,
                mac,
                written: 7,
                expires: u64::MAX,
                hostname: "näme".into(),
                state: LeaseState::Declined,
            };
            let bytes = encode(&lease);
            assert_eq!(decode(&bytes), Ok(lease.clone()));
            for length in 0..bytes.len() {
                if let Ok(cut) = decode(&bytes[..length]) {
                    assert_eq!(Lease6 { hostname: lease.hostname.clone(), ..cut }, lease);
                }
            }
            let first_version = [&[1][..], &bytes[1..24], &bytes[32..]].concat();
            assert_eq!(decode(&first_version), Ok(Lease6 { written: 0, ..lease }));
        }
    }
}

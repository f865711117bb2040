//! A lease, and its bytes in the store.

use std::net::Ipv4Addr;

use netboot_common::Mac;
use serde::Serialize;

use super::Dated;

/// An address promised to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    pub ip: Ipv4Addr,
    /// Option 61's bytes, or 1 (Ethernet) and the MAC.
    pub client: Vec<u8>,
    #[serde(serialize_with = "as_text")]
    pub mac: Mac,
    /// Unix time, seconds: when this was put down.
    #[serde(skip)]
    pub written: u64,
    /// Unix time, seconds.
    pub expires: u64,
    /// Empty: none.
    pub hostname: String,
    pub state: LeaseState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// The client's until it expires.
    Bound,
    /// Given back; kept so that the client gets the same address again.
    Released,
    /// Somebody else was seen with it: nobody's until it expires.
    Declined,
}

impl LeaseState {
    /// In the store.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Bound => 0,
            Self::Released => 1,
            Self::Declined => 2,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Bound),
            1 => Some(Self::Released),
            2 => Some(Self::Declined),
            _ => None,
        }
    }
}

impl Dated for Lease {
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

fn as_text<S: serde::Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}

const VERSION: u8 = 2;

/// version, state, ip (4), mac (6), written (8, big-endian), expires (8, big-endian), client length (2, big-endian), client, hostname.
pub(super) fn encode(lease: &Lease) -> Vec<u8> {
    let client = &lease.client[..lease.client.len().min(usize::from(u16::MAX))];
    let mut bytes = Vec::with_capacity(30 + client.len() + lease.hostname.len());
    bytes.extend([VERSION, lease.state.number()]);
    bytes.extend(lease.ip.octets());
    bytes.extend(lease.mac.0);
    bytes.extend(lease.written.to_be_bytes());
    bytes.extend(lease.expires.to_be_bytes());
    bytes.extend((client.len() as u16).to_be_bytes());
    bytes.extend(client);
    bytes.extend(lease.hostname.as_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Lease, &'static str> {
    let (&[version, state], bytes) = bytes.split_first_chunk().ok_or(SHORT)?;
    if !(1..=VERSION).contains(&version) {
        return Err("it is of another version");
    }
    let state = LeaseState::from_number(state).ok_or("its state is unknown")?;
    let (&ip, bytes) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
    let (&mac, bytes) = bytes.split_first_chunk::<6>().ok_or(SHORT)?;
    // Version 1 did not say when it was written.
    let (&written, bytes) =
        if version == 1 { (&[0; 8], bytes) } else { bytes.split_first_chunk().ok_or(SHORT)? };
    let (&expires, bytes) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
    let (&len, bytes) = bytes.split_first_chunk::<2>().ok_or(SHORT)?;
    let (client, hostname) = bytes.split_at_checked(u16::from_be_bytes(len).into()).ok_or(SHORT)?;
    let hostname = String::from_utf8(hostname.to_vec()).map_err(|_| "its host name is not text")?;
    let (written, expires) = (u64::from_be_bytes(written), u64::from_be_bytes(expires));
    Ok(Lease { ip: ip.into(), client: client.to_vec(), mac: Mac(mac), written, expires, hostname, state })
}

pub(super) const SHORT: &str = "it is cut short";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_is_refused_or_shortens_the_name_only() {
        let lease = Lease {
            ip: [10, 0, 0, 1].into(),
            client: vec![0xff, 1, 2, 3],
            mac: Mac([2, 0, 0, 0, 0, 1]),
            written: 7,
            expires: u64::MAX,
            hostname: "näme".into(),
            state: LeaseState::Released,
        };
        let bytes = encode(&lease);
        assert_eq!(decode(&bytes), Ok(lease.clone()));
        for len in 0..bytes.len() {
            if let Ok(cut) = decode(&bytes[..len]) {
                assert_eq!(Lease { hostname: lease.hostname.clone(), ..cut }, lease);
            }
        }
        let first_version = [&[1][..], &bytes[1..12], &bytes[20..]].concat();
        assert_eq!(decode(&first_version), Ok(Lease { written: 0, ..lease }));
    }
}

//! Where things are in a frame that may have a BOOTP message.

use crate::datagram::{Datagram, Fault};
use crate::packet::Packet;
use crate::stats::Leave;
use crate::wire::{dhcp, ipv4, udp};

/// Where things are in a frame, and where it came in: as much of its headers as tells DHCP from all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the IPv4 header: 14, 18 or 22.
    pub l3: u16,
    /// Outer and inner VID; 0: none.
    pub vlan: [u16; 2],
    pub destination_port: u16,
    /// Offset of the end of the UDP payload.
    pub end: u16,
}

impl Headers {
    /// Offset of the BOOTP message.
    #[inline(always)]
    pub const fn message(&self) -> usize {
        self.l3 as usize + ipv4::HEADER + udp::HEADER
    }

    /// The innermost VID; 0: none.
    #[inline(always)]
    pub const fn vid(&self) -> u16 {
        if self.vlan[1] != 0 { self.vlan[1] } else { self.vlan[0] }
    }

    /// Finds a UDP datagram for port 67 or 4011: see [`Datagram`].
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P) -> Result<Self, Leave> {
        let is_ours = |port| port == udp::DHCP_SERVER || port == udp::PXE;
        let Datagram { l3, vlan, destination_port, length, .. } = Datagram::read(packet, is_ours)?;
        if (length as usize) < dhcp::FIXED {
            return Err(Leave::Truncated);
        }
        let end = l3 + (ipv4::HEADER + udp::HEADER) as u16 + length;
        Ok(Self { l3, vlan, destination_port, end })
    }
}

impl From<Fault> for Leave {
    #[inline(always)]
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotOurs => Self::NotDhcp,
            Fault::Tags => Self::Tags,
            Fault::IpOptions => Self::IpOptions,
            Fault::Fragment => Self::Fragment,
            Fault::Truncated | Fault::Short => Self::Truncated,
            Fault::Lengths => Self::Lengths,
        }
    }
}

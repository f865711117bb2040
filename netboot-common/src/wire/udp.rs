//! UDP headers (RFC 768), and the ports of the protocols that we serve.

/// Bytes of the header.
pub const HEADER: usize = 8;
/// BOOTP and DHCP servers, and relay agents.
pub const DHCP_SERVER: u16 = 67;
/// BOOTP and DHCP clients.
pub const DHCP_CLIENT: u16 = 68;
/// The PXE boot server of a ProxyDHCP offer (PXE 2.1, section 2.2.1).
pub const PXE: u16 = 4011;

/// Where each field of the header starts.
pub mod field {
    pub const SOURCE: usize = 0;
    pub const DESTINATION: usize = 2;
    pub const LENGTH: usize = 4;
    pub const CHECKSUM: usize = 6;
}

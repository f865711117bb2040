//! Every way out of a lane has a name, a number and a counter.

use crate::maps::Kind;

/// Why a lane gave no answer. The frame goes on to the next lane, untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Leave {
    /// Not IPv4, or not UDP, or to other ports: the traffic that is not ours.
    NotDhcp,
    /// More than two VLAN tags.
    Tags,
    /// An IPv4 header with options.
    IpOptions,
    /// A fragment.
    Fragment,
    /// The frame ends before its headers say so.
    Truncated,
    /// Lengths that contradict each other.
    Lengths,
    /// Sent to another machine.
    NotForUs,
    /// Sent by us: a loop.
    Ours,
    /// No interface entry: this port is not served.
    NoInterface,
    /// `op` is not BOOTREQUEST.
    NotRequest,
    /// Not Ethernet hardware (`htype`, `hlen`), or `chaddr` is not one machine's address.
    Hardware,
    /// No DHCP cookie.
    NoCookie,
    /// `hops` over 16 (RFC 1542).
    Hops,
    /// An option reaches past the end of the message.
    OptionCut,
    /// More options than the fast lanes walk.
    ManyOptions,
    /// Options 61, 77, 82, 97 or 175 in several parts (RFC 3396), or longer than the fast lanes keep.
    LongOption,
    /// Options in `sname` and `file` (option 52).
    Overload,
    /// No message type, or one that a server does not take.
    MessageType,
    /// DECLINE and RELEASE change state: userspace.
    Decline,
    Release,
    /// REQUEST that answers another server's offer.
    OtherServer,
    /// Option 82 from a client that no relay agent spoke for (RFC 3046 section 2.1).
    UntrustedRelay,
    /// No host with this MAC on this VLAN.
    UnknownHost,
    /// The host has no address of its own.
    NoAddress,
    /// The host's address does not belong to the network that the request came from.
    WrongNetwork,
    /// The lease is not durable for as long as an answer would promise.
    Stale,
    /// ProxyDHCP mode, and not a client that boots from the network.
    NotPxe,
    /// ProxyDHCP mode, and not a message that a ProxyDHCP server takes.
    NotProxied,
    /// The host is to be ignored.
    Ignored,
    /// No template for this interface, group, class and kind.
    NoTemplate,
    /// The reply would exceed the client's option 57.
    TooLong,
    /// The reply is larger than the frame, and this hook can't grow it.
    NoRoom,
    /// The request contradicts RFC 2131 table 4 or 5.
    Contradiction,
    /// A dynamic lease of this MAC belongs to another client identifier (RFC 4361).
    OtherClient,
    /// The machine has no entry, and unknown machines are ignored.
    UnknownIgnored,
    /// No pool for the network that the request came from, or none of its addresses is free.
    NoFreeAddress,
    /// This client, or its relay agent, sent more than its budget: dropped.
    RateLimited,
    /// The network is named by option 118 (RFC 3011) or by sub-option 5 of option 82 (RFC 3527): userspace knows them all.
    SubnetSelection,
    /// Port 4011, and a choice from a boot menu: userspace knows its items; and if it says so, there is no such item.
    BootItem,
    /// The network can do without IPv4 (RFC 8925), and the client has a list of what it asks for: userspace reads it.
    V6Only,
    /// ProxyDHCP mode, and a client of an architecture that we have no loader for (RFC 4578 section 2.1).
    NoLoader,
    /// The lease could not be made durable: userspace.
    NotDurable,
    /// It is to boot nothing, says who is asked for each machine: userspace.
    BootsNothing,
}

impl Leave {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 43] = [
        Self::NotDhcp,
        Self::Tags,
        Self::IpOptions,
        Self::Fragment,
        Self::Truncated,
        Self::Lengths,
        Self::NotForUs,
        Self::Ours,
        Self::NoInterface,
        Self::NotRequest,
        Self::Hardware,
        Self::NoCookie,
        Self::Hops,
        Self::OptionCut,
        Self::ManyOptions,
        Self::LongOption,
        Self::Overload,
        Self::MessageType,
        Self::Decline,
        Self::Release,
        Self::OtherServer,
        Self::UntrustedRelay,
        Self::UnknownHost,
        Self::NoAddress,
        Self::WrongNetwork,
        Self::Stale,
        Self::NotPxe,
        Self::NotProxied,
        Self::Ignored,
        Self::NoTemplate,
        Self::TooLong,
        Self::NoRoom,
        Self::Contradiction,
        Self::OtherClient,
        Self::UnknownIgnored,
        Self::NoFreeAddress,
        Self::RateLimited,
        Self::SubnetSelection,
        Self::BootItem,
        Self::V6Only,
        Self::NoLoader,
        Self::NotDurable,
        Self::BootsNothing,
    ];

    /// The reason's name in metrics, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotDhcp => "not_dhcp",
            Self::Tags => "tags",
            Self::IpOptions => "ip_options",
            Self::Fragment => "fragment",
            Self::Truncated => "truncated",
            Self::Lengths => "lengths",
            Self::NotForUs => "not_for_us",
            Self::Ours => "ours",
            Self::NoInterface => "no_interface",
            Self::NotRequest => "not_request",
            Self::Hardware => "hardware",
            Self::NoCookie => "no_cookie",
            Self::Hops => "hops",
            Self::OptionCut => "option_cut",
            Self::ManyOptions => "many_options",
            Self::LongOption => "long_option",
            Self::Overload => "overload",
            Self::MessageType => "message_type",
            Self::Decline => "decline",
            Self::Release => "release",
            Self::OtherServer => "other_server",
            Self::UntrustedRelay => "untrusted_relay",
            Self::UnknownHost => "unknown_host",
            Self::NoAddress => "no_address",
            Self::WrongNetwork => "wrong_network",
            Self::Stale => "stale",
            Self::NotPxe => "not_pxe",
            Self::NotProxied => "not_proxied",
            Self::Ignored => "ignored",
            Self::NoTemplate => "no_template",
            Self::TooLong => "too_long",
            Self::NoRoom => "no_room",
            Self::Contradiction => "contradiction",
            Self::OtherClient => "other_client",
            Self::UnknownIgnored => "unknown_ignored",
            Self::NoFreeAddress => "no_free_address",
            Self::RateLimited => "rate_limited",
            Self::SubnetSelection => "subnet_selection",
            Self::BootItem => "boot_item",
            Self::V6Only => "v6_only",
            Self::NoLoader => "no_loader",
            Self::NotDurable => "not_durable",
            Self::BootsNothing => "boots_nothing",
        }
    }
}

/// What an answer lacks: counted beside its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Note {
    /// A boot file, for a client of an architecture that we have no loader for (RFC 4578 section 2.1).
    WithoutLoader,
    /// Option 82, which had no room in it (RFC 3046 section 2.2). Userspace only.
    WithoutRelayAgent,
    /// Its record among the events, for which the ring had no room: userspace does not hear of it. Of a dropped message, too.
    Untold,
}

impl Note {
    /// Every note, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::WithoutLoader, Self::WithoutRelayAgent, Self::Untold];

    /// The note's name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WithoutLoader => "answered_without_loader",
            Self::WithoutRelayAgent => "answered_without_relay_agent",
            Self::Untold => "lost_events",
        }
    }

    /// Its counter within its lane.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        Outcome::NOTES + self as u32
    }
}

/// What became of one frame in one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Answered(Kind),
    Left(Leave),
}

impl Outcome {
    /// Counters of one lane: of kinds, of reasons, of notes, each with spare ones behind them.
    pub const COUNT: u32 = 64;
    const LEFT: u32 = 8;
    const NOTES: u32 = 60;

    /// Its counter within its lane.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        match self {
            Self::Answered(kind) => kind as u32,
            Self::Left(leave) => Self::LEFT + leave as u32,
        }
    }

    /// The outcome with this counter; `None` for spare ones.
    pub fn from_index(index: u32) -> Option<Self> {
        match index.checked_sub(Self::LEFT) {
            Some(left) => Leave::ALL.get(left as usize).copied().map(Self::Left),
            None => Kind::ALL.get(index as usize).copied().map(Self::Answered),
        }
    }
}

/// The programs that count, each with its own [`Outcome::COUNT`] counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Lane {
    Xdp = 0,
    Tcx = 1,
    /// Not a kernel program: counted by userspace itself.
    Userspace = 2,
}

impl Lane {
    /// The lanes that run in the kernel.
    pub const KERNEL: [Self; 2] = [Self::Xdp, Self::Tcx];

    /// The lane's name in metrics, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
            Self::Userspace => "userspace",
        }
    }

    /// Where its counter with this index ([`Outcome::index`], [`Note::index`]) is in the counter map.
    #[inline(always)]
    pub const fn counter(self, index: u32) -> u32 {
        self as u32 * Outcome::COUNT + index
    }

    /// The lane with this number.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Xdp),
            1 => Some(Self::Tcx),
            2 => Some(Self::Userspace),
            _ => None,
        }
    }
}

const _: () = assert!(Kind::COUNT as u32 <= Outcome::LEFT);
const _: () = assert!(Outcome::LEFT as usize + Leave::ALL.len() <= Outcome::NOTES as usize);
const _: () = assert!(Outcome::NOTES as usize + Note::ALL.len() <= Outcome::COUNT as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter() {
        for (i, leave) in Leave::ALL.into_iter().enumerate() {
            assert_eq!(leave as usize, i);
            assert_eq!(Outcome::from_index(Outcome::Left(leave).index()), Some(Outcome::Left(leave)));
        }
        for kind in Kind::ALL {
            assert_eq!(Outcome::from_index(Outcome::Answered(kind).index()), Some(Outcome::Answered(kind)));
        }
        for (i, note) in Note::ALL.into_iter().enumerate() {
            assert_eq!(note as usize, i);
            assert_eq!(Outcome::from_index(note.index()), None, "{note:?}");
            assert!(note.index() < Outcome::COUNT);
        }
        assert_eq!(Outcome::from_index(Outcome::COUNT), None);
    }
}

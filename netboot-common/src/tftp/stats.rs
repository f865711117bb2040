//! Every way out of the TFTP program has a name, a number and a counter.

/// Why the program did not take a datagram. The frame goes on to userspace, untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Leave {
    /// Not IPv4, or not UDP, or to other ports: the traffic that is not ours.
    NotTftp,
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
    /// No interface entry: this port is not served.
    NoInterface,
    /// Sent to another address than the one that we serve on, or by a group address.
    NotForUs,
    /// Sent by us, or from a port of ours: a loop.
    Ours,
    /// From outside the network that is directly connected.
    Source,
    /// To the port for requests, and no read request; or to a transfer's port, and neither ACK nor ERROR.
    Opcode,
    /// A request that is long, or that no client of ours sends: userspace reads it.
    Odd,
    /// Netascii, or no mode at all.
    Mode,
    /// No file by this name.
    UnknownFile,
    /// The file has more blocks of this size than there are numbers.
    ManyBlocks,
    /// No transfer of this client on this port.
    UnknownTransfer,
    /// The version of the file that the transfer began with is gone.
    FileGone,
    /// More requests without an answer than this client may have.
    RateLimited,
    /// The frame could not be made the reply.
    NoRoom,
    /// The checksum of IPv4 or of UDP is wrong: the network stack drops it.
    Checksum,
    /// A request in the name of a client that is in the middle of a transfer, by another machine: userspace answers it.
    Neighbour,
}

impl Leave {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::NotTftp,
        Self::Tags,
        Self::IpOptions,
        Self::Fragment,
        Self::Truncated,
        Self::Lengths,
        Self::NoInterface,
        Self::NotForUs,
        Self::Ours,
        Self::Source,
        Self::Opcode,
        Self::Odd,
        Self::Mode,
        Self::UnknownFile,
        Self::ManyBlocks,
        Self::UnknownTransfer,
        Self::FileGone,
        Self::RateLimited,
        Self::NoRoom,
        Self::Checksum,
        Self::Neighbour,
    ];

    /// The reason's name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTftp => "not_tftp",
            Self::Tags => "tags",
            Self::IpOptions => "ip_options",
            Self::Fragment => "fragment",
            Self::Truncated => "truncated",
            Self::Lengths => "lengths",
            Self::NoInterface => "no_interface",
            Self::NotForUs => "not_for_us",
            Self::Ours => "ours",
            Self::Source => "source",
            Self::Opcode => "opcode",
            Self::Odd => "odd",
            Self::Mode => "mode",
            Self::UnknownFile => "unknown_file",
            Self::ManyBlocks => "many_blocks",
            Self::UnknownTransfer => "unknown_transfer",
            Self::FileGone => "file_gone",
            Self::RateLimited => "rate_limited",
            Self::NoRoom => "no_room",
            Self::Checksum => "checksum",
            Self::Neighbour => "neighbour",
        }
    }
}

/// What the program did with a datagram that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Done {
    /// A request was answered by an OACK.
    Oack,
    /// A request was answered by the first block.
    First,
    /// An ACK was answered by the next window.
    Window,
    /// A repeated ACK was answered by the same window again.
    Repeated,
    /// A request or an ACK that came twice, or too late, or from nowhere, or an ACK or ERROR by another machine in the client's name:
    /// nothing is sent (RFC 1123 section 4.2.3.1).
    Ignored,
    /// The last block was acknowledged.
    Finished,
    /// The client gave up before it had acknowledged anything: it wanted the size. Also, of a transfer, that it asked for another one.
    Aborted,
    /// The client gave up later.
    Failed,
    /// The client repeated one ACK for long, and is not answered any more: its blocks don't get through.
    InVain,
    /// Before the client had acknowledged anything, an ACK of its came to a port that it was not given: somebody forges them.
    Guessed,
}

impl Done {
    /// All of it, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Oack,
        Self::First,
        Self::Window,
        Self::Repeated,
        Self::Ignored,
        Self::Finished,
        Self::Aborted,
        Self::Failed,
        Self::InVain,
        Self::Guessed,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oack => "oacks",
            Self::First => "first_blocks",
            Self::Window => "windows",
            Self::Repeated => "repeated_windows",
            Self::Ignored => "ignored",
            Self::Finished => "done",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::InVain => "in_vain",
            Self::Guessed => "guessed",
        }
    }
}

/// What is counted beside what became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Sum {
    /// DATA that were sent.
    Blocks,
    /// DATA that were sent again.
    Resent,
    /// Bytes of finished transfers.
    Bytes,
    /// DATA that the device did not take: the client asks again, or userspace sends them again.
    Unsent,
    /// Ends of transfers that userspace does not hear of, for the ring had no room.
    Untold,
    /// Transfers that were begun.
    Begun,
    /// Those of them that the program saw the end of.
    Ended,
}

impl Sum {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Blocks, Self::Resent, Self::Bytes, Self::Unsent, Self::Untold, Self::Begun, Self::Ended];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Resent => "resent",
            Self::Bytes => "bytes",
            Self::Unsent => "unsent",
            Self::Untold => "lost_events",
            Self::Begun => "begun",
            Self::Ended => "ended",
        }
    }

    /// Its counter.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        Outcome::SUMS + self as u32
    }
}

/// What became of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done(Done),
    Left(Leave),
}

impl Outcome {
    /// Counters: of what was done, of reasons, of sums, each with spare ones behind them.
    pub const COUNT: u32 = 64;
    const LEFT: u32 = 16;
    const SUMS: u32 = 48;

    /// Its counter.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        match self {
            Self::Done(done) => done as u32,
            Self::Left(leave) => Self::LEFT + leave as u32,
        }
    }

    /// The name of the counter with this index; `None` for spare ones.
    pub fn name(index: u32) -> Option<&'static str> {
        let at = |base: u32| index.checked_sub(base).map(|at| at as usize);
        if let Some(at) = at(Self::SUMS) {
            return Sum::ALL.get(at).map(|sum| sum.name());
        }
        match at(Self::LEFT) {
            Some(at) => Leave::ALL.get(at).map(|leave| leave.name()),
            None => Done::ALL.get(index as usize).map(|done| done.name()),
        }
    }
}

const _: () = assert!(Done::ALL.len() <= Outcome::LEFT as usize);
const _: () = assert!(Outcome::LEFT as usize + Leave::ALL.len() <= Outcome::SUMS as usize);
const _: () = assert!(Outcome::SUMS as usize + Sum::ALL.len() <= Outcome::COUNT as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_out_has_its_own_counter() {
        for (i, leave) in Leave::ALL.into_iter().enumerate() {
            assert_eq!(leave as usize, i);
            assert_eq!(Outcome::name(Outcome::Left(leave).index()), Some(leave.name()));
        }
        for (i, done) in Done::ALL.into_iter().enumerate() {
            assert_eq!(done as usize, i);
            assert_eq!(Outcome::name(Outcome::Done(done).index()), Some(done.name()));
        }
        for (i, sum) in Sum::ALL.into_iter().enumerate() {
            assert_eq!(sum as usize, i);
            assert_eq!(Outcome::name(sum.index()), Some(sum.name()));
        }
        assert_eq!(Outcome::name(Outcome::COUNT), None);
    }
}

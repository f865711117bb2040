//! What became of each datagram: every way out has a name and a counter.

use std::sync::atomic::{AtomicU64, Ordering};

use super::wire::MessageType;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked, and answered.
    Answered(MessageType),
    Left(Leave),
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Leave {
    /// It is no DHCPv6 message, or not a sound one.
    Malformed,
    /// Of a type that servers don't take (RFC 8415 section 16).
    NotForServers,
    /// Sent to our own address, where the group's is asked for (RFC 8415 section 16).
    Unicast,
    NoClientId,
    /// It names a server, and must not.
    NamesServer,
    /// It does not name a server, and must.
    NoServerId,
    /// It is meant for another server.
    OtherServer,
    /// An Information-request with an IA.
    IaInInformationRequest,
    /// Not a host, and unknown machines are ignored.
    UnknownIgnored,
    /// From a link that no `subnet6` is configured for.
    NoSubnet,
    /// It asks for an address where none are leased (`dhcp6: stateless`).
    Stateless,
    /// A Confirm without addresses, or a Rebind of what other servers gave.
    NotOurs,
    /// The reply has no room in a datagram.
    TooLong,
    /// The lease could not be made durable.
    NotDurable,
}

impl Leave {
    const ALL: [Self; 14] = [
        Self::Malformed,
        Self::NotForServers,
        Self::Unicast,
        Self::NoClientId,
        Self::NamesServer,
        Self::NoServerId,
        Self::OtherServer,
        Self::IaInInformationRequest,
        Self::UnknownIgnored,
        Self::NoSubnet,
        Self::Stateless,
        Self::NotOurs,
        Self::TooLong,
        Self::NotDurable,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotForServers => "not_for_servers",
            Self::Unicast => "unicast",
            Self::NoClientId => "no_client_id",
            Self::NamesServer => "names_server",
            Self::NoServerId => "no_server_id",
            Self::OtherServer => "other_server",
            Self::IaInInformationRequest => "ia_in_information_request",
            Self::UnknownIgnored => "unknown_ignored",
            Self::NoSubnet => "no_subnet",
            Self::Stateless => "stateless",
            Self::NotOurs => "not_ours",
            Self::TooLong => "too_long",
            Self::NotDurable => "not_durable",
        }
    }
}

/// How often each.
#[derive(Debug, Default)]
pub(super) struct Counters {
    answered: [AtomicU64; MessageType::ALL.len()],
    left: [AtomicU64; Leave::ALL.len()],
}

impl Counters {
    pub(super) fn add(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered(asked) => &self.answered[asked as usize - 1],
            Outcome::Left(leave) => &self.left[leave as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// By name; those that are zero are left out.
    pub(super) fn all(&self) -> Vec<(String, u64)> {
        let answered = MessageType::ALL.iter().map(|asked| format!("answered_{}", asked.name()));
        let left = Leave::ALL.iter().map(|leave| leave.name().to_owned());
        let counts = self.answered.iter().chain(&self.left).map(|counter| counter.load(Ordering::Relaxed));
        answered.chain(left).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_counter() {
        let counters = Counters::default();
        MessageType::ALL.into_iter().for_each(|asked| counters.add(Outcome::Answered(asked)));
        Leave::ALL.into_iter().for_each(|leave| counters.add(Outcome::Left(leave)));
        let all = counters.all();
        assert_eq!(all.len(), MessageType::ALL.len() + Leave::ALL.len());
        assert!(all.iter().all(|(_, count)| *count == 1));
    }
}

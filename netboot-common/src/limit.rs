//! How often one client, and one relay agent, may ask.
//!
//! The generic cell rate algorithm (ITU-T I.371): all that is remembered of a sender is one time, at which it would be even with
//! its budget. Pure: the time is an argument.

use crate::stats::Lane;

/// So many at once, then one each `interval`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Budget {
    /// Nanoseconds; 0: no limit.
    interval: [u8; 8],
    /// Nanoseconds that a sender may be ahead.
    ahead: [u8; 8],
}

impl Budget {
    /// `per_second` 0: no limit.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval = match per_second {
            0 => 0,
            rate => 1_000_000_000 / rate as u64,
        };
        Self { interval: interval.to_be_bytes(), ahead: (interval * burst as u64).to_be_bytes() }
    }

    /// True if nobody is ever over it.
    #[inline(always)]
    pub const fn is_unlimited(&self) -> bool {
        u64::from_be_bytes(self.interval) == 0
    }

    /// What to remember of a sender that asks at `now` (nanoseconds), of whom `even` was remembered; `None`: over its budget, and
    /// nothing changes.
    #[inline(always)]
    pub const fn admit(&self, even: u64, now: u64) -> Option<u64> {
        let next = (if even > now { even } else { now }) + u64::from_be_bytes(self.interval);
        if next - now > u64::from_be_bytes(self.ahead) { None } else { Some(next) }
    }

    /// What to remember of a sender whose request does not count.
    #[inline(always)]
    pub const fn give_back(&self, even: u64) -> u64 {
        even.saturating_sub(u64::from_be_bytes(self.interval))
    }
}

/// The budgets of the site.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of each host, for what the kernel answers; and of each MAC and lane, for what goes up to userspace.
    pub client: Budget,
    /// Of each relay agent.
    pub relay: Budget,
}

impl Limits {
    /// Events of dropped messages: a flood must not push those of answers out of the ring.
    pub const DROPS: Budget = Budget::new(100, 100);

    /// Nobody is limited.
    pub const NONE: Self = Self { client: Budget::new(0, 0), relay: Budget::new(0, 0) };
}

const _: () = assert!(size_of::<Limits>() == 32 && align_of::<Limits>() == 1);

/// Of whom a time is remembered. Each lane has its own: what one lane passes on has not used up the next one's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateKey([u8; 8]);

impl RateKey {
    #[inline(always)]
    pub const fn client(mac: [u8; 6], lane: Lane) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self([a, b, c, d, e, f, lane as u8, 0])
    }

    /// The events of what a lane drops.
    #[inline(always)]
    pub const fn drops(lane: Lane) -> Self {
        Self([0, 0, 0, 0, 0, 0, lane as u8, 2])
    }

    /// Requests for files from this address that it has not acknowledged.
    #[inline(always)]
    pub const fn requests(address: [u8; 4]) -> Self {
        let [a, b, c, d] = address;
        Self([a, b, c, d, 0, 0, Lane::Tcx as u8, 3])
    }

    /// Those of all addresses together.
    #[inline(always)]
    pub const fn all_requests() -> Self {
        Self([0, 0, 0, 0, 0, 0, Lane::Tcx as u8, 4])
    }

    #[inline(always)]
    pub const fn relay(giaddr: [u8; 4], lane: Lane) -> Self {
        let [a, b, c, d] = giaddr;
        Self([a, b, c, d, 0, 0, lane as u8, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let budget = Budget::new(10, 4);
        let second = 1_000_000_000;
        let mut even = 0;
        let mut ask = |now| budget.admit(even, now).map(|next| even = next).is_some();
        assert!((0..4).all(|_| ask(5 * second)), "the burst");
        assert!(!ask(5 * second));
        assert!(ask(5 * second + second / 10));
        assert!(!ask(5 * second + second / 10));
        let passed = (0..1000).filter(|i| ask(6 * second + i * second / 100)).count();
        assert!((100..=104).contains(&passed), "{passed} of 1000 in ten seconds");
    }

    #[test]
    fn no_limit_is_none() {
        let mut even = 0;
        for _ in 0..100_000 {
            even = Limits::NONE.client.admit(even, 7).unwrap();
        }
        assert!(Limits::NONE.client.is_unlimited());
    }

    #[test]
    fn clients_relays_and_lanes_are_told_apart() {
        let keys = [
            RateKey::client([10, 0, 0, 1, 0, 0], Lane::Xdp),
            RateKey::client([10, 0, 0, 1, 0, 0], Lane::Tcx),
            RateKey::relay([10, 0, 0, 1], Lane::Xdp),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2]);
    }
}

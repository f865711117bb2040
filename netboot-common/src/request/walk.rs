//! The walks over the options of a message, and over those inside of options.

use super::{Options, Request, Span};
use crate::packet::{Packet, Step, Walker};
use crate::wire::dhcp::{MessageType, option, relay};
use crate::wire::{be16, ipv4, pxe};

/// Where the walk over the options stands.
// VERIFIER (6.18, 2026-11): kept in the caller's memory, which is a map's. On the stack the verifier knows each value of `at`,
// which never converges: "BPF program is too large. Processed 1000001 insn".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) at: u16,
    pub(super) end: u16,
    /// The option whose sub-options are walked.
    pub(super) inner: u8,
    pub(super) problem: Problem,
}

/// Why the walk stopped before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Problem {
    None = 0,
    Cut = 1,
    Long = 2,
    Overload = 3,
}

/// The walk over the options area.
pub(super) struct Reader<'a>(pub(super) &'a mut Request);

impl<P: Packet> Walker<P> for Reader<'_> {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        match self.0.walk.next(packet) {
            Found::Option { code, value, length } => self.option(packet, code, value, length),
            Found::Pad => Step::Next,
            Found::End => Step::Done,
            Found::Cut => self.stop(Problem::Cut),
        }
    }
}

/// What stands where a walk has come to.
enum Found {
    Pad,
    /// Of the options, or of the area.
    End,
    /// It reaches past the end of the area.
    Cut,
    /// `value`: its offset.
    Option {
        code: u8,
        value: usize,
        length: u8,
    },
}

impl Walk {
    /// The next option, and past it.
    #[inline(always)]
    fn next<P: Packet>(&mut self, packet: &P) -> Found {
        let (start, end) = (self.at, self.end);
        if start >= end {
            return Found::End;
        }
        let at = start as usize;
        // Pads and the end have no length; where nothing follows them, it reads as 0.
        let both = packet.read(at).or_else(|| packet.read(at).map(|[code]: [u8; 1]| [code, 0]));
        let Some([code, length]) = both else { return Found::Cut };
        match code {
            option::PAD => {
                self.at = start + 1;
                return Found::Pad;
            }
            option::END => return Found::End,
            _ => {}
        }
        let next = start as u32 + 2 + length as u32;
        if next > end as u32 {
            return Found::Cut;
        }
        self.at = next as u16;
        Found::Option { code, value: at + 2, length }
    }
}

impl Reader<'_> {
    #[inline(always)]
    fn stop(&mut self, problem: Problem) -> Step {
        self.0.walk.problem = problem;
        Step::Done
    }

    /// One option. Those of a wrong length are as good as absent (RFC 2132: fixed lengths).
    #[inline(always)]
    fn option<P: Packet>(&mut self, packet: &P, code: u8, value: usize, length: u8) -> Step {
        let options = &mut self.0.options;
        match (code, length) {
            (option::MESSAGE_TYPE, 1) => {
                let [byte] = packet.read(value).unwrap_or_default();
                options.message_type = MessageType::from_byte(byte);
            }
            (option::REQUESTED_ADDRESS, 4) => options.requested = packet.read(value).unwrap_or_default(),
            (option::SERVER_IDENTIFIER, 4) => options.server = packet.read(value).unwrap_or_default(),
            (option::MAX_MESSAGE_SIZE, 2) => options.max_size = be16(packet.read(value).unwrap_or_default()),
            (option::CLIENT_ARCH, 1..) => {
                return self.keep(|options| &mut options.arch_list, value, length);
            }
            (option::VENDOR_CLASS, 1..) => {
                return self.keep(|options| &mut options.vendor_class, value, length);
            }
            (option::USER_CLASS, 1..) => {
                return self.keep(|options| &mut options.user_class_list, value, length);
            }
            (option::IPXE, 1..) => return self.keep(|options| &mut options.ipxe, value, length),
            (option::CLIENT_UUID, 1..) => {
                return self.keep(|options| &mut options.uuid, value, length);
            }
            (option::CLIENT_IDENTIFIER, 1..) => {
                return self.keep(|options| &mut options.client_id, value, length);
            }
            (option::RELAY_AGENT, 1..) => {
                return self.keep(|options| &mut options.relay_agent, value, length);
            }
            (option::PARAMETER_LIST, 1..) => options.parameter_list = Span { at: value as u16, length },
            (option::VENDOR_SPECIFIC, 1..) => options.vendor_options = Span { at: value as u16, length },
            (option::SUBNET_SELECTION, 4) if options.link == ipv4::UNSPECIFIED => {
                options.link = packet.read(value).unwrap_or_default();
                options.link_is_wish = true;
            }
            (option::HOST_NAME, 1..) => options.hostname = Span { at: value as u16, length },
            (option::OVERLOAD, 1) => return self.stop(Problem::Overload),
            _ => {}
        }
        Step::Next
    }

    /// Remembers where an option is. In two parts (RFC 3396) it is userspace's.
    #[inline(always)]
    fn keep(&mut self, field: impl Fn(&mut Options) -> &mut Span, value: usize, length: u8) -> Step {
        let span = field(&mut self.0.options);
        if !span.is_empty() {
            return self.stop(Problem::Long);
        }
        *span = Span { at: value as u16, length };
        Step::Next
    }
}

/// The walk over the sub-options of option 82 or 175.
pub(super) struct Inside<'a>(pub(super) &'a mut Request);

impl<P: Packet> Walker<P> for Inside<'_> {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        let Request { options, walk, .. } = &mut *self.0;
        let (code, value, length) = match walk.next(packet) {
            Found::Option { code, value, length } => (code, value, length),
            Found::Pad => return Step::Next,
            Found::End | Found::Cut => return Step::Done,
        };
        match (walk.inner, code, length) {
            (option::IPXE, pxe::ipxe::FEATURE_HTTP, _) => options.ipxe_http = true,
            (option::RELAY_AGENT, relay::CIRCUIT_ID, 1..) => {
                options.circuit = Span { at: value as u16, length };
            }
            (option::RELAY_AGENT, relay::LINK_SELECTION, 4) => {
                options.link = packet.read(value).unwrap_or_default();
                options.link_is_wish = false;
            }
            _ => {}
        }
        Step::Next
    }
}

/// A byte, looked for in a part of the packet.
pub(super) struct Search {
    pub(super) at: u16,
    pub(super) end: u16,
    pub(super) code: u8,
    pub(super) found: bool,
}

impl<P: Packet> Walker<P> for Search {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        if self.at >= self.end {
            return Step::Done;
        }
        let [byte] = packet.read(self.at as usize).unwrap_or_default();
        self.at += 1;
        if byte != self.code {
            return Step::Next;
        }
        self.found = true;
        Step::Done
    }
}

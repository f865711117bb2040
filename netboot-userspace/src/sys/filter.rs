//! Classic BPF for packet sockets: which frames are worth waking up for. Tags may be in the frame, one at most: what the
//! kernel took out is not.

use libc::sock_filter;

use super::packet::{ARP, IPV4, VLAN, VLAN_SERVICE};

const ETHERTYPE: u32 = 12;
const BEHIND_TAG: u32 = 16;

/// Where a test leads.
#[derive(Clone, Copy)]
enum Go {
    Next,
    To(usize),
    Accept,
    Drop,
}

use Go::{Accept, Drop, Next, To};

/// An instruction, its operand, and where it leads if it is a test.
type Step = (u32, u32, Go, Go);

const fn plain(code: u32, k: u32) -> Step {
    (code, k, Next, Next)
}

const LOAD_BYTE_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_HALF_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const SET_X: u32 = libc::BPF_LDX | libc::BPF_IMM;
const A_TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const SHIFT_LEFT: u32 = libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K;
const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// UDP over IPv4 to one of `ports`, no fragment.
pub(super) fn udp([first, second]: [u16; 2]) -> Vec<sock_filter> {
    assemble(&[
        // X: where the IPv4 header is.
        plain(SET_X, 14),
        plain(LOAD_HALF, ETHERTYPE),
        (EQUAL, IPV4.into(), To(8), Next),
        (EQUAL, VLAN.into(), To(5), Next),
        (EQUAL, VLAN_SERVICE.into(), Next, Drop),
        plain(SET_X, 18),
        plain(LOAD_HALF, BEHIND_TAG),
        (EQUAL, IPV4.into(), Next, Drop),
        plain(LOAD_BYTE_X, 9),
        (EQUAL, libc::IPPROTO_UDP as u32, Next, Drop),
        plain(LOAD_HALF_X, 6),
        (ANY_BIT, 0x3fff, Drop, Next),
        // X: where the UDP header is.
        plain(LOAD_BYTE_X, 0),
        plain(AND, 0x0f),
        plain(SHIFT_LEFT, 2),
        plain(ADD_X, 0),
        plain(A_TO_X, 0),
        plain(LOAD_HALF_X, 2),
        (EQUAL, first.into(), Accept, Next),
        (EQUAL, second.into(), Accept, Drop),
    ])
}

/// ARP of any kind.
pub(super) fn arp() -> Vec<sock_filter> {
    assemble(&[
        plain(LOAD_HALF, ETHERTYPE),
        (EQUAL, ARP.into(), Accept, Next),
        (EQUAL, VLAN.into(), To(4), Next),
        (EQUAL, VLAN_SERVICE.into(), Next, Drop),
        plain(LOAD_HALF, BEHIND_TAG),
        (EQUAL, ARP.into(), Accept, Drop),
    ])
}

/// The steps, with `return` twice behind them: everything, and nothing.
fn assemble(steps: &[Step]) -> Vec<sock_filter> {
    let accept = steps.len();
    let jump = |at: usize, go| {
        let target = match go {
            Next => at + 1,
            To(target) => target,
            Accept => accept,
            Drop => accept + 1,
        };
        (target - at - 1) as u8
    };
    let step = |(at, &(code, k, yes, no)): (usize, &Step)| sock_filter {
        code: code as u16,
        jt: jump(at, yes),
        jf: jump(at, no),
        k,
    };
    let end = [u32::MAX, 0].map(|k| sock_filter { code: RETURN as u16, jt: 0, jf: 0, k });
    steps.iter().enumerate().map(step).chain(end).collect()
}

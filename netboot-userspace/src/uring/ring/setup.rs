//! Making a ring, and asking what it can do.

use std::io;

use io_uring::{IoUring, Probe, opcode};

pub(super) fn build(entries: u32) -> io::Result<IoUring> {
    let completions = entries.saturating_mul(4);
    IoUring::builder()
        .setup_cqsize(completions)
        .setup_clamp()
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries)
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => IoUring::builder().setup_cqsize(completions).setup_clamp().build(entries),
            _ => Err(error),
        })
}

/// Every operation that a worker uses, or "not supported".
pub(super) fn probe(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::Recv::CODE, "recv"),
        (opcode::RecvMsgMulti::CODE, "recvmsg"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "sendmsg"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::AsyncCancel2::CODE, "cancel"),
        // Came with multishot recvmsg (Linux 6.0), which has no number of its own to ask for.
        (opcode::SendZc::CODE, "multishot receive"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("this kernel has no {name}")))
        }
        None if !ring.params().is_feature_ext_arg() => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no timed wait"))
        }
        None => Ok(()),
    }
}

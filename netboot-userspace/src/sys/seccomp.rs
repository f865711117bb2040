//! For tests: a system call that the kernel refuses, as it does in containers.
#![allow(unsafe_code, reason = "no safe crate that we use offers seccomp(2)")]

use std::io;

use libc::{sock_filter, sock_fprog};

/// Has `call` fail with `errno`, in this thread and those that it starts from now on.
pub(crate) fn refuse(call: libc::c_long, errno: libc::c_int) -> io::Result<()> {
    let step = |code: u32, yes, no, k| sock_filter { code: code as u16, jt: yes, jf: no, k };
    let mut steps = [
        // The number of the call is what `seccomp_data` begins with.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: takes numbers alone.
    let own = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program, and the steps that it points to, live until the call returns; the kernel copies both.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if own == 0 && set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

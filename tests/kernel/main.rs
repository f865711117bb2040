//! The compiled programs in the real kernel, under `BPF_PROG_TEST_RUN`: no network, every byte compared.
//! Needs root; mounts the BPF file system where nobody has, and leaves nothing else behind.

#[path = "../bpffs.rs"]
mod bpffs;
mod cases;
mod check;
mod clauses;
mod differential;
mod generator;
mod golden;
mod lab;
mod limits;
mod malformed;
mod site;
mod tftp;
mod userspace;
mod xdp;

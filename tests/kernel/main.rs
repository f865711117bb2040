//! The compiled programs in the real kernel, under `BPF_PROG_TEST_RUN`: no network, every byte compared.
//! Needs root and a BPF file system; leaves nothing behind.

mod check;
mod differential;
mod generator;
mod golden;
mod lab;
mod site;
mod userspace;

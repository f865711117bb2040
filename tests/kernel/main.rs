//! The compiled programs in the real kernel, under `BPF_PROG_TEST_RUN`: no network, every byte compared.
//! Needs root, and mounts nothing: pins go to a folder of their own on a BPF file system that is there.

mod differential;
mod golden;
mod lab;

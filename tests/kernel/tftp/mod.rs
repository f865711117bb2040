//! The TFTP program: against its pure self, against userspace's state machine, and clause by clause.

mod clauses;
mod differential;
mod frames;
mod lab;
mod machine;
mod silence;
mod wire;

//! Rings that own what the kernel can see. With `sys`, the only room of this crate that holds `unsafe`.

pub mod aligned;
pub mod disk;

//! System calls that no safe crate offers. Knows no protocol. With `uring`, the only room that holds `unsafe`.

pub mod block;
pub mod netif;

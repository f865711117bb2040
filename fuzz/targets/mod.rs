//! What is fuzzed: `cargo xtask fuzz` runs these on inputs that libFuzzer makes, `tests/corpus` on all that were kept. A target takes
//! any bytes, and panics when something does not hold.

mod dhcp4;
mod dhcp4_machine;
mod dhcp6;
mod dhcp6_machine;
mod frame;
mod http;
mod input;
mod options;
mod template;
mod tftp;
mod tftp_kernel;

/// Takes any bytes.
pub(crate) type Target = fn(&[u8]);

/// Every target, by name.
pub(crate) const ALL: &[(&str, Target)] = &[
    ("dhcp4-reader", dhcp4::reader),
    ("dhcp4-machine", dhcp4_machine::sequence),
    ("dhcp6-reader", dhcp6::reader),
    ("dhcp6-machine", dhcp6_machine::sequence),
    ("dhcp6-relays", dhcp6_machine::relayed),
    ("option-82", options::relay_agent),
    ("options-written", options::written),
    ("template", template::rendered),
    ("tftp-request", tftp::request),
    ("tftp-session", tftp::session),
    ("tftp-upload", tftp::upload),
    ("tftp-kernel", tftp_kernel::sequence),
    ("http-head", http::head),
    ("http-session", http::session),
];

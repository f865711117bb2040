//! The site server and its command line.

fn main() {}

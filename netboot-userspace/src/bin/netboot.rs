//! The site server and its command line.

fn main() -> std::process::ExitCode {
    netboot_userspace::cli::main(std::env::args_os())
}

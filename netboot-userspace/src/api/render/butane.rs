//! Butane's configurations become Ignition's by the program `butane`, where that is installed.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Ignition's JSON.
///
/// # Errors
/// The program is not installed, or refuses the text.
pub(super) fn ignition(butane: &str) -> Result<String, String> {
    let started =
        Command::new("butane").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut program = match started {
        Ok(program) => program,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("is Butane, and the program `butane` is not installed here: install it, or give Ignition's JSON under a \
                        name that ends with .ign"
                .to_owned());
        }
        Err(error) => return Err(format!("butane can't be run: {error}")),
    };
    if let Some(mut stdin) = program.stdin.take() {
        // Who refuses the beginning does not read the end; it says so itself.
        let _ = stdin.write_all(butane.as_bytes());
    }
    let output = program.wait_with_output().map_err(|error| format!("butane: {error}"))?;
    if !output.status.success() {
        return Err(format!("butane refuses it: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| "butane's answer is no text".to_owned())
}

//! Other programs: said before they run, with their own words when they fail.

use std::fmt::Write as _;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt::{self, Group};

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            _ = write!(line, "{}={} ", name.display(), quoted(&value.to_string_lossy()));
        }
    }
    line.push_str(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        _ = write!(line, " {}", quoted(&argument.to_string_lossy()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints the command, runs it, and fails when it does. It ends with all its children when the user asks us to stop.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let mut run = || Group::spawn(command.stdin(Stdio::null()))?.0.wait();
    let status = run().with_context(|| format!("cannot run {}", line(command)))?;
    judge(status, command)
}

/// [`run`] of what does harm when it is ended in the middle, as a package that is being installed: it goes on to its end.
pub(crate) fn run_whole(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    judge(status, command)
}

fn judge(status: ExitStatus, command: &Command) -> Result<()> {
    // Who stops it knows why it ended.
    interrupt::check()?;
    if !status.success() {
        bail!("{status}: {}", line(command));
    }
    Ok(())
}

/// Runs it silently; its standard output, or an error with what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", output.status, line(command), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// [`output`] of a program and its words.
pub(crate) fn sh(program: &str, arguments: &[&str]) -> Result<String> {
    output(Command::new(program).args(arguments))
}

/// Whether we may install packages and make network namespaces.
pub(crate) fn is_root() -> Result<bool> {
    Ok(sh("id", &["-u"])?.trim() == "0")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("printf");
        command.env("WHO", "you & me").args(["%s", "it's", ""]);
        assert_eq!(line(&command), r"WHO='you & me' printf %s 'it'\''s' ''");
        assert_eq!(sh("sh", &["-c", &line(&command)]).unwrap(), "it's");
    }

    #[test]
    fn a_failure_carries_the_programs_own_words() {
        let error = sh("sh", &["-c", "echo no such thing >&2; exit 3"]).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}

//! Programs that run beside us, in a network namespace, and never outlive us.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// A child with its log. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in the network namespace (ours, without one), with both outputs appended to `log`.
    ///
    /// `nsenter` changes nothing but the network: `ip netns exec` would also hide /sys/fs/bpf behind a mount
    /// namespace of its own. `setpriv` has the kernel end it with us, however we end; a process group of its own
    /// leaves Ctrl-C on our terminal to us.
    pub(crate) fn start(
        name: &'static str,
        namespace: Option<&str>,
        log: &Path,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = namespace {
            command.arg("nsenter").arg(format!("--net=/run/netns/{namespace}")).arg("--");
        }
        command.arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error when it has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => anyhow::bail!(
                "{} ended ({status}), see {}",
                self.name,
                self.log.file_name().unwrap_or_default().display()
            ),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ends now; in both cases it must be reaped.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let arguments = ["-c".to_owned(), "echo hello; exec sleep 600".to_owned()];
        let mut process = Process::start("sleeper", None, &log, Path::new("/bin/sh"), &arguments).unwrap();
        process.must_run().unwrap();
        let proc = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[test]
    fn one_that_ended_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let arguments = ["-c".to_owned(), "exit 7".to_owned()];
        let mut process = Process::start("short", None, &log, Path::new("/bin/sh"), &arguments).unwrap();
        process.child.wait().unwrap();
        let error = process.must_run().unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.contains("log"), "{error}");
    }
}

//! What a server and all its children take: processor time and memory, by the kernel's own account (cgroups, version 2 or 1).
//!
//! Processor time is what ran in the group's processes: their own code, their system calls, and the softirqs that ran on their
//! time. On a veth that is the way of what they send up to the socket at the other end; and the way of what they are sent up to
//! their socket is on the sender's account. It is so for each server. What `ksoftirqd` did is on nobody's. Memory is that of the
//! processes and of the kernel on their behalf (sockets, open files), without the cache of what files hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::shell::sh;
use crate::vm::lab::leftovers;

const ROOT: &str = "/sys/fs/cgroup";
/// How often memory is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// Memory is steady when so many looks in a row agree, but for so many bytes.
const STEADY: usize = 15;
const SLACK: f64 = 65_536.0;

/// A group of processes. Dropping it ends and removes them.
#[derive(Debug)]
pub(crate) struct Group {
    /// Of version 1 these are two folders, of version 2 one.
    cpu: PathBuf,
    memory: PathBuf,
    version: Version,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// The processes' own, which no file is behind.
    pub(crate) own: f64,
    /// That, and the kernel's on their behalf.
    pub(crate) all: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let root = Path::new(ROOT);
        let version = if root.join("cgroup.controllers").exists() { Version::Two } else { Version::One };
        let [cpu, memory] = match version {
            Version::One => ["cpuacct", "memory"].map(|controller| root.join(controller).join(name)),
            Version::Two => [root.join(name), root.join(name)],
        };
        let group = Self { cpu, memory, version };
        for folder in [&group.cpu, &group.memory] {
            fs::create_dir_all(folder)
                .with_context(|| format!("{}: cgroups measure what a server takes", folder.display()))?;
        }
        group.memory().context("the memory controller of cgroups is needed")?;
        Ok(group)
    }

    /// From now on this process, and what it starts, counts.
    pub(crate) fn add(&self, pid: u32) -> Result<()> {
        for folder in [&self.cpu, &self.memory] {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Processor time so far, in seconds.
    pub(crate) fn seconds(&self) -> Result<f64> {
        match self.version {
            Version::One => Ok(number(&self.cpu.join("cpuacct.usage"))? / 1e9),
            Version::Two => {
                let text = fs::read_to_string(self.cpu.join("cpu.stat"))?;
                let microseconds = field(&text, "usage_usec").context("cpu.stat does not say usage_usec")?;
                Ok(microseconds / 1e6)
            }
        }
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let stat = fs::read_to_string(self.memory.join("memory.stat"))?;
        let of = |name: &str| field(&stat, name).with_context(|| format!("memory.stat does not say {name}"));
        let (own, kernel) = match self.version {
            Version::One => (of("rss")?, number(&self.memory.join("memory.kmem.usage_in_bytes"))?),
            Version::Two => (of("anon")?, of("kernel")? + of("sock")?),
        };
        Ok(Memory { own, all: own + kernel })
    }

    /// Waits until its memory has been the same for a while: what a start takes for the moment is given back. It is what it is
    /// then.
    pub(crate) fn settled_memory(&self) -> Result<Memory> {
        let mut seen = vec![self.memory()?];
        while seen.len() < 100 {
            let last = &seen[seen.len().saturating_sub(STEADY)..];
            if last.len() == STEADY && last.iter().all(|memory| (memory.all - last[0].all).abs() < SLACK) {
                break;
            }
            interrupt::nap(GLANCE * 2)?;
            seen.push(self.memory()?);
        }
        seen.pop().context("nothing was seen")
    }

    /// The most memory, of either kind, that it has while `run` does something.
    pub(crate) fn most_memory<T>(&self, run: impl FnOnce() -> T) -> Result<(T, Memory)> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = self.memory()?;
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(GLANCE);
                    most = most.max(self.memory()?);
                }
                anyhow::Ok(most)
            });
            let outcome = run();
            over.store(true, Ordering::Relaxed);
            match watch.join() {
                Ok(most) => Ok((outcome, most?)),
                Err(_) => bail!("watching memory failed"),
            }
        })
    }

    /// Ends all of them: children of a server that was ended would go on.
    fn end(&self) -> Result<()> {
        for _ in 0..200 {
            let pids = fs::read_to_string(self.cpu.join("cgroup.procs"))?;
            if pids.is_empty() {
                break;
            }
            let pids: Vec<&str> = pids.lines().collect();
            for some in pids.chunks(500) {
                // One that has ended meanwhile is no fault.
                _ = sh("kill", &[&["-KILL"], some].concat());
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }
}

/// Removes the groups that killed runs left; their processes were ended with their networks.
pub(crate) fn clear() {
    for root in ["", "cpuacct", "memory"].map(|controller| Path::new(ROOT).join(controller)) {
        for name in leftovers(&root) {
            _ = fs::remove_dir(root.join(name));
        }
    }
}

impl Memory {
    fn max(self, other: Self) -> Self {
        Self { own: self.own.max(other.own), all: self.all.max(other.all) }
    }

    /// What came to it since, for each of so many.
    pub(crate) fn each_since(self, before: Self, count: f64) -> Self {
        let each = |now: f64, before: f64| (now - before).max(0.0) / count;
        Self { own: each(self.own, before.own), all: each(self.all, before.all) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = self.end();
        for folder in [&self.cpu, &self.memory] {
            _ = fs::remove_dir(folder);
        }
    }
}

fn number(file: &Path) -> Result<f64> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.trim().parse()?)
}

/// `NAME NUMBER` on a line of its own.
fn field(stat: &str, name: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_kernels_account_is_read() {
        let stat = "usage_usec 1500\nuser_usec 1000\nuser 9\n";
        assert_eq!(
            [field(stat, "usage_usec"), field(stat, "user"), field(stat, "sec")],
            [Some(1500.0), Some(9.0), None]
        );
    }

    /// Needs root, and cgroups.
    #[test]
    fn what_a_process_and_its_child_take_is_counted_and_both_end_with_the_group() {
        let group = Group::new(&format!("nbt-{}-test", std::process::id())).unwrap();
        // The child counts to a number, and is then a process that its parent does not wait for.
        let script = "read go; (i=0; while test $i -lt 20000; do i=$((i+1)); done; echo $i; sleep 600) & exec sleep 600";
        let mut shell = Command::new("sh");
        let mut parent =
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        group.add(parent.id()).unwrap();
        let before = group.seconds().unwrap();
        let ((), most) = group
            .most_memory(|| {
                drop(parent.stdin.take());
                let mut line = String::new();
                let mut out = std::io::BufReader::new(parent.stdout.as_mut().unwrap());
                std::io::BufRead::read_line(&mut out, &mut line).unwrap();
                assert_eq!(line, "20000\n");
            })
            .unwrap();
        assert!(group.seconds().unwrap() > before);
        assert!(most.own > 0.0 && most.all >= most.own, "{most:?}");
        let (cpu, pids) = (group.cpu.clone(), fs::read_to_string(group.cpu.join("cgroup.procs")).unwrap());
        assert!(pids.lines().count() >= 2, "{pids}");
        let reaper = std::thread::spawn(move || parent.wait());
        drop(group);
        assert!(!reaper.join().unwrap().unwrap().success());
        assert!(!cpu.exists());
    }
}

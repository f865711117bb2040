//! What a server's programs in the kernel take: they run on the time of whoever sends or receives, and on no process's account.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// As long as it lives, the kernel takes the time of each run of each program: some 20 ns more for each. Dropping it puts back what was
/// before.
#[derive(Debug)]
pub(crate) struct Clock(String);

impl Clock {
    pub(crate) fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context(SWITCH)?;
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self(before))
    }

    /// Of all programs that this process holds, in seconds, since they were loaded.
    pub(crate) fn seconds(&self, pid: u32) -> Result<f64> {
        let descriptors = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fdinfo"))?.flatten();
        // A descriptor may be closed meanwhile. A program may have several.
        let texts = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
        let programs: BTreeMap<u64, u64> = texts.filter_map(|text| program(&text)).collect();
        Ok(programs.values().sum::<u64>() as f64 / 1e9)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        _ = fs::write(SWITCH, self.0.trim());
    }
}

/// The number of a program, and for how many nanoseconds it ran, if the descriptor is a program's.
fn program(fdinfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")?.trim().parse().ok())
    };
    Some((field("prog_id")?, field("run_time_ns")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_other_descriptors() {
        let text =
            "pos:\t0\nflags:\t02000002\nprog_type:\t3\nprog_id:\t17\nrun_time_ns:\t4500\nrun_cnt:\t9\n";
        assert_eq!(program(text), Some((17, 4500)));
        assert_eq!(program("pos:\t0\nmap_type:\t1\nmap_id:\t3\n"), None);
        assert_eq!(program("link_type:\ttcx\nlink_id:\t1\nprog_id:\t17\n"), None, "a link has no time");
    }

    /// Needs root.
    #[test]
    fn the_clock_is_put_back() {
        let before = fs::read_to_string(SWITCH).unwrap();
        let clock = Clock::on().unwrap();
        assert_eq!(fs::read_to_string(SWITCH).unwrap().trim(), "1");
        assert_eq!(clock.seconds(std::process::id()).unwrap(), 0.0);
        drop(clock);
        assert_eq!(fs::read_to_string(SWITCH).unwrap(), before);
    }
}

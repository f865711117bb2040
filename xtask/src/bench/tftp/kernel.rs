//! What the server counts of its lane in the kernel: only by that is a figure the kernel's.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::files::Size;
use super::measure::Bench;
use super::servers::Kind;
use crate::bench::lab::Lab;
use crate::bench::report::sum;
use crate::bench::site;
use crate::interrupt;

/// So far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// DATA that the program has sent.
    blocks: u64,
    /// Transfers whose last ACK it has got.
    done: u64,
    /// That userspace has read.
    requests: u64,
    /// How the programs are attached.
    hooks: String,
}

/// Returns when the kernel has the file, and its program is attached.
pub(super) fn await_file(lab: &mut Lab, bench: &Bench<'_>, file: Size) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        lab.must_run()?;
        // Until it listens, it can't be asked.
        let status = site::status(lab, bench.netboot).unwrap_or_default();
        if status["ready"] == true && status["kernel_files"]["bytes"].as_u64() >= Some(file.bytes()) {
            let attached = &status["interfaces"][0]["tftp"];
            ensure!(attached["mode"].as_str() != Some("off"), "no program for TFTP: {attached}");
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the kernel does not get the files: {}{}", status["kernel_files"], lab.said("netboot"));
        }
        interrupt::nap(Duration::from_millis(50))?;
    }
}

impl Counts {
    /// Of a server that serves from the kernel; `None`: of another one.
    pub(super) fn read(lab: &Lab, bench: &Bench<'_>, kind: Kind) -> Result<Option<Self>> {
        if kind != Kind::Kernel {
            return Ok(None);
        }
        site::status(lab, bench.netboot).map(|status| Some(Self::of(&status)))
    }

    fn of(status: &Value) -> Self {
        let count = |name: &str| status["counters"]["tftp"][name].as_u64().unwrap_or(0);
        let hook = |program: &str| status["interfaces"][0][program]["mode"].as_str().unwrap_or("off");
        Self {
            blocks: count("blocks"),
            done: count("done"),
            requests: status["tftp"]["requests"].as_u64().unwrap_or(0),
            hooks: format!("XDP {}, tc {}", hook("xdp"), hook("tftp")),
        }
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            blocks: self.blocks - before.blocks,
            done: self.done - before.done,
            requests: self.requests - before.requests,
            hooks: self.hooks.clone(),
        }
    }

    /// For the sample.
    ///
    /// # Errors
    /// The clients have got blocks from somebody else.
    pub(super) fn must_be_all_of(&self, sample: &Value) -> Result<Value> {
        let Self { blocks, done, requests, hooks } = self;
        let got = sample["blocks"].as_u64().unwrap_or(0);
        ensure!(
            *blocks >= got && *requests == 0,
            "not from the kernel alone: it sent {blocks} blocks of {got}, and userspace read {requests} requests"
        );
        Ok(json!({ "blocks": blocks, "done": done, "userspace_requests": requests, "hooks": hooks }))
    }
}

/// All rounds' counts, in words.
pub(super) fn told(samples: &[Value]) -> String {
    let got = sum(samples, "blocks");
    let kernel: Vec<Value> = samples.iter().map(|sample| sample["kernel"].clone()).collect();
    let [blocks, requests] = ["blocks", "userspace_requests"].map(|name| sum(&kernel, name));
    let hooks = kernel.first().and_then(|kernel| kernel["hooks"].as_str()).unwrap_or_default();
    format!(
        "from the kernel ({hooks}): {blocks} blocks sent for {got} received, {requests} requests in userspace"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counts(blocks: u64, requests: u64) -> Counts {
        Counts::of(&json!({
            "counters": { "tftp": { "blocks": blocks, "done": 3 } },
            "tftp": { "requests": requests },
            "interfaces": [{ "xdp": { "mode": "native" }, "tftp": { "mode": "tcx" } }],
        }))
    }

    #[test]
    fn a_block_or_a_request_that_was_userspace_s_is_no_figure_of_the_kernel_s() {
        let of = |blocks: u64, requests: u64| counts(10 + blocks, 1 + requests).since(&counts(10, 1));
        let sample = json!({ "blocks": 7 });
        let kernel = of(7, 0).must_be_all_of(&sample).unwrap();
        assert_eq!(
            told(&[json!({ "blocks": 7, "kernel": kernel })]),
            "from the kernel (XDP native, tc tcx): 7 blocks sent for 7 received, 0 requests in userspace"
        );
        assert!(of(6, 0).must_be_all_of(&sample).is_err(), "somebody else sent one");
        assert!(of(7, 1).must_be_all_of(&sample).is_err(), "userspace was asked");
    }
}

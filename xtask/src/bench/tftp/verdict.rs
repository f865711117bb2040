//! What the settings say of our promises.

use super::files::Size;
use super::measure::Outcome;
use super::servers::Kind;
use crate::bench::target::Target;

/// So busy, the generator is what limits.
const BUSY_PERCENT: f64 = 95.0;

/// Those that the settings are measured for.
pub(super) fn targets(outcomes: &[Outcome]) -> Vec<Target> {
    outcomes
        .iter()
        .flat_map(|outcome| [Kind::Uring, Kind::Kernel].map(|kind| of(outcome, kind)).concat())
        .collect()
}

fn of(outcome: &Outcome, kind: Kind) -> Vec<Target> {
    let setting = &outcome.setting;
    if !outcome.has(kind) {
        return Vec::new();
    }
    let what = |more: &str| format!("{}, {setting}: {more}", kind.name());
    let rate = |other| outcome.median(kind, "mb_per_second") / outcome.median(other, "mb_per_second");
    let usual = setting.blksize == 1432 && setting.loss == 0.0;
    let large = usual && setting.file == Size::Large;
    let mut targets = Vec::new();
    let mut high = |more: &str, measured, must, stretch| {
        targets.push(Target::high(what(more), measured, must, stretch));
    };
    match (kind, setting.clients, setting.window) {
        (_, 1, 1) if usual && setting.file == Size::Small => {
            high("of dnsmasq", rate(Kind::Dnsmasq), 1.0, 1.5)
        }
        (Kind::Uring, 100 | 1000, 1) if large => high("of dnsmasq", rate(Kind::Dnsmasq), 1.2, 1.5),
        (Kind::Uring, 100 | 1000, 16) if large => high("of atftpd", rate(Kind::Atftpd), 2.0, 2.5),
        (Kind::Kernel, 100 | 1000, 1) if large => {
            high("of dnsmasq", gain(outcome, kind, Kind::Dnsmasq), 3.0, 5.0);
        }
        (Kind::Kernel, 100 | 1000, 8 | 16) if large => {
            high("of atftpd", gain(outcome, kind, Kind::Atftpd), 3.0, 4.0);
        }
        _ => {}
    }
    // Whatever it is: all arrive, and nobody waits much longer than the others.
    targets.push(Target::low(what("failed"), outcome.sum(kind, "failed"), 0.0, 0.0));
    if setting.clients >= 1000 && setting.loss == 0.0 {
        let spread = outcome.median(kind, "p99_ms") / outcome.median(kind, "p50_ms");
        targets.push(Target::low(what("resent, %"), outcome.median(kind, "surplus_percent"), 1.0, 0.1));
        targets.push(Target::low(what("p99, of p50"), spread, 3.0, 2.0));
        let each = outcome.median(kind, "server_bytes_per_transfer") / 1000.0;
        targets.push(Target::low(what("memory of a transfer, kB"), each, 4.0, 1.0));
    }
    targets
}

/// How much faster; or, where it is the generator that limits, by how much less processor time.
fn gain(outcome: &Outcome, kind: Kind, other: Kind) -> f64 {
    let rate = outcome.median(kind, "mb_per_second") / outcome.median(other, "mb_per_second");
    let time = |kind| outcome.median(kind, "server_seconds_per_gb");
    if outcome.median(kind, "generator_busy_percent") < BUSY_PERCENT {
        return rate;
    }
    rate.max(time(other) / time(kind))
}

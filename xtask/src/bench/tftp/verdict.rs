//! What the settings say of our promises.

use super::files::Size;
use super::measure::Outcome;
use super::servers::Kind;
use crate::bench::target::Target;

/// So busy, the generator is what limits.
const BUSY_PERCENT: f64 = 95.0;

/// Those that the settings are measured for.
pub(super) fn targets(outcomes: &[Outcome]) -> Vec<Target> {
    [Kind::Uring, Kind::Kernel].into_iter().flat_map(|kind| of_lane(outcomes, kind)).collect()
}

fn of_lane(outcomes: &[Outcome], kind: Kind) -> Vec<Target> {
    let outcomes: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.has(kind)).collect();
    let mut targets: Vec<Target> = outcomes.iter().flat_map(|outcome| of(outcome, kind)).collect();
    let easy: Vec<_> = outcomes.iter().filter(|outcome| !is_hard(outcome)).collect();
    if !easy.is_empty() {
        let failed = easy.iter().map(|outcome| outcome.sum(kind, "failed")).sum();
        targets.push(Target::low(
            format!("{}, few clients, good network: failed", kind.name()),
            failed,
            0.0,
            0.0,
        ));
    }
    targets
}

/// Where transfers are likely to fail.
fn is_hard(outcome: &Outcome) -> bool {
    outcome.setting.clients >= 1000 || outcome.setting.loss > 0.0
}

fn of(outcome: &Outcome, kind: Kind) -> Vec<Target> {
    let setting = &outcome.setting;
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
    // All arrive, and nobody waits much longer than the others.
    if is_hard(outcome) {
        targets.push(Target::low(what("failed"), outcome.sum(kind, "failed"), 0.0, 0.0));
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::settings::Setting;
    use super::*;

    fn outcome(clients: u32, busy: f64) -> Outcome {
        let sample = |rate: f64, cpu: f64| {
            vec![json!({
                "mb_per_second": rate, "server_seconds_per_gb": cpu, "generator_busy_percent": busy, "failed": 0,
                "p50_ms": 10, "p99_ms": 20, "surplus_percent": 0, "server_bytes_per_transfer": 500,
            })]
        };
        let setting = Setting { clients, file: Size::Large, blksize: 1432, window: 1, loss: 0.0 };
        let samples = vec![(Kind::Kernel, sample(300.0, 1.0)), (Kind::Dnsmasq, sample(200.0, 8.0))];
        Outcome { setting, samples }
    }

    #[test]
    fn processor_time_counts_where_the_generator_is_the_limit() {
        assert_eq!(gain(&outcome(100, 50.0), Kind::Kernel, Kind::Dnsmasq), 1.5);
        assert_eq!(gain(&outcome(100, 99.0), Kind::Kernel, Kind::Dnsmasq), 8.0);
    }

    #[test]
    fn only_what_was_measured_is_judged_and_crowds_more_strictly() {
        let of = |clients| targets(&[outcome(clients, 50.0)]).len();
        // The rate, and no failure; of a crowd also the spread, what was sent again, and memory.
        assert_eq!((of(100), of(1000), of(7)), (2, 5, 1));
        assert!(targets(&[]).is_empty());
    }
}

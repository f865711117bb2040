//! What the settings say of our promises.

use super::files::Size;
use super::measure::Outcome;
use super::servers::Kind;
use super::settings::{CROWD, Mode};
use crate::bench::target::Target;

/// Those that the settings are measured for.
pub(super) fn targets(outcomes: &[Outcome]) -> Vec<Target> {
    outcomes.iter().filter(|outcome| outcome.has(Kind::Netboot)).flat_map(of).collect()
}

fn of(outcome: &Outcome) -> Vec<Target> {
    let setting = &outcome.setting;
    let what = |more: &str| format!("{setting}: {more}");
    let ours = |name: &str| outcome.median(Kind::Netboot, name);
    let nginx = |name: &str, high: bool| ours(name) / outcome.best_nginx(name, high);
    let mut targets = vec![Target::low(what("failed"), outcome.sum(Kind::Netboot, "failed"), 0.0, 0.0)];
    let compared = outcome.has(Kind::Nginx) || outcome.has(Kind::NginxCopy);
    match (setting.mode, setting.file, setting.connections) {
        (Mode::Keep, Size::Tiny, 100 | 1_000) => {
            if compared {
                let rate = nginx("requests_per_second", true);
                targets.push(Target::high(what("of the better nginx"), rate, 1.15, 1.15));
            }
            if outcome.has(Kind::Bare) {
                let limit = outcome.median(Kind::Bare, "requests_per_second");
                let share = ours("requests_per_second") / limit;
                targets.push(Target::high(what("of bare sendfile"), share, 0.9, 1.0));
            }
        }
        (Mode::Keep, Size::Large | Size::Huge, 1..=1_000) if compared => {
            let (rate, cost) = (nginx("mb_per_second", true), nginx("server_seconds_per_gb", false));
            targets.push(Target::high(what("of the better nginx"), rate, 1.0, 1.0));
            targets.push(Target::low(what("CPU per GB, of nginx"), cost, 1.0, 0.8));
        }
        (Mode::Keep, _, 10_000) => {
            if compared {
                let rate = nginx("mb_per_second", true);
                targets.push(Target::high(what("of the better nginx"), rate, 1.2, 1.2));
            }
            let each = ours("server_own_bytes_each") / 1000.0;
            targets.push(Target::low(what("own memory of each, kB"), each, 4.0, 4.0));
        }
        (Mode::Idle, _, 10_000) => {
            let each = ours("server_own_bytes_each") / 1000.0;
            targets.push(Target::low(what("own memory of each, kB"), each, 1.0, 1.0));
        }
        (Mode::Beside, ..) => {
            let all = f64::from(CROWD[0]);
            targets.push(Target::high(what("of its speed without them"), ours("of_alone"), 0.9, 0.95));
            targets.push(Target::high(what("held beside them"), ours("held"), all, all));
        }
        _ => {}
    }
    targets
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::settings::Setting;
    use super::*;

    fn outcome(file: Size, connections: u32, mode: Mode, kinds: &[Kind]) -> Outcome {
        let sample = vec![json!({
            "requests_per_second": 100.0, "mb_per_second": 100.0, "server_seconds_per_gb": 1.0,
            "server_own_bytes_each": 500.0, "failed": 0, "of_alone": 1.0, "held": 10_000.0,
        })];
        let samples = kinds.iter().map(|kind| (*kind, sample.clone())).collect();
        Outcome { setting: Setting { file, connections, mode }, samples }
    }

    #[test]
    fn each_promise_is_judged_where_it_is_measured() {
        let all = [Kind::Netboot, Kind::Bare, Kind::Nginx];
        let count = |file, connections, mode, kinds: &[Kind]| {
            targets(&[outcome(file, connections, mode, kinds)]).len()
        };
        assert_eq!(count(Size::Tiny, 100, Mode::Keep, &all), 3);
        assert_eq!(count(Size::Huge, 1_000, Mode::Keep, &all), 3);
        assert_eq!(count(Size::Large, 10_000, Mode::Keep, &all), 3);
        assert_eq!(count(Size::Tiny, 10_000, Mode::Idle, &all), 2);
        assert_eq!(count(Size::Tiny, 100, Mode::Beside, &[Kind::Netboot]), 3);
        // Nothing but that nothing failed.
        assert_eq!(count(Size::Tiny, 100, Mode::Fresh, &all), 1);
        assert_eq!(count(Size::Tiny, 100, Mode::Keep, &[Kind::Netboot]), 1);
        assert_eq!(count(Size::Tiny, 100, Mode::Keep, &[Kind::Nginx]), 0);
    }
}

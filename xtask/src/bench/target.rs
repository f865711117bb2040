//! What a figure must be, and what it would be good to be.

use serde_json::{Value, json};

use super::table::{Table, figure};

/// One promise, and what was measured of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    what: String,
    measured: f64,
    must: f64,
    stretch: f64,
    high: bool,
}

/// How far it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stretch,
    Met,
    Missed,
}

impl Target {
    /// A figure that is to be as high as these.
    pub(crate) fn high(what: impl Into<String>, measured: f64, must: f64, stretch: f64) -> Self {
        Self { what: what.into(), measured, must, stretch, high: true }
    }

    /// A figure that is to be as low as these.
    pub(crate) fn low(what: impl Into<String>, measured: f64, must: f64, stretch: f64) -> Self {
        Self { what: what.into(), measured, must, stretch, high: false }
    }

    fn verdict(&self) -> Verdict {
        let reaches = |limit: f64| if self.high { self.measured >= limit } else { self.measured <= limit };
        match (reaches(self.must), reaches(self.stretch)) {
            (true, true) => Verdict::Stretch,
            (true, false) => Verdict::Met,
            // What could not be measured reaches nothing.
            (false, _) => Verdict::Missed,
        }
    }

    fn json(&self) -> Value {
        let verdict = self.verdict().name();
        json!({ "what": self.what, "measured": self.measured, "must": self.must, "stretch": self.stretch, "verdict": verdict })
    }
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Met => "met",
            Self::Missed => "missed",
        }
    }
}

/// Prints them; the same as JSON.
pub(crate) fn report(targets: &[Target]) -> Value {
    let mut table = Table::new(&["target", "measured", "must", "stretch", "verdict"]);
    for target in targets {
        let cells = [target.measured, target.must, target.stretch].map(figure);
        let verdict = target.verdict().name().to_owned();
        table.row(std::iter::once(target.what.clone()).chain(cells).chain([verdict]));
    }
    table.print();
    targets.iter().map(Target::json).collect()
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Met, Missed, Stretch};
    use super::*;

    #[test]
    fn high_and_low_figures_are_judged() {
        let low = |measured| Target::low("", measured, 75.0, 53.0).verdict();
        assert_eq!([80.0, 70.0, 53.0, f64::NAN].map(low), [Missed, Met, Stretch, Missed]);
        let high = |measured| Target::high("", measured, 2.0, 4.0).verdict();
        assert_eq!([1.9, 2.0, 5.0, f64::NAN].map(high), [Missed, Met, Stretch, Missed]);
        let none = |measured| Target::low("", measured, 0.0, 0.0).verdict();
        assert_eq!([0.0, 1.0].map(none), [Stretch, Missed]);
    }
}

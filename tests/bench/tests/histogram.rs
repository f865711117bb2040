use std::time::Duration;

use crate::answer::Failure;
use crate::histogram::*;
use crate::score::Score;

#[test]
fn shares_are_right_to_a_sixty_fourth() {
    let mut all = Histogram::default();
    let mut other = Histogram::default();
    for at in 1..=10_000_u64 {
        let half = if at % 2 == 0 { &mut all } else { &mut other };
        half.add(Duration::from_nanos(at * 1_000));
    }
    all.merge(&other);
    for (share, exact) in [(0.0, 1.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
        let measured = all.microseconds(share).expect("there are some");
        assert!(measured >= exact && measured <= exact * (1.0 + 1.0 / 64.0), "{share}: {measured}");
    }
    assert_eq!(all.largest_microseconds(), 10_000.0);
}

#[test]
fn nothing_and_the_ends_of_the_scale_are_no_trouble() {
    let mut one = Histogram::default();
    assert_eq!(one.microseconds(0.5), None);
    one.add(Duration::ZERO);
    assert_eq!(one.microseconds(0.99), Some(0.0));
    one.add(Duration::from_secs(1 << 40));
    assert!(one.microseconds(0.5) == Some(0.0) && one.microseconds(1.0) > Some(4e9));
}

#[test]
fn scores_of_threads_are_added_up() {
    let mut all = Score::default();
    for (failure, taken) in [(Failure::Closed, 1), (Failure::Closed, 3), (Failure::Status(500), 2)] {
        let mut score = Score::default();
        score.fail(failure);
        score.complete(Duration::from_micros(taken));
        score.bytes = 10;
        all.merge(&score);
    }
    let report = all.report(2.0);
    assert_eq!((&report["requests_per_second"], &report["bytes"]), (&1.5.into(), &30.into()));
    assert_eq!(report["failures"], serde_json::json!({ "Closed": 2, "Status(500)": 1 }));
    assert_eq!((&report["failed"], &report["max_us"]), (&3.into(), &3.0.into()));
}

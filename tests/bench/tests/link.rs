use std::time::Duration;

use crate::link::*;

#[test]
fn as_many_are_lost_and_held_as_was_said_and_the_same_ones_each_time() {
    let run = || {
        let mut link = Link::<()>::new(Quality { loss: 0.1, reorder: 0.01 }, 7);
        (0..10_000).map(|_| link.fate()).collect::<Vec<_>>()
    };
    let count = |fate| run().into_iter().filter(|other| *other == fate).count();
    assert!((900..1100).contains(&count(Fate::IsLost)), "{}", count(Fate::IsLost));
    assert!((60..140).contains(&count(Fate::IsHeld)), "{}", count(Fate::IsHeld));
    assert_eq!(run(), run());
}

#[test]
fn what_is_held_comes_later_and_in_its_order() {
    let mut link = Link::new(Quality::default(), 0);
    link.hold(1, Duration::ZERO);
    link.hold(2, Duration::from_millis(1));
    assert_eq!(link.due(Duration::from_millis(1)), None);
    assert_eq!(link.due(HELD), Some(1));
    assert_eq!(link.due(HELD), None);
    assert_eq!(link.due(HELD * 2), Some(2));
    assert_eq!(link.fate(), Fate::Passes);
}

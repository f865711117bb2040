//! Numbers for what they stand for.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Gives each content a number of 16 bits: the same as before to the same content, and to a new one none that was just in use.
///
/// Those that follow others may be made while the others still give out numbers: new contents get even numbers from the one, and
/// odd ones from the other.
#[derive(Clone, Debug)]
pub(super) struct Numbers<T> {
    now: HashMap<T, u16>,
    before: HashMap<T, u16>,
    used: HashSet<u16>,
    next: u16,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self::beside(HashSet::new())
    }
}

impl<T> Numbers<T> {
    /// Those that keep off `used`, of which nobody knows any more what they stand for.
    pub(super) fn beside(used: HashSet<u16>) -> Self {
        Self { now: HashMap::new(), before: HashMap::new(), used, next: 0 }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    /// Those that follow these, of which none is in use yet.
    pub(super) fn after(&self) -> Self {
        let before = self.now.clone();
        let used = before.values().copied().collect();
        Self { now: HashMap::new(), before, used, next: self.next ^ 1 }
    }

    /// The number of `content`, and whether it is met for the first time. `None`: all 32,768 are in use.
    pub(super) fn of(&mut self, content: &T) -> Option<(u16, bool)> {
        if let Some(number) = self.now.get(content) {
            return Some((*number, false));
        }
        let number = match self.before.get(content) {
            Some(number) => *number,
            None => self.unused()?,
        };
        self.now.insert(content.clone(), number);
        Some((number, true))
    }

    fn unused(&mut self) -> Option<u16> {
        let candidates = (0..=u16::MAX / 2).map(|i| self.next.wrapping_add(2 * i));
        let number = candidates.into_iter().find(|number| !self.used.contains(number))?;
        self.next = number.wrapping_add(2);
        self.used.insert(number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_keeps_its_number_and_another_gets_none_that_was_in_use() {
        let mut first = Numbers::default();
        assert_eq!(first.of(&0), Some((0, true)));
        assert_eq!(first.of(&1), Some((2, true)));
        assert_eq!(first.of(&0), Some((0, false)));
        let mut second = first.after();
        assert_eq!(second.of(&2), Some((5, true)), "odd");
        assert_eq!(second.of(&1), Some((2, true)), "as before");
        let mut third = second.after();
        // 0 was the first content's, two plans ago: nobody uses it any more. 2 is in use.
        let numbers: HashSet<u16> = (100..).map_while(|i| third.of(&i)).map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), 32_767);
        assert!(
            !numbers.contains(&2) && numbers.contains(&0) && numbers.iter().all(|number| number % 2 == 0)
        );
    }

    #[test]
    fn what_is_met_in_the_old_plan_while_the_new_one_is_made_gets_another_number() {
        let mut old = Numbers::default();
        old.of(&"a");
        let mut new = old.after();
        let numbers = [new.of(&"b"), old.of(&"c"), new.of(&"d"), old.of(&"e"), new.of(&"a")];
        let numbers: HashSet<u16> = numbers.into_iter().flatten().map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), 5);
    }

    #[test]
    fn numbers_of_unknown_meaning_are_kept_off() {
        let mut numbers = Numbers::beside([0, 4].into());
        let given: Vec<_> = ["a", "b", "c"].iter().filter_map(|content| numbers.of(content)).collect();
        assert_eq!(given, [(2, true), (6, true), (8, true)]);
    }
}

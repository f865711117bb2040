//! Numbers for what they stand for.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Gives each content a number of 16 bits: the same as before to the same content, and to a new one none that was just in use.
#[derive(Clone, Debug)]
pub(super) struct Numbers<T> {
    now: HashMap<T, u16>,
    before: HashMap<T, u16>,
    used: HashSet<u16>,
    next: u16,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    /// Those that follow `previous`, of which none is in use yet.
    pub(super) fn after(previous: Option<&Self>) -> Self {
        let before = previous.map(|numbers| numbers.now.clone()).unwrap_or_default();
        let used = before.values().copied().collect();
        Self { now: HashMap::new(), before, used, next: previous.map_or(0, |numbers| numbers.next) }
    }

    /// The number of `content`, and whether it is met for the first time. `None`: all 65,536 are in use.
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
        let candidates = (0..=u16::MAX).map(|i| self.next.wrapping_add(i));
        let number = candidates.into_iter().find(|number| !self.used.contains(number))?;
        self.next = number.wrapping_add(1);
        self.used.insert(number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn the_same_content_keeps_its_number_and_another_gets_none_that_was_in_use() {
        let mut first = Numbers::after(None);
        assert_eq!(first.of(&"a"), Some((0, true)));
        assert_eq!(first.of(&"b"), Some((1, true)));
        assert_eq!(first.of(&"a"), Some((0, false)));
        let mut second = Numbers::after(Some(&first));
        assert_eq!(second.of(&"c"), Some((2, true)));
        assert_eq!(second.of(&"b"), Some((1, true)), "as before");
        let mut third = Numbers::after(Some(&second));
        // 0 was `a`'s, two plans ago: nobody uses it any more.
        let numbers: Vec<u16> =
            (0..65_534_u32).filter_map(|i| third.of(leak(i))).map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), 65_534);
        assert!(!numbers.contains(&1) && !numbers.contains(&2) && numbers.contains(&0));
        assert_eq!(third.of(&"one more"), None);
    }

    fn leak(i: u32) -> &'static &'static str {
        Box::leak(Box::new(Box::leak(i.to_string().into_boxed_str()) as &'static str))
    }
}

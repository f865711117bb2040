//! From names to few words.

use std::collections::BTreeMap;

/// A list that stands for these names, each once: short, and in order.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    folded(names).join(",")
}

/// The same, of `longest` characters at most: what is left out is counted.
pub fn fold_to<'a>(names: impl IntoIterator<Item = &'a str>, longest: usize) -> String {
    let items = folded(names);
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 && text.len() + 1 + item.len() > longest {
            return format!("{text} and {} more", items.len() - index);
        }
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(item);
    }
    text
}

fn folded<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut patterns: Vec<Pattern> = names.into_iter().map(pattern).collect();
    let places = patterns.iter().map(Vec::len).max().unwrap_or(0);
    for place in (0..places).rev() {
        patterns = merge(patterns, place);
    }
    patterns.iter().map(|pattern| pattern.iter().map(Part::text).collect()).collect()
}

/// A name, or several that differ only in their numbers.
type Pattern = Vec<Part>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    /// Ranges in order, none of which touches the next.
    Numbers(Vec<Run>),
}

/// Numbers of `digits` digits each, zeros in front among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    digits: usize,
    first: u64,
    last: u64,
}

/// A name as its texts and its numbers.
fn pattern(name: &str) -> Pattern {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digit = rest.as_bytes()[0].is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        // Longer numbers than a range may have are text.
        parts.push(match part.parse() {
            Ok(number) if digit && end <= 18 => {
                Part::Numbers(vec![Run { digits: end, first: number, last: number }])
            }
            _ => Part::Text(part.to_owned()),
        });
        rest = after;
    }
    parts
}

/// Makes one of those that differ at this place only.
fn merge(patterns: Vec<Pattern>, place: usize) -> Vec<Pattern> {
    let mut whole = Vec::new();
    let mut groups: BTreeMap<(Pattern, Pattern), Vec<Run>> = BTreeMap::new();
    for mut pattern in patterns {
        match pattern.get(place) {
            Some(Part::Numbers(runs)) => {
                let runs = runs.clone();
                let after = pattern.split_off(place + 1);
                pattern.truncate(place);
                groups.entry((pattern, after)).or_default().extend(runs);
            }
            _ => whole.push(pattern),
        }
    }
    whole.extend(groups.into_iter().map(|((mut pattern, after), runs)| {
        pattern.push(Part::Numbers(joined(runs)));
        pattern.extend(after);
        pattern
    }));
    whole.sort();
    whole.dedup();
    whole
}

/// Runs that touch are one.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if last.digits == run.digits && run.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(run.last);
            }
            _ => joined.push(run),
        }
    }
    joined
}

impl Part {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Numbers(runs) => match runs[..] {
                [Run { digits, first, last }] if first == last => format!("{first:0digits$}"),
                _ => format!("[{}]", ranges(runs).join(",")),
            },
        }
    }
}

/// `8-9` and `10-12` are `8-12`: without zeros in front the number of digits follows from the number.
fn ranges(runs: &[Run]) -> Vec<String> {
    let mut texts: Vec<(String, Run)> = Vec::new();
    for &run in runs {
        let Run { digits, first, .. } = run;
        if let Some((start, end)) = texts.last_mut()
            && end.digits + 1 == digits
            && end.last + 1 == first
            && first.to_string().len() == digits
            && (start.len() == 1 || !start.starts_with('0'))
        {
            *end = run;
        } else {
            texts.push((format!("{first:0digits$}"), run));
        }
    }
    let text = |(start, end): (String, Run)| {
        let last = format!("{:0digits$}", end.last, digits = end.digits);
        if start == last { start } else { format!("{start}-{last}") }
    };
    texts.into_iter().map(text).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::expand;
    use super::*;

    #[test]
    fn names_are_folded() {
        let cases = [
            ("", ""),
            ("a", "a"),
            ("a b a", "a,b"),
            ("node1 node2 node3", "node[1-3]"),
            ("node8 node9 node10 node11", "node[8-11]"),
            ("node08 node09 node10", "node[08-10]"),
            ("node1 node01 node001", "node[1,01,001]"),
            ("n09 n10 n100", "n[09-10,100]"),
            ("n98 n99 n100 n101", "n[98-101]"),
            ("n1 n2 n4 x", "n[1-2,4],x"),
            ("r1n01 r1n02 r2n01 r2n02", "r[1-2]n[01-02]"),
            ("r1n01 r1n02 r2n01", "r1n[01-02],r2n01"),
            ("10.0.0.1 10.0.0.2", "10.0.0.[1-2]"),
            ("a1 a02", "a[1,02]"),
            ("a0 a9 a10", "a[0,9-10]"),
            ("a0 a1", "a[0-1]"),
            ("n1234567890123456789", "n1234567890123456789"),
        ];
        for (names, want) in cases {
            assert_eq!(fold(names.split_whitespace()), want, "{names}");
        }
        let names = ["b", "aa", "c", "d"];
        assert_eq!(fold_to(names, 100), "aa,b,c,d");
        assert_eq!(fold_to(names, 5), "aa,b and 2 more");
        assert_eq!(fold_to(names, 0), "aa and 3 more");
    }

    proptest! {
        #[test]
        fn what_is_folded_expands_to_the_same_names(
            names in prop::collection::vec("[ab]{0,1}[0-9]{0,3}(-[0-2]{1,2})?[a-c.]?", 0..60),
        ) {
            let ok = |name: &&String| !name.is_empty() && !name.starts_with('-');
            let names: BTreeSet<String> = names.iter().filter(ok).cloned().collect();
            let folded = fold(names.iter().map(String::as_str));
            let back: BTreeSet<String> =
                if folded.is_empty() { BTreeSet::new() } else { expand(&folded).unwrap().into_iter().collect() };
            prop_assert_eq!(back, names, "{}", folded);
        }
    }
}

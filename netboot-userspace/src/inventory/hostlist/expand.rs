//! From few words to names.

use std::collections::HashSet;

use super::Error;

/// The most names that one list may stand for.
pub const LIMIT: u64 = 1_000_000;

/// Every name that `list` stands for, once, in its order.
///
/// # Errors
/// What in it can't be read, or that it is more than [`LIMIT`].
pub fn expand(list: &str) -> Result<Vec<String>, Error> {
    expand_to(list, LIMIT)
}

fn expand_to(list: &str, most: u64) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    let mut there: HashSet<String> = HashSet::new();
    for item in items(list)? {
        let (item, taken_away) = item.strip_prefix('-').map_or((item, false), |rest| (rest, true));
        let pieces = pieces(list, item)?;
        let many = |count| Error::Many { list: list.to_owned(), count, most };
        let count = count(&pieces).filter(|count| *count <= most).ok_or(many(most + 1))?;
        if taken_away {
            let away: HashSet<String> = combinations(&pieces).into_iter().collect();
            names.retain(|name| !away.contains(name));
            there.retain(|name| !away.contains(name));
        } else {
            if names.len() as u64 + count > 2 * most {
                return Err(many(names.len() as u64 + count));
            }
            names.extend(combinations(&pieces).into_iter().filter(|name| there.insert(name.clone())));
        }
    }
    if names.len() as u64 > most {
        return Err(Error::Many { list: list.to_owned(), count: names.len() as u64, most });
    }
    Ok(names)
}

/// What stands between the commas that are in no bracket.
fn items(list: &str) -> Result<Vec<&str>, Error> {
    let mut items = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, character) in list.char_indices() {
        match character {
            '[' if inside => return Err(Error::Open { list: list.to_owned() }),
            '[' => inside = true,
            ']' => inside = false,
            ',' if !inside => {
                items.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(Error::Open { list: list.to_owned() });
    }
    items.push(list[start..].trim());
    Ok(items)
}

/// A part of a name: one text, or one of several.
enum Piece<'a> {
    Text(&'a str),
    Ranges(Vec<Range>),
}

struct Range {
    first: u64,
    last: u64,
    /// Zeros in front, up to so many digits.
    digits: usize,
}

/// An item as what is outside and inside its brackets.
fn pieces<'a>(list: &str, item: &'a str) -> Result<Vec<Piece<'a>>, Error> {
    let no_name = || Error::Name { list: list.to_owned(), part: item.to_owned() };
    let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut pieces = Vec::new();
    let mut rest = item;
    while let Some((text, bracket)) = rest.split_once('[') {
        let (inside, after) = bracket.split_once(']').ok_or_else(no_name)?;
        pieces.push(Piece::Text(text));
        let ranges = inside.split(',').map(|part| {
            range(part.trim()).ok_or_else(|| Error::Range { list: list.to_owned(), part: inside.to_owned() })
        });
        pieces.push(Piece::Ranges(ranges.collect::<Result<_, _>>()?));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    let plain = pieces.iter().all(|piece| match piece {
        Piece::Text(text) => text.chars().all(ok),
        Piece::Ranges(_) => true,
    });
    if plain && !item.is_empty() { Ok(pieces) } else { Err(no_name()) }
}

/// `7`, `007`, `1-16`, `001-200`.
fn range(text: &str) -> Option<Range> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let padded = first.starts_with('0') || first.len() == last.len();
    let fits = last.len() == first.len() || (last.len() > first.len() && !last.starts_with('0'));
    let range =
        Range { first: number(first)?, last: number(last)?, digits: if padded { first.len() } else { 0 } };
    (fits && range.first <= range.last).then_some(range)
}

/// How many names the pieces give; `None`: beyond counting.
fn count(pieces: &[Piece<'_>]) -> Option<u64> {
    pieces.iter().try_fold(1_u64, |count, piece| match piece {
        Piece::Text(_) => Some(count),
        Piece::Ranges(ranges) => {
            let sizes = ranges.iter().map(|range| range.last - range.first + 1);
            count.checked_mul(sizes.fold(0, u64::saturating_add))
        }
    })
}

/// Every combination; the last bracket counts fastest.
fn combinations(pieces: &[Piece<'_>]) -> Vec<String> {
    let mut names = vec![String::new()];
    for piece in pieces {
        match piece {
            Piece::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
            Piece::Ranges(ranges) => {
                let numbers: Vec<String> = ranges.iter().flat_map(numbers).collect();
                names = names
                    .iter()
                    .flat_map(|name| numbers.iter().map(move |number| format!("{name}{number}")))
                    .collect();
            }
        }
    }
    names
}

fn numbers(range: &Range) -> impl Iterator<Item = String> {
    let digits = range.digits;
    (range.first..=range.last).map(move |number| format!("{number:0digits$}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_stand_for_their_names() {
        let cases = [
            ("node1", "node1"),
            ("a,b[1-3],c", "a b1 b2 b3 c"),
            ("node[08-11]", "node08 node09 node10 node11"),
            ("node[8-11]", "node8 node9 node10 node11"),
            ("node[098-101]", "node098 node099 node100 node101"),
            ("node[09,7,1-2]", "node09 node7 node1 node2"),
            ("n[99-101]", "n99 n100 n101"),
            ("rack[1-2]n[01-02].site", "rack1n01.site rack1n02.site rack2n01.site rack2n02.site"),
            ("a[1-4],-a[2-3],b", "a1 a4 b"),
            ("a,a,b,a", "a b"),
            ("a1,-a1,a1", "a1"),
            ("[1-2]", "1 2"),
            ("a[0-1][0-1]", "a00 a01 a10 a11"),
            (" a , b[1, 2] ", "a b1 b2"),
        ];
        for (list, want) in cases {
            assert_eq!(expand(list).unwrap().join(" "), want, "{list}");
        }
        assert_eq!(expand("n[09-100]").unwrap().len(), 92);
    }

    #[test]
    fn a_list_stands_for_so_many_names_and_no_more() {
        let count = |list: &str| expand_to(list, 100).map(|names| names.len());
        for list in ["n[1-100]", "a[0-9][0-9]", "a[1-100],-a[1-50],b[1-50]", "a[1-60],b[1-40],a[1-60]"] {
            assert_eq!(count(list), Ok(100), "{list}");
        }
        // Also on the way to fewer, when it is twice as many.
        for list in
            ["n[1-101]", "a[0-9][0-9],b", "a[1-60],b[1-60]", "a[1-100],b[1-100],c,-a[1-100],-b[1-100]"]
        {
            let error = count(list).unwrap_err().to_string();
            assert!(error.contains("100 is the most"), "{list}: {error}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_reason() {
        let cases = [
            ("", "is no name"),
            ("a,,b", "is no name"),
            ("a b", "is no name"),
            ("node1]", "is no name"),
            ("node[1-3", "not closed"),
            ("node[1-[2]]", "not closed"),
            ("node[]", "is no range"),
            ("node[3-1]", "is no range"),
            ("node[a-c]", "is no range"),
            ("node[1-2-3]", "is no range"),
            ("node[9-012]", "is no range"),
            ("node[1-9999999999999999999]", "is no range"),
            ("node[1-1000001]", "1000000 is the most"),
            ("a[0-9999][0-9999]", "1000000 is the most"),
            ("a[0-999999999999999999][0-999999999999999999]", "1000000 is the most"),
        ];
        for (list, want) in cases {
            let error = expand(list).unwrap_err().to_string();
            assert!(error.contains(want), "{list}: {error}");
        }
    }
}

//! `docs/published.md` against the rows that there are to be and the tests: each is there once, and names tests that exist, or says why
//! there is no such thing here.

use std::collections::HashSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result};

use crate::features;

const DOCUMENT: &str = "docs/published.md";

/// What Pixiecore, bootcfg and matchbox, Booddies, and LiveBOOTP's registry do at their outside, and what their users asked for.
const ROWS: [(&str, RangeInclusive<u32>); 9] = [
    ("PX", 1..=9),
    ("PX", 30..=37),
    ("PX", 50..=60),
    ("BC", 1..=10),
    ("BC", 20..=42),
    ("BD", 10..=13),
    ("BD", 20..=20),
    ("LB", 20..=25),
    ("L", 1..=25),
];

/// Everything that is wrong with it; a line each.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    let rows =
        ROWS.into_iter().flat_map(|(system, numbers)| numbers.map(move |n| format!("{system}-{n:02}")));
    Ok(faults(&text, &rows.collect::<Vec<_>>(), &features::tests(root)?))
}

fn faults(text: &str, rows: &[String], tests: &HashSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(cells) = features::cells(line).filter(|cells| cells[0] != "row") else { continue };
        let mut fault = |what: String| faults.push(format!("{DOCUMENT}:{}: {what}", number + 1));
        let [row, _, here, shown_by] = cells[..] else {
            fault(format!("has {} cells and not 4", cells.len()));
            continue;
        };
        if seen.contains(&row) || !rows.iter().any(|known| known == row) {
            fault(format!("{row} is no row, or there a second time"));
        }
        seen.push(row);
        let names = features::names(shown_by);
        if names.is_empty() && !(shown_by == "–" && here.starts_with("not here: ")) {
            fault(format!("{row} has no test, and no \"not here: \" that says why"));
        }
        names
            .into_iter()
            .filter(|name| !tests.contains(*name))
            .for_each(|name| fault(format!("there is no test {name}")));
    }
    let missing = rows.iter().filter(|row| !seen.contains(&row.as_str()));
    faults.extend(missing.map(|row| format!("{DOCUMENT}: {row} is missing")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_four_systems_has_its_test_or_its_reason() {
        assert_eq!(check(crate::paths::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_row_that_is_missing_or_proves_nothing_is_a_fault() {
        let text = "| row | what | here | test |\n|---|---|---|---|\n| A-01 | x | y | `there` |\n| A-01 | x | y | `gone` |\n\
                    | A-02 | x | y | – |\n| A-03 | x | not here: we need none | – |\n| A-05 | x | `y` |\nprose\n";
        let rows = ["A-01", "A-02", "A-03", "A-04"].map(str::to_owned);
        let found = faults(text, &rows, &["there".to_owned()].into());
        let want = [
            "4: A-01 is no row, or there a second time",
            "4: there is no test gone",
            "5: A-02 has no test, and no \"not here: \" that says why",
            "7: has 3 cells and not 4",
        ];
        let mut want: Vec<String> = want.map(|what| format!("{DOCUMENT}:{what}")).to_vec();
        want.push(format!("{DOCUMENT}: A-04 is missing"));
        assert_eq!(found, want);
    }
}

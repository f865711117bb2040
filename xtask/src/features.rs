//! `docs/features.md` against the tests: each name in its last column must be a test that exists.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rooms::rust_files;
use crate::vm::kernel_tls;

/// Where tests are.
const FOLDERS: &[&str] = &["netboot-common", "netboot-userspace", "xtask", "tests"];

/// Every row that names no test, or one that is not there; a line each.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let path = root.join("docs/features.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(faults(&text, &tests(root)?))
}

/// The names of all tests, as documents have them.
pub(crate) fn tests(root: &Path) -> Result<HashSet<String>> {
    let mut tests = HashSet::new();
    for folder in FOLDERS {
        for file in rust_files(&root.join(folder))? {
            tests.extend(functions(&fs::read_to_string(&file)?));
        }
    }
    for entry in fs::read_dir(root.join("tests/vm"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        tests.extend(name.strip_suffix(".yaml").map(|name| format!("vm:{name}")));
    }
    tests.insert(format!("vm:{}", kernel_tls::NAME));
    Ok(tests)
}

fn faults(text: &str, tests: &HashSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(cell) = cells(line).and_then(|cells| cells.last().copied()).filter(|cell| *cell != "test")
        else {
            continue;
        };
        let names = names(cell);
        if names.is_empty() && cell != "not yet" {
            faults.push(format!("docs/features.md:{}: no test, and not \"not yet\"", number + 1));
        }
        for name in names.into_iter().filter(|name| !tests.contains(*name)) {
            faults.push(format!("docs/features.md:{}: there is no test {name}", number + 1));
        }
    }
    faults
}

/// What stands in backquotes.
pub(crate) fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The cells of a table's row; `None` for rules and prose.
pub(crate) fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    (!cells.iter().all(|cell| cell.starts_with("---"))).then_some(cells)
}

/// The functions behind `#[test]` and `#[tokio::test]`, also where that says how.
fn functions(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim_start);
    let mut names = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            let function = lines.by_ref().find_map(|line| line.split_once("fn "));
            names.extend(function.and_then(|(_, name)| Some(name.split('(').next()?.to_owned())));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_test_that_exists() {
        assert_eq!(check(crate::paths::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn rows_without_a_test_are_faults() {
        let text = "| feature | test |\n|---|---|\n| a | `there` |\n| b | `gone`, `vm:x` |\n| c | |\n| d | not yet |\nprose\n";
        let tests = functions(
            "    #[test]\n    fn there() {}\n#[tokio::test(start_paused = true)]\nasync fn also() {}\n",
        );
        assert_eq!(tests, ["there", "also"]);
        let found = faults(text, &tests.into_iter().chain(["vm:x".to_owned()]).collect());
        assert_eq!(
            found,
            ["docs/features.md:4: there is no test gone", "docs/features.md:5: no test, and not \"not yet\""]
        );
    }
}

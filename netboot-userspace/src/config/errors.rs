//! What is wrong with a configuration: all of it, each fault at its place.

use std::fmt;
use std::path::{Path, PathBuf};

use super::yaml::At;

/// Everything that is wrong, by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    faults: Vec<Fault>,
    /// Files beside the configuration that were read, or looked for.
    looked_for: Vec<PathBuf>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    pub column: usize,
    /// The field's path, as in `interfaces[0].range`; empty: the document.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The line as typed.
    pub excerpt: String,
}

impl Errors {
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn len(&self) -> usize {
        self.faults.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// Files that are beside the configuration or anywhere else, and that it names: what is wrong may be mended there.
    pub fn looked_for(&self) -> &[PathBuf] {
        &self.looked_for
    }

    pub(super) fn look_for(&mut self, files: &[PathBuf]) {
        self.looked_for.extend_from_slice(files);
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// By file, then by place in it.
    pub(super) fn sorted(mut self) -> Self {
        self.faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self
    }

    /// A fault of a file as a whole.
    pub(super) fn whole(&mut self, file: &Path, message: String) {
        self.push(Fault {
            file: file.to_owned(),
            line: 0,
            column: 0,
            field: String::new(),
            message,
            excerpt: String::new(),
        });
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.excerpt.is_empty() {
            let (number, column) = (self.line.to_string(), self.column.max(1));
            let (margin, indent) = (" ".repeat(number.len()), " ".repeat(column - 1));
            write!(f, "\n {margin} |\n {number} | {}\n {margin} | {indent}^", self.excerpt)?;
        }
        Ok(())
    }
}

/// One file's text, for excerpts.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    lines: Vec<String>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect() }
    }

    /// `file:line`, as hosts and profiles carry it.
    pub(super) fn origin(&self, at: At) -> String {
        format!("{}:{}", self.file.display(), at.line)
    }

    pub(super) fn fault(&self, at: At, field: &str, message: String) -> Fault {
        Fault {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            field: field.to_owned(),
            message,
            excerpt: at.line.checked_sub(1).and_then(|l| self.lines.get(l)).cloned().unwrap_or_default(),
        }
    }
}

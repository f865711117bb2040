//! The one template language: Go's text/template, as Pixiecore's and matchbox's users write it, over JSON. Pure.
//!
//! A text is read once ([`Template::parse`]) and rendered with what is known ([`Template::render`]). What holds true:
//!
//! - A key that is missing is a fault, never an empty text (Go's `missingkey=error`); `index` asks for one that may be missing.
//! - Any text is read or refused, any template ends: nesting, steps and output are bounded ([`DEPTH`], [`STEPS`], [`OUTPUT`]).
//! - Rendering is a function of its arguments: maps go by the order of their keys.
//!
//! Where it differs from Go, which has types that JSON has not, says docs/booting.md.

mod compare;
mod escape;
mod evaluator;
mod format;
mod functions;
mod known;
mod lexer;
mod parser;
mod printf;
mod quoted;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use tree::{At, Node};

pub use escape::{is_unreserved, percent};

/// How deep blocks, parentheses and calls of templates may be nested, all together.
pub const DEPTH: usize = 100;
/// How many variables a template may have in one scope.
pub const VARIABLES: usize = 1_000;
/// How much work one rendering may be: an action each, each turn of a loop, each 64 bytes of a text that a function takes or makes, and
/// each value that is copied.
pub const STEPS: usize = 1_000_000;
/// The most bytes that a template may have, or make.
pub const OUTPUT: usize = 4 << 20;

/// A template that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    name: String,
    text: String,
    nodes: Vec<Node>,
    /// Those that it defines, by their names.
    defined: BTreeMap<String, Vec<Node>>,
    /// Every function that it calls and that is not the language's own, and where first.
    foreign: BTreeMap<String, At>,
}

/// What is wrong with a template, or with what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The template's.
    pub name: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.name, self.line, self.column, self.what)
    }
}

impl Fault {
    fn new(name: &str, text: &str, At(offset): At, what: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: what.into(),
        }
    }
}

/// Functions beside the language's own: `()` has none.
pub trait Functions {
    fn has(&self, name: &str) -> bool;

    /// Called only with a name that it has.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String>;
}

impl Functions for () {
    fn has(&self, _: &str) -> bool {
        false
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, String> {
        Err(format!("there is no function {name}"))
    }
}

impl Template {
    /// Reads a template; faults call it `name`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Fault> {
        let fault = |(at, what): (At, String)| Fault::new(name, text, at, what);
        if text.len() > OUTPUT {
            return Err(fault((At(0), format!("has more than {OUTPUT} bytes"))));
        }
        let parsed = lexer::lex(text).and_then(parser::parse).map_err(fault)?;
        let parser::Parsed { nodes, defined, foreign } = parsed;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), nodes, defined, foreign })
    }

    /// Whether all functions that it calls are there.
    ///
    /// # Errors
    /// One that is not.
    pub fn check(&self, functions: &dyn Functions) -> Result<(), Fault> {
        let missing = self.foreign.iter().find(|(name, _)| !functions.has(name));
        missing.map_or(Ok(()), |(name, at)| Err(self.fault(*at, format!("function {name:?} not defined"))))
    }

    /// The text that it makes of `data`.
    ///
    /// # Errors
    /// A key that is missing, a function that is not there or refuses, or a limit that is reached.
    pub fn render(&self, data: &Value, functions: &dyn Functions) -> Result<String, Fault> {
        self.check(functions)?;
        evaluator::run(self, data, functions)
    }

    /// As it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn fault(&self, at: At, what: impl Into<String>) -> Fault {
        Fault::new(&self.name, &self.text, at, what)
    }
}

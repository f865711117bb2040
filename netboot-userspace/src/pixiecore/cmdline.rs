//! A kernel's command line: text, and files whose URLs it names (`{{ URL "…" }}` of an API, `{{ ID "…" }}` of the operator).

use std::cell::RefCell;

use serde_json::Value;

use super::{Fault, Place};
use crate::template::{Functions, Template};

/// A piece of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// The URL by which the machine gets this file from us.
    File(Place),
}

/// Reads a template of Go's that may call one function more, whose argument `place` makes a file.
///
/// # Errors
/// It is no such template, or `place` refuses, or the line has more than one line.
pub fn read(
    text: &str,
    function: &str,
    place: impl FnMut(&str) -> Result<Place, String>,
) -> Result<Vec<Part>, Fault> {
    let fault = |cause: String| Fault::new("cmdline", cause);
    let template = Template::parse("cmdline", text).map_err(|wrong| fault(wrong.what))?;
    let named = Named { function, inner: RefCell::new((place, Vec::new())) };
    let known = format!("what is known beside Go's own is {{{{ {function} \"…\" }}}}");
    template.check(&named).map_err(|wrong| fault(format!("{}: {known}", wrong.what)))?;
    let line = template.render(&Value::Null, &named).map_err(|wrong| fault(wrong.what))?;
    let (_, files) = named.inner.into_inner();
    parts(&line, &files, function).map_err(fault)
}

/// What stands around a file's number where its URL is to be: no line that is one line has them.
const MARK: char = '\u{1}';
const END: char = '\u{2}';

/// The one function. What it gives is a mark, for the URL is another one each time.
struct Named<'a, P> {
    function: &'a str,
    inner: RefCell<(P, Vec<Place>)>,
}

impl<P: FnMut(&str) -> Result<Place, String>> Functions for Named<'_, P> {
    fn has(&self, name: &str) -> bool {
        name == self.function
    }

    fn call(&self, _: &str, arguments: &[Value]) -> Result<Value, String> {
        let [Value::String(argument)] = arguments else { return Err("it takes one text".to_owned()) };
        let (place, files) = &mut *self.inner.borrow_mut();
        files.push(place(argument)?);
        Ok(Value::from(format!("{MARK}{}{END}", files.len() - 1)))
    }
}

/// The line with files in place of their marks, each of which must be there as it was given.
fn parts(line: &str, files: &[Place], function: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut rest, mut used) = (Vec::new(), line, vec![false; files.len()]);
    while let Some((before, behind)) = rest.split_once(MARK) {
        push(&mut parts, before)?;
        let marked = behind.split_once(END).and_then(|(number, after)| Some((number.parse().ok()?, after)));
        let Some((number, after)) = marked else { return Err(not_one_line(MARK)) };
        let number: usize = number;
        let file = files.get(number).ok_or_else(|| not_one_line(MARK))?;
        parts.push(Part::File(file.clone()));
        if let Some(used) = used.get_mut(number) {
            *used = true;
        }
        rest = after;
    }
    push(&mut parts, rest)?;
    match used.iter().all(|used| *used) {
        true => Ok(parts),
        false => {
            Err(format!("{function}: what it gives is put in as it is, and can't be changed or left out"))
        }
    }
}

/// iPXE reads a command to the end of its line: what would follow would be another one.
fn push(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(not_one_line(c));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn not_one_line(c: char) -> String {
    format!("{c:?} in it: a command line is one line of text")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(argument: &str) -> Result<Place, String> {
        if argument == "no" { Err("no such file".into()) } else { Ok(Place::Named(argument.into())) }
    }

    #[test]
    fn px_53_calls_become_files_and_all_else_stays() {
        let text = |text: &str| Part::Text(text.into());
        let file = |name: &str| Part::File(Place::Named(name.into()));
        for (typed, want) in [
            ("", vec![]),
            ("quiet url=http://x/y ${uuid}", vec![text("quiet url=http://x/y ${uuid}")]),
            (r#"a={{ URL "u" }} b"#, vec![text("a="), file("u"), text(" b")]),
            (r#"{{URL "u"}}{{ URL `v}}` }}"#, vec![file("u"), file("v}}")]),
            (r#"{{ URL "a\"}}b" }}"#, vec![file("a\"}}b")]),
            (r#"x={{ "{{" }}y"#, vec![text("x={{y")]),
            (r#"ks= {{- URL "u" -}} x"#, vec![text("ks="), file("u"), text("x")]),
            (r#"{{/* x */}}{{ "u" | URL }}"#, vec![file("u")]),
            (r#"{{ URL (printf "/ks/%s" "a") }}"#, vec![file("/ks/a")]),
            (
                r#"{{ URL "\x2fk" }}{{ $u := URL "v" }}{{ $u }}{{ $u }}"#,
                vec![file("/k"), file("v"), file("v")],
            ),
        ] {
            assert_eq!(read(typed, "URL", named), Ok(want), "{typed}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_cause() {
        for (typed, words) in [
            (r#"{{ URL "u" "#, "unclosed action"),
            (r#"{{ ID "u" }}"#, r#"function "ID" not defined: what is known beside Go's own is {{ URL"#),
            (r#"{{ URLS "u" }}"#, "not defined"),
            (r#"{{ URL "a" "b" }}"#, "URL: it takes one text"),
            (r#"{{ URL "a" | urlquery }}"#, "URL: what it gives is put in as it is"),
            (r#"a{{ "\x017\x02" }}"#, "one line"),
            (r#"{{ URL "no" }}"#, "URL: no such file"),
            ("a\nb", "one line"),
            (r#"a{{ "\n" }}b"#, "one line"),
            ("a\0b", "one line"),
        ] {
            let fault = read(typed, "URL", named).unwrap_err();
            assert_eq!(fault.field, "cmdline");
            assert!(fault.cause.contains(words), "{typed:?}: {fault}");
        }
    }
}

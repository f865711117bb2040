//! A kernel's command line: text, and files whose URLs it names (`{{ URL "…" }}` of an API, `{{ ID "…" }}` of the operator).

use super::{Fault, Place};

/// A piece of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// The URL by which the machine gets this file from us.
    File(Place),
}

/// Reads a template that may call one function, whose argument `place` makes a file.
///
/// # Errors
/// It is no such template, or `place` refuses, or the line has more than one line.
pub fn read(
    text: &str,
    function: &str,
    mut place: impl FnMut(&str) -> Result<Place, String>,
) -> Result<Vec<Part>, Fault> {
    let fault = |cause: String| Fault::new("cmdline", cause);
    one_line(text)?;
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        push(&mut parts, before);
        let (action, after) = split_action(behind).ok_or_else(|| {
            fault(format!("{} is not closed: it takes a }}}}", excerpt(&rest[before.len()..])))
        })?;
        match call(action, function).map_err(fault)? {
            Called::Text(text) => push(&mut parts, &text),
            Called::File(argument) => {
                parts.push(Part::File(
                    place(&argument).map_err(|cause| fault(format!("{function}: {cause}")))?,
                ));
            }
        }
        rest = after;
    }
    push(&mut parts, rest);
    for part in &parts {
        if let Part::Text(text) = part {
            one_line(text)?;
        }
    }
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// iPXE reads a command to the end of its line: what would follow would be another one.
fn one_line(text: &str) -> Result<(), Fault> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(Fault::new("cmdline", format!("{c:?} in it: a command line is one line of text"))),
        None => Ok(()),
    }
}

enum Called {
    Text(String),
    File(String),
}

/// Splits at the `}}` that is in no string.
fn split_action(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if is_escaped => is_escaped = false,
            Some('"') if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            None => {}
        }
    }
    None
}

/// `FUNCTION "argument"`, or a string alone, which stands for itself.
fn call(action: &str, function: &str) -> Result<Called, String> {
    let action = action.trim();
    let known = || format!("{} is not known here: write {{{{ {function} \"…\" }}}}", excerpt(action));
    if action.starts_with(['"', '`']) {
        return string(action).map(Called::Text).ok_or_else(known);
    }
    let argument =
        action.strip_prefix(function).filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
    argument.and_then(|argument| string(argument.trim())).map(Called::File).ok_or_else(known)
}

/// Go's interpreted and raw strings, as far as URLs and file names need them.
fn string(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return raw.strip_suffix('`').filter(|raw| !raw.contains('`')).map(str::to_owned);
    }
    serde_json::from_str(text).ok()
}

fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
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
        ] {
            assert_eq!(read(typed, "URL", named), Ok(want), "{typed}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_cause() {
        for (typed, words) in [
            (r#"{{ URL "u" "#, "not closed"),
            (r#"{{ ID "u" }}"#, "is not known here: write {{ URL"),
            (r#"{{ URLS "u" }}"#, "not known"),
            ("{{ URL u }}", "not known"),
            ("{{ .mac }}", "not known"),
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

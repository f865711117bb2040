//! The language's own functions. `and` and `or` are the evaluator's, as they don't look at all of their arguments.

use serde_json::Value;

use super::format::{is_true, kind, printed, shown};
use super::known::Known;
use super::{OUTPUT, compare, escape, printf};

const NAMES: [&str; 18] = [
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];

pub(super) fn is_builtin(name: &str) -> bool {
    NAMES.contains(&name)
}

type Made<'a> = Result<Known<'a>, String>;

/// `None`: there is no such function.
pub(super) fn builtin<'a>(name: &str, arguments: &[Known<'a>]) -> Option<Made<'a>> {
    let text = |text: String| Ok(Known::made(text));
    let truth = |truth: Result<bool, String>| truth.map(Known::made);
    Some(match name {
        "not" => one(arguments).and_then(|value| truth(Ok(!is_true(value)))),
        "len" => one(arguments).and_then(|value| length(value)).map(Known::made),
        "index" => index(arguments),
        "slice" => slice(arguments).map(Known::made),
        "print" => print(arguments).and_then(text),
        "println" => println(arguments).and_then(text),
        "printf" => printf::printf(arguments).and_then(text),
        "html" => as_text(arguments).and_then(|given| text(escape::html(&given))),
        "js" => as_text(arguments).and_then(|given| text(escape::js(&given))),
        "urlquery" => as_text(arguments).and_then(|given| text(escape::query(&given))),
        "eq" => truth(equal(arguments)),
        "ne" => truth(two(arguments).and_then(|(a, b)| compare::equal(a, b)).map(|same| !same)),
        "lt" => truth(two(arguments).and_then(|(a, b)| compare::less(a, b))),
        "gt" => truth(two(arguments).and_then(|(a, b)| compare::less(b, a))),
        "le" => truth(two(arguments).and_then(|(a, b)| compare::less(b, a)).map(|is| !is)),
        "ge" => truth(two(arguments).and_then(|(a, b)| compare::less(a, b)).map(|is| !is)),
        _ => return None,
    })
}

fn wrong_number(want: &str, got: usize) -> String {
    format!("wrong number of args: want {want}, got {got}")
}

fn one<'v, 'a>(arguments: &'v [Known<'a>]) -> Result<&'v Known<'a>, String> {
    match arguments {
        [one] => Ok(one),
        _ => Err(wrong_number("1", arguments.len())),
    }
}

fn two<'v>(arguments: &'v [Known<'_>]) -> Result<(&'v Value, &'v Value), String> {
    match arguments {
        [a, b] => Ok((a, b)),
        _ => Err(wrong_number("2", arguments.len())),
    }
}

/// Whether the first is one of the others.
fn equal(arguments: &[Known<'_>]) -> Result<bool, String> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in others {
        if compare::equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In bytes, of a text.
fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(list) => Ok(list.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("a {} has no length", kind(other))),
    }
}

/// `index x 1 "a"` is `x[1]["a"]`. A key that a map has not gives null: this is how to ask for what may be missing.
fn index<'a>(arguments: &[Known<'a>]) -> Made<'a> {
    let Some((first, indexes)) = arguments.split_first() else { return Err(wrong_number("at least 1", 0)) };
    indexes.iter().try_fold(first.clone(), |value, index| match (&*value, &**index) {
        (Value::Object(_), Value::String(key)) => {
            Ok(value.part(|value| value.get(key)).unwrap_or_else(|| Known::made(Value::Null)))
        }
        (Value::Array(list), Value::Number(_)) => {
            let at = position(index, list.len())?;
            value.part(|value| value.get(at)).ok_or_else(out_of_range)
        }
        (Value::String(text), Value::Number(_)) => {
            let at = position(index, text.len())?;
            let byte = text.as_bytes().get(at).ok_or_else(out_of_range)?;
            Ok(Known::made(*byte))
        }
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        (of, by) => Err(format!("can't index a {} by a {}", kind(of), kind(by))),
    })
}

/// A place in what has so many, its end included.
fn position(index: &Value, length: usize) -> Result<usize, String> {
    let Value::Number(number) = index else { return Err(format!("can't index by a {}", kind(index))) };
    if number.is_f64() {
        return Err("can't index by a float64: it is not whole".to_owned());
    }
    let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
    at.filter(|at| *at <= length).ok_or_else(out_of_range)
}

fn out_of_range() -> String {
    "index out of range".to_owned()
}

/// `slice x 1 2` is `x[1:2]`.
fn slice(arguments: &[Known<'_>]) -> Result<Value, String> {
    let Some((value, bounds)) = arguments.split_first() else { return Err(wrong_number("at least 1", 0)) };
    let length = match &**value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        other => return Err(format!("can't slice a {}", kind(other))),
    };
    if bounds.len() > 3 || (bounds.len() == 3 && value.is_string()) {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bounds: Vec<usize> = bounds.iter().map(|bound| position(bound, length)).collect::<Result<_, _>>()?;
    let (from, to) = (bounds.first().copied().unwrap_or(0), bounds.get(1).copied().unwrap_or(length));
    if from > to || bounds.get(2).is_some_and(|most| to > *most) {
        return Err("invalid slice index: it ends before it begins".to_owned());
    }
    match &**value {
        Value::String(text) => {
            let part = text.get(from..to).ok_or("a slice would cut a character in two")?;
            Ok(part.into())
        }
        other => Ok(other.as_array().map(|list| list[from..to].to_vec()).unwrap_or_default().into()),
    }
}

/// A space between two of which neither is a text.
fn print(arguments: &[Known<'_>]) -> Result<String, String> {
    joined(arguments, |before, value| !before.is_string() && !value.is_string())
}

fn println(arguments: &[Known<'_>]) -> Result<String, String> {
    joined(arguments, |_, _| true).map(|text| text + "\n")
}

/// As they are printed, with a space between two where `is_apart`; no further than a template may make.
fn joined(arguments: &[Known<'_>], is_apart: impl Fn(&Value, &Value) -> bool) -> Result<String, String> {
    let mut text = String::new();
    let mut before: Option<&Value> = None;
    for value in arguments {
        if before.is_some_and(|before| is_apart(before, value)) {
            text.push(' ');
        }
        text.push_str(&shown(value));
        if text.len() > OUTPUT {
            return Err(format!("makes more than {OUTPUT} bytes"));
        }
        before = Some(value);
    }
    Ok(text)
}

/// What is escaped: a text as it is, all else as it is printed.
fn as_text(arguments: &[Known<'_>]) -> Result<String, String> {
    match arguments {
        [one] => Ok(printed(one)),
        several => print(several),
    }
}

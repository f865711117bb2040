//! An API's answer: JSON into what a machine boots.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::cmdline::{self, Part};
use super::{Base, Boot, Fault, Linux, Place};

/// Reads it. What is not known is ignored, as Pixiecore does.
///
/// # Errors
/// The first field that is wrong, and why.
pub fn read(body: &[u8], base: &Base) -> Result<Boot, Fault> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Fault::new("the answer", format!("is no JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(Fault::new("the answer", format!("is {}: it takes an object", kind(&value))));
    };
    if let Some(script) = text(&fields, "ipxe-script")?.filter(|script| !script.is_empty()) {
        return Ok(Boot::Script(script.to_owned()));
    }
    let kernel = text(&fields, "kernel")?.filter(|kernel| !kernel.is_empty());
    let kernel =
        kernel.ok_or_else(|| Fault::new("kernel", "is missing: there is nothing to boot without it"))?;
    Ok(Boot::Linux(Linux {
        kernel: base.resolve(kernel).map_err(|cause| Fault::new("kernel", cause))?,
        initrd: initrd(&fields, base)?,
        cmdline: match fields.get("cmdline") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(line)) => cmdline::read(line, "URL", |url| base.resolve(url))?,
            Some(Value::Object(words)) => object(words, base)?,
            Some(other) => {
                return Err(Fault::new(
                    "cmdline",
                    format!("is {}: it takes a string or an object", kind(other)),
                ));
            }
        },
        message: text(&fields, "message")?.unwrap_or_default().to_owned(),
    }))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Fault::new(name, format!("is {}: it takes a string", kind(other)))),
    }
}

fn initrd(fields: &Map<String, Value>, base: &Base) -> Result<Vec<Place>, Fault> {
    let all = match fields.get("initrd") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) => all,
        Some(other) => {
            return Err(Fault::new("initrd", format!("is {}: it takes a list of strings", kind(other))));
        }
    };
    let one = |(at, value): (usize, &Value)| {
        let fault = |cause| Fault::new(format!("initrd[{at}]"), cause);
        let url = value.as_str().ok_or_else(|| fault(format!("is {}: it takes a string", kind(value))))?;
        base.resolve(url).map_err(fault)
    };
    all.iter().enumerate().map(one).collect()
}

/// The deprecated form: words by their keys, in their order (PX-54).
fn object(words: &Map<String, Value>, base: &Base) -> Result<Vec<Part>, Fault> {
    let sorted: BTreeMap<&str, &Value> = words.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut parts = Vec::new();
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        let fault = |cause: String| Fault::new(format!("cmdline.{key}"), cause);
        let space = if at == 0 { "" } else { " " };
        let plain =
            |text: String| if text.contains(char::is_control) { None } else { Some(Part::Text(text)) };
        let one_line =
            || fault("has a control character in it: a command line is one line of text".to_owned());
        match value {
            Value::String(value) => {
                parts.push(plain(format!("{space}{key}={}", quoted(value))).ok_or_else(one_line)?);
            }
            Value::Bool(_) => parts.push(plain(format!("{space}{key}")).ok_or_else(one_line)?),
            Value::Object(inner) => {
                let url = inner
                    .get("url")
                    .and_then(Value::as_str)
                    .ok_or_else(|| fault("is an object without a `url` that is a string".to_owned()))?;
                parts.push(plain(format!("{space}{key}=")).ok_or_else(one_line)?);
                parts.push(Part::File(base.resolve(url).map_err(fault)?));
            }
            other => {
                let cause = format!("is {}: it takes a string, true, or an object with a `url`", kind(other));
                return Err(fault(cause));
            }
        }
    }
    Ok(parts)
}

/// As Go quotes (`%q`), for what a command line may have in it: control characters are refused where this is used.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Boot, Fault> {
        let base = Base::new("http://api.example/prefix", vec!["/srv/boot".into()]).unwrap();
        super::read(text.as_bytes(), &base)
    }

    fn linux(text: &str) -> Linux {
        match read(text) {
            Ok(Boot::Linux(linux)) => linux,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// With `<…>` for files.
    fn line(parts: &[Part]) -> String {
        let one = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::File(Place::Remote(url)) => format!("<{url}>"),
            Part::File(other) => format!("<{other:?}>"),
        };
        parts.iter().map(one).collect()
    }

    #[test]
    fn px_51_to_55_a_whole_answer() {
        let remote = |path: &str| Place::Remote(format!("http://api.example{path}"));
        let boot = linux(
            r#"{"kernel":"/k","initrd":["/1","/2"],"cmdline":"a={{ URL \"/f\" }} b=http://x/","message":"hi","new":1}"#,
        );
        assert_eq!((boot.kernel, boot.initrd), (remote("/k"), vec![remote("/1"), remote("/2")]));
        assert_eq!(line(&boot.cmdline), "a=<http://api.example/f> b=http://x/");
        assert_eq!(boot.message, "hi");
        let least = linux(r#"{"kernel":"http://h/k","initrd":null}"#);
        assert_eq!((least.initrd, least.cmdline, least.message), (vec![], vec![], String::new()));
    }

    #[test]
    fn px_54_the_object_form_is_sorted_and_quoted() {
        for (object, want) in [
            (r#"{"b":"2","a":"1"}"#, r#"a="1" b="2""#),
            (r#"{"a":""}"#, r#"a="""#),
            (r#"{"a":"x \"y\" \\ z"}"#, r#"a="x \"y\" \\ z""#),
            (r#"{"on":true,"off":false}"#, "off on"),
            (r#"{"z":{"url":"/f"},"a":true}"#, "a z=<http://api.example/f>"),
            ("{}", ""),
        ] {
            assert_eq!(line(&linux(&format!(r#"{{"kernel":"/k","cmdline":{object}}}"#)).cmdline), want);
        }
    }

    #[test]
    fn px_56_a_script_wins_over_everything_else() {
        assert_eq!(
            read(r##"{"kernel":7,"ipxe-script":"#!ipxe\nshell\n"}"##),
            Ok(Boot::Script("#!ipxe\nshell\n".into()))
        );
        assert_eq!(read(r#"{"ipxe-script":""}"#).unwrap_err().field, "kernel");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field_and_cause() {
        for (text, field, words) in [
            ("", "the answer", "no JSON"),
            ("[]", "the answer", "is a list"),
            ("{}", "kernel", "is missing"),
            (r#"{"kernel":""}"#, "kernel", "is missing"),
            (r#"{"kernel":7}"#, "kernel", "is a number"),
            (r#"{"kernel":"gopher://x"}"#, "kernel", "gopher is not fetched"),
            (r#"{"kernel":"file:///etc/shadow"}"#, "kernel", "/srv/boot"),
            (r#"{"kernel":"/k","initrd":"/i"}"#, "initrd", "a list of strings"),
            (r#"{"kernel":"/k","initrd":["/i",""]}"#, "initrd[1]", "empty"),
            (r#"{"kernel":"/k","initrd":[1]}"#, "initrd[0]", "is a number"),
            (r#"{"kernel":"/k","cmdline":[]}"#, "cmdline", "is a list"),
            (r#"{"kernel":"/k","cmdline":"a\nb"}"#, "cmdline", "one line"),
            (r#"{"kernel":"/k","cmdline":"{{ NO }}"}"#, "cmdline", "not defined"),
            (r#"{"kernel":"/k","cmdline":{"a":1}}"#, "cmdline.a", "is a number"),
            (r#"{"kernel":"/k","cmdline":{"a":null}}"#, "cmdline.a", "is null"),
            (r#"{"kernel":"/k","cmdline":{"a":{"uri":"x"}}}"#, "cmdline.a", "without a `url`"),
            (r#"{"kernel":"/k","cmdline":{"a":{"url":"ftp://x"}}}"#, "cmdline.a", "ftp"),
            (r#"{"kernel":"/k","cmdline":{"a":"x\ny"}}"#, "cmdline.a", "one line"),
            (r#"{"kernel":"/k","cmdline":{"a\nb":true}}"#, "cmdline.a\nb", "one line"),
            (r#"{"kernel":"/k","message":1}"#, "message", "is a number"),
            (r#"{"kernel":"/k","ipxe-script":{}}"#, "ipxe-script", "is an object"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.field == field && fault.cause.contains(words), "{text}: {fault:?}");
        }
    }
}

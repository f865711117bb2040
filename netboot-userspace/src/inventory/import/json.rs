//! JSON as Kea takes it: with comments (`//`, `#`, `/* */`) and with commas too many. Every value knows its line.

use crate::config::yaml::{At, Node, Value};

/// Reads one document.
///
/// # Errors
/// Where it is no JSON, and why.
pub(super) fn parse(text: &str) -> Result<Node, (At, String)> {
    let mut reader = Reader { text, at: 0, line: 1, line_start: 0 };
    let node = reader.value(0)?;
    match reader.next()? {
        None => Ok(node),
        Some(byte) => Err(reader.fault(format!("{:?} follows the end of the document", char::from(byte)))),
    }
}

/// How deep values may be nested.
const DEEPEST: usize = 64;

struct Reader<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
    line: usize,
    line_start: usize,
}

type Result<T, E = (At, String)> = std::result::Result<T, E>;

impl<'a> Reader<'a> {
    fn place(&self) -> At {
        At { line: self.line, column: self.at - self.line_start + 1 }
    }

    fn fault(&self, reason: impl Into<String>) -> (At, String) {
        (self.place(), reason.into())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes on by so many bytes.
    fn skip(&mut self, count: usize) {
        for (offset, _) in self.rest()[..count].match_indices('\n') {
            (self.line, self.line_start) = (self.line + 1, self.at + offset + 1);
        }
        self.at += count;
    }

    /// The byte behind white space and comments.
    fn next(&mut self) -> Result<Option<u8>> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let comment = if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| self.fault("a comment is not closed"))? + 2
            } else {
                0
            };
            if blank + comment == 0 {
                return Ok(rest.bytes().next());
            }
            self.skip(blank.max(comment));
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node> {
        let first = self.next()?;
        let at = self.place();
        let value = match first {
            _ if depth > DEEPEST => return Err(self.fault("is nested too deeply")),
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'<') => return Err(self.fault("`<?include …?>` is not followed: import that file, too")),
            Some(_) => self.word()?,
            None => return Err(self.fault("the document ends where a value should be")),
        };
        Ok(Node { at, value })
    }

    fn map(&mut self, depth: usize) -> Result<Value> {
        let mut entries = Vec::new();
        self.skip(1);
        while self.more(b'}')? {
            let at = self.place();
            if !self.rest().starts_with('"') {
                return Err(self.fault("a key in quotes is missing"));
            }
            let key = self.string()?;
            match self.next()? {
                Some(b':') => self.skip(1),
                _ => return Err(self.fault(format!("`:` is missing behind {key:?}"))),
            }
            entries.push((key, at, self.value(depth + 1)?));
        }
        Ok(Value::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        self.skip(1);
        while self.more(b']')? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    /// Whether another item follows; if not, goes on behind the `end`.
    fn more(&mut self, end: u8) -> Result<bool> {
        let opened = self.text[..self.at].ends_with(['{', '[']);
        match self.next()? {
            Some(byte) if byte == end => {
                self.skip(1);
                return Ok(false);
            }
            Some(b',') if !opened => self.skip(1),
            Some(_) if opened => return Ok(true),
            Some(_) => return Err(self.fault(format!("`,` or `{}` is missing", char::from(end)))),
            None => return Err(self.fault(format!("the document ends before `{}`", char::from(end)))),
        }
        // Kea lets a comma stand behind the last item.
        match self.next()? {
            Some(byte) if byte == end => {
                self.skip(1);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// A number, `true`, `false` or `null`, as typed.
    fn word(&mut self) -> Result<Value> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let word = &rest[..end];
        let number =
            word.starts_with(|c: char| c.is_ascii_digit() || c == '-') && word.parse::<f64>().is_ok();
        match word {
            "null" => {}
            "true" | "false" => {}
            _ if number => {}
            _ => return Err(self.fault("is no value of JSON")),
        }
        self.skip(end);
        Ok(if word == "null" { Value::Null } else { Value::Plain(word.to_owned()) })
    }

    /// What stands between two quotes.
    fn string(&mut self) -> Result<String> {
        let rest = self.rest();
        let mut escaped = true; // the first quote does not end it
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends || byte == b'\n'
        });
        let literal = end.and_then(|end| rest.get(..=end)).unwrap_or_default();
        match serde_json::from_str(literal) {
            Ok(text) => {
                self.skip(literal.len());
                Ok(text)
            }
            Err(_) if !literal.ends_with('"') => Err(self.fault("a text is not closed")),
            Err(_) => Err(self.fault(format!("{literal} is no text of JSON"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Scalars become texts.
    fn plain(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => json!(null),
            Value::Text(text) | Value::Plain(text) => json!(text),
            Value::List(items) => items.iter().map(plain).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, _, node)| (key.clone(), plain(node)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    #[test]
    fn keas_json_is_read_with_its_comments() {
        let text = "// one\n{ # two\n \"a\": [1, -2.5e3, true, null,], /* three\n */ \"b\": {\"c\\n\\u00e9\": \"//no\",},\n}\n// end";
        let node = parse(text).unwrap();
        assert_eq!(plain(&node), json!({ "a": ["1", "-2.5e3", "true", null], "b": { "c\né": "//no" } }));
        let Value::Map(entries) = &node.value else { panic!("a mapping") };
        assert_eq!((node.at.line, entries[0].1.line, entries[1].1.line), (2, 3, 4));
        assert_eq!(entries[1].2.at, At { line: 4, column: 10 });
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place() {
        let cases = [
            ("", 1, "the document ends"),
            ("{\n", 2, "ends before `}`"),
            ("[1\n2]", 2, "`,` or `]` is missing"),
            ("{\"a\"\n 1}", 2, "`:` is missing"),
            ("{a: 1}", 1, "a key in quotes"),
            ("[,]", 1, "is no value"),
            ("{,}", 1, "a key in quotes"),
            ("[1,,2]", 1, "is no value"),
            ("[\"a\nb\"]", 1, "not closed"),
            ("\"a", 1, "not closed"),
            ("\"\\x\"", 1, "is no text"),
            ("[1] 2", 1, "follows the end"),
            ("/* x", 1, "a comment is not closed"),
            ("[nil]", 1, "is no value"),
            ("[\n<?include \"x\"?>]", 2, "import that file"),
            (&"[".repeat(100), 1, "too deeply"),
        ];
        for (text, line, want) in cases {
            let (at, reason) = parse(text).unwrap_err();
            assert!(at.line == line && reason.contains(want), "{text}: {at:?} {reason}");
        }
    }

    proptest! {
        #[test]
        fn no_text_stops_the_reader(text in "[\\[\\]{}:,\"\\\\a1/*#\n é]{0,40}") {
            let _ = parse(&text);
        }
    }
}

//! Records and their cells.

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Whether it stood in quotes; if not, the spaces around it are gone.
    pub(super) quoted: bool,
}

/// A record, with the line that it begins at.
pub(super) type Record = (usize, Result<Vec<Cell>, String>);

/// Every record that is neither empty nor a comment (`#`). The first decides what separates cells.
pub(super) fn read(text: &str) -> Vec<Record> {
    let headings = text.lines().find(|line| !is_blank(line)).unwrap_or_default();
    let separator = [',', ';', '\t'].into_iter().find(|c| headings.contains(*c)).unwrap_or(',');
    let mut records = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let first = rest.lines().next().unwrap_or_default();
        let length = if is_blank(first) {
            rest.find('\n').map_or(rest.len(), |end| end + 1)
        } else {
            let (record, length) = record(rest, separator);
            records.push((line, record));
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    records
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// The record that `text` begins with, and its length with the end of its line.
fn record(text: &str, separator: char) -> (Result<Vec<Cell>, String>, usize) {
    let mut cells = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let spaced = &rest[if separator == '\t' { 0 } else { blank }..];
        let (cell, length) = match spaced.strip_prefix('"') {
            Some(inside) => match quoted(inside) {
                Some((text, length)) => (Cell { text, quoted: true }, rest.len() - spaced.len() + 1 + length),
                None => return (Err("a quote is not closed".to_owned()), text.len()),
            },
            None => {
                let end = rest.find([separator, '\n']).unwrap_or(rest.len());
                (Cell { text: rest[..end].trim().to_owned(), quoted: false }, end)
            }
        };
        cells.push(cell);
        at += length;
        let behind = text[at..].trim_start_matches([' ', '\r']);
        at = text.len() - behind.len();
        match behind.chars().next() {
            None => return (Ok(cells), at),
            Some('\n') => return (Ok(cells), at + 1),
            Some(next) if next == separator => at += 1,
            Some(_) => {
                let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
                return (Err("something follows a closing quote".to_owned()), end);
            }
        }
    }
}

/// The text up to the closing quote, and the length with it. Two quotes are one of the text.
fn quoted(inside: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut at = 0;
    loop {
        let end = at + inside[at..].find('"')?;
        text.push_str(&inside[at..end]);
        if !inside[end + 1..].starts_with('"') {
            return Some((text, end + 1));
        }
        text.push('"');
        at = end + 2;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc4180_records_are_read_with_their_lines() {
        let text = "# hosts\n\na, b ,\"c,\"\"d\n e\"\r\n\"\", ,\r\n\"x\" y,1,2\n1,\"2\n";
        let cell = |text: &str, quoted| Cell { text: text.into(), quoted };
        let want: [Record; 4] = [
            (3, Ok(vec![cell("a", false), cell("b", false), cell("c,\"d\n e", true)])),
            (5, Ok(vec![cell("", true), cell("", false), cell("", false)])),
            (6, Err("something follows a closing quote".to_owned())),
            (7, Err("a quote is not closed".to_owned())),
        ];
        assert_eq!(read(text), want);
        assert_eq!(read("a;b,c\n")[0].1.as_ref().unwrap().len(), 2);
        assert_eq!(read("a;b\n1;2")[1].1.as_ref().unwrap().len(), 2);
        assert_eq!(read("a\tb\n\t2")[1].1, Ok(vec![cell("", false), cell("2", false)]));
    }

    proptest! {
        #[test]
        fn no_text_stops_the_reader(text in "[a,;\t\"\r\n# é]{0,40}") {
            let _ = read(&text);
        }
    }
}

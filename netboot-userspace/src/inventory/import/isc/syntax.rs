//! The syntax of ISC's files: statements that end with `;` or with a block.

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Where it begins.
    pub(super) line: usize,
    /// Without commas.
    pub(super) words: Vec<Word>,
    /// What stands between its braces.
    pub(super) body: Option<Vec<Statement>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Plain(String),
    /// Without its quotes, its escapes read.
    Quoted(Vec<u8>),
}

impl Word {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Plain(word) => word.clone(),
            Self::Quoted(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// Keywords may be written in either case; what is in quotes is never one.
    pub(super) fn lower(&self) -> String {
        match self {
            Self::Plain(word) => word.to_ascii_lowercase(),
            Self::Quoted(_) => format!("{:?}", self.text()),
        }
    }
}

impl Statement {
    /// Its first word, in lower case.
    pub(super) fn keyword(&self) -> String {
        self.words.first().map(Word::lower).unwrap_or_default()
    }

    /// As it would be typed, without its block.
    pub(super) fn text(&self) -> String {
        let word = |word: &Word| match word {
            Word::Plain(word) => word.clone(),
            Word::Quoted(_) => format!("{:?}", word.text()),
        };
        self.words.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

/// How deep blocks may be nested.
const DEEPEST: usize = 64;

/// All statements of a file.
///
/// # Errors
/// The line that breaks the syntax, and how.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, (usize, String)> {
    let tokens = tokens(text)?;
    // Blocks that are open: where each began, and the statements in front of it.
    let mut open: Vec<(Statement, Vec<Statement>)> = Vec::new();
    let mut statements = Vec::new();
    let mut current: Option<Statement> = None;
    for (line, token) in tokens {
        let begun = || Statement { line, words: Vec::new(), body: None };
        match token {
            Token::Word(word) => current.get_or_insert_with(begun).words.push(word),
            Token::Mark(';') => statements.extend(current.take()),
            Token::Mark('{') if open.len() == DEEPEST => {
                return Err((line, "is nested too deeply".to_owned()));
            }
            Token::Mark('{') => {
                open.push((current.take().unwrap_or_else(begun), std::mem::take(&mut statements)));
            }
            Token::Mark('}') => {
                if let Some(statement) = current {
                    return Err((statement.line, format!("`;` is missing behind `{}`", statement.text())));
                }
                let (mut statement, before) = open.pop().ok_or((line, "a `}` too many".to_owned()))?;
                statement.body = Some(std::mem::replace(&mut statements, before));
                statements.push(statement);
            }
            Token::Mark(_) => {}
        }
    }
    match (current, open.pop()) {
        (Some(statement), _) => {
            Err((statement.line, format!("`;` is missing behind `{}`", statement.text())))
        }
        (None, Some((statement, _))) => {
            Err((statement.line, format!("the block of `{}` is not closed", statement.text())))
        }
        (None, None) => Ok(statements),
    }
}

enum Token {
    Word(Word),
    /// `;`, `,`, `{` or `}`.
    Mark(char),
}

/// Each token with its line; comments, from `#` to the end of the line, are none.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, (usize, String)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            ';' | ',' | '{' | '}' => {
                tokens.push((line, Token::Mark(first)));
                1
            }
            '"' => {
                let (bytes, length) = quoted(rest).ok_or((line, "a text is not closed".to_owned()))?;
                tokens.push((line, Token::Word(Word::Quoted(bytes))));
                length
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || ";,{}\"#".contains(c)).unwrap_or(rest.len());
                tokens.push((line, Token::Word(Word::Plain(rest[..end].to_owned()))));
                end
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// The bytes of the text that `rest` begins with, and its length with both quotes; `None`: it is not closed.
fn quoted(rest: &str) -> Option<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let source = rest.as_bytes();
    let mut at = 1;
    loop {
        match *source.get(at)? {
            b'"' => return Some((bytes, at + 1)),
            b'\\' => {
                let (byte, length) = escape(source.get(at + 1..)?)?;
                bytes.push(byte);
                at += 1 + length;
            }
            byte => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

/// What an escape stands for, and its length: `\t`, `\"`, `\012` (octal), `\x0a`.
fn escape(after: &[u8]) -> Option<(u8, usize)> {
    let number = |digits: &[u8], radix| {
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok().map(|byte| (byte, digits.len()))
    };
    let octal = after.iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let hex = after.iter().skip(1).take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
    match *after.first()? {
        b't' => Some((b'\t', 1)),
        b'r' => Some((b'\r', 1)),
        b'n' => Some((b'\n', 1)),
        b'b' => Some((8, 1)),
        b'x' if hex > 0 => number(&after[1..=hex], 16).map(|(byte, length)| (byte, length + 1)),
        _ if octal > 0 => number(&after[..octal], 8),
        other => Some((other, 1)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_know_their_lines_and_blocks() {
        let text = "a b, c; # d {\nGROUP {\n  host x { y \"q;\\\"{\\x41\\102\\\\\"; }\n}\n";
        let statements = parse(text).unwrap();
        assert_eq!((statements[0].text(), statements[0].line), ("a b c".to_owned(), 1));
        let group = &statements[1];
        assert_eq!((group.keyword(), group.line), ("group".to_owned(), 2));
        let host = &group.body.as_ref().unwrap()[0];
        assert_eq!((host.text(), host.line), ("host x".to_owned(), 3));
        let words = &host.body.as_ref().unwrap()[0].words;
        assert_eq!(words[1], Word::Quoted(b"q;\"{AB\\".to_vec()));
    }

    #[test]
    fn broken_syntax_is_refused_at_its_line() {
        let cases = [
            ("a;\n}", 2, "a `}` too many"),
            ("a {\nb;\n", 1, "the block of `a` is not closed"),
            ("a {\nb\n}", 2, "`;` is missing behind `b`"),
            ("a;\nb c", 2, "`;` is missing behind `b c`"),
            ("a;\n\"b", 2, "a text is not closed"),
            ("\"b\\", 1, "a text is not closed"),
            (&"a {\n".repeat(100), 65, "is nested too deeply"),
        ];
        for (text, line, want) in cases {
            assert_eq!(parse(text).unwrap_err(), (line, want.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_stops_the_reader(text in "[a;,{}\"\\\\x17#\n é]{0,40}") {
            let _ = parse(&text);
        }
    }
}

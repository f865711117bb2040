//! From text to tokens: what stands outside of `{{…}}` is text, what stands inside is words.

use serde_json::Value;

use super::quoted;
use super::tree::At;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Outside of actions, trimmed as `{{-` and `-}}` ask for.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    /// A function or a keyword.
    Word(String),
    /// `.name`
    Field(String),
    Dot,
    /// `$` or `$name`
    Variable(String),
    Constant(Value),
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    LeftParen,
    RightParen,
}

pub(super) type Lexed = Vec<(At, Token)>;
pub(super) type Failed = (At, String);

/// What Go trims, and what it takes for space between words.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn lex(text: &str) -> Result<Lexed, Failed> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trims = false;
    loop {
        let rest = lexer.rest();
        let end = rest.find("{{").unwrap_or(rest.len());
        let ended = end == rest.len();
        let inside = rest.get(end + 2..).unwrap_or_default();
        lexer.outside(end, trims, trims_left(inside));
        if ended {
            return Ok(lexer.tokens);
        }
        trims = lexer.action()?;
    }
}

/// `- `, behind `{{`
fn trims_left(inside: &str) -> bool {
    inside.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACE))
}

/// The length of `}}` or ` -}}`, and whether it trims.
fn closes(rest: &str) -> Option<(usize, bool)> {
    let trimming = rest.strip_prefix(SPACE).is_some_and(|rest| rest.starts_with("-}}"));
    if trimming { Some((4, true)) } else { rest.starts_with("}}").then_some((2, false)) }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Lexed,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token, length: usize) {
        self.tokens.push((At(self.at), token));
        self.at += length;
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, Failed> {
        Err((At(self.at), what.into()))
    }

    /// The next `length` bytes are text.
    fn outside(&mut self, length: usize, trims_begin: bool, trims_end: bool) {
        let mut text = &self.rest()[..length];
        if trims_begin {
            text = text.trim_start_matches(SPACE);
        }
        if trims_end {
            text = text.trim_end_matches(SPACE);
        }
        if text.is_empty() {
            self.at += length;
        } else {
            self.push(Token::Text(text.to_owned()), length);
        }
    }

    /// From `{{` to `}}`; whether the text behind is trimmed.
    fn action(&mut self) -> Result<bool, Failed> {
        let opened = At(self.at);
        let trim = if trims_left(&self.rest()[2..]) { 1 } else { 0 };
        let inside = &self.rest()[2 + trim..];
        let spaces = if trim == 1 { inside.len() - inside.trim_start_matches(SPACE).len() } else { 0 };
        if inside[spaces..].starts_with("/*") {
            return self.comment(2 + trim + spaces);
        }
        self.push(Token::Open, 2 + trim);
        let mut open = 0_usize;
        loop {
            let rest = self.rest();
            if let Some((length, trims)) = closes(rest) {
                if open > 0 {
                    return self.fail("unclosed left paren");
                }
                self.push(Token::Close, length);
                return Ok(trims);
            }
            match rest.chars().next() {
                None => return Err((opened, "unclosed action".to_owned())),
                Some('(') => {
                    open += 1;
                    self.push(Token::LeftParen, 1);
                }
                Some(')') => {
                    open = open.checked_sub(1).ok_or((At(self.at), "unexpected right paren".to_owned()))?;
                    self.push(Token::RightParen, 1);
                }
                Some(first) => self.word(first)?,
            }
        }
    }

    /// `{{/* … */}}`, whose `/*` is `begin` bytes away.
    fn comment(&mut self, begin: usize) -> Result<bool, Failed> {
        let Some(end) = self.rest()[begin..].find("*/") else { return self.fail("unclosed comment") };
        let behind = begin + end + 2;
        let Some((length, trims)) = closes(&self.rest()[behind..]) else {
            return self.fail("comment ends before closing delimiter");
        };
        self.at += behind + length;
        Ok(trims)
    }

    fn word(&mut self, first: char) -> Result<(), Failed> {
        let rest = self.rest();
        let next = rest[first.len_utf8()..].chars().next();
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        match first {
            _ if SPACE.contains(&first) => self.space(),
            ':' if next == Some('=') => self.push(Token::Declare, 2),
            '=' => self.push(Token::Assign, 1),
            '|' => self.push(Token::Pipe, 1),
            ',' => self.push(Token::Comma, 1),
            '"' => return self.quoted('"'),
            '\'' => return self.quoted('\''),
            '`' => return self.raw(),
            '$' => return self.name(1, Token::Variable),
            '.' if is_digit(next) => return self.number(),
            '.' if next.is_some_and(is_name) => {
                return self.name(1, |name| Token::Field(name[1..].to_owned()));
            }
            '.' => self.push(Token::Dot, 1),
            '+' | '-' | '0'..='9' => return self.number(),
            _ if is_name(first) => return self.name(0, Token::Word),
            other => return self.fail(format!("unexpected {other:?} in action")),
        }
        Ok(())
    }

    /// What may be ` -}}` ends a run of spaces.
    fn space(&mut self) {
        let rest = self.rest();
        let mut ends = rest.char_indices().map(|(at, c)| (at, SPACE.contains(&c)));
        let end = ends.find(|&(at, is_space)| !is_space || closes(&rest[at..]).is_some());
        self.push(Token::Space, end.map_or(rest.len(), |(at, _)| at));
    }

    fn name(&mut self, prefix: usize, token: impl FnOnce(String) -> Token) -> Result<(), Failed> {
        let rest = self.rest();
        let end = rest[prefix..].find(|c| !is_name(c)).map_or(rest.len(), |end| end + prefix);
        match rest[end..].chars().next() {
            Some(c) if !SPACE.contains(&c) && !".,|:=()".contains(c) && !rest[end..].starts_with("}}") => {
                self.at += end;
                self.fail(format!("bad character {c:?}"))
            }
            _ => {
                self.push(token(rest[..end].to_owned()), end);
                Ok(())
            }
        }
    }

    fn number(&mut self) -> Result<(), Failed> {
        let rest = self.rest();
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let is_hex = digits.starts_with("0x") || digits.starts_with("0X");
        let signed = |at: usize| !is_hex && rest[..at].ends_with(['e', 'E']);
        let part = |(at, c): (usize, char)| {
            c.is_ascii_alphanumeric() || c == '.' || c == '_' || ("+-".contains(c) && (at == 0 || signed(at)))
        };
        let end = rest.char_indices().find(|&found| !part(found)).map_or(rest.len(), |(at, _)| at);
        let value = quoted::number(&rest[..end]).map_err(|what| (At(self.at), what))?;
        self.push(Token::Constant(value), end);
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), Failed> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    let inside = &rest[1..at];
                    let value = match quote {
                        '"' => quoted::text(inside).map(Value::String),
                        _ => quoted::character(inside),
                    };
                    let value = value.map_err(|what| (At(self.at), what))?;
                    self.push(Token::Constant(value), at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.fail("unterminated quoted string")
    }

    /// A text in back quotes; Go leaves out its carriage returns.
    fn raw(&mut self) -> Result<(), Failed> {
        let rest = self.rest();
        let Some(end) = rest[1..].find('`') else { return self.fail("unterminated raw quoted string") };
        let text = rest[1..=end].replace('\r', "");
        self.push(Token::Constant(Value::String(text)), end + 2);
        Ok(())
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

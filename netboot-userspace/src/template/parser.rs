//! From tokens to the tree. What is not declared, not closed, or has no place where it stands is refused here.

use std::collections::BTreeMap;

use super::lexer::{Failed, Lexed, Token};
use super::tree::{At, Branch, Command, Field, Node, Operand, Pipeline, Term};
use super::{DEPTH, VARIABLES, functions};

/// What a text is.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
    pub(super) foreign: BTreeMap<String, At>,
}

type Parse<T> = Result<T, Failed>;

pub(super) fn parse(tokens: Lexed) -> Parse<Parsed> {
    let end = At(tokens.last().map_or(0, |(At(at), _)| at + 1));
    let tokens = tokens.into_iter().peekable();
    let variables = vec!["$".to_owned()];
    let mut parser = Parser { tokens, end, variables, loops: 0, depth: 0, parsed: Parsed::default() };
    let (nodes, closed) = parser.list()?;
    match closed {
        Some((at, closer)) => Err((at, format!("unexpected {{{{{}}}}}", closer.word()))),
        None => {
            parser.parsed.nodes = nodes;
            Ok(parser.parsed)
        }
    }
}

/// What ends a list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    End,
    /// `{{else}}`
    Else,
    /// `{{else if`, whose pipeline comes.
    ElseIf,
    /// `{{else with`, whose pipeline comes.
    ElseWith,
}

/// Nodes, and what ended them: nothing, at the end of the text.
type Closed = (Vec<Node>, Option<(At, Closer)>);

impl Closer {
    const fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else | Self::ElseIf | Self::ElseWith => "else",
        }
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(At, Token)>>,
    end: At,
    /// Those in scope.
    variables: Vec<String>,
    /// How many `range` are around.
    loops: usize,
    depth: usize,
    parsed: Parsed,
}

impl Parser {
    fn at(&mut self) -> At {
        self.tokens.peek().map_or(self.end, |(at, _)| *at)
    }

    fn fail<T>(&mut self, what: impl Into<String>) -> Parse<T> {
        Err((self.at(), what.into()))
    }

    fn skip_space(&mut self) {
        while self.tokens.next_if(|(_, token)| *token == Token::Space).is_some() {}
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        self.skip_space();
        self.tokens.next_if(|(_, token)| token == wanted).is_some()
    }

    fn close(&mut self, of: &str) -> Parse<()> {
        if self.takes(&Token::Close) {
            Ok(())
        } else {
            self.fail(format!("unexpected input in {of}: }}}} wanted"))
        }
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth == DEPTH {
            return self.fail(format!("nested more than {DEPTH} deep"));
        }
        self.depth += 1;
        let parsed = inside(self);
        self.depth -= 1;
        parsed
    }

    /// Nodes until what closes them, or the end of the text.
    fn list(&mut self) -> Parse<Closed> {
        let mut nodes = Vec::new();
        loop {
            let Some((at, token)) = self.tokens.next() else { return Ok((nodes, None)) };
            match token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                _ => match self.action(at, &mut nodes)? {
                    None => {}
                    Some(closer) => return Ok((nodes, Some((at, closer)))),
                },
            }
        }
    }

    /// What stands behind `{{`.
    fn action(&mut self, at: At, nodes: &mut Vec<Node>) -> Parse<Option<Closer>> {
        self.skip_space();
        let keyword = match self.tokens.peek() {
            Some((_, Token::Word(word))) if is_keyword(word) => word.clone(),
            _ => {
                let pipeline = self.pipeline("command", 1)?;
                self.close("command")?;
                nodes.push(Node::Action(pipeline));
                return Ok(None);
            }
        };
        self.tokens.next();
        let node = match keyword.as_str() {
            "end" => return self.close("end").map(|()| Some(Closer::End)),
            "else" => return self.otherwise().map(Some),
            "if" => Node::If(self.deeper(|p| p.branch(at, "if", 1))?),
            "with" => Node::With(self.deeper(|p| p.branch(at, "with", 1))?),
            "range" => Node::Range(self.deeper(|p| p.branch(at, "range", 2))?),
            "template" => self.call(at)?,
            "block" => self.deeper(|p| p.block(at))?,
            "define" => {
                self.deeper(|p| p.define(at))?;
                return Ok(None);
            }
            word => self.leaves(at, word)?,
        };
        nodes.push(node);
        Ok(None)
    }

    fn otherwise(&mut self) -> Parse<Closer> {
        self.skip_space();
        let word = |word: &str| Token::Word(word.to_owned());
        if self.takes(&word("if")) {
            return Ok(Closer::ElseIf);
        }
        if self.takes(&word("with")) {
            return Ok(Closer::ElseWith);
        }
        self.close("else").map(|()| Closer::Else)
    }

    /// `break` or `continue`
    fn leaves(&mut self, at: At, word: &str) -> Parse<Node> {
        if self.loops == 0 {
            return Err((at, format!("{{{{{word}}}}} outside {{{{range}}}}")));
        }
        self.close(word)?;
        Ok(if word == "break" { Node::Break } else { Node::Continue })
    }

    /// The pipeline of `if`, `with` or `range`, and all up to its `end`.
    fn branch(&mut self, at: At, keyword: &str, variables: usize) -> Parse<Branch> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(keyword, variables)?;
        self.close(keyword)?;
        let is_loop = keyword == "range";
        self.loops += usize::from(is_loop);
        let (then, closed) = self.list()?;
        self.loops -= usize::from(is_loop);
        let otherwise = match closed {
            None => return Err((at, format!("{{{{{keyword}}}}} without {{{{end}}}}"))),
            Some((_, Closer::End)) => Vec::new(),
            Some((_, Closer::Else)) => self.last_part(at, keyword)?,
            // Without an `end` of their own.
            Some((at, Closer::ElseIf)) if keyword == "if" => {
                vec![Node::If(self.deeper(|p| p.branch(at, "if", 1))?)]
            }
            Some((at, Closer::ElseWith)) if keyword == "with" => {
                vec![Node::With(self.deeper(|p| p.branch(at, "with", 1))?)]
            }
            Some((at, _)) => return Err((at, format!("unexpected word behind {{{{else}}}} of {keyword}"))),
        };
        self.variables.truncate(scope);
        Ok(Branch { pipeline, then, otherwise })
    }

    /// What stands between `else` and `end`.
    fn last_part(&mut self, at: At, keyword: &str) -> Parse<Vec<Node>> {
        match self.list()? {
            (nodes, Some((_, Closer::End))) => Ok(nodes),
            (_, Some((at, _))) => Err((at, format!("expected {{{{end}}}} of {keyword}; found {{{{else}}}}"))),
            (_, None) => Err((at, format!("{{{{{keyword}}}}} without {{{{end}}}}"))),
        }
    }

    fn template_name(&mut self, of: &str) -> Parse<String> {
        self.skip_space();
        match self.tokens.next() {
            Some((_, Token::Constant(serde_json::Value::String(name)))) => Ok(name),
            Some((at, _)) => Err((at, format!("{of} takes a name in quotes"))),
            None => self.fail(format!("{of} takes a name in quotes")),
        }
    }

    fn call(&mut self, at: At) -> Parse<Node> {
        let name = self.template_name("template")?;
        self.skip_space();
        let is_bare = matches!(self.tokens.peek(), Some((_, Token::Close)) | None);
        let dot = if is_bare { None } else { Some(self.pipeline("template", 1)?) };
        self.close("template")?;
        Ok(Node::Call { at, name, dot })
    }

    fn block(&mut self, at: At) -> Parse<Node> {
        let name = self.template_name("block")?;
        let dot = Some(self.pipeline("block", 1)?);
        self.close("block")?;
        self.body(at, name.clone(), "block")?;
        Ok(Node::Call { at, name, dot })
    }

    fn define(&mut self, at: At) -> Parse<()> {
        if self.depth > 1 {
            return Err((at, "{{define}} stands outside of all else".to_owned()));
        }
        let name = self.template_name("define")?;
        self.close("define")?;
        self.body(at, name, "define")
    }

    /// What a template that is defined has, up to its `end`.
    fn body(&mut self, at: At, name: String, keyword: &str) -> Parse<()> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let nodes = self.last_part(at, keyword)?;
        (self.variables, self.loops) = (outside, loops);
        let before = self.parsed.defined.get(&name);
        if before.is_some_and(|before| !is_empty(before) && !is_empty(&nodes)) {
            return Err((at, format!("multiple definition of template {name:?}")));
        }
        if before.is_none_or(|before| is_empty(before)) {
            self.parsed.defined.insert(name, nodes);
        }
        Ok(())
    }

    /// `$x := command | command`, up to what closes it.
    fn pipeline(&mut self, of: &str, most: usize) -> Parse<Pipeline> {
        self.skip_space();
        let at = self.at();
        let (variables, assigns, first) = self.declaration(most)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            let ends = matches!(self.tokens.peek(), None | Some((_, Token::Close | Token::RightParen)));
            if ends && commands.is_empty() && first.is_none() {
                return self.fail(format!("missing value for {of}"));
            }
            if ends && !commands.is_empty() {
                return self.fail("missing command behind |");
            }
            let begun = if commands.is_empty() { first.clone() } else { None };
            let command = self.command(begun)?;
            self.executable(&command, commands.len())?;
            commands.push(command);
            if !self.takes(&Token::Pipe) {
                break;
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
            if self.variables.len() > VARIABLES {
                return Err((at, format!("has more than {VARIABLES} variables in scope")));
            }
        }
        Ok(Pipeline { at, variables, assigns, commands })
    }

    fn executable(&mut self, command: &Command, stage: usize) -> Parse<()> {
        let is_value = matches!(command.first.term, Term::Dot | Term::Nil | Term::Constant(_))
            && command.first.fields.is_empty();
        if stage > 0 && is_value {
            let what = format!("non executable command in pipeline stage {}", stage + 1);
            return Err((command.first.at, what));
        }
        Ok(())
    }

    /// The variables that a pipeline sets; where a variable is none of those, it is the first operand.
    fn declaration(&mut self, most: usize) -> Parse<(Vec<String>, bool, Option<Operand>)> {
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let is_variable = matches!(self.tokens.peek(), Some((_, Token::Variable(_))));
            let Some((at, Token::Variable(name))) = self.tokens.next_if(|_| is_variable) else {
                return if names.is_empty() {
                    Ok((names, false, None))
                } else {
                    self.fail("a variable is wanted")
                };
            };
            // `$x.y` is no declaration, `$x -1` neither.
            if matches!(self.tokens.peek(), Some((_, Token::Field(_)))) {
                return self.first_variable(at, name, names);
            }
            self.skip_space();
            match self.tokens.peek() {
                Some((_, Token::Declare)) => {
                    self.tokens.next();
                    names.push(name);
                    return Ok((names, false, None));
                }
                Some((_, Token::Assign)) => {
                    self.tokens.next();
                    names.push(name);
                    names.iter().try_for_each(|name| self.declared(at, name))?;
                    return Ok((names, true, None));
                }
                Some((_, Token::Comma)) if names.len() + 1 < most => {
                    self.tokens.next();
                    names.push(name);
                }
                Some((_, Token::Comma)) => return self.fail("too many declarations"),
                _ => return self.first_variable(at, name, names),
            }
        }
    }

    fn first_variable(
        &mut self,
        at: At,
        name: String,
        names: Vec<String>,
    ) -> Parse<(Vec<String>, bool, Option<Operand>)> {
        if !names.is_empty() {
            return Err((at, "variables are declared by :=".to_owned()));
        }
        self.declared(at, &name)?;
        let fields = self.fields();
        Ok((names, false, Some(Operand { at, term: Term::Variable(name), fields })))
    }

    fn declared(&self, at: At, name: &str) -> Parse<()> {
        let known = self.variables.iter().any(|known| known == name);
        if known { Ok(()) } else { Err((at, format!("undefined variable {name:?}"))) }
    }

    /// Operands with space between; the first may have been read.
    fn command(&mut self, begun: Option<Operand>) -> Parse<Command> {
        self.skip_space();
        let first = match begun {
            Some(first) => first,
            None => self.operand()?,
        };
        let mut arguments = Vec::new();
        loop {
            self.skip_space();
            match self.tokens.peek() {
                None | Some((_, Token::Close | Token::Pipe | Token::RightParen)) => break,
                _ => arguments.push(self.operand()?),
            }
        }
        Ok(Command { first, arguments })
    }

    fn operand(&mut self) -> Parse<Operand> {
        let Some((at, token)) = self.tokens.next() else { return self.fail("unclosed action") };
        let (term, field) = match token {
            Token::Field(name) => (Term::Dot, Some(Field { at, name })),
            Token::Dot => (Term::Dot, None),
            Token::Constant(value) => (Term::Constant(value), None),
            Token::Variable(name) => {
                self.declared(at, &name)?;
                (Term::Variable(name), None)
            }
            Token::Word(word) => (self.word(at, word)?, None),
            Token::LeftParen => (self.parenthesis()?, None),
            other => return Err((at, format!("unexpected {} in operand", describe(&other)))),
        };
        let takes_fields = field.is_some() || matches!(term, Term::Variable(_) | Term::Pipeline(_));
        let more = self.fields();
        if let Some(first) = more.first().filter(|_| !takes_fields) {
            return Err((first.at, "unexpected . after a term that has no fields".to_owned()));
        }
        let fields = field.into_iter().chain(more).collect();
        Ok(Operand { at, term, fields })
    }

    fn word(&mut self, at: At, word: String) -> Parse<Term> {
        Ok(match word.as_str() {
            "true" => Term::Constant(true.into()),
            "false" => Term::Constant(false.into()),
            "nil" => Term::Nil,
            word if is_keyword(word) => return Err((at, format!("unexpected <{word}> in command"))),
            name => {
                if !functions::is_builtin(name) {
                    self.parsed.foreign.entry(name.to_owned()).or_insert(at);
                }
                Term::Function(word)
            }
        })
    }

    fn parenthesis(&mut self) -> Parse<Term> {
        let pipeline = self.deeper(|p| p.pipeline("parenthesized pipeline", 0))?;
        if self.takes(&Token::RightParen) {
            Ok(Term::Pipeline(Box::new(pipeline)))
        } else {
            self.fail("unclosed left paren")
        }
    }

    /// `.a.b`, without space between.
    fn fields(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        while let Some((at, Token::Field(name))) =
            self.tokens.next_if(|(_, token)| matches!(token, Token::Field(_)))
        {
            fields.push(Field { at, name });
        }
        fields
    }
}

/// As Go sees it: an empty definition gives way to another one.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

fn is_keyword(word: &str) -> bool {
    ["if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"].contains(&word)
}

fn describe(token: &Token) -> &'static str {
    match token {
        Token::Text(_) => "text",
        Token::Open => "{{",
        Token::Close => "}}",
        Token::Space => "space",
        Token::Pipe => "|",
        Token::Comma => ",",
        Token::Declare => ":=",
        Token::Assign => "=",
        Token::RightParen => ")",
        Token::Word(_)
        | Token::Field(_)
        | Token::Dot
        | Token::Variable(_)
        | Token::Constant(_)
        | Token::LeftParen => "word",
    }
}

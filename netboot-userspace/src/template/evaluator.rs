//! Walks the tree with what is known, and writes.

use serde_json::Value;

use super::known::{Known, weight};
use super::tree::{At, Branch, Command, Field, Node, Operand, Pipeline, Term};
use super::{DEPTH, Fault, Functions, OUTPUT, STEPS, Template, format, functions};

type Evaluated<'a> = Result<Known<'a>, Fault>;

pub(super) fn run(template: &Template, data: &Value, functions: &dyn Functions) -> Result<String, Fault> {
    let variables = vec![("$", Known::Lent(data))];
    let mut run = Run { template, functions, out: String::new(), steps: 0, depth: 0, variables };
    run.list(&template.nodes, &Known::Lent(data))?;
    Ok(run.out)
}

/// Whether a list of nodes went to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    template: &'a Template,
    functions: &'a dyn Functions,
    out: String,
    steps: usize,
    depth: usize,
    variables: Vec<(&'a str, Known<'a>)>,
}

impl<'a> Run<'a> {
    fn fail<T>(&self, at: At, what: impl Into<String>) -> Result<T, Fault> {
        Err(self.template.fault(at, what))
    }

    fn step(&mut self, at: At, count: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > STEPS { self.fail(at, format!("takes more than {STEPS} steps")) } else { Ok(()) }
    }

    /// Counts what was copied of a value that a function made.
    fn copied(&mut self, at: At, value: &Known<'a>) -> Result<(), Fault> {
        if let Known::Made(value) = value { self.step(at, weight(value) - 1) } else { Ok(()) }
    }

    fn write(&mut self, at: At, text: &str) -> Result<(), Fault> {
        if self.out.len() + text.len() > OUTPUT {
            return self.fail(at, format!("makes more than {OUTPUT} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn deeper<T>(&mut self, at: At, inside: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == DEPTH {
            return self.fail(at, format!("is nested more than {DEPTH} deep: does a template call itself?"));
        }
        self.depth += 1;
        let done = inside(self);
        self.depth -= 1;
        done
    }

    fn list(&mut self, nodes: &'a [Node], dot: &Known<'a>) -> Result<Flow, Fault> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'a Node, dot: &Known<'a>) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.write(At::default(), text)?,
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match &*value {
                    _ if !pipeline.variables.is_empty() => {}
                    Value::String(text) => self.write(pipeline.at, text)?,
                    other => self.write(pipeline.at, &format::printed(other))?,
                }
            }
            Node::If(branch) => {
                let at = branch.pipeline.at;
                return self.deeper(at, |run| run.scoped(|run| run.branch(branch, dot, false)));
            }
            Node::With(branch) => {
                let at = branch.pipeline.at;
                return self.deeper(at, |run| run.scoped(|run| run.branch(branch, dot, true)));
            }
            Node::Range(branch) => {
                let at = branch.pipeline.at;
                return self.deeper(at, |run| run.scoped(|run| run.range(branch, dot)));
            }
            Node::Call { at, name, dot: given } => {
                self.deeper(*at, |run| run.call(*at, name, given.as_ref(), dot))?
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// What is declared inside ends with it.
    fn scoped<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.variables.len();
        let done = inside(self);
        self.variables.truncate(scope);
        done
    }

    fn branch(&mut self, branch: &'a Branch, dot: &Known<'a>, moves: bool) -> Result<Flow, Fault> {
        let value = self.pipeline(&branch.pipeline, dot)?;
        if !format::is_true(&value) {
            return self.list(&branch.otherwise, dot);
        }
        self.list(&branch.then, if moves { &value } else { dot })
    }

    fn range(&mut self, branch: &'a Branch, dot: &Known<'a>) -> Result<Flow, Fault> {
        let at = branch.pipeline.at;
        let value = self.pipeline_value(&branch.pipeline, dot)?;
        let mut items = match items(&value) {
            Ok(items) => items.peekable(),
            Err(what) => return self.fail(at, what),
        };
        if items.peek().is_none() {
            return self.list(&branch.otherwise, dot);
        }
        for (key, item) in items {
            self.step(at, 1)?;
            self.copied(at, &item)?;
            let flow = self.scoped(|run| {
                run.turn(&branch.pipeline, key, &item);
                run.list(&branch.then, &item)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// The variables of a turn of `range`: the item, or its key and the item.
    fn turn(&mut self, pipeline: &'a Pipeline, key: Value, item: &Known<'a>) {
        match pipeline.variables.as_slice() {
            [] => {}
            [of_item] => self.set(of_item, item.clone(), pipeline.assigns),
            [of_key, of_item, ..] => {
                self.set(of_key, Known::made(key), pipeline.assigns);
                self.set(of_item, item.clone(), pipeline.assigns);
            }
        }
    }

    fn set(&mut self, name: &'a str, value: Known<'a>, assigns: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| assigns && *known == name);
        match known {
            Some((_, variable)) => *variable = value,
            None => self.variables.push((name, value)),
        }
    }

    fn call(
        &mut self,
        at: At,
        name: &str,
        given: Option<&'a Pipeline>,
        dot: &Known<'a>,
    ) -> Result<(), Fault> {
        self.step(at, 1)?;
        let template = self.template;
        let Some(nodes) = template.defined.get(name) else {
            return self.fail(at, format!("template {name:?} not defined"));
        };
        let dot = match given {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Known::made(Value::Null),
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let done = self.list(nodes, &dot);
        self.variables = outside;
        done.map(|_| ())
    }

    /// The value of a pipeline, which its variable has from now on.
    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Known<'a>) -> Evaluated<'a> {
        let value = self.pipeline_value(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.set(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn pipeline_value(&mut self, pipeline: &'a Pipeline, dot: &Known<'a>) -> Evaluated<'a> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or_else(|| Known::made(Value::Null)))
    }

    /// `last`: what the command before it made, its last argument.
    fn command(&mut self, command: &'a Command, last: Option<Known<'a>>, dot: &Known<'a>) -> Evaluated<'a> {
        let Command { first, arguments } = command;
        self.step(first.at, 1)?;
        if let Term::Function(name) = &first.term {
            return self.function(first.at, name, arguments, last, dot);
        }
        if !arguments.is_empty() || last.is_some() {
            return self.fail(first.at, "is no function, and takes no arguments");
        }
        match first.term {
            Term::Nil => self.fail(first.at, "nil is not a command"),
            _ => self.operand(first, dot),
        }
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Known<'a>) -> Evaluated<'a> {
        let begin = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Nil => Known::made(Value::Null),
            Term::Constant(value) => Known::Lent(value),
            Term::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                match found {
                    Some((_, value)) => value.clone(),
                    None => return self.fail(operand.at, format!("undefined variable {name:?}")),
                }
            }
            Term::Function(name) => self.function(operand.at, name, &[], None, dot)?,
            Term::Pipeline(pipeline) => self.deeper(operand.at, |run| run.pipeline(pipeline, dot))?,
        };
        operand.fields.iter().try_fold(begin, |value, field| self.field(&value, field))
    }

    fn field(&mut self, value: &Known<'a>, field: &'a Field) -> Evaluated<'a> {
        if !value.is_object() {
            let what = format!("can't evaluate field {} in a {}", field.name, format::kind(value));
            return self.fail(field.at, what);
        }
        let found = value.part(|value| value.get(&field.name));
        match found {
            Some(value) => self.copied(field.at, &value).map(|()| value),
            None => self.fail(field.at, format!("map has no entry for key {:?}{}", field.name, keys(value))),
        }
    }

    fn function(
        &mut self,
        at: At,
        name: &str,
        arguments: &'a [Operand],
        last: Option<Known<'a>>,
        dot: &Known<'a>,
    ) -> Evaluated<'a> {
        if name == "and" || name == "or" {
            return self.shortened(at, name == "or", arguments, last, dot);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        let texts = values.iter().filter_map(|value| value.as_str()).map(str::len);
        self.step(at, texts.fold(0_usize, usize::saturating_add) / 64)?;
        let result = match functions::builtin(name, &values) {
            Some(result) => result,
            None => {
                self.step(at, values.iter().map(|value| weight(value)).sum())?;
                let values: Vec<Value> = values.iter().map(|value| Value::clone(value)).collect();
                self.functions.call(name, &values).map(Known::made)
            }
        };
        let value = result.map_err(|what| self.template.fault(at, format!("{name}: {what}")))?;
        if let (Known::Made(_), Value::String(text)) = (&value, &*value)
            && text.len() > OUTPUT
        {
            return self.fail(at, format!("{name}: makes more than {OUTPUT} bytes"));
        }
        self.copied(at, &value)?;
        Ok(value)
    }

    /// `or`: the first argument that is true, `and`: that is not; else the last. What stands behind it is not evaluated.
    fn shortened(
        &mut self,
        at: At,
        wanted: bool,
        arguments: &'a [Operand],
        last: Option<Known<'a>>,
        dot: &Known<'a>,
    ) -> Evaluated<'a> {
        let mut value = None;
        for argument in arguments {
            let found = self.operand(argument, dot)?;
            if format::is_true(&found) == wanted {
                return Ok(found);
            }
            value = Some(found);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => self.fail(at, "wrong number of args: want at least 1, got 0"),
        }
    }
}

/// What a map has, as far as that helps who mistyped a key.
fn keys(value: &Value) -> String {
    let Value::Object(map) = value else { return String::new() };
    let names: Vec<&str> = map.keys().take(12).map(String::as_str).collect();
    let more = if map.len() > names.len() { ", …" } else { "" };
    if names.is_empty() { String::new() } else { format!(" (it has {}{more})", names.join(", ")) }
}

/// The turns of a loop: a key and an item each, made when it is their turn.
type Items<'v, 'a> = Box<dyn Iterator<Item = (Value, Known<'a>)> + 'v>;

/// What `range` goes over: a list, a map by the order of its keys, the numbers below one, or nothing.
fn items<'v, 'a>(value: &'v Known<'a>) -> Result<Items<'v, 'a>, String> {
    let at = move |i: usize| value.part(|value| value.get(i)).map(|item| (Value::from(i), item));
    let under =
        move |key: &String| value.part(|value| value.get(key)).map(|item| (Value::from(key.as_str()), item));
    match &**value {
        Value::Array(list) => Ok(Box::new((0..list.len()).filter_map(at))),
        Value::Object(map) => Ok(Box::new(map.keys().filter_map(under))),
        Value::Null => Ok(Box::new(std::iter::empty())),
        Value::Number(count) if !count.is_f64() => {
            let count = count.as_i64().unwrap_or(i64::MAX);
            Ok(Box::new((0..count).map(|i| (Value::from(i), Known::made(i)))))
        }
        other => Err(format!("range can't iterate over a {}", format::kind(other))),
    }
}

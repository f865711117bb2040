//! What a template is when it was read.

use serde_json::Value;

/// Where something stands: bytes from the beginning of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At(pub(super) usize);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// `{{pipeline}}`: printed, unless it declares or assigns.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// `{{template "name" pipeline}}`
    Call {
        at: At,
        name: String,
        dot: Option<Pipeline>,
    },
    Break,
    Continue,
}

/// `{{if pipeline}} then {{else}} otherwise {{end}}`, and the same of `with` and `range`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `$i, $e := command | command`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) at: At,
    /// With their `$`: none, one, or in `range` two.
    pub(super) variables: Vec<String>,
    /// `=`: they are there already.
    pub(super) assigns: bool,
    /// At least one.
    pub(super) commands: Vec<Command>,
}

/// `operand operand …`: a value, or a function and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// `term.field.field`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) at: At,
    pub(super) term: Term,
    pub(super) fields: Vec<Field>,
}

/// `.name`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) at: At,
    pub(super) name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Dot,
    Nil,
    /// A number, a text, `true` or `false`.
    Constant(Value),
    /// With its `$`.
    Variable(String),
    Function(String),
    /// `(pipeline)`
    Pipeline(Box<Pipeline>),
}

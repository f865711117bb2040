//! What an import says: what can't be taken, and what changes.

use serde_json::{Value, json};

use super::Args;
use crate::api::changes::Answer;
use crate::cli::output;
use crate::inventory::diff::{HostDiff, Sides, What};
use crate::inventory::hostlist;
use crate::inventory::import::{Reading, Remark};

pub(super) struct Outcome<'a> {
    pub(super) args: &'a Args,
    pub(super) reading: &'a Reading,
    pub(super) answer: &'a Answer,
    /// By the file's reader and by the daemon.
    pub(super) refused: &'a [Remark],
}

impl Outcome<'_> {
    pub(super) fn json(&self) -> anyhow::Result<()> {
        let remark = |remark: &Remark| {
            let Remark { at, host, reason } = remark;
            let host = Some(host).filter(|host| !host.is_empty());
            json!({ "file": &*at.file, "line": at.line, "host": host, "reason": reason })
        };
        output::json(&json!({
            "dry_run": self.args.dry_run,
            "made": self.answer.made,
            "hosts": self.answer.hosts,
            "refused": self.refused.iter().map(remark).collect::<Vec<_>>(),
            "notices": self.reading.notices.iter().map(remark).collect::<Vec<_>>(),
        }))
    }

    /// Remarks go to standard error, the changes to standard output.
    pub(super) fn text(&self) -> anyhow::Result<()> {
        for notice in notices(&self.reading.notices) {
            eprintln!("{notice}");
        }
        for Remark { at, host, reason } in self.refused {
            let named = host.is_empty() || reason.starts_with(&format!("host {host} "));
            let host = if named { String::new() } else { format!("host {host}: ") };
            eprintln!("{at}: refused: {host}{reason}");
        }
        let mut lines = Vec::new();
        if self.args.dry_run {
            let differing = self.answer.hosts.iter().filter(|host| host.what != What::Unchanged);
            lines.extend(differing.map(line));
        }
        if self.args.dry_run || self.answer.made {
            lines.push(self.sum());
        }
        if lines.is_empty() { Ok(()) } else { output::print(&lines.join("\n")) }
    }

    fn sum(&self) -> String {
        let count = |what| self.answer.hosts.iter().filter(|host| host.what == what).count();
        let counts = [(What::Added, "added"), (What::Changed, "changed"), (What::Unchanged, "unchanged")];
        let mut words: Vec<String> = counts.map(|(what, word)| format!("{} {word}", count(what))).into();
        if !self.refused.is_empty() {
            words.push(format!("{} left out", self.refused.len()));
        }
        let dry = if self.args.dry_run { " (dry run: nothing was changed)" } else { "" };
        format!("{}{dry}", words.join(", "))
    }
}

/// Equal notices are one line: the first place, and the hosts of them all.
fn notices(notices: &[Remark]) -> Vec<String> {
    let mut kinds: Vec<(&Remark, Vec<&str>, usize)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for notice in notices {
        let at = *index.entry(&notice.reason).or_insert_with(|| {
            kinds.push((notice, Vec::new(), 0));
            kinds.len() - 1
        });
        kinds[at].1.extend(Some(notice.host.as_str()).filter(|host| !host.is_empty()));
        kinds[at].2 += 1;
    }
    let line = |(first, hosts, count): (&Remark, Vec<&str>, usize)| {
        let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
        let hosts = if hosts.is_empty() {
            hosts.join("")
        } else {
            format!("host {}: ", hostlist::fold_to(hosts, 200))
        };
        format!("{}: notice: {hosts}{}{times}", first.at, first.reason)
    };
    kinds.into_iter().map(line).collect()
}

/// `+ node1  +ip 10.0.0.1  +macs …`, `~ node2  ~ip 10.0.0.1 -> 10.0.0.2  -profile debian  =macs`.
fn line(host: &HostDiff) -> String {
    let mark = match host.what {
        What::Added => '+',
        What::Removed => '-',
        What::Changed => '~',
        What::Unchanged => '=',
    };
    let mut words = vec![format!("{mark} {}", host.name)];
    words.extend(host.fields.iter().map(|(field, Sides { old, new })| match (old, new) {
        (Value::Null, new) => format!("+{field} {}", word(new)),
        (old, Value::Null) => format!("-{field} {}", word(old)),
        (old, new) => format!("~{field} {} -> {}", word(old), word(new)),
    }));
    if !host.unchanged.is_empty() {
        words.push(format!("={}", host.unchanged.join(",")));
    }
    words.join("  ")
}

/// A value that is told from what stands around it.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains(char::is_whitespace) => format!("{text:?}"),
        other => output::word(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::import::At;

    #[test]
    fn equal_notices_are_one_line() {
        let remark = |line, host: &str, reason: &str| Remark {
            at: At { file: "f".into(), line },
            host: host.to_owned(),
            reason: reason.to_owned(),
        };
        let all =
            [remark(1, "", "x"), remark(2, "n1", "no name"), remark(3, "", "y"), remark(4, "n2", "no name")];
        let want = ["f:1: notice: x", "f:2: notice: host n[1-2]: no name (2 times)", "f:3: notice: y"];
        assert_eq!(notices(&all), want);
    }

    #[test]
    fn a_difference_is_one_line() {
        let sides = |old: Value, new: Value| Sides { old, new };
        let fields = [
            ("cmdline", sides(json!("a b"), Value::Null)),
            ("ip", sides(json!("10.0.0.1"), json!("10.0.0.2"))),
            ("labels.new", sides(Value::Null, json!(""))),
        ];
        let fields = fields.map(|(key, sides)| (key.to_owned(), sides)).into();
        let host = HostDiff {
            name: "n1".into(),
            what: What::Changed,
            fields,
            unchanged: vec!["macs".into(), "uuid".into()],
        };
        assert_eq!(
            line(&host),
            "~ n1  -cmdline \"a b\"  ~ip 10.0.0.1 -> 10.0.0.2  +labels.new \"\"  =macs,uuid"
        );
    }
}

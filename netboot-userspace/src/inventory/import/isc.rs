//! ISC dhcpd: the `host NAME { … }` declarations of a dhcpd.conf, wherever they stand in it (dhcpd.conf(5)).

mod syntax;

use syntax::{Statement, Word};

use super::{Field, Sheet, values};
use crate::inventory::entry::{self, HostEntry};
use crate::inventory::identity::Duid;

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    match syntax::parse(text) {
        Ok(statements) => walk(&statements, sheet),
        Err((line, reason)) => sheet.refuse(line, "", format!("is no dhcpd.conf: {reason}")),
    }
    sheet.carries_of_its_versions(&[Field::Macs, Field::ClientId, Field::Circuit, Field::Ip]);
}

fn walk(statements: &[Statement], sheet: &mut Sheet<'_>) {
    for statement in statements {
        match (statement.keyword().as_str(), &statement.body) {
            ("host", Some(body)) => host(statement, body, sheet),
            ("group", Some(body)) => {
                inherited(body, sheet);
                walk(body, sheet);
            }
            (_, Some(body)) => walk(body, sheet),
            ("include", None) => {
                let reason = format!("{}: what is in there is not read; import it, too", statement.text());
                sheet.notice(statement.line, "", reason);
            }
            _ => {}
        }
    }
}

/// What a group says for all of its hosts.
fn inherited(group: &[Statement], sheet: &mut Sheet<'_>) {
    if !group.iter().any(|statement| statement.keyword() == "host") {
        return;
    }
    let plain = group.iter().filter(|statement| statement.body.is_none());
    for statement in
        plain.filter(|statement| !["include", "use-host-decl-names"].contains(&&*statement.keyword()))
    {
        let reason = format!("`{}` of a group of hosts is not imported", statement.text());
        sheet.notice(statement.line, "", reason);
    }
}

fn host(declaration: &Statement, body: &[Statement], sheet: &mut Sheet<'_>) {
    let name = declaration.words.get(1).map(Word::text).unwrap_or_default();
    let mut entry = HostEntry { name: name.clone(), ..HostEntry::default() };
    let mut notices = Vec::new();
    for statement in body {
        match field(statement, &mut entry) {
            Ok(Outcome::Taken) => {}
            Ok(Outcome::Unknown) => notices.push((statement.line, statement.text())),
            Ok(Outcome::Deleted) => {
                return sheet.notice(statement.line, &name, "is deleted, so not imported");
            }
            Err(reason) => {
                return sheet.refuse(statement.line, &name, format!("`{}` {reason}", statement.text()));
            }
        }
    }
    let HostEntry { macs, client_id, circuit, duid, .. } = &entry;
    if macs.is_empty() && client_id.is_none() && circuit.is_none() && duid.is_none() {
        let reason =
            "has no `hardware ethernet`, no `option dhcp-client-identifier` and no `host-identifier`";
        return sheet.refuse(declaration.line, &name, reason);
    }
    for (line, text) in notices {
        sheet.notice(line, &name, format!("`{text}` is not imported"));
    }
    sheet.host(declaration.line, entry);
}

/// What became of a statement of a host.
enum Outcome {
    Taken,
    Unknown,
    Deleted,
}

fn field(statement: &Statement, entry: &mut HostEntry) -> Result<Outcome, String> {
    let words: Vec<String> = statement.words.iter().map(Word::lower).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        _ if statement.body.is_some() => return Ok(Outcome::Unknown),
        ["hardware", "ethernet", mac] if entry.macs.is_empty() => entry.macs.push(values::mac(mac)?),
        ["hardware", "ethernet", _] => return Err("is the second: a host of dhcpd has one".to_owned()),
        ["hardware", ..] => return Err("is not Ethernet: nothing else is served".to_owned()),
        ["fixed-address", address] => entry.ip = Some(reservation(address)?),
        ["fixed-address", ..] => {
            return Err("is one address for each of several networks: a host here has one; \
                        leave in the one that it boots with"
                .to_owned());
        }
        ["uid", _] | ["option" | "send", "dhcp-client-identifier", _] => {
            entry.client_id = Some(bytes(statement)?);
        }
        ["host-identifier", "option", "dhcp-client-identifier", _] => {
            entry.client_id = Some(bytes(statement)?)
        }
        ["host-identifier", "option", "agent.circuit-id", _] => entry.circuit = Some(bytes(statement)?),
        ["host-identifier", "option", "dhcp6.client-id", _] => {
            let Some(Word::Plain(word)) = statement.words.last() else {
                return Err("is no DUID in hex digits".to_owned());
            };
            let bytes = values::hex(word).ok_or("is no DUID in hex digits")?;
            entry.duid = Some(Duid(bytes).to_string());
        }
        ["fixed-address6", address] => entry.ip6 = Some(entry::address6(address)?.to_string()),
        ["fixed-address6", ..] => {
            return Err("is more than one address: a host here has one of IPv6".to_owned());
        }
        ["host-identifier", ..] => return Err("is no option that hosts are known by here".to_owned()),
        ["deny" | "ignore", "booting"] => {
            return Err("gives a machine no address at all: a host here always gets one; leave it out, \
                        or set `unknown: ignore`"
                .to_owned());
        }
        ["deleted"] => return Ok(Outcome::Deleted),
        ["dynamic"] | [] => {}
        ["option", "host-name", _] if statement.words[2].text() == entry.name => {}
        _ => return Ok(Outcome::Unknown),
    }
    Ok(Outcome::Taken)
}

fn reservation(text: &str) -> Result<String, String> {
    match entry::address(text) {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') => {
            Err("is a name: write the address that it stands for".to_owned())
        }
        Err(reason) => Err(reason),
    }
}

/// The last word: a text, or hex digits.
fn bytes(statement: &Statement) -> Result<String, String> {
    let bytes = match statement.words.last() {
        Some(Word::Quoted(bytes)) => Some(bytes.clone()),
        Some(Word::Plain(word)) => values::hex(word),
        None => None,
    };
    values::identifier(bytes.ok_or("is neither a text in quotes nor hex digits")?)
}

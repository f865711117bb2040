//! Many hosts changed as one.

use anyhow::bail;

use super::super::client::Client;
use crate::api::changes::{Answer, Batch, Refusal};
use crate::inventory::hostlist;
use crate::inventory::live::Change;

/// Makes all of the changes.
///
/// # Errors
/// Those that can't be made, a line for each reason; nothing has changed then.
pub(super) fn make(client: &Client, changes: Vec<Change>) -> anyhow::Result<()> {
    let Answer { error, refused, .. } = client.change(&Batch { changes, dry_run: false, fitting: false })?;
    match error {
        None => Ok(()),
        Some(error) => bail!("{error}\n{}", reasons(&refused).join("\n")),
    }
}

/// Each reason once, with the hosts that it holds for.
fn reasons(refused: &[Refusal]) -> Vec<String> {
    // The place of a host's name in a text about it.
    const NAME: &str = "\0";
    let mut kinds: Vec<(String, Vec<&str>)> = Vec::new();
    for Refusal { name, reasons, .. } in refused {
        for reason in reasons {
            let kind = match reason.split_once(&format!("host {name}")) {
                Some((before, after)) => format!("{before}host {NAME}{after}"),
                None => format!("host {NAME}: {reason}"),
            };
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, names)) => names.push(name),
                None => kinds.push((kind, vec![name])),
            }
        }
    }
    let line = |(kind, names): (String, Vec<&str>)| kind.replace(NAME, &hostlist::fold_to(names, 200));
    kinds.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_one_line() {
        let refusal =
            |name: &str, reason: String| Refusal { index: 0, name: name.into(), reasons: vec![reason] };
        let refused = [
            refusal("n1", "there is no host n1".into()),
            refusal("n2", "there is no host n2".into()),
            refusal("n3", "ip: it is outside".into()),
            refusal("n4", "host n4 has the MAC x of host a".into()),
        ];
        let want =
            ["there is no host n[1-2]", "host n3: ip: it is outside", "host n4 has the MAC x of host a"];
        assert_eq!(reasons(&refused), want);
    }
}

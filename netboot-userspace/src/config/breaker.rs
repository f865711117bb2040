//! `breaker`: which boot in a row is stopped where those before it bore no fruit, and what its machine does instead.

use serde_json::{Value, json};

use super::errors::Errors;
use super::reader::Section;
use crate::inventory::boots::{Breaker, Instead};

/// The most boots that somebody may wait for.
const MOST: u32 = 1000;

/// As typed, or as usual. `None`: off.
pub(super) fn read(top: &mut Section<'_>, errors: &mut Errors) -> Option<Breaker> {
    let usual = Breaker::default();
    let Some(mut section) = top.take("breaker").and_then(|field| field.section(errors)) else {
        return Some(usual);
    };
    let boots = section.take("boots").map(|field| field.parse(errors, boots));
    let words = [Instead::Local, Instead::Nothing].map(|instead| (instead.name(), instead));
    let then = section.take("then").and_then(|field| field.word(errors, &words));
    section.finish(errors);
    let boots = boots.map_or(Some(usual.boots), Option::flatten)?;
    Some(Breaker { boots, then: then.unwrap_or(usual.then) })
}

/// `Ok(None)`: off.
fn boots(text: &str) -> Result<Option<u32>, String> {
    match text.parse() {
        _ if text == "off" => Ok(None),
        Ok(boots @ 2..=MOST) => Ok(Some(boots)),
        _ => Err(format!("{text:?} is no number of boots: it takes 2 to {MOST}, or off")),
    }
}

pub(super) fn show(breaker: Option<Breaker>) -> Value {
    match breaker {
        Some(Breaker { boots, then }) => json!({ "boots": boots, "then": then.name() }),
        None => json!({ "boots": "off" }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn the_breaker_is_typed_or_off() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tftp")).unwrap();
        let read = |typed: &str| {
            let path = dir.path().join("netboot.yaml");
            let interface = "interfaces: [{ name: eth1, dhcp: proxy }]\nassets: tftp\ntftp: { root: tftp }\n";
            std::fs::write(&path, format!("{interface}{typed}")).unwrap();
            load(&path).map(|checked| checked.breaker).map_err(|errors| errors.to_string())
        };
        let usual = Breaker::default();
        for (typed, breaker) in [
            ("", Some(usual)),
            ("breaker: {}", Some(usual)),
            ("breaker: { boots: 5 }", Some(Breaker { boots: 5, ..usual })),
            ("breaker: { then: nothing }", Some(Breaker { then: Instead::Nothing, ..usual })),
            ("breaker: { boots: off }", None),
        ] {
            assert_eq!(read(typed), Ok(breaker), "{typed}");
        }
        for (typed, words) in [
            (
                "breaker: { boots: 1 }",
                "breaker.boots: \"1\" is no number of boots: it takes 2 to 1000, or off",
            ),
            ("breaker: { then: reboot }", "takes one of local, nothing"),
            ("breaker: { boot: 3 }", "did you mean `boots`?"),
        ] {
            let error = read(typed).unwrap_err();
            assert!(error.contains(words), "{typed}: {error}");
        }
        assert_eq!(show(Some(usual)), json!({ "boots": 3, "then": "local" }));
    }
}

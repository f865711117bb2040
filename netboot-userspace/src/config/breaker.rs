//! `breaker`: which boot in a row is stopped where those before it bore no fruit, and what its machine does instead.

use std::time::Duration;

use serde_json::{Value, json};

use super::errors::Errors;
use super::net;
use super::reader::{Field, Section};
use crate::inventory::boots::{Breaker, Instead, Loop};

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
    let repeats = section.take("loop").and_then(|field| repeats(&field, errors));
    let then = section.take("then").and_then(|field| field.word(errors, &words));
    section.finish(errors);
    let boots = boots.map_or(Some(usual.boots), Option::flatten)?;
    Some(Breaker { boots, then: then.unwrap_or(usual.then), repeats })
}

/// `loop: { boots: 5, within: 30m }`
fn repeats(field: &Field<'_>, errors: &mut Errors) -> Option<Loop> {
    let mut section = field.section(errors)?;
    let limits = Duration::from_secs(60)..=Duration::from_secs(86400);
    let number = |text: &str| {
        boots(text)?.ok_or_else(|| "takes a number of boots; leave `loop` out otherwise".to_owned())
    };
    let boots = section.required("boots", "5", errors).and_then(|field| field.parse(errors, number));
    let within = section.required("within", "30m", errors);
    let within = within.and_then(|field| field.parse(errors, |text| net::duration(text, limits)));
    section.finish(errors);
    Some(Loop { boots: boots?, within: within?.as_secs() })
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
        Some(Breaker { boots, then, repeats }) => {
            let mut value = json!({ "boots": boots, "then": then.name() });
            if let Some(Loop { boots, within }) = repeats {
                value["loop"] = json!({ "boots": boots, "within": format!("{within}s") });
            }
            value
        }
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
            (
                "breaker: { loop: { boots: 5, within: 30m } }",
                Some(Breaker { repeats: Some(Loop { boots: 5, within: 1800 }), ..usual }),
            ),
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
            ("breaker: { loop: { boots: 5 } }", "breaker.loop: `within` is missing"),
            ("breaker: { loop: { boots: off, within: 1h } }", "breaker.loop.boots: takes a number of boots"),
            ("breaker: { loop: { boots: 5, within: 5 } }", "\"5\" is not a time"),
        ] {
            let error = read(typed).unwrap_err();
            assert!(error.contains(words), "{typed}: {error}");
        }
        assert_eq!(show(Some(usual)), json!({ "boots": 3, "then": "local" }));
        let looped = Breaker { repeats: Some(Loop { boots: 5, within: 90 }), ..usual };
        assert_eq!(show(Some(looped))["loop"], json!({ "boots": 5, "within": "90s" }));
    }
}

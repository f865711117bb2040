//! Our own answer, as a Pixiecore that asks us reads it (BC-06).

use serde::Serialize;

/// The JSON of a kernel; URLs are absolute.
///
/// Its fields stand in the order that bootcfg has them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub kernel: String,
    pub initrd: Vec<String>,
    pub cmdline: String,
}

impl Offer {
    /// With a line's end behind it, as bootcfg writes it.
    pub fn to_json(&self) -> String {
        let protected = Self { cmdline: protected(&self.cmdline), ..self.clone() };
        // Strings can't fail.
        format!("{}\n", serde_json::to_string(&protected).unwrap_or_default())
    }
}

/// The same for a whole iPXE script.
pub fn script_json(script: &str) -> String {
    format!("{}\n", serde_json::json!({ "ipxe-script": script }))
}

/// Pixiecore takes a command line for a template: ours is none, and has to come out as it is.
fn protected(cmdline: &str) -> String {
    cmdline.replace("{{", "{{\"{{\"}}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pixiecore::cmdline::Part;
    use crate::pixiecore::{Base, Boot, answer};

    #[test]
    fn bc_06_the_order_of_its_fields_and_its_end() {
        let offer =
            Offer { kernel: "http://h/k".into(), initrd: vec!["http://h/i".into()], cmdline: "a b".into() };
        assert_eq!(
            offer.to_json(),
            "{\"kernel\":\"http://h/k\",\"initrd\":[\"http://h/i\"],\"cmdline\":\"a b\"}\n"
        );
        assert_eq!(script_json("#!ipxe\n"), "{\"ipxe-script\":\"#!ipxe\\n\"}\n");
    }

    #[test]
    fn a_pixiecore_reads_the_command_line_that_we_mean() {
        for cmdline in ["quiet ${uuid}", "x={{ y }} {{", "\"q\" \\"] {
            let offer = Offer { kernel: "http://h/k".into(), initrd: vec![], cmdline: cmdline.into() };
            let base = Base::new("http://h", vec![]).unwrap();
            let Boot::Linux(boot) = answer::read(offer.to_json().as_bytes(), &base).unwrap() else {
                panic!()
            };
            assert_eq!(boot.cmdline, [Part::Text(cmdline.into())]);
        }
    }
}

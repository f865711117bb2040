//! The iPXE script, in the form that Pixiecore's own tests have (PX-31), and what may not stop a boot (PX-33).

use std::fmt::Write as _;

use netboot_common::Mac;

use super::Linux;
use super::Place;
use super::cmdline::Part;
use crate::template::{is_unreserved, percent};

/// The script of `boot` for `mac`. `server`: `http://10.0.0.1:8080`, as the machine has reached us; `name`: a file's name in URLs.
pub fn script(boot: &Linux, mac: Mac, server: &str, mut name: impl FnMut(&Place) -> String) -> String {
    let mac = escaped(&mac.to_string());
    let mut url = |place: &Place| format!("{server}/_/file?name={}", escaped(&name(place)));
    let mut script = "#!ipxe\n".to_owned();
    push_message(&mut script, &boot.message);
    // Writing to a String can't fail.
    let _ = writeln!(script, "kernel --name kernel {}&type=kernel&mac={mac}", url(&boot.kernel));
    for (n, initrd) in boot.initrd.iter().enumerate() {
        let _ = writeln!(script, "initrd --name initrd{n} {}&type=initrd&mac={mac}", url(initrd));
    }
    // Whatever becomes of it, the boot goes on.
    let _ = writeln!(script, "imgfetch --name ready {server}/_/booting?mac={mac} ||\nimgfree ready ||");
    script.push_str("boot kernel ");
    for n in 0..boot.initrd.len() {
        // UEFI hands the kernel those initrds whose names it is told.
        let _ = write!(script, "initrd=initrd{n} ");
    }
    for part in &boot.cmdline {
        match part {
            Part::Text(text) => script.push_str(text),
            Part::File(place) => script.push_str(&url(place)),
        }
    }
    script.push('\n');
    script
}

/// A line of its own for each line of the message.
fn push_message(script: &mut String, message: &str) {
    for line in message.lines() {
        let words: Vec<String> =
            line.split_whitespace().enumerate().map(|(at, word)| shown(at, word)).collect();
        let _ = writeln!(script, "echo {}", words.join(" "));
    }
}

/// iPXE ends a command at some words, and takes others for options: quotes make them words like others.
fn shown(at: usize, word: &str) -> String {
    let word: String = word.chars().filter(|c| !c.is_control()).collect();
    let ends = matches!(word.as_str(), "||" | "&&" | ";") || word.starts_with('#');
    if ends || (at == 0 && word.starts_with('-')) { format!("'{word}'") } else { word }
}

/// A query's value (RFC 3986 section 3.4), with nothing in it that means something.
pub fn escaped(text: &str) -> String {
    percent(text, is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([1, 2, 3, 4, 5, 6]);

    fn of(boot: &Linux) -> String {
        script(boot, MAC, "http://localhost:1234", |place| match place {
            Place::Named(name) => name.clone(),
            Place::Local(path) => path.display().to_string(),
            Place::Remote(url) => url.clone(),
        })
    }

    fn named(name: &str) -> Place {
        Place::Named(name.into())
    }

    #[test]
    fn px_31_the_golden_script() {
        let cmdline =
            vec![Part::Text("thing=".into()), Part::File(named("f 3")), Part::Text(" foo=bar".into())];
        let boot = Linux {
            kernel: named("k"),
            initrd: vec![named("0"), named("1")],
            cmdline,
            message: "Hello from testing world!".into(),
        };
        assert_eq!(
            of(&boot),
            "#!ipxe\n\
             echo Hello from testing world!\n\
             kernel --name kernel http://localhost:1234/_/file?name=k&type=kernel&mac=01%3A02%3A03%3A04%3A05%3A06\n\
             initrd --name initrd0 http://localhost:1234/_/file?name=0&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06\n\
             initrd --name initrd1 http://localhost:1234/_/file?name=1&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06\n\
             imgfetch --name ready http://localhost:1234/_/booting?mac=01%3A02%3A03%3A04%3A05%3A06 ||\n\
             imgfree ready ||\n\
             boot kernel initrd=initrd0 initrd=initrd1 thing=http://localhost:1234/_/file?name=f%203 foo=bar\n"
        );
    }

    #[test]
    fn a_kernel_alone() {
        let boot = Linux { kernel: named("k"), initrd: vec![], cmdline: vec![], message: String::new() };
        assert_eq!(
            of(&boot),
            "#!ipxe\n\
             kernel --name kernel http://localhost:1234/_/file?name=k&type=kernel&mac=01%3A02%3A03%3A04%3A05%3A06\n\
             imgfetch --name ready http://localhost:1234/_/booting?mac=01%3A02%3A03%3A04%3A05%3A06 ||\n\
             imgfree ready ||\n\
             boot kernel \n"
        );
    }

    #[test]
    fn px_36_a_message_is_shown_and_can_not_be_a_command() {
        let boot = Linux {
            kernel: named("k"),
            initrd: vec![],
            cmdline: vec![],
            message: "--n a || reboot\n# && ; x\r\n\nend\u{1b}[0m".into(),
        };
        let script = of(&boot);
        let echoed: Vec<&str> = script.lines().filter(|line| line.starts_with("echo")).collect();
        assert_eq!(echoed, ["echo '--n' a '||' reboot", "echo '#' '&&' ';' x", "echo ", "echo end[0m"]);
    }
}

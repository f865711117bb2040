//! A [`Boot`] as its loader wants it: iPXE, GRUB 2, pxelinux.

use std::fmt::Write;

use super::Boot;

/// An iPXE script, an `initrd` line each. UEFI hands the kernel its initrds by the names in `initrd=`: for it (`is_efi`) those stand
/// before the arguments, unless somebody wrote them there; where only some were written, those of later images stand behind, for they are
/// handed over in that order. What iPXE is to expand (`${uuid}`) stays as it is.
pub fn ipxe(boot: &Boot, is_efi: bool) -> String {
    let (mut words, mut behind, mut some_written) = (Vec::new(), Vec::new(), false);
    let mut lines = String::new();
    for (number, initrd) in boot.initrd.iter().enumerate() {
        let (own, name) = name_of(initrd, number, &boot.initrd);
        let word = format!("initrd={name}");
        let is_written = boot.args.iter().any(|arg| arg.split_whitespace().any(|arg| arg == word));
        // Writing to a String can't fail.
        let _ = if own || !is_efi || is_written {
            writeln!(lines, "initrd {initrd}")
        } else {
            writeln!(lines, "initrd --name {name} {initrd}")
        };
        some_written |= is_written;
        let side = if some_written { &mut behind } else { &mut words };
        side.extend((is_efi && !is_written).then_some(word));
    }
    words.extend(boot.args.iter().cloned().chain(behind));
    let words: String = words.iter().map(|word| format!(" {word}")).collect();
    format!("#!ipxe\nkernel {}{words}\n{lines}boot\n", boot.kernel)
}

/// The name that iPXE has an initrd by, and whether the line says it itself: `--name main URL`, `-n main URL`, else the last part of
/// the URL, else a number.
fn name_of(initrd: &str, number: usize, all: &[String]) -> (bool, String) {
    let mut words = initrd.split_whitespace();
    while let Some(word) = words.next() {
        if word == "--name" || word == "-n" {
            return (true, words.next().unwrap_or_default().to_owned());
        }
        if let Some(name) = word.strip_prefix("--name=") {
            return (true, name.to_owned());
        }
    }
    let last = last_part(initrd);
    let plain = !last.is_empty() && last.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
    let unique = all.iter().filter(|other| last_part(other) == last).count() == 1;
    (false, if plain && unique { last.to_owned() } else { format!("initrd{number}") })
}

fn last_part(url: &str) -> &str {
    let path = url.split_whitespace().last().unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// A GRUB 2 configuration with an entry for EFI, and behind it one for BIOS: each GRUB fails at the other's commands, and falls back.
pub fn grub(boot: &Boot) -> String {
    let args = boot.args.iter().flat_map(|arg| arg.split_ascii_whitespace());
    let args: String = args.map(|arg| format!(" {}", grub_word(arg))).collect();
    let initrd: String = boot.initrd.iter().map(|initrd| format!(" {}", grub_quoted(initrd))).collect();
    let entry = |firmware: &str, suffix: &str| {
        format!(
            "menuentry \"CoreOS ({firmware})\" {{\necho \"Loading kernel\"\nlinux{suffix} {}{args}\n\
             echo \"Loading initrd\"\ninitrd{suffix} {initrd}\n}}\n",
            grub_quoted(&boot.kernel)
        )
    };
    format!("default=0\nfallback=1\ntimeout=1\n{}{}", entry("EFI", "efi"), entry("BIOS", ""))
}

/// In matchbox's quotes, where nothing in it means more to GRUB than itself.
fn grub_quoted(text: &str) -> String {
    if text.contains(['"', '$', '\\', '\n']) { grub_word(text) } else { format!("\"{text}\"") }
}

/// A word that GRUB hands on as it is: what ends a command, begins a comment or is expanded (`${uuid}`: to nothing) stands in quotes.
fn grub_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/=:,+@-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// GRUB goes on with the next boot device.
pub const GRUB_LOCAL: &str = "exit\n";

/// A URL as GRUB names it: `(http,10.0.0.1:8080)/assets/vmlinuz`. All else stays as it is.
pub fn grub_url(url: &str) -> String {
    let device = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    device.map_or_else(|| url.to_owned(), |(host, path)| format!("(http,{host})/{path}"))
}

/// A configuration of pxelinux, which takes URLs where it is lpxelinux.
pub fn pxelinux(boot: &Boot) -> String {
    let mut config = format!("DEFAULT netboot\nPROMPT 0\nLABEL netboot\n  KERNEL {}\n", boot.kernel);
    let urls: Vec<&str> = boot.initrd.iter().filter_map(|initrd| initrd.split_whitespace().last()).collect();
    if !urls.is_empty() {
        let _ = writeln!(config, "  INITRD {}", urls.join(","));
    }
    if !boot.args.is_empty() {
        let _ = writeln!(config, "  APPEND {}", boot.args.join(" "));
    }
    config
}

/// pxelinux goes on with the first disk.
pub const PXELINUX_LOCAL: &str = "DEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(kernel: &str, initrd: &[&str], args: &[&str]) -> Boot {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Boot { kernel: kernel.to_owned(), initrd: own(initrd), args: own(args) }
    }

    /// BC-28: matchbox's own golden script.
    #[test]
    fn ipxe_has_a_line_for_each_initrd() {
        let golden =
            "#!ipxe\nkernel /image/kernel a=b c\ninitrd /image/initrd_a\ninitrd /image/initrd_b\nboot\n";
        let given = boot("/image/kernel", &["/image/initrd_a", "/image/initrd_b"], &["a=b", "c"]);
        assert_eq!(ipxe(&given, false), golden);
        assert_eq!(ipxe(&boot("k", &[], &[]), true), "#!ipxe\nkernel k\nboot\n");
    }

    /// Lesson 25 of section 6: for UEFI every image is named.
    #[test]
    fn uefi_is_told_its_initrds_by_name() {
        let cases: &[(&[&str], &[&str], &str)] = &[
            (
                &["/image/initrd_a", "/image/initrd_b"],
                &["a=b"],
                "kernel k initrd=initrd_a initrd=initrd_b a=b\ninitrd --name initrd_a /image/initrd_a\n\
                 initrd --name initrd_b /image/initrd_b\n",
            ),
            // PR 674's profiles say it themselves (BC-23).
            (
                &["--name main http://x/a.img"],
                &["initrd=main", "q"],
                "kernel k initrd=main q\ninitrd --name main http://x/a.img\n",
            ),
            (
                &["--name main http://x/a.img"],
                &["q"],
                "kernel k initrd=main q\ninitrd --name main http://x/a.img\n",
            ),
            (
                &["--name main http://x/a.img", "http://x/b.img"],
                &["initrd=main", "q"],
                "kernel k initrd=main q initrd=b.img\ninitrd --name main http://x/a.img\ninitrd --name b.img http://x/b.img\n",
            ),
            (
                &["http://x/a/initrd?v=1", "http://x/b/initrd"],
                &["console=ttyS0 initrd=initrd1"],
                "kernel k initrd=initrd0 console=ttyS0 initrd=initrd1\ninitrd --name initrd0 http://x/a/initrd?v=1\n\
                 initrd http://x/b/initrd\n",
            ),
        ];
        for (initrd, args, want) in cases {
            assert_eq!(ipxe(&boot("k", initrd, args), true), format!("#!ipxe\n{want}boot\n"), "{initrd:?}");
        }
    }

    /// BC-10: what is iPXE's to expand is none of ours.
    #[test]
    fn what_ipxe_expands_stays() {
        let given = boot("k", &[], &["cloud-config-url=http://h/cloud?uuid=${uuid}"]);
        assert!(ipxe(&given, false).contains(" cloud-config-url=http://h/cloud?uuid=${uuid}\n"));
    }

    /// BC-29: matchbox's own golden file.
    #[test]
    fn grub_has_an_entry_for_each_firmware() {
        let golden = "default=0\nfallback=1\ntimeout=1\nmenuentry \"CoreOS (EFI)\" {\necho \"Loading kernel\"\n\
                      linuxefi \"/image/kernel\" a=b c\necho \"Loading initrd\"\n\
                      initrdefi  \"/image/initrd_a\" \"/image/initrd_b\"\n}\nmenuentry \"CoreOS (BIOS)\" {\n\
                      echo \"Loading kernel\"\nlinux \"/image/kernel\" a=b c\necho \"Loading initrd\"\n\
                      initrd  \"/image/initrd_a\" \"/image/initrd_b\"\n}\n";
        let given = boot("/image/kernel", &["/image/initrd_a", "/image/initrd_b"], &["a=b", "c"]);
        assert_eq!(grub(&given), golden);
    }

    #[test]
    fn what_means_more_to_grub_stands_in_quotes() {
        let args = ["ds=nocloud;s=http://h/", "u=${uuid}", "a=b c='d'", "x=\"y z\"", "#no & { | }"];
        let text = grub(&boot("/k$1", &["(http,h)/i", "/a\"b"], &args));
        for line in [
            "linuxefi '/k$1' 'ds=nocloud;s=http://h/' 'u=${uuid}' a=b 'c='\\''d'\\''' 'x=\"y' 'z\"' '#no' '&' '{' '|' '}'\n",
            "initrd  \"(http,h)/i\" '/a\"b'\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn grub_has_urls_of_its_own() {
        let cases = [
            ("http://10.0.0.1:8080/assets/vmlinuz", "(http,10.0.0.1:8080)/assets/vmlinuz"),
            ("(http;matchbox:8080)/assets/k", "(http;matchbox:8080)/assets/k"),
            ("/image/kernel", "/image/kernel"),
            ("https://x/y", "https://x/y"),
        ];
        for (url, want) in cases {
            assert_eq!(grub_url(url), want);
        }
    }

    #[test]
    fn pxelinux_has_one_label() {
        let given = boot("http://h/k", &["--name main http://h/a", "http://h/b"], &["a=b", "c"]);
        let want = "DEFAULT netboot\nPROMPT 0\nLABEL netboot\n  KERNEL http://h/k\n  INITRD http://h/a,http://h/b\n  APPEND a=b c\n";
        assert_eq!(pxelinux(&given), want);
        assert_eq!(pxelinux(&boot("k", &[], &[])), "DEFAULT netboot\nPROMPT 0\nLABEL netboot\n  KERNEL k\n");
    }
}

//! The command line of Pixiecore's first version (PX-06), in the words of ours. Pure.

use std::ffi::OsString;

/// What was typed, as we call it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It is none of Pixiecore's first version.
    Other,
    Ours(Vec<OsString>),
    Wrong(String),
}

/// Flags with a value, and what takes their place.
const WITH_VALUE: [&str; 10] = [
    "api",
    "api-timeout",
    "kernel",
    "initrd",
    "cmdline",
    "listen-addr",
    "port-http",
    "port-dhcp",
    "port-pxe",
    "port-tftp",
];

/// `arguments`: with the program's name.
pub(super) fn read(arguments: &[OsString]) -> Read {
    let words: Option<Vec<&str>> = arguments.iter().skip(1).map(|word| word.to_str()).collect();
    let Some(words) = words else { return Read::Other };
    let name = |word: &str| word.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
    let is_flag =
        |word: &&str| word.starts_with('-') && (name(word) == "debug" || WITH_VALUE.contains(&&*name(word)));
    let says_what = |word: &&str| word.starts_with('-') && ["api", "kernel"].contains(&&*name(word));
    if !words.first().is_some_and(is_flag) || !words.iter().any(says_what) {
        return Read::Other;
    }
    match flags(&words).and_then(|flags| translated(&flags)) {
        Ok(ours) => Read::Ours(["netboot".to_owned()].into_iter().chain(ours).map(OsString::from).collect()),
        Err(cause) => Read::Wrong(cause),
    }
}

/// As Go's `flag` reads them: one dash or two, `=` or the next word.
fn flags<'a>(words: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut flags = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let flag = flag.ok_or_else(|| format!("{word}: Pixiecore's first command line has flags alone"))?;
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let value = match (name, value) {
            ("debug", value) => value.unwrap_or("true"),
            (name, _) if !WITH_VALUE.contains(&name) => return Err(format!("-{name} is no flag of it")),
            (_, Some(value)) => value,
            (name, None) => words.next().ok_or_else(|| format!("-{name} takes a value"))?,
        };
        flags.push((name, value));
    }
    Ok(flags)
}

fn translated(flags: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let last = |name: &str| flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| *value);
    let fixed = [("port-dhcp", "67"), ("port-pxe", "4011"), ("port-tftp", "69")];
    if let Some((name, port)) = fixed.iter().find(|(name, port)| last(name).is_some_and(|said| said != *port))
    {
        return Err(format!("-{name} is {port} always: firmware asks nowhere else"));
    }
    let mut ours = match (last("kernel"), last("api")) {
        (Some(_), Some(_)) => return Err("it takes either -kernel or -api".to_owned()),
        (None, None) => return Err("it takes -kernel or -api".to_owned()),
        (Some(kernel), None) => {
            let initrd = last("initrd").unwrap_or_default().split(',').filter(|file| !file.is_empty());
            let files = [kernel].into_iter().chain(initrd).map(str::to_owned);
            let mut ours: Vec<String> = ["boot".to_owned()].into_iter().chain(files).collect();
            ours.extend(last("cmdline").map(|cmdline| format!("--cmdline={cmdline}")));
            ours
        }
        (None, Some(url)) => {
            let mut ours = vec!["api".to_owned(), url.to_owned()];
            ours.extend(last("api-timeout").map(|time| format!("--api-request-timeout={time}")));
            ours
        }
    };
    ours.extend(
        last("listen-addr").filter(|addr| !addr.is_empty()).map(|addr| format!("--listen-addr={addr}")),
    );
    ours.push(format!("--port={}", last("port-http").unwrap_or("70")));
    ours.extend(last("debug").filter(|said| is_true(said)).map(|_| "--debug".to_owned()));
    Ok(ours)
}

/// As Go's strconv.ParseBool has it.
fn is_true(said: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Read {
        super::read(
            &["netboot"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn px_06_the_first_version_s_flags_in_our_words() {
        for (line, ours) in [
            ("-api http://a/pixiecore", "netboot api http://a/pixiecore --port=70"),
            ("-kernel k -initrd a,b -cmdline=x=y", "netboot boot k a b --cmdline=x=y --port=70"),
            ("--kernel=k", "netboot boot k --port=70"),
            (
                "-debug -api=http://a -api-timeout 5s -port-http 80 -listen-addr 10.0.0.1 -port-dhcp 67",
                "netboot api http://a --api-request-timeout=5s --listen-addr=10.0.0.1 --port=80 --debug",
            ),
            ("-debug=TRUE -api http://a", "netboot api http://a --port=70 --debug"),
            ("-debug=false -api http://a", "netboot api http://a --port=70"),
        ] {
            let want = ours.split_whitespace().map(OsString::from).collect();
            assert_eq!(read(line), Read::Ours(want), "{line}");
        }
    }

    #[test]
    fn px_06_what_it_does_not_take_is_named_and_what_is_ours_stays_ours() {
        for (line, words) in [
            ("-api http://a -kernel k", "either"),
            ("-api", "takes a value"),
            ("-kernel k -what 1", "-what is no flag"),
            ("-kernel k -port-tftp 70", "69 always"),
            ("-kernel k initrd", "flags alone"),
        ] {
            let Read::Wrong(cause) = read(line) else { panic!("{line}") };
            assert!(cause.contains(words), "{line}: {cause}");
        }
        for line in [
            "",
            "boot k -d",
            "api http://a",
            "--help",
            "-V",
            "boot k --cmdline -kernel",
            "--control x boot --cmdline -kernel",
        ] {
            assert_eq!(read(line), Read::Other, "{line}");
        }
    }
}

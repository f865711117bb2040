//! A story: what an operator has, what is asked, and the whole of what is answered. Text, in the order in which it happens.
//!
//! A line that begins with `== ` is a step, and what follows is its text, up to the next one. A text whose last line is `\` has no line's
//! end at its end. What stands before the first step is for the reader, and so is a line that begins with `=== `.
//!
//! | step | its text |
//! |---|---|
//! | `== file NAME`, `== remove NAME` | a file of the operator's |
//! | `== says PATH` | what the API, at <http://10.77.0.2/>, answers for this path: the status, then the body |
//! | `== GET PATH [FIELD:VALUE]…`, and other methods | the answer: status and media type, then the body |
//! | `== TFTP NAME` | `sent` and the file, or `not there` |
//! | `== asked` | what the API was asked since the last time |
//!
//! In answers, FOLDER is the lab's, and `name=<…>` of a file's URL what that file has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::lab::{Lab, Side, said};
use crate::pixiecore::Api;
use crate::site::Site;

const SERVER: &str = "http://10.77.0.1:8080";
/// What stands before a file's name in a script.
const NAME: &str = "/_/file?name=";

/// What curl ends with where a file is not there (TFTP).
const NOT_THERE: i32 = 68;

struct Step {
    line: usize,
    what: String,
    text: String,
}

fn read(story: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in story.split_inclusive('\n').enumerate() {
        if line.starts_with("=== ") {
            continue;
        }
        if let Some(what) = line.strip_prefix("== ") {
            steps.push(Step { line: number + 1, what: what.trim_end().to_owned(), text: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.text.push_str(line);
        }
    }
    for step in &mut steps {
        if let Some(text) = step.text.strip_suffix("\n\\\n") {
            step.text = text.to_owned();
        }
    }
    steps
}

/// Plays a story of `tests/golden/published`; `start` starts what is served. All that is answered otherwise than told is said at once.
pub(crate) fn play(name: &str, start: impl FnOnce(&mut Site)) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/published").join(name);
    let story = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut player = Player::new();
    let (mut start, mut faults) = (Some(start), Vec::new());
    for Step { line, what, text } in read(&story) {
        let (verb, rest) = what.split_once(' ').unwrap_or((&what, ""));
        if player.prepare(verb, rest, &text) {
            continue;
        }
        if let Some(start) = start.take() {
            start(&mut player.site);
        }
        let got = player.observe(verb, rest);
        if got != text {
            faults.push(format!("{name}:{line}: {what}\n--- told\n{text}\n--- answered\n{got}"));
        }
    }
    assert!(start.is_none() && faults.is_empty(), "{}\n{}", faults.join("\n"), player.site.log());
}

/// What the API answers for each path: a status, and a body.
type Says = Arc<Mutex<BTreeMap<String, (u16, Vec<u8>)>>>;

struct Player {
    site: Site,
    api: Api,
    says: Says,
}

impl Player {
    fn new() -> Self {
        let site = Site { daemon: None, lab: Lab::new() };
        let says = Says::default();
        let told = says.clone();
        // Of any other path, its files are what was asked for.
        let api = Api::start_as(&site.lab, move |target: &str| {
            let path = target.split('?').next().unwrap_or_default();
            match told.lock().unwrap().get(path) {
                Some(answer) => answer.clone(),
                None if path.contains("/v1/boot/") => (404, b"no".to_vec()),
                None => (200, target.as_bytes().to_vec()),
            }
        });
        Self { site, api, says }
    }

    /// Whether the step is one of those by which the world is made.
    fn prepare(&self, verb: &str, rest: &str, text: &str) -> bool {
        let folder = self.folder();
        match verb {
            "file" => {
                let path = self.site.path(rest);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                // In the place of the one before, as a careful operator does it.
                let new = self.site.path("new file");
                fs::write(&new, text).unwrap();
                fs::rename(new, path).unwrap();
            }
            "remove" => fs::remove_file(self.site.path(rest)).unwrap(),
            "says" => {
                let (status, body) = text.split_once('\n').unwrap();
                let body = body.replace("/FOLDER", &folder).into_bytes();
                self.says.lock().unwrap().insert(rest.to_owned(), (status.parse().unwrap(), body));
            }
            _ => return false,
        }
        true
    }

    fn folder(&self) -> String {
        self.site.lab.folder.path().display().to_string()
    }

    fn observe(&self, verb: &str, rest: &str) -> String {
        match verb {
            "asked" => self.api.asked().into_iter().map(|target| target + "\n").collect(),
            "TFTP" => self.fetch(rest),
            method => self.ask(method, rest),
        }
    }

    /// A file by TFTP.
    fn fetch(&self, name: &str) -> String {
        let output = self.curl(&[&format!("tftp://10.77.0.1/{name}")]);
        match output.status.code() {
            Some(0) => format!("sent\n{}", String::from_utf8_lossy(&output.stdout)),
            Some(NOT_THERE) => "not there\n".to_owned(),
            _ => said(&output),
        }
    }

    fn ask(&self, method: &str, rest: &str) -> String {
        let mut words = rest.split_whitespace();
        let url = format!("{SERVER}{}", words.next().unwrap_or_default());
        let fields: Vec<&str> = words.flat_map(|field| ["-H", field]).collect();
        // The status comes behind the body, for that may have none.
        let told = ["-X", method, "--path-as-is", "-w", "%{stderr}%{http_code} %{content_type}", &url];
        let output = self.curl(&[&told[..], &fields[..]].concat());
        assert!(output.status.success(), "{rest}: {}", said(&output));
        let status = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        let body = String::from_utf8_lossy(&output.stdout).replace(&self.folder(), "FOLDER");
        format!("{status}\n{}", self.unsealed(&body))
    }

    /// A script whose files are called by what they have, as their names are others each time.
    fn unsealed(&self, script: &str) -> String {
        let mut parts = script.split(NAME);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(['&', ' ', '\n']).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let output = self.curl(&["--fail", &format!("{SERVER}{NAME}{name}")]);
            let content = String::from_utf8_lossy(&output.stdout);
            text.push_str(&format!("{NAME}<{content}>{rest}"));
        }
        text
    }

    fn curl(&self, words: &[&str]) -> std::process::Output {
        let mut curl = self.site.lab.command(Side::Clients, "curl");
        curl.args(["-sS", "--max-time", "30"]).args(words).output().unwrap()
    }
}

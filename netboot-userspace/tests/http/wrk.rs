//! `wrk`: many connections that are kept, with one request at a time and with several sent ahead. It compares what it gets itself.

use std::process::Command;

use super::site::*;

const CONNECTIONS: u64 = 8;
/// Paths and files come in pairs behind the URL. Answers are told apart by their length.
const SCRIPT: &str = r#"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(words)
  good, wrong, want, requests, at = 0, 0, {}, {}, 0
  for word = 2, #words, 2 do
    local file = io.open(words[word + 1], "rb")
    local content = file:read("*a")
    file:close()
    want[#content] = content
    table.insert(requests, wrk.format("GET", words[word]))
  end
  ahead = words[1] == "ahead" and table.concat(requests)
end
function request()
  at = at % #requests + 1
  return ahead or requests[at]
end
function response(status, headers, body)
  if status == 200 and want[#body] == body then good = good + 1 else wrong = wrong + 1 end
end
function done()
  local all, bad = 0, 0
  for _, thread in ipairs(threads) do
    all, bad = all + thread:get("good"), bad + thread:get("wrong")
  end
  io.write("good ", all, "\nwrong ", bad, "\n")
end
"#;

/// What it says of one second, the shortest time that it knows.
fn wrk(site: &Site, order: &str, files: &[&str]) -> String {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), SCRIPT).unwrap();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "2", "--connections", &CONNECTIONS.to_string(), "--duration", "1s", "--script"]);
    wrk.arg(script.path()).args([&site.url("/"), "--", order]);
    for name in files {
        wrk.arg(format!("/assets/{name}")).arg(site.folder.path().join(name));
    }
    let output = wrk.output().expect("wrk is installed (cargo xtask setup)");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn wrk_gets_the_same_bytes_on_connections_that_are_kept_also_where_it_sends_ahead() {
    for engine in ENGINES {
        for order in ["one by one", "ahead"] {
            let site = site(engine);
            // In memory, and by sendfile.
            site.put("small", 4096);
            site.put("large", 200_000);
            let said = wrk(&site, order, &["small", "large"]);
            let count = |word: &str| -> u64 {
                let number = said.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
                number.unwrap_or_else(|| panic!("no {word}: {said}")).parse().unwrap()
            };
            assert_eq!(count("wrong"), 0, "{engine:?}, {order}: {said}");
            for complaint in ["Socket errors", "Non-2xx"] {
                assert!(!said.contains(complaint), "{engine:?}, {order}: {said}");
            }
            let stats = site.server.stats();
            // It looks whether anybody is there first.
            assert!(stats.accepted <= CONNECTIONS + 1, "{engine:?}, {order}: {stats:?}");
            assert!(count("good") > 2 * CONNECTIONS, "{engine:?}, {order}: {said}");
        }
    }
}

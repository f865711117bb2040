//! What a folder has, as a page or as JSON. Pure.

use std::fmt::Write;

use serde_json::json;

use super::date;
use super::machine::Found;
use crate::sys::open::Listed;

/// No more of a folder is shown.
pub(super) const MOST: usize = 4096;

/// The list of the folder at `path`, which needs no `/` at its end: every link is a whole path, so that nothing is redirected.
pub(super) fn written<F>(path: &str, entries: &[Listed], as_json: bool) -> Found<F> {
    let base = format!("{}/", path.trim_end_matches('/'));
    if as_json {
        let body = json(&base, entries).into_bytes();
        return Found::Listing { media_type: "application/json", body };
    }
    Found::Listing { media_type: "text/html; charset=utf-8", body: html(&base, entries).into_bytes() }
}

fn json(base: &str, entries: &[Listed]) -> String {
    let entry = |entry: &Listed| {
        let Listed { name, is_folder, size, modified } = entry;
        let kind = if *is_folder { "folder" } else { "file" };
        json!({ "name": name, "path": link(base, entry), "type": kind, "size": size, "modified": modified })
    };
    json!({ "path": base, "entries": entries.iter().map(entry).collect::<Vec<_>>() }).to_string()
}

fn html(base: &str, entries: &[Listed]) -> String {
    let title = escaped(base);
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<table>\n"
    );
    for entry in entries {
        let slash = if entry.is_folder { "/" } else { "" };
        let size = if entry.is_folder { String::new() } else { entry.size.to_string() };
        // Writing to a string doesn't fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"{}\">{}{slash}</a></td><td>{size}</td><td>{}</td></tr>",
            link(base, entry),
            escaped(&entry.name),
            date::format(entry.modified),
        );
    }
    page.push_str("</table>\n");
    page
}

/// Its whole path, in the characters of RFC 3986 that need no quotation anywhere.
fn link(base: &str, entry: &Listed) -> String {
    let mut path = String::new();
    for byte in base.bytes().chain(entry.name.bytes()) {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => path.push(byte.into()),
            byte => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    if entry.is_folder {
        path.push('/');
    }
    path
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            char => out.push(char),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, is_folder: bool) -> Listed {
        Listed { name: name.to_owned(), is_folder, size: 7, modified: 784_111_777 }
    }

    #[test]
    fn names_are_quoted_where_they_are_shown_and_where_they_are_linked() {
        let page = html("/assets/", &[entry("<a b>&\"%2f", false), entry("sub", true)]);
        assert!(
            page.contains("href=\"/assets/%3Ca%20b%3E%26%22%252f\">&lt;a b&gt;&amp;&quot;%2f</a></td><td>7<")
        );
        assert!(page.contains("href=\"/assets/sub/\">sub/</a>"), "{page}");
        assert!(page.contains("Sun, 06 Nov 1994 08:49:37 GMT"));
    }

    #[test]
    fn programs_get_json() {
        let Found::<()>::Listing { media_type, body } = written("/assets", &[entry("ä", false)], true)
        else {
            panic!("no list")
        };
        assert_eq!(media_type, "application/json");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!(value["path"], "/assets/");
        assert_eq!(
            value["entries"][0],
            json!({
                "name": "ä", "path": "/assets/%C3%A4", "type": "file", "size": 7, "modified": 784_111_777,
            })
        );
    }
}

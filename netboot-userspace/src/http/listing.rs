//! What a folder has, as a page or as JSON. Its requests are handed over, as reading a folder waits for a disk.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::mounts::{Mounts, Place};
use super::{Error, Mount, date};
use crate::sys::open::Listed;
use crate::template::{is_unreserved, percent};

/// No more of a folder is shown.
const MOST: usize = 4096;
/// So many folders are read at once; who asks for others waits.
const AT_ONCE: usize = 4;

/// Answers the requests for folders that the data plane hands over.
#[derive(Debug)]
pub struct Folders {
    mounts: Arc<Mounts>,
    places: Arc<Semaphore>,
}

impl Folders {
    /// Of the same mounts as the data plane's.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn open(mounts: &[Mount]) -> Result<Self, Error> {
        let mounts = Mounts::open(mounts).map_err(|(path, source)| Error::Root { path, source })?;
        Ok(Self { mounts: Arc::new(mounts), places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// What it is not asked for is `router`'s to answer.
    pub fn before(self, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::new(self), answer))
    }

    /// Of a path in its normal form.
    async fn list(&self, normal: String, as_json: bool) -> Option<(&'static str, String)> {
        // Whoever has the place has it until the folder was read, whether anybody still waits for that or not.
        let place = self.places.clone().acquire_owned().await.ok()?;
        let mounts = self.mounts.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let _place = place;
            // One more tells that there are more.
            let mut listed = mounts.of(&normal)?.list(&normal, MOST + 1)?;
            let is_cut = listed.len() > MOST;
            listed.truncate(MOST);
            Some(written(&normal, &listed, is_cut, as_json))
        });
        listed.await.ok()?
    }
}

async fn answer(State(folders): State<Arc<Folders>>, request: Request, next: Next) -> Response {
    let mut normal = String::new();
    let is_folder = match folders.mounts.find(request.uri().path(), &mut normal) {
        Place::Elsewhere => return next.run(request).await,
        Place::Static(_) => true,
        Place::Malformed => false,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let as_json = wants_json(request.headers());
    let listed = if is_folder { folders.list(normal, as_json).await } else { None };
    let Some((media_type, body)) = listed else {
        return (StatusCode::NOT_FOUND, "404 Not Found\n").into_response();
    };
    let fields =
        [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache"), (header::VARY, "Accept")];
    (fields, body).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains("application/json")))
}

/// The list of the folder at `path`, which needs no `/` at its end: every link is a whole path, so that nothing is redirected.
fn written(path: &str, entries: &[Listed], is_cut: bool, as_json: bool) -> (&'static str, String) {
    let base = format!("{}/", path.trim_end_matches('/'));
    if as_json {
        return ("application/json", json(&base, entries, is_cut));
    }
    ("text/html; charset=utf-8", html(&base, entries, is_cut))
}

fn json(base: &str, entries: &[Listed], is_cut: bool) -> String {
    let entry = |entry: &Listed| {
        let Listed { name, is_folder, size, modified } = entry;
        let kind = if *is_folder { "folder" } else { "file" };
        json!({ "name": name, "path": link(base, entry), "type": kind, "size": size, "modified": modified })
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    json!({ "path": base, "entries": entries, "truncated": is_cut }).to_string()
}

fn html(base: &str, entries: &[Listed], is_cut: bool) -> String {
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
    if is_cut {
        let _ = writeln!(page, "<p>There is more: these are the first {MOST} names.</p>");
    }
    page
}

/// Its whole path, in the characters of RFC 3986 that need no quotation anywhere.
fn link(base: &str, entry: &Listed) -> String {
    let is_plain = |byte| byte == b'/' || is_unreserved(byte);
    let mut path = percent(base, is_plain) + &percent(&entry.name, is_plain);
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(name: &str, is_folder: bool) -> Listed {
        Listed { name: name.to_owned(), is_folder, size: 7, modified: 784_111_777 }
    }

    #[test]
    fn names_are_quoted_where_they_are_shown_and_where_they_are_linked() {
        let page = html("/assets/", &[entry("<a b>&\"%2f", false), entry("sub", true)], false);
        assert!(
            page.contains("href=\"/assets/%3Ca%20b%3E%26%22%252f\">&lt;a b&gt;&amp;&quot;%2f</a></td><td>7<")
        );
        assert!(page.contains("href=\"/assets/sub/\">sub/</a>"), "{page}");
        assert!(page.contains("Sun, 06 Nov 1994 08:49:37 GMT"));
    }

    #[tokio::test]
    async fn a_list_that_is_cut_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let roots = vec![folder.path().to_owned()];
        let folders = Folders::open(&[Mount::Folder { prefix: "/a/".into(), roots, index: true }]).unwrap();
        let put = |name: usize| std::fs::write(folder.path().join(format!("{name:04}")), "").unwrap();
        (0..MOST).for_each(put);
        for is_cut in [false, true] {
            let (_, list) = folders.list("/a/".into(), true).await.unwrap();
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            assert_eq!(
                (list["entries"].as_array().unwrap().len(), &list["truncated"]),
                (MOST, &is_cut.into())
            );
            let (_, page) = folders.list("/a/".into(), false).await.unwrap();
            assert_eq!(page.contains("There is more"), is_cut);
            put(MOST);
        }
    }

    #[test]
    fn programs_get_json() {
        let (media_type, body) = written("/assets", &[entry("ä", false)], false, true);
        assert_eq!(media_type, "application/json");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(value["path"], "/assets/");
        assert_eq!(
            value["entries"][0],
            json!({
                "name": "ä", "path": "/assets/%C3%A4", "type": "file", "size": 7, "modified": 784_111_777,
            })
        );
    }
}

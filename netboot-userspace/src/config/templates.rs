//! `templates`: the folder of the files that profiles' `configs` name.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check;
use super::errors::Errors;
use super::reader::Section;
use crate::inventory::configs::Templates;
use crate::sys::open::{Refusal, RegularFile};

/// More than this is no template.
const LARGEST: u64 = 1 << 20;
/// How deep folders may lie in one another.
const DEEPEST: usize = 8;

/// The folder, and all files in it, by their names below it. Without the key: the folder beside the configuration, which need not
/// be there.
pub(super) fn read(top: &mut Section<'_>, base: &Path, errors: &mut Errors) -> (PathBuf, Templates) {
    let default = base.join("templates");
    let folder = check::folder(top.take("templates"), base, &default.to_string_lossy(), errors);
    let mut templates = Templates::new();
    collect(&folder, "", DEEPEST, &mut templates, errors);
    (folder, templates)
}

fn collect(folder: &Path, prefix: &str, depth: usize, templates: &mut Templates, errors: &mut Errors) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return errors.whole(folder, format!("can't be read: {error}")),
    };
    for entry in entries.filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            match depth.checked_sub(1) {
                Some(depth) => collect(&path, &format!("{name}/"), depth, templates, errors),
                None => errors.whole(&path, format!("is more than {DEEPEST} folders deep")),
            }
            continue;
        }
        match template(&path) {
            Ok(text) => drop(templates.insert(name, text)),
            Err(fault) => errors.whole(&path, fault),
        }
    }
}

fn template(path: &Path) -> Result<Arc<str>, String> {
    let unreadable = |error: &dyn Display| format!("can't be read: {error}");
    let file = RegularFile::open(path).map_err(|refusal| match refusal {
        Refusal::Forbidden => "is no regular file, or none that we may read".to_owned(),
        refusal => unreadable(&refusal),
    })?;
    let text = file.read_at_most(LARGEST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let size = file.identity.size;
            format!("has {size} bytes: a template has {LARGEST} at most; files to be served are assets")
        }
        _ => unreadable(&error),
    })?;
    String::from_utf8(text)
        .map(Arc::from)
        .map_err(|_| "is not UTF-8 text: files to be served are assets".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn no_fifo_among_the_templates_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::os::unix::fs::symlink("none", path("link")).unwrap();
        fs::write(path("large"), vec![b'x'; LARGEST as usize + 1]).unwrap();
        fs::write(path("largest"), vec![b'x'; LARGEST as usize]).unwrap();
        fs::write(path("bytes"), [0xff]).unwrap();
        let (mut templates, mut errors) = (Templates::new(), Errors::default());
        collect(folder.path(), "", DEEPEST, &mut templates, &mut errors);
        assert_eq!(templates.keys().collect::<Vec<_>>(), ["largest"]);
        let errors = errors.sorted();
        let said: Vec<_> = errors.iter().map(|fault| (fault.file.clone(), fault.message.as_str())).collect();
        let about = "files to be served are assets";
        assert_eq!(
            said,
            [
                (path("bytes"), format!("is not UTF-8 text: {about}").as_str()),
                (path("fifo"), "is no regular file, or none that we may read"),
                (
                    path("large"),
                    format!("has 1048577 bytes: a template has 1048576 at most; {about}").as_str()
                ),
                (path("link"), "can't be read: not found"),
            ]
        );
    }
}

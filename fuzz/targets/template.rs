//! The template language.

use netboot_userspace::template::{OUTPUT, Template};
use serde_json::json;

/// Any text as a template: it is refused, or renders always alike, within its bounds; a fault lies in the text.
pub(crate) fn rendered(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let known = json!({
        "a": "x", "n": 3, "f": 1.5, "t": true, "nil": null, "list": [1, "b", null, {"a": 2}], "map": {"k": "v", "l": [1]},
    });
    let rendered = Template::parse("fuzz", text).and_then(|template| {
        let first = template.render(&known, &());
        assert_eq!(first, template.render(&known, &()));
        first
    });
    match rendered {
        Ok(made) => assert!(made.len() <= OUTPUT),
        Err(fault) => assert!((1..=text.matches('\n').count() + 1).contains(&fault.line), "{fault}"),
    }
}

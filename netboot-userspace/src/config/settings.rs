//! `options`, `vendor_options`, `boot_files` and `pxe_menu`: on any level.

use super::errors::Errors;
use super::reader::{Field, Section};
use crate::inventory::menu::MenuEntry;
use crate::inventory::settings::Settings;

/// The four keys, where they are typed.
pub(super) fn read(section: &mut Section<'_>, errors: &mut Errors) -> Settings {
    let mut settings = Settings::default();
    each(section.take("options"), errors, |key, values| settings.options.set(key, values));
    each(section.take("vendor_options"), errors, |key, values| settings.options.set_vendor(key, values));
    each(section.take("boot_files"), errors, |class, values| match values {
        [file] => settings.set_boot_file(class, file),
        _ => Err("takes one file".to_owned()),
    });
    if let Some(field) = section.take("pxe_menu")
        && let Some(entry) = field.entry::<MenuEntry>(errors)
    {
        let checked = entry.check().map_err(|fault| field.place.fault(errors, fault));
        settings.menu = checked.ok();
    }
    settings
}

/// Each entry of a mapping: a key, and one value or a list of them.
fn each(
    field: Option<Field<'_>>,
    errors: &mut Errors,
    mut set: impl FnMut(&str, &[&str]) -> Result<(), String>,
) {
    let pairs = field.map(|field| field.pairs(errors)).unwrap_or_default();
    for (key, field) in pairs {
        let values = field.one_or_more(errors);
        let values: Vec<&str> = values.iter().filter_map(|value| value.text(errors)).collect();
        if let Err(fault) = set(key, &values) {
            field.place.fault(errors, fault);
        }
    }
}

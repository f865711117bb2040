//! Comma-separated values (RFC 4180) under a line of headings. Semicolons and tabs separate, too, where the headings have
//! them: spreadsheets write what their country is used to.

mod records;

use records::Cell;

use super::{Field, Labels, Sheet, native};
use crate::inventory::entry::HostEntry;
use crate::inventory::options;

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    let mut records = records::read(text).into_iter();
    let Some((line, headings)) = records.next() else { return };
    let columns: Result<Vec<Column>, String> = match headings {
        Ok(cells) => cells.iter().map(|cell| column(&cell.text)).collect(),
        Err(reason) => Err(reason),
    };
    let columns = match columns.and_then(|columns| unique(&columns).map(|()| columns)) {
        Ok(columns) => columns,
        Err(reason) => return sheet.refuse(line, "", reason),
    };
    carries(&columns, sheet);
    for (line, record) in records {
        match record.and_then(|cells| host(&columns, &cells)) {
            Ok(entry) => sheet.host(line, entry),
            Err(reason) => sheet.refuse(line, "", reason),
        }
    }
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Field(Field),
    /// The value of one label.
    Label(String),
    /// Several labels, `key=value` or `key`, with spaces between them.
    Labels,
    /// The value of one option, with commas between several.
    Option(String),
    VendorOption(String),
    /// The boot file of one class.
    BootFile(String),
}

fn column(heading: &str) -> Result<Column, String> {
    if let Some((prefix, key)) = heading.split_once(':') {
        let key = key.to_owned();
        match prefix {
            "label" => return Ok(Column::Label(key)),
            "option" => return Ok(Column::Option(key)),
            "vendor_option" => return Ok(Column::VendorOption(key)),
            "boot_file" => return Ok(Column::BootFile(key)),
            _ => {}
        }
    }
    Ok(match heading.trim().to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "name" | "host" | "hostname" => Column::Name,
        "mac" | "macs" => Column::Field(Field::Macs),
        "client_id" => Column::Field(Field::ClientId),
        "uuid" => Column::Field(Field::Uuid),
        "circuit" => Column::Field(Field::Circuit),
        "duid" => Column::Field(Field::Duid),
        "serial" => Column::Field(Field::Serial),
        "ip" | "address" => Column::Field(Field::Ip),
        "ip6" | "ipv6" => Column::Field(Field::Ip6),
        "profile" => Column::Field(Field::Profile),
        "boot" => Column::Field(Field::Boot),
        "cmdline" => Column::Field(Field::Cmdline),
        "labels" => Column::Labels,
        _ => {
            return Err(format!(
                "the heading {heading:?} is not known: it takes name, mac, ip, ip6, profile, client_id, uuid, circuit, \
                 duid, serial, boot, cmdline and labels; a label of its own is headed label:{}, and so are option:NAME, \
                 vendor_option:NUMBER and boot_file:CLASS",
                if heading.is_empty() { "rack" } else { heading }
            ));
        }
    })
}

fn unique(columns: &[Column]) -> Result<(), String> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            return Err(format!("column {} has a heading that is there already", index + 1));
        }
    }
    if columns.contains(&Column::Name) { Ok(()) } else { Err("the heading `name` is missing".to_owned()) }
}

fn carries(columns: &[Column], sheet: &mut Sheet<'_>) {
    let (mut fields, mut keys) = (Vec::new(), Vec::new());
    for column in columns {
        match column {
            Column::Field(field) => fields.push(*field),
            Column::Label(key) => keys.push(key.clone()),
            Column::Option(_) => fields.push(Field::Options),
            Column::VendorOption(_) => fields.push(Field::VendorOptions),
            Column::BootFile(_) => fields.push(Field::BootFiles),
            Column::Name | Column::Labels => {}
        }
    }
    sheet.carries(&fields);
    sheet.reading.carries.labels = Labels::Keys(keys);
}

fn host(columns: &[Column], cells: &[Cell]) -> Result<HostEntry, String> {
    if cells.len() != columns.len() {
        return Err(format!("has {} values under {} headings", cells.len(), columns.len()));
    }
    let mut entry = HostEntry::default();
    for (column, Cell { text, quoted }) in columns.iter().zip(cells) {
        let some = || Some(text.clone()).filter(|text| !text.is_empty());
        match column {
            Column::Name => entry.name.clone_from(text),
            Column::Field(Field::Macs) => {
                let macs = text.split([' ', ';', ',', '|']).filter(|mac| !mac.is_empty());
                entry.macs = macs.map(super::values::mac).collect::<Result<_, _>>()?;
            }
            Column::Field(Field::ClientId) => entry.client_id = some(),
            Column::Field(Field::Uuid) => entry.uuid = some(),
            Column::Field(Field::Circuit) => entry.circuit = some(),
            Column::Field(Field::Duid) => entry.duid = some(),
            Column::Field(Field::Serial) => entry.serial = some(),
            Column::Field(Field::Ip) => entry.ip = some(),
            Column::Field(Field::Ip6) => entry.ip6 = some(),
            Column::Field(Field::Profile) => entry.profile = some(),
            Column::Field(Field::Boot) => entry.boot = native::boot(text)?,
            Column::Field(Field::Cmdline) => entry.cmdline.clone_from(text),
            Column::Option(key) => {
                entry.options.extend(some().map(|text| (key.clone(), options::split_values(key, &text))));
            }
            Column::VendorOption(key) => {
                entry
                    .vendor_options
                    .extend(some().map(|text| (key.clone(), options::split_vendor_values(&text))));
            }
            Column::BootFile(class) => entry.boot_files.extend(some().map(|file| (class.clone(), file))),
            // What has a column for each of its keys, or none.
            Column::Field(
                Field::Options
                | Field::VendorOptions
                | Field::BootFiles
                | Field::Metadata
                | Field::SshAuthorizedKeys
                | Field::PxeMenu,
            ) => {}
            // Nothing is no label; two quotes are one without a value.
            Column::Label(key) if *quoted || !text.is_empty() => {
                entry.labels.insert(key.clone(), text.clone());
            }
            Column::Label(_) => {}
            Column::Labels => entry.labels.extend(text.split_whitespace().map(label)),
        }
    }
    Ok(entry)
}

fn label(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

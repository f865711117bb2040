//! `netboot audit`: what was changed, and by whom.

use serde_json::{Value, json};

use super::client::Client;
use super::output;

/// What was changed by command and API, when, and by whom
///
/// It is kept in the state folder, in audit.jsonl and the older files beside it, a JSON object per line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many changes, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    last: usize,
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let mut records = client.get(&format!("/api/v1/audit?last={}", args.last))?;
    if args.json {
        return output::json(&records);
    }
    for record in records.as_array_mut().into_iter().flatten() {
        let seconds = record["time"].as_i64().map(|time| time / 1000);
        record["when"] = json!(output::date(&json!(seconds)));
        if record["what"].is_null() {
            let more = record["untold"].as_u64().map(|count| format!(" (and {count} more before)"));
            let (method, path) = (output::word(&record["method"]), output::word(&record["path"]));
            record["what"] = Value::from(format!("{method} {path}{}", more.unwrap_or_default()));
        }
    }
    let columns =
        [("WHEN", "when"), ("WHO", "who"), ("FROM", "address"), ("STATUS", "status"), ("WHAT", "what")];
    output::print(&output::table(&columns, &records, "nothing was changed yet"))
}

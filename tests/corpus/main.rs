//! Every input that fuzzing kept, and every one that was a finding once, through the same targets (`cargo xtask fuzz`), on any
//! toolchain.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// `fuzz/FOLDER/TARGET`: its files, in the order of their names.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}

/// Says which input it was, as the target's own words don't.
struct Running<'a>(&'a Path);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {}", self.0.display());
        }
    }
}

fn replay(folder: &str, target: &str, run: targets::Target) -> usize {
    let files = inputs(folder, target);
    for file in &files {
        let input = fs::read(file).expect("a readable input");
        let running = Running(file);
        run(&input);
        drop(running);
    }
    files.len()
}

#[test]
fn what_fuzzing_kept_holds() {
    for (target, run) in targets::ALL {
        assert!(replay("corpus", target, *run) > 0, "fuzz/corpus/{target} is empty");
    }
}

#[test]
fn past_findings_stay_mended() {
    for (target, run) in targets::ALL {
        replay("crashes", target, *run);
    }
}

#[test]
fn every_folder_has_its_target() {
    for folder in ["corpus", "crashes"] {
        for path in inputs(folder, "") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            assert!(
                targets::ALL.iter().any(|(target, _)| *target == name),
                "fuzz/{folder}/{name}: no such target"
            );
        }
    }
}

/// Not a search, only a look: the same few thousand inputs each time, of any bytes and of small ones, which most decisions are.
#[test]
fn any_bytes_are_taken() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    for round in 0..3000_u32 {
        let length = random() % 400;
        let mask = if round % 2 == 0 { 0xff } else { 0x0f };
        let input: Vec<u8> = (0..length).map(|_| random() as u8 & mask).collect();
        targets::ALL.iter().for_each(|(_, run)| run(&input));
    }
}

//! The fuzz targets without cargo-fuzz: each on its corpus, and on what becomes of the corpus by
//! chance, the same every time.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// How many inputs each target has: a second's work. `scripts/fuzz` goes on for as long as it is told.
const INPUTS: usize = 5_000;

#[test]
fn pgoutput() {
    run("pgoutput", super::pgoutput);
}

#[test]
fn reply() {
    run("reply", super::reply);
}

#[test]
fn round_trip() {
    run("round_trip", super::round_trip);
}

#[test]
fn settings() {
    run("settings", super::settings);
}

#[test]
fn stream() {
    run("stream", super::stream);
}

#[test]
fn template() {
    run("template", super::template);
}

#[test]
fn text() {
    run("text", super::text);
}

#[test]
fn every_target_is_one_of_these() {
    let here = include_str!("corpus_tests.rs");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for (_, path) in files(&folder("fuzz_targets")) {
        let target = path.file_stem().unwrap().to_str().unwrap();
        assert!(here.contains(&format!("run(\"{target}\", super::{target})")), "{target}");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
    }
}

fn run(target: &str, body: fn(&[u8])) {
    let corpus = files(&folder("corpus").join(target));
    assert!(!corpus.is_empty(), "fuzz/corpus/{target} is empty");
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    for number in 0..INPUTS.max(corpus.len()) {
        let mut input = corpus[number % corpus.len()].0.clone();
        if number >= corpus.len() {
            for _ in 0..=chance.below(4) {
                damage(&mut input, &corpus[chance.below(corpus.len())].0, &mut chance);
            }
        }
        assert!(
            catch_unwind(|| body(&input)).is_ok(),
            "input {number} of {target}: b\"{}\"",
            input.escape_ascii()
        );
    }
}

/// Changes one thing in the input.
fn damage(input: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    const TELLING: [&[u8]; 8] =
        [&[0], &[0xFF], &[0, 0, 0, 0], &[0xFF; 4], &[0x7F, 0xFF, 0xFF, 0xFF], b"\"", b"\\", b"{"];
    let at = chance.below(input.len() + 1);
    let end = at + chance.below(input.len() - at + 1).min(16);
    match chance.below(6) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 => input.truncate(at),
        2 => drop(input.drain(at..end)),
        3 => input.extend_from_within(at..end),
        4 => {
            let from = chance.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let telling = TELLING[chance.below(TELLING.len())];
            let end = (at + telling.len()).min(input.len());
            input.splice(at..end, telling.iter().copied());
        }
    }
}

/// Numbers by chance (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<(Vec<u8>, PathBuf)> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect()
}

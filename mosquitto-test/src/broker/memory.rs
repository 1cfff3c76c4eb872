//! A look into a running broker's memory, as somebody would take who got hold of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use memchr::memmem;

/// A part of a process's memory, as it was when it was read.
struct Mapping {
    /// A file, `[heap]`, `[stack]`, or nothing.
    name: String,
    bytes: Vec<u8>,
}

/// The memory that a process can write to.
pub struct Memory(Vec<Mapping>);

impl Memory {
    pub(super) fn of(pid: u32) -> Memory {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the broker runs");
        let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory can be read");
        Memory(maps.lines().filter_map(|line| Mapping::read(line, &memory)).collect())
    }

    /// Where these bytes are, with what is around them. What stands right behind itself counts once:
    /// a text that is made of many of them is one copy.
    pub fn places(&self, needle: &str) -> Vec<String> {
        let mut places = Vec::new();
        for Mapping { name, bytes } in &self.0 {
            let mut end = None;
            for at in memmem::find_iter(bytes, needle.as_bytes()) {
                if end != Some(at) {
                    let around = &bytes[at.saturating_sub(40)..bytes.len().min(at + 40)];
                    places.push(format!("{name}: …{}…", around.escape_ascii()));
                }
                end = Some(at + needle.len());
            }
        }
        places
    }
}

impl Mapping {
    /// Reads what a line of `/proc/PID/maps` tells of; none of what is not to be written to.
    fn read(line: &str, memory: &File) -> Option<Mapping> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        if !fields.next()?.contains("rw") {
            return None;
        }
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // The broker runs on: what was given back meanwhile is not there to be read.
        memory.read_exact_at(&mut bytes, start).ok()?;
        Some(Mapping { name: fields.nth(3).unwrap_or_default().to_owned(), bytes })
    }
}

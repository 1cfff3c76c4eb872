//! What an ELF file says of the machine and the libraries that it needs.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The headers of a file, which are read as they are asked for: it may be large, and no such file.
pub(crate) struct Elf {
    file: File,
    header: Vec<u8>,
}

/// A part of the file, and where it goes in memory.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    len: u64,
}

const LOADED: u64 = 1;
const DYNAMIC: u64 = 2;

/// Kinds of entries of a dynamic section.
const NEEDED: u64 = 1;
const STRINGS: u64 = 5;

/// Larger than the dynamic sections and the names that there are, and no burden to read.
const LONGEST_SECTION: u64 = 64 << 10;
const LONGEST_NAME: u64 = 256;
const LONGEST_DESCRIPTION: u64 = 64;

impl Elf {
    /// None: the file is no such file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut elf = Self { file: File::open(path)?, header: Vec::new() };
        elf.header = elf.part(0, 64)?;
        Ok((elf.header.len() == 64 && elf.header.starts_with(b"\x7fELF")).then_some(elf))
    }

    /// What it is: a program, a shared library.
    pub(crate) fn kind(&self) -> u64 {
        self.number(&self.header, 16, 2)
    }

    /// For which machine.
    pub(crate) fn machine(&self) -> u64 {
        self.number(&self.header, 18, 2)
    }

    /// The names of the libraries that are loaded with it.
    pub(crate) fn needed(&self) -> io::Result<Vec<String>> {
        let segments = self.segments()?;
        let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC);
        let Some(dynamic) = dynamic else { return Ok(Vec::new()) };
        let section = self.part(dynamic.offset, dynamic.len.min(LONGEST_SECTION))?;
        let word = self.word();
        let entries: Vec<_> = section
            .chunks_exact(2 * word)
            .map(|entry| (self.number(entry, 0, word), self.number(entry, word, word)))
            .collect();
        let strings = entries.iter().find(|(kind, _)| *kind == STRINGS);
        let strings = strings.and_then(|(_, address)| {
            let holds = |s: &&Segment| {
                s.kind == LOADED && address.checked_sub(s.address).is_some_and(|at| at < s.len)
            };
            let segment = segments.iter().find(holds)?;
            segment.offset.checked_add(address - segment.address)
        });
        let Some(strings) = strings else { return Ok(Vec::new()) };
        let names = entries.iter().filter(|(kind, _)| *kind == NEEDED);
        names.map(|(_, at)| self.name(strings.saturating_add(*at))).collect()
    }

    fn name(&self, at: u64) -> io::Result<String> {
        let bytes = self.part(at, LONGEST_NAME)?;
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    fn segments(&self) -> io::Result<Vec<Segment>> {
        let word = self.word();
        // Where they begin, how long the description of one is, and how many there are.
        let [start, len, count] = match word {
            8 => [(32, 8), (54, 2), (56, 2)],
            _ => [(28, 4), (42, 2), (44, 2)],
        }
        .map(|(at, width)| self.number(&self.header, at, width));
        let described = |index: u64| {
            let bytes =
                self.part(start.saturating_add(index * len), len.min(LONGEST_DESCRIPTION))?;
            // 64-bit files have another field in the second place.
            let [offset, address, in_file] = match word {
                8 => [8, 16, 32],
                _ => [4, 8, 16],
            }
            .map(|at| self.number(&bytes, at, word));
            Ok(Segment { kind: self.number(&bytes, 0, 4), offset, address, len: in_file })
        };
        (0..count).map(described).collect()
    }

    /// The bytes of an address.
    fn word(&self) -> usize {
        if self.header[4] == 2 { 8 } else { 4 }
    }

    /// A number of so many bytes; 0 where there are not as many.
    fn number(&self, bytes: &[u8], at: usize, width: usize) -> u64 {
        let bytes = bytes.get(at..at + width).unwrap_or_default();
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        // The sixth byte of the file tells the order.
        if self.header[5] == 2 {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        }
    }

    /// As much of the file as there is from here on, at most this much.
    fn part(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = self.file.read_at(&mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that asks for one library: a header, the descriptions of two segments, a dynamic section
    /// and a name, with words of this many bytes.
    fn file(word: usize, is_big: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |at: usize, width: usize, number: u64| {
            bytes.resize(bytes.len().max(at + width), 0);
            let number = number.to_be_bytes();
            let number = &number[8 - width..];
            let number: Vec<_> =
                if is_big { number.to_vec() } else { number.iter().rev().copied().collect() };
            bytes[at..at + width].copy_from_slice(&number);
        };
        let (descriptions, dynamic, strings, address) = (0x40, 0x100, 0x180, 0x1000);
        put(16, 2, 3);
        put(18, 2, 62);
        let (header, fields, len): ([usize; 3], [usize; 3], usize) = match word {
            8 => ([32, 54, 56], [8, 16, 32], 56),
            _ => ([28, 42, 44], [4, 8, 16], 32),
        };
        put(header[0], word, descriptions);
        put(header[1], 2, len as u64);
        put(header[2], 2, 2);
        let segments = [(DYNAMIC, dynamic, 0, 6 * word as u64), (LOADED, 0, address, 0x200)];
        for (index, (kind, offset, address, in_file)) in segments.into_iter().enumerate() {
            let at = descriptions as usize + index * len;
            put(at, 4, kind);
            for (field, number) in fields.into_iter().zip([offset, address, in_file]) {
                put(at + field, word, number);
            }
        }
        let entries = [NEEDED, 1, STRINGS, address + strings, 0, 0];
        for (index, number) in entries.into_iter().enumerate() {
            put(dynamic as usize + index * word, word, number);
        }
        bytes.resize(strings as usize, 0);
        bytes.extend(b"\0libc.so.6\0");
        bytes[..6].copy_from_slice(b"\x7fELF\x01\x01");
        (bytes[4], bytes[5]) = (1 + u8::from(word == 8), 1 + u8::from(is_big));
        bytes
    }

    /// What is read from a file with these bytes.
    fn read(bytes: &[u8]) -> Option<(u64, u64, Vec<String>)> {
        let path = std::env::temp_dir().join(format!("elf-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        let elf = Elf::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        elf.map(|elf| (elf.kind(), elf.machine(), elf.needed().unwrap_or_default()))
    }

    #[test]
    fn needed_libraries_are_named_and_broken_files_do_no_harm() {
        for (word, is_big) in [(8, false), (8, true), (4, false), (4, true)] {
            let whole = file(word, is_big);
            assert_eq!(
                read(&whole),
                Some((3, 62, vec!["libc.so.6".to_owned()])),
                "{word} {is_big}"
            );
            for len in 0..whole.len() {
                assert_eq!(read(&whole[..len]).is_some(), len >= 64);
            }
            for at in 6..whole.len() {
                for byte in [0, 0x7f, 0xff] {
                    let mut broken = whole.clone();
                    broken[at] = byte;
                    assert!(read(&broken).is_some());
                }
            }
        }
        assert_eq!(read(&[b'#'; 64]), None);
    }
}

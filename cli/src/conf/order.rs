//! The files of an `include_dir`, in the broker's order.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every file in the folder that ends in `.conf`. They are sorted without regard to case; where two
/// letters differ in nothing else, the upper case one comes first.
pub(crate) fn included(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.len() > ".conf".len() && bytes.ends_with(b".conf") {
            names.push(name);
        }
    }
    names.sort_by(|a, b| compare(a.as_encoded_bytes(), b.as_encoded_bytes()));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let pairs = a.iter().zip(b);
    let by_letter = pairs
        .map(|(a, b)| a.to_ascii_uppercase().cmp(&b.to_ascii_uppercase()).then_with(|| a.cmp(b)));
    by_letter.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_brokers_order() {
        let mut names: Vec<&[u8]> =
            vec![b"b.conf", b"B.conf", b"a.conf", b"aB.conf", b"10.conf", b"9.conf", b"_.conf"];
        names.sort_by(|a, b| compare(a, b));
        let sorted: Vec<_> = names.into_iter().map(|n| String::from_utf8_lossy(n)).collect();
        let expected = ["10.conf", "9.conf", "a.conf", "aB.conf", "B.conf", "b.conf", "_.conf"];
        assert_eq!(sorted, expected);
    }
}

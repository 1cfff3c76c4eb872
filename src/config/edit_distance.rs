//! How much two names differ.

#![forbid(unsafe_code)]

use std::mem;

/// How many bytes have to be put in, taken out or replaced to make the one name of the other (Levenshtein's
/// distance).
#[must_use]
pub fn edit_distance(one: &str, other: &str) -> usize {
    // From what was compared so far of the one to each beginning of the other.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut before = mem::replace(&mut row[0], at + 1);
        for (at, wanted) in other.bytes().enumerate() {
            let replaced = before + usize::from(byte != wanted);
            before = row[at + 1];
            row[at + 1] = replaced.min(before + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_correction_counts_once() {
        for (one, other, distance) in [
            ("", "", 0),
            ("", "ttl", 3),
            ("cache_ttl", "cache_ttl", 0),
            ("cache_tll", "cache_ttl", 1),
            ("cach_ttl", "cache_ttl", 1),
            ("cache_ttls", "cache_ttl", 1),
            ("cahce_ttl", "cache_ttl", 2),
            ("kitten", "sitting", 3),
            ("ttl", "qos", 3),
        ] {
            assert_eq!(edit_distance(one, other), distance, "{one} {other}");
            assert_eq!(edit_distance(other, one), distance, "{other} {one}");
        }
    }
}

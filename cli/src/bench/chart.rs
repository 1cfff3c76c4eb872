//! A histogram on the terminal.

#![forbid(unsafe_code)]

use std::io::{self, Write};

use hdrhistogram::Histogram;

/// How long the longest bar is, in characters.
const WIDTH: u64 = 40;

/// How many answers took no longer than this, and longer than the row above says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    /// Microseconds.
    pub(crate) to: u64,
    pub(crate) count: u64,
}

/// A row for each step of 1, 2, 5, 10 and so on, from the first that has answers to the last.
pub(crate) fn rows(latency: &Histogram<u64>) -> Vec<Row> {
    if latency.is_empty() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    let mut below = 0;
    for to in steps() {
        // The histogram's own buckets are a thousandth wide: who sits on a step belongs to it.
        let upto = latency.iter_recorded().filter(|value| value.value_iterated_to() <= to);
        let count: u64 = upto.map(|value| value.count_at_value()).sum();
        if count > below || !rows.is_empty() {
            rows.push(Row { to, count: count - below });
        }
        below = count;
        if count == latency.len() {
            break;
        }
    }
    rows
}

fn steps() -> impl Iterator<Item = u64> {
    (0..11).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)))
}

pub(crate) fn print(out: &mut dyn Write, latency: &Histogram<u64>) -> io::Result<()> {
    let rows = rows(latency);
    let most = rows.iter().map(|row| row.count).max().unwrap_or_default();
    for Row { to, count } in rows {
        // An eighth of a character is the smallest that can be drawn.
        let eighths = (count * WIDTH * 8).div_ceil(most.max(1));
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][(eighths % 8) as usize];
        let bar = "█".repeat((eighths / 8) as usize);
        writeln!(out, "{:>9} ms {bar}{part} {count}", to as f64 / 1e3)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    #[test]
    fn rows_reach_from_the_fastest_to_the_slowest() {
        let rows = rows(&histogram(&[900, 1000, 1500, 7000]));
        let expected = [(1000, 2), (2000, 1), (5000, 0), (10_000, 1)];
        assert_eq!(rows, expected.map(|(to, count)| Row { to, count }));
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_the_longest_bar_is_full() {
        let draw = |values: &[u64]| {
            let mut out = Vec::new();
            print(&mut out, &histogram(values)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(draw(&[]), "");
        let drawn = draw(&[900, 950, 1500]);
        let bars: Vec<_> = drawn.lines().map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [40, 20], "{drawn}");
        // One among many is still seen.
        let drawn = draw(&[[900; 999].as_slice(), &[1500]].concat());
        assert!(drawn.lines().nth(1).unwrap().contains('▏'), "{drawn}");
    }
}

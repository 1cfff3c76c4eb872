//! Charts as SVG, made by hand: readable in the light and in the dark, without a background.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const TOP: f64 = 44.0;
/// What a character takes at most on average, and what stands beside a text.
const CHARACTER: f64 = 6.6;
const GAP: f64 = 8.0;
/// No green: in one chart a bar is what was refused, in another what is slow.
const COLORS: [&str; 4] = ["#2f81f7", "#d2722a", "#8b949e", "#a05cc9"];

const STYLE: &str = "<style>text{font:12px system-ui,sans-serif;fill:#24292f}\
    .t{font-size:14px;font-weight:600}.g{stroke:#8b949e;stroke-opacity:.35}\
    .m{stroke:#8b949e;stroke-dasharray:4 3}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>";

/// A named value; one bar.
pub struct Bar {
    pub label: String,
    pub value: f64,
    /// As it is written beside the bar.
    pub text: String,
    /// Bars of one group have one color.
    pub group: usize,
}

/// A line: its name, and its points, at times in seconds. A value of 0 is none.
pub type Line = (String, Vec<(f64, f64)>);

/// Bars from left to right.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let scale = Scale::over(bars.iter().map(|bar| bar.value));
    rows(title, bars, &scale)
}

/// Bars from left to right, from nothing, with a line at the whole.
pub fn shares(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    rows(title, bars, &Scale { low: 0.0, high: longest, marks: vec![0.0, 0.5, 1.0] })
}

fn rows(title: &str, bars: &[Bar], scale: &Scale) -> String {
    const STEP: f64 = 24.0;
    let room = |text: fn(&Bar) -> &String| {
        let longest = bars.iter().map(|bar| text(bar).chars().count()).max().unwrap_or(0);
        longest as f64 * CHARACTER + 2.0 * GAP
    };
    let (left, end) = (room(|bar| &bar.label), WIDTH - room(|bar| &bar.text));
    let height = TOP + STEP * bars.len() as f64 + 30.0;
    let mut svg = open(title, height);
    for mark in &scale.marks {
        let x = scale.place(*mark, left, end);
        stroke(&mut svg, "g", (x, TOP - 6.0), (x, height - 26.0));
        text(&mut svg, x, height - 10.0, "middle", &number(*mark));
    }
    for (nth, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * nth as f64;
        let to = scale.place(bar.value, left, end).max(left + 1.0);
        let (width, color) = (to - left, COLORS[bar.group % COLORS.len()]);
        let _ = writeln!(
            svg,
            "<rect x='{left:.1}' y='{y:.1}' width='{width:.1}' height='16' rx='2' fill='{color}'/>"
        );
        text(&mut svg, left - GAP, y + 12.0, "end", &bar.label);
        text(&mut svg, to + 6.0, y + 12.0, "start", &bar.text);
    }
    svg + "</svg>\n"
}

/// Lines over time in seconds, of values in milliseconds; `phases` begin at these times.
pub fn lines(title: &str, lines: &[Line], phases: &[(f64, String)]) -> String {
    const HEIGHT: f64 = 310.0;
    const BASE: f64 = TOP + 34.0;
    let (bottom, end) = (HEIGHT - 40.0, WIDTH - 20.0);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let longest = points().map(|point| point.0).fold(0.1, f64::max);
    let scale = Scale::over(points().map(|point| point.1));
    let label = |mark: &f64| format!("{} ms", number(*mark));
    let widest = scale.marks.iter().map(|mark| label(mark).chars().count()).max().unwrap_or(0);
    let start = widest as f64 * CHARACTER + 2.0 * GAP;
    let across = |time: f64| start + (end - start) * time / longest;
    let mut svg = open(title, HEIGHT);
    for mark in &scale.marks {
        let y = scale.place(*mark, bottom, BASE);
        stroke(&mut svg, "g", (start, y), (end, y));
        text(&mut svg, start - GAP, y + 4.0, "end", &label(mark));
    }
    text(&mut svg, start, HEIGHT - 20.0, "start", "0 s");
    text(&mut svg, end, HEIGHT - 20.0, "end", &format!("{longest:.1} s"));
    for (time, name) in phases.iter().filter(|(time, _)| *time <= longest) {
        let x = across(*time);
        stroke(&mut svg, "m", (x, BASE - 10.0), (x, bottom));
        let (beside, anchor) = if *time > longest / 2.0 { (-4.0, "end") } else { (4.0, "start") };
        text(&mut svg, x + beside, BASE - 2.0, anchor, name);
    }
    let mut key = start;
    for (nth, (name, points)) in lines.iter().enumerate() {
        let color = COLORS[nth % COLORS.len()];
        // Where nothing was measured, there is no line.
        for piece in points.split(|(_, value)| *value <= 0.0).filter(|piece| !piece.is_empty()) {
            let mut path = String::new();
            // One point alone is a dot: a line to itself.
            let dot = piece.first().filter(|_| piece.len() == 1);
            for (time, value) in piece.iter().chain(dot) {
                let _ =
                    write!(path, "{:.1},{:.1} ", across(*time), scale.place(*value, bottom, BASE));
            }
            let _ = writeln!(
                svg,
                "<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.5' \
                 stroke-linecap='round'/>"
            );
        }
        let _ =
            writeln!(svg, "<rect x='{key:.1}' y='{TOP}' width='12' height='4' fill='{color}'/>");
        text(&mut svg, key + 18.0, TOP + 6.0, "start", name);
        key += name.chars().count() as f64 * CHARACTER + 50.0;
    }
    svg + "</svg>\n"
}

/// A scale: logarithmic between powers of ten where the values differ by one of them or more, and else
/// linear from nothing.
struct Scale {
    /// 0 where it is linear.
    low: f64,
    high: f64,
    marks: Vec<f64>,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>) -> Scale {
        let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min).clamp(0.001, 1e9);
        let highest = values.iter().copied().fold(0.0, f64::max).clamp(lowest, 1e12);
        if highest < lowest * 10.0 {
            let step =
                [1.0, 2.0, 5.0, 10.0].map(|step| step * 10_f64.powf(highest.log10().floor() - 1.0));
            let step = step.into_iter().find(|step| highest / step <= 8.0).unwrap_or(highest);
            let count = (highest / step).ceil();
            let marks = (0..=count as u32).map(|nth| step * f64::from(nth)).collect();
            return Scale { low: 0.0, high: step * count, marks };
        }
        let low = 10_f64.powf(lowest.log10().floor());
        let high = 10_f64.powf(highest.log10().ceil());
        let decades = std::iter::successors(Some(low), |decade| Some(decade * 10.0));
        let marks = decades.take_while(|decade| *decade < high * 1.01).collect();
        Scale { low, high, marks }
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let share = if self.low > 0.0 {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        from + (to - from) * share
    }
}

fn open(title: &str, height: f64) -> String {
    let title = title.replace('\'', "&apos;");
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
         width='{WIDTH}' height='{height}' role='img' aria-label='{title}'>{STYLE}\n"
    );
    let _ = writeln!(svg, "<text class='t' x='10' y='20'>{title}</text>");
    svg
}

fn stroke(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line class='{class}' x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}'/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{words}</text>");
}

fn number(value: f64) -> String {
    let text = if value < 1.0 { format!("{value:.3}") } else { format!("{value:.1}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_near_have_a_linear_scale_from_nothing() {
        let near = Scale::over([3.24, 4.26].into_iter());
        assert_eq!((near.low, near.marks.clone()), (0.0, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!((near.place(2.5, 0.0, 100.0) - 50.0).abs() < 0.01);
        let far = Scale::over([0.3, 217.0].into_iter());
        assert_eq!((far.low, far.high), (0.1, 1000.0));
    }

    #[test]
    fn where_nothing_was_measured_there_is_no_line_and_phases_are_marked() {
        let line = ("ours".to_owned(), vec![(0.0, 1.0), (1.0, 0.0), (2.0, 2.0), (3.0, 2.5)]);
        let svg = lines("t", &[line], &[(2.0, "all are in".to_owned())]);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(svg.contains("class='m'") && svg.contains(">all are in</text>"), "{svg}");
        let point = svg.split("points='").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(point.trim().split(' ').count(), 2, "a dot");
    }

    #[test]
    fn no_label_is_wider_than_its_margin() {
        let label = "publishes, QoS 0 with a name that is far longer than any".to_owned();
        let text = "12345 requests".to_owned();
        let svg = bars("t", &[Bar { label: label.clone(), value: 1.0, text, group: 0 }]);
        let x = svg.split(&format!("'>{label}")).next().unwrap();
        let x: f64 =
            x.rsplit("<text x='").next().unwrap().split('\'').next().unwrap().parse().unwrap();
        assert!(x >= label.len() as f64 * CHARACTER);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}

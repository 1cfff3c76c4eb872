//! Charts as SVG, made by hand: readable in the light and in the dark, without a background.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 44.0;
const COLORS: [&str; 4] = ["#2f81f7", "#d2722a", "#3fa34d", "#a05cc9"];

const STYLE: &str = "<style>text{font:12px system-ui,sans-serif;fill:#24292f}\
    .t{font-size:14px;font-weight:600}.g{stroke:#8b949e;stroke-opacity:.35}\
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

/// Bars from left to right, on a logarithmic scale: what is compared here differs by powers of ten.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    const STEP: f64 = 24.0;
    let lowest = bars.iter().map(|bar| bar.value).filter(|value| *value > 0.0);
    let scale = Log::over(lowest.collect());
    let height = TOP + STEP * bars.len() as f64 + 30.0;
    let mut svg = open(title, height);
    for decade in scale.decades() {
        let x = scale.place(decade, LEFT, WIDTH - RIGHT);
        grid(&mut svg, (x, TOP - 6.0), (x, height - 26.0));
        text(&mut svg, x, height - 10.0, "middle", &number(decade));
    }
    for (nth, bar) in bars.iter().enumerate() {
        let end = scale.place(bar.value, LEFT, WIDTH - RIGHT);
        row(&mut svg, TOP + STEP * nth as f64, end, bar);
    }
    svg + "</svg>\n"
}

/// Bars from left to right, from nothing, with a line at the whole.
pub fn shares(title: &str, bars: &[Bar]) -> String {
    const STEP: f64 = 24.0;
    let height = TOP + STEP * bars.len() as f64 + 30.0;
    let longest = bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    let place = |value: f64| LEFT + (WIDTH - RIGHT - LEFT) * value / longest;
    let mut svg = open(title, height);
    for mark in [0.0, 0.5, 1.0] {
        grid(&mut svg, (place(mark), TOP - 6.0), (place(mark), height - 26.0));
        text(&mut svg, place(mark), height - 10.0, "middle", &mark.to_string());
    }
    for (nth, bar) in bars.iter().enumerate() {
        row(&mut svg, TOP + STEP * nth as f64, place(bar.value), bar);
    }
    svg + "</svg>\n"
}

/// A bar with its label and its value.
fn row(svg: &mut String, y: f64, end: f64, bar: &Bar) {
    let end = end.max(LEFT + 1.0);
    let (width, color) = (end - LEFT, COLORS[bar.group % COLORS.len()]);
    let _ = writeln!(
        svg,
        "<rect x='{LEFT}' y='{y:.1}' width='{width:.1}' height='16' rx='2' fill='{color}'/>"
    );
    text(svg, LEFT - 8.0, y + 12.0, "end", &bar.label);
    text(svg, end + 6.0, y + 12.0, "start", &bar.text);
}

/// Lines over time in seconds; values in milliseconds on a logarithmic scale.
pub fn lines(title: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    const HEIGHT: f64 = 300.0;
    const START: f64 = 60.0;
    let (bottom, end) = (HEIGHT - 40.0, WIDTH - 20.0);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let longest = points().map(|point| point.0).fold(0.1, f64::max);
    let scale = Log::over(points().map(|point| point.1).filter(|value| *value > 0.0).collect());
    let mut svg = open(title, HEIGHT);
    for decade in scale.decades() {
        let y = scale.place(decade, bottom, TOP + 20.0);
        grid(&mut svg, (START, y), (end, y));
        text(&mut svg, START - 6.0, y + 4.0, "end", &format!("{} ms", number(decade)));
    }
    text(&mut svg, START, HEIGHT - 20.0, "start", "0 s");
    text(&mut svg, end, HEIGHT - 20.0, "end", &format!("{longest:.1} s"));
    for (nth, (name, points)) in lines.iter().enumerate() {
        let color = COLORS[nth % COLORS.len()];
        let mut path = String::new();
        for (time, value) in points {
            let x = START + (end - START) * time / longest;
            let y = scale.place(value.max(scale.low), bottom, TOP + 20.0);
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(
            svg,
            "<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.5'/>"
        );
        let x = START + 170.0 * nth as f64;
        let _ = writeln!(svg, "<rect x='{x}' y='{}' width='12' height='4' fill='{color}'/>", TOP);
        text(&mut svg, x + 18.0, TOP + 6.0, "start", name);
    }
    svg + "</svg>\n"
}

/// A logarithmic scale that begins and ends at a power of ten.
struct Log {
    low: f64,
    high: f64,
}

impl Log {
    fn over(values: Vec<f64>) -> Log {
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min).clamp(0.001, 1e9);
        let highest = values.iter().copied().fold(0.0, f64::max).clamp(lowest, 1e12);
        let low = 10_f64.powf(lowest.log10().floor());
        let high = 10_f64.powf(highest.log10().ceil()).max(low * 10.0);
        Log { low, high }
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (high, low) = (self.high * 1.01, self.low);
        std::iter::successors(Some(low), |decade| Some(decade * 10.0))
            .take_while(move |decade| *decade < high)
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let share = (value.max(self.low) / self.low).log10() / (self.high / self.low).log10();
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

fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line class='g' x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}'/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{words}</text>");
}

fn number(value: f64) -> String {
    if value < 1.0 {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    } else {
        format!("{value:.0}")
    }
}

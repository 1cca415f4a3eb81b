//! Charts as SVG text: bars and lines, with nothing but rectangles, lines and words. Knows no measurement.
//!
//! Small enough to write here: a library for charts brings fonts, colours and a dozen crates for the same shapes.

use std::fmt::Write;

use crate::compare::{number, whole};

/// A bar, with the range in which its runs were.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) range: Option<(f64, f64)>,
    /// Whether it has the colour that stands out.
    pub(crate) own: bool,
}

/// A line through some points, whose first parts are the sizes below the axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 56.0;
const ROW: f64 = 30.0;
const OWN: &str = "#c2410c";
const OTHER: &str = "#94a3b8";
const LINES: [&str; 4] = ["#c2410c", "#0369a1", "#15803d", "#7e22ce"];

/// Horizontal bars, one below the other.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 16.0;
    let most = bars.iter().map(|bar| bar.range.map_or(bar.value, |(_, max)| max)).fold(0.0, f64::max);
    let scale = |value: f64| if most > 0.0 { value / most * (WIDTH - LEFT - RIGHT) } else { 0.0 };
    let mut svg = open(title, unit, height);
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let colour = if bar.own { OWN } else { OTHER };
        text(&mut svg, LEFT - 8.0, y + 15.0, "end", 13, &bar.label);
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="20" fill="{colour}"/>"#,
            scale(bar.value)
        );
        let mut end = scale(bar.value);
        if let Some((min, max)) = bar.range {
            line(&mut svg, (LEFT + scale(min), y + 10.0), (LEFT + scale(max), y + 10.0), "#334155", 2);
            end = end.max(scale(max));
        }
        text(&mut svg, LEFT + end + 8.0, y + 15.0, "start", 13, &number(bar.value));
    }
    svg + "</svg>\n"
}

/// Lines over sizes that grow by factors: the axis below is logarithmic, and that at the side begins at zero.
pub(crate) fn lines(title: &str, unit: &str, size: &str, series: &[Series]) -> String {
    const HEIGHT: f64 = 360.0;
    const LEFT: f64 = 80.0;
    const RIGHT: f64 = 130.0;
    const BOTTOM: f64 = 56.0;
    let points = || series.iter().flat_map(|series| &series.points);
    let most = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let (least_size, most_size) =
        points().fold((f64::MAX, f64::MIN), |(least, most), (size, _)| (least.min(*size), most.max(*size)));
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let factors = (most_size / least_size).ln();
    let x = |size: f64| LEFT + if factors > 0.0 { (size / least_size).ln() / factors * width } else { 0.0 };
    let y = |value: f64| TOP + height - if most > 0.0 { value / most * height } else { 0.0 };

    let mut svg = open(title, unit, HEIGHT);
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        line(&mut svg, (LEFT, y(value)), (LEFT + width, y(value)), "#cbd5e1", 1);
        text(&mut svg, LEFT - 8.0, y(value) + 4.0, "end", 12, &number(value));
    }
    let mut sizes: Vec<f64> = points().map(|(size, _)| *size).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        text(&mut svg, x(size), HEIGHT - BOTTOM + 20.0, "middle", 12, &whole(size));
    }
    text(&mut svg, LEFT + width / 2.0, HEIGHT - 12.0, "middle", 13, size);
    for (series, colour) in series.iter().zip(LINES.iter().cycle()) {
        let path: Vec<_> =
            series.points.iter().map(|(size, value)| format!("{:.1},{:.1}", x(*size), y(*value))).collect();
        let path = path.join(" ");
        let _ =
            writeln!(svg, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#);
        for (size, value) in &series.points {
            let _ = writeln!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#,
                x(*size),
                y(*value)
            );
        }
        if let Some((size, value)) = series.points.last() {
            text(&mut svg, x(*size) + 10.0, y(*value) + 4.0, "start", 13, &series.label);
        }
    }
    svg + "</svg>\n"
}

/// The frame, on white: the pages around it may be dark.
fn open(title: &str, unit: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(title)
    );
    text(&mut svg, 16.0, 24.0, "start", 16, title);
    text(&mut svg, 16.0, 43.0, "start", 12, unit);
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: u32, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        svg,
        r##"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="#0f172a">{words}</text>"##
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: u32) {
    let _ = writeln!(
        svg,
        r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
    );
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails unless every element is closed, in order, and every attribute is quoted.
    fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = svg;
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "a stray > in {before:?}");
            assert!(!open.is_empty() || before.trim().is_empty(), "words outside of the root: {before:?}");
            assert!(before.split('&').skip(1).all(|part| part.contains(';')), "a bare & in {before:?}");
            let (tag, behind) = after.split_once('>').expect("a tag ends");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "in {svg}");
            } else {
                assert_eq!(tag.matches('"').count() % 2, 0, "quotes of {tag:?}");
                assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag:?}");
                let name = tag.split([' ', '/']).next().expect("a tag has a name");
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            rest = behind;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} is still open, {rest:?} behind it");
    }

    fn bar(label: &str, value: f64, range: Option<(f64, f64)>) -> Bar {
        Bar { label: label.to_owned(), value, range, own: false }
    }

    #[test]
    fn bars_are_well_formed_whatever_they_are_called() {
        let chart = [bar("a < b & \"c\"", 5.0, Some((4.0, 6.0))), bar("none", 0.0, None)];
        let svg = bars("jobs <on> x", "per second", &chart);
        assert_well_formed(&svg);
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"), "{svg}");
        assert_well_formed(&bars("nothing", "x", &[]));
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let svg = bars("x", "y", &[bar("half", 50.0, None), bar("whole", 100.0, None)]);
        assert!(svg.contains("width=\"180.0\"") && svg.contains("width=\"360.0\""), "{svg}");
    }

    #[test]
    fn lines_are_well_formed_also_with_one_size() {
        let series = |points: &[(f64, f64)]| Series { label: "SQLite".to_owned(), points: points.to_vec() };
        let two = [series(&[(10.0, 1.0), (100.0, 2.0), (1_000.0, 0.0)]), series(&[(10.0, 3.0)])];
        assert_well_formed(&lines("x", "ms", "lanes", &two));
        assert_well_formed(&lines("x", "ms", "lanes", &[series(&[(10.0, 0.0)])]));
        assert_well_formed(&lines("x", "ms", "lanes", &[]));
    }
}

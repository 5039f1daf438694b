//! Drawings as SVG.

use super::{Anchor, BLACK, Color, Drawing, Mark, Point, Step};
use std::fmt::{self, Write};

/// The whole file.
pub(super) fn text(drawing: &Drawing) -> String {
    let mut svg = String::new();
    // Writing to a string can not fail.
    let _ = write(drawing, &mut svg);
    svg
}

fn write(drawing: &Drawing, svg: &mut String) -> fmt::Result {
    let Drawing { width, height, font_size, marks } = drawing;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{font_size}" fill="{}">"#,
        hex(BLACK)
    )?;
    writeln!(svg, r##"<rect width="100%" height="100%" fill="#fff"/>"##)?;
    marks.iter().try_for_each(|mark| one(mark, *font_size, svg))?;
    writeln!(svg, "</svg>")
}

fn one(mark: &Mark, font_size: f64, svg: &mut String) -> fmt::Result {
    match mark {
        Mark::Line { path, color, width } => {
            let steps: String = path.iter().map(step).collect();
            writeln!(svg, r#"<path fill="none" stroke="{}" stroke-width="{width}" d="{steps}"/>"#, hex(*color))
        }
        Mark::Dot { at: [x, y], radius, color } => {
            writeln!(svg, r#"<circle cx="{}" cy="{}" r="{radius}" fill="{}"/>"#, short(*x), short(*y), hex(*color))
        }
        Mark::Box { corner: [x, y], size: [width, height], radius, fill, border } => writeln!(
            svg,
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="{radius}" fill="{}" stroke="{}"/>"#,
            short(*x),
            short(*y),
            short(*width),
            short(*height),
            hex(*fill),
            hex(*border)
        ),
        Mark::Tip { corners: [a, b, c], color } => {
            writeln!(svg, r#"<path fill="{}" d="M{}L{}L{}z"/>"#, hex(*color), point(a), point(b), point(c))
        }
        Mark::Text { at: [x, y], anchor, size, bold, color, text } => {
            write!(svg, r#"<text x="{}" y="{}""#, short(*x), short(*y))?;
            match anchor {
                Anchor::Start => {}
                Anchor::Middle => write!(svg, r#" text-anchor="middle""#)?,
                Anchor::End => write!(svg, r#" text-anchor="end""#)?,
            }
            if *size != font_size {
                write!(svg, r#" font-size="{size}""#)?;
            }
            if *bold {
                write!(svg, r#" font-weight="bold""#)?;
            }
            if *color != BLACK {
                write!(svg, r#" fill="{}""#, hex(*color))?;
            }
            writeln!(svg, ">{}</text>", escaped(text))
        }
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Move(to) => format!("M{}", point(to)),
        Step::Line(to) => format!("L{}", point(to)),
        Step::Curve(a, b, to) => format!("C{} {} {}", point(a), point(b), point(to)),
    }
}

fn point([x, y]: &Point) -> String {
    format!("{} {}", short(*x), short(*y))
}

/// In tenths.
fn short(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

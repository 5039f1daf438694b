//! Drawings of training and of models, as SVG or PNG files.

#[cfg(feature = "images")]
mod font;
mod graph;
mod history;
#[cfg(feature = "images")]
mod raster;
mod svg;

use ibex_core::{Error, Result};
use ibex_data::io::write_atomic;
use std::io::Write;
use std::path::Path;

/// A place, from the upper left corner: to the right, and down.
type Point = [f64; 2];

/// Red, green, blue.
type Color = [u8; 3];

const BLACK: Color = [0x33; 3];

/// What is drawn, one mark over the other, on white.
struct Drawing {
    width: f64,
    height: f64,
    /// Of text, if it does not say otherwise.
    font_size: f64,
    marks: Vec<Mark>,
}

enum Mark {
    Line {
        path: Vec<Step>,
        color: Color,
        width: f64,
    },
    Dot {
        at: Point,
        radius: f64,
        color: Color,
    },
    /// A box with round corners.
    Box {
        corner: Point,
        size: Point,
        radius: f64,
        fill: Color,
        border: Color,
    },
    /// A triangle.
    Tip {
        corners: [Point; 3],
        color: Color,
    },
    Text {
        at: Point,
        anchor: Anchor,
        size: f64,
        bold: bool,
        color: Color,
        text: String,
    },
}

/// A part of a line.
#[derive(Clone, Copy)]
enum Step {
    Move(Point),
    Line(Point),
    /// A cubic curve with two points that it bends to.
    Curve(Point, Point, Point),
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    fn new(width: f64, height: f64, font_size: f64) -> Drawing {
        Drawing { width, height, font_size, marks: Vec::new() }
    }

    fn line(&mut self, path: impl Into<Vec<Step>>, color: Color, width: f64) {
        self.marks.push(Mark::Line { path: path.into(), color, width });
    }

    fn text(&mut self, at: Point, anchor: Anchor, color: Color, text: impl Into<String>) {
        self.marks.push(Mark::Text { at, anchor, size: self.font_size, bold: false, color, text: text.into() });
    }

    fn bold(&mut self, at: Point, anchor: Anchor, size: f64, text: impl Into<String>) {
        self.marks.push(Mark::Text { at, anchor, size, bold: true, color: BLACK, text: text.into() });
    }

    /// Writes the file, whole or not at all: as PNG if its name ends so, else as SVG unless the name asks for another type.
    fn write(&self, path: &Path) -> Result<()> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        let refused = |why: &str| Err(Error::unsupported(format!("can not write {}: {why}", path.display())));
        match &extension[..] {
            #[cfg(feature = "images")]
            "png" => {
                let bytes = raster::png(self).map_err(|e| e.context(format!("can not write {}", path.display())))?;
                write_atomic(path, |file| file.write_all(&bytes))
            }
            #[cfg(not(feature = "images"))]
            "png" => refused("this build has no feature `images`; give a name that ends in .svg"),
            "pdf" | "jpg" | "jpeg" | "dot" => refused("drawings are SVG or PNG; give a name that ends in .svg or .png"),
            _ => write_atomic(path, |file| file.write_all(svg::text(self).as_bytes())),
        }
    }
}

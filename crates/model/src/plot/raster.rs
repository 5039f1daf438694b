//! Drawings as PNG.

use super::{Anchor, Color, Drawing, Mark, Point, Step, font};
use ibex_core::{Error, Result};

/// Pixels for a unit of length: sharp on screens with many.
const SCALE: f64 = 2.0;

/// More than any screen shows, and about 200 MB.
const MOST_PIXELS: f64 = 6.4e7;

/// The parts that a curve is drawn in.
const PARTS: usize = 24;

/// The file's contents.
pub(super) fn png(drawing: &Drawing) -> Result<Vec<u8>> {
    let mut canvas = Canvas::new(drawing.width * SCALE, drawing.height * SCALE)?;
    drawing.marks.iter().for_each(|mark| canvas.draw(mark));
    let mut bytes = Vec::new();
    let failed = |e: png::EncodingError| Error::value(format!("the image can not be encoded: {e}"));
    let mut encoder = png::Encoder::new(&mut bytes, canvas.width as u32, canvas.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(canvas.pixels.as_flattened()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Pixels, white at first.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

/// A part of the canvas: columns and rows, the last ones not.
type Bounds = [usize; 4];

impl Canvas {
    fn new(width: f64, height: f64) -> Result<Canvas> {
        let (width, height) = (width.ceil().max(1.0), height.ceil().max(1.0));
        if width * height > MOST_PIXELS {
            let text =
                format!("the drawing is {width} x {height} pixels, too large for PNG; give a name that ends in .svg");
            return Err(Error::unsupported(text));
        }
        let (width, height) = (width as usize, height as usize);
        Ok(Canvas { width, height, pixels: vec![[255; 3]; width * height] })
    }

    fn draw(&mut self, mark: &Mark) {
        match mark {
            Mark::Line { path, color, width } => self.stroke(&flat(path), width * SCALE, *color),
            Mark::Dot { at, radius, color } => {
                self.stroke(&[vec![scaled(*at), scaled(*at)]], 2.0 * radius * SCALE, *color);
            }
            Mark::Box { corner, size, radius, fill, border } => {
                let ([x, y], [width, height]) = (scaled(*corner), scaled(*size));
                let (half, middle) = ([width / 2.0, height / 2.0], [x + width / 2.0, y + height / 2.0]);
                let radius = radius * SCALE;
                // The distance to the outline, negative inside.
                let distance = |[px, py]: Point| {
                    let [dx, dy] =
                        [(px - middle[0]).abs() - half[0] + radius, (py - middle[1]).abs() - half[1] + radius];
                    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
                };
                let bounds = self.bounds(&[[x, y], [x + width, y + height]], 2.0);
                self.paint(bounds, *fill, |p| 0.5 - distance(p));
                self.paint(bounds, *border, |p| 0.5 + SCALE / 2.0 - distance(p).abs());
            }
            Mark::Tip { corners, color } => {
                let [a, b, c] = corners.map(scaled);
                // Inside, points lie on one side of all edges.
                let side = |[ax, ay]: Point, [bx, by]: Point, [px, py]: Point| {
                    ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / (bx - ax).hypot(by - ay)
                };
                let turn = side(a, b, c).signum();
                let inside = |p| [(a, b), (b, c), (c, a)].map(|(from, to)| turn * side(from, to, p));
                let bounds = self.bounds(&[a, b, c], 1.0);
                self.paint(bounds, *color, |p| 0.5 + inside(p).into_iter().fold(f64::INFINITY, f64::min));
            }
            Mark::Text { at, anchor, size, bold, color, text } => {
                let start = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => font::width(text, *size) / 2.0,
                    Anchor::End => font::width(text, *size),
                };
                let lines = font::lines(text, [at[0] - start, at[1]], *size);
                let lines: Vec<Vec<Point>> = lines.into_iter().map(|l| l.into_iter().map(scaled).collect()).collect();
                self.stroke(&lines, size * SCALE * if *bold { 0.125 } else { 0.085 }, *color);
            }
        }
    }

    /// The part that holds some points and what is so near to them.
    fn bounds(&self, points: &[Point], near: f64) -> Bounds {
        let range = |axis: usize, most: usize| {
            let all = || points.iter().map(|p| p[axis]);
            let (lo, hi) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
            // Numbers outside of the canvas become its ends.
            (((lo - near).floor() as usize).min(most), ((hi + near).ceil() as usize).min(most))
        };
        let ((left, right), (top, bottom)) = (range(0, self.width), range(1, self.height));
        [left, right, top, bottom]
    }

    /// Covers pixels, each as far as `coverage` (from 0 to 1) says of its middle.
    fn paint(&mut self, [left, right, top, bottom]: Bounds, color: Color, coverage: impl Fn(Point) -> f64) {
        for y in top..bottom {
            for x in left..right {
                let share = coverage([x as f64 + 0.5, y as f64 + 0.5]).clamp(0.0, 1.0);
                for (old, new) in self.pixels[y * self.width + x].iter_mut().zip(color) {
                    *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
                }
            }
        }
    }

    /// Lines with round ends. Where they meet, a pixel is covered once.
    fn stroke(&mut self, lines: &[Vec<Point>], width: f64, color: Color) {
        let reach = width / 2.0 + 1.0;
        let bounds @ [left, right, top, bottom] = self.bounds(&lines.concat(), reach);
        let columns = right - left;
        let mut covered = vec![0f64; columns * (bottom - top)];
        for pair in lines.iter().flat_map(|line| line.windows(2)) {
            let [from, to] = [pair[0], pair[1]];
            let [l, r, t, b] = self.bounds(&[from, to], reach);
            for y in t.max(top)..b.min(bottom) {
                for x in l.max(left)..r.min(right) {
                    let share = width / 2.0 + 0.5 - distance([x as f64 + 0.5, y as f64 + 0.5], from, to);
                    let old = &mut covered[(y - top) * columns + x - left];
                    *old = old.max(share);
                }
            }
        }
        self.paint(bounds, color, |[x, y]| covered[(y as usize - top) * columns + x as usize - left]);
    }
}

/// From a point to a straight line between two others.
fn distance([x, y]: Point, [ax, ay]: Point, [bx, by]: Point) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

fn scaled([x, y]: Point) -> Point {
    [x * SCALE, y * SCALE]
}

/// Straight lines instead of curves, in pixels.
fn flat(path: &[Step]) -> Vec<Vec<Point>> {
    let mut lines: Vec<Vec<Point>> = Vec::new();
    for step in path {
        match *step {
            Step::Move(to) => lines.push(vec![scaled(to)]),
            Step::Line(to) => lines.iter_mut().last().into_iter().for_each(|line| line.push(scaled(to))),
            Step::Curve(a, b, to) => {
                let Some(line) = lines.last_mut() else { continue };
                let Some(&from) = line.last() else { continue };
                let [a, b, to] = [a, b, to].map(scaled);
                line.extend((1..=PARTS).map(|i| {
                    let t = i as f64 / PARTS as f64;
                    let s = 1.0 - t;
                    let at = |axis: usize| {
                        s * s * s * from[axis]
                            + 3.0 * s * s * t * a[axis]
                            + 3.0 * s * t * t * b[axis]
                            + t * t * t * to[axis]
                    };
                    [at(0), at(1)]
                }));
            }
        }
    }
    lines
}

//! Learning curves.

use super::{Anchor, BLACK, Color, Drawing, Mark, Step};
use crate::history::History;
use ibex_core::Result;
use std::ops::RangeInclusive;
use std::path::Path;

/// Size of one panel with its margins, and the margins.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

const TRAINING: Color = [0x1f, 0x77, 0xb4];
const VALIDATION: Color = [0xe6, 0x55, 0x0d];
const GRID: Color = [0xdd; 3];

impl History {
    /// Draws learning curves as a file, SVG or, if its name ends in `.png`, PNG (feature `images`): a panel for the loss and for each metric, with
    /// training and validation. The file is written whole or not at all.
    ///
    /// # Errors
    /// `Unsupported` for a name that ends in another type of image; `Io` if the file system refuses, in which case an old file is intact.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.drawing().write(path.as_ref())
    }

    /// The drawing that [`History::plot`] writes, as SVG.
    pub fn to_svg(&self) -> String {
        super::svg::text(&self.drawing())
    }

    fn drawing(&self) -> Drawing {
        // The loss first, then metrics by name; validation values stand beside their own.
        let base = |name: &str| name.strip_prefix("val_").unwrap_or(name).to_string();
        let mut panels: Vec<String> = self.history.keys().map(|name| base(name)).collect();
        panels.sort_by_key(|name| (name != "loss", name.clone()));
        panels.dedup();
        let mut drawing = Drawing::new(WIDTH * panels.len().max(1) as f64, HEIGHT, 12.0);
        for (i, name) in panels.iter().enumerate() {
            let of = |name: &str| self.get(name).unwrap_or_default();
            let curves = [("training", TRAINING, of(name)), ("validation", VALIDATION, of(&format!("val_{name}")))];
            self.panel(&mut drawing, WIDTH * i as f64, name, &curves);
        }
        drawing
    }

    fn panel(&self, drawing: &mut Drawing, start: f64, name: &str, curves: &[(&str, Color, &[f64])]) {
        let (left, right, bottom) = (start + LEFT, start + WIDTH - RIGHT, HEIGHT - BOTTOM);
        let finite = || curves.iter().flat_map(|c| c.2).copied().filter(|v| v.is_finite());
        let (lo, hi) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let (lo, hi) = if lo > hi { (0.0, 1.0) } else { (lo, hi) };
        // A flat curve gets some room too.
        let room = ((hi - lo) * 0.05).max(hi.abs() * 1e-3).max(1e-9);
        let (lo, hi) = (lo - room, hi + room);
        let epochs = self.epoch.len().max(1) as f64;
        // A lone epoch stands in the middle.
        let (first, last) = if epochs > 1.0 { (1.0, epochs) } else { (0.5, 1.5) };
        let x = |epoch: f64| left + (epoch - first) / (last - first) * (right - left);
        let y = |value: f64| bottom - (value - lo) / (hi - lo) * (bottom - TOP);

        drawing.bold([left, 22.0], Anchor::Start, 15.0, name);
        let (values, decimals) = ticks(lo..=hi, 0.0);
        for value in values {
            let at = y(value);
            drawing.line([Step::Move([left, at]), Step::Line([right, at])], GRID, 1.0);
            drawing.text([left - 6.0, at + 4.0], Anchor::End, BLACK, format!("{value:.decimals$}"));
        }
        for epoch in ticks(first..=last, 1.0).0 {
            let at = x(epoch);
            drawing.line([Step::Move([at, bottom]), Step::Line([at, bottom + 5.0])], BLACK, 1.0);
            drawing.text([at, bottom + 18.0], Anchor::Middle, BLACK, epoch.to_string());
        }
        let axes = [Step::Move([left, TOP]), Step::Line([left, bottom]), Step::Line([right, bottom])];
        drawing.line(axes, BLACK, 1.0);
        drawing.text([(left + right) / 2.0, HEIGHT - 8.0], Anchor::Middle, BLACK, "epoch");

        let mut legend = right;
        for &(label, color, values) in curves.iter().rev().filter(|c| !c.2.is_empty()) {
            // A value that is no number leaves a gap.
            let mut path = Vec::new();
            let mut pen_down = false;
            for (i, &value) in values.iter().enumerate() {
                if value.is_finite() {
                    let at = [x(i as f64 + 1.0), y(value)];
                    path.push(if pen_down { Step::Line(at) } else { Step::Move(at) });
                    drawing.marks.push(Mark::Dot { at, radius: 2.5, color });
                }
                pen_down = value.is_finite();
            }
            if !path.is_empty() {
                drawing.line(path, color, 2.0);
            }
            drawing.text([legend, 22.0], Anchor::End, color, label);
            legend -= 72.0;
        }
    }
}

/// About five round numbers within a range, at least `least` apart, and how many decimals they have.
fn ticks(range: RangeInclusive<f64>, least: f64) -> (Vec<f64>, usize) {
    let (lo, hi) = (*range.start(), *range.end());
    let rough = ((hi - lo) / 5.0).max(least);
    let power = 10f64.powf(rough.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough * 0.999).unwrap_or(10.0);
    let values = ((lo / step).ceil() as i64..=(hi / step).floor() as i64).map(|i| i as f64 * step).collect();
    (values, (-step.log10().floor()).clamp(0.0, 9.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn round_ticks() {
        let close = |(values, decimals): (Vec<f64>, usize), want: &[f64], places: usize| {
            assert_eq!(values.len(), want.len(), "{values:?}");
            assert!(values.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{values:?}");
            assert_eq!(decimals, places);
        };
        close(ticks(0.0..=1.0, 0.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1);
        close(ticks(0.913..=0.987, 0.0), &[0.92, 0.94, 0.96, 0.98], 2);
        close(ticks(1.0..=3.0, 1.0), &[1.0, 2.0, 3.0], 0);
        close(ticks(1.0..=25.0, 1.0), &[5.0, 10.0, 15.0, 20.0, 25.0], 0);
    }
}

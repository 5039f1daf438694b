//! Learning curves as an SVG file.

use crate::history::History;
use ibex_core::{Error, Result};
use ibex_data::io::write_atomic;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

/// Size of one panel with its margins, and the margins.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

const TRAINING: &str = "#1f77b4";
const VALIDATION: &str = "#e6550d";

impl History {
    /// Draws learning curves as an SVG file: a panel for the loss and for each metric, with training and validation. The file is written whole
    /// or not at all.
    ///
    /// # Errors
    /// `Unsupported` for a name that ends in another type of image; `Io` if the file system refuses, in which case an old file is intact.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        write_svg(path.as_ref(), &self.to_svg())
    }

    /// The drawing that [`History::plot`] writes.
    pub fn to_svg(&self) -> String {
        let mut svg = String::new();
        // Writing to a string can not fail.
        let _ = self.draw(&mut svg);
        svg
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        // The loss first, then metrics by name; validation values stand beside their own.
        let base = |name: &str| name.strip_prefix("val_").unwrap_or(name).to_string();
        let mut panels: Vec<String> = self.history.keys().map(|name| base(name)).collect();
        panels.sort_by_key(|name| (name != "loss", name.clone()));
        panels.dedup();
        let width = WIDTH * panels.len().max(1) as f64;
        writeln!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">"##
        )?;
        writeln!(svg, r##"<rect width="100%" height="100%" fill="#fff"/>"##)?;
        for (i, name) in panels.iter().enumerate() {
            writeln!(svg, r#"<g transform="translate({} 0)">"#, WIDTH * i as f64)?;
            let curves =
                [("training", TRAINING, self.get(name)), ("validation", VALIDATION, self.get(&format!("val_{name}")))];
            self.panel(svg, name, &curves)?;
            writeln!(svg, "</g>")?;
        }
        writeln!(svg, "</svg>")
    }

    fn panel(&self, svg: &mut String, name: &str, curves: &[(&str, &str, &[f64])]) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let finite = || curves.iter().flat_map(|c| c.2).copied().filter(|v| v.is_finite());
        let (lo, hi) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let (lo, hi) = if lo > hi { (0.0, 1.0) } else { (lo, hi) };
        // A flat curve gets some room too.
        let room = ((hi - lo) * 0.05).max(hi.abs() * 1e-3).max(1e-9);
        let (lo, hi) = (lo - room, hi + room);
        let epochs = self.epoch.len().max(1) as f64;
        // A lone epoch stands in the middle.
        let (first, last) = if epochs > 1.0 { (1.0, epochs) } else { (0.5, 1.5) };
        let x = |epoch: f64| LEFT + (epoch - first) / (last - first) * (right - LEFT);
        let y = |value: f64| bottom - (value - lo) / (hi - lo) * (bottom - TOP);

        writeln!(svg, r#"<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{}</text>"#, escaped(name))?;
        let (values, decimals) = ticks(lo..=hi, 0.0);
        for value in values {
            let at = y(value);
            writeln!(svg, r##"<path d="M{LEFT} {at:.1}H{right}" stroke="#ddd"/>"##)?;
            writeln!(
                svg,
                r#"<text x="{}" y="{:.1}" text-anchor="end">{value:.decimals$}</text>"#,
                LEFT - 6.0,
                at + 4.0
            )?;
        }
        for epoch in ticks(first..=last, 1.0).0 {
            let at = x(epoch);
            writeln!(svg, r##"<path d="M{at:.1} {bottom}v5" stroke="#333"/>"##)?;
            writeln!(svg, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{epoch}</text>"#, bottom + 18.0)?;
        }
        writeln!(svg, r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333"/>"##)?;
        let middle = (LEFT + right) / 2.0;
        writeln!(svg, r#"<text x="{middle}" y="{}" text-anchor="middle">epoch</text>"#, HEIGHT - 8.0)?;

        let mut legend = right;
        for (label, color, values) in curves.iter().rev().filter(|c| !c.2.is_empty()) {
            // A value that is no number leaves a gap.
            let mut path = String::new();
            let mut pen_down = false;
            for (i, &value) in values.iter().enumerate() {
                if value.is_finite() {
                    let (px, py) = (x(i as f64 + 1.0), y(value));
                    write!(path, "{}{px:.1} {py:.1}", if pen_down { 'L' } else { 'M' })?;
                    writeln!(svg, r#"<circle cx="{px:.1}" cy="{py:.1}" r="2.5" fill="{color}"/>"#)?;
                }
                pen_down = value.is_finite();
            }
            if !path.is_empty() {
                writeln!(svg, r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="2"/>"#)?;
            }
            writeln!(svg, r#"<text x="{legend}" y="22" text-anchor="end" fill="{color}">{label}</text>"#)?;
            legend -= 72.0;
        }
        Ok(())
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

/// Writes a drawing, unless the name says that another type is wanted.
pub(crate) fn write_svg(path: &Path, svg: &str) -> Result<()> {
    let other = ["png", "pdf", "jpg", "jpeg", "dot"];
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if other.contains(&extension.to_lowercase().as_str()) {
        let text = format!("can not write {}: drawings are SVG; give a name that ends in .svg", path.display());
        return Err(Error::unsupported(text));
    }
    write_atomic(path, |file| file.write_all(svg.as_bytes()))
}

/// Text between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
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

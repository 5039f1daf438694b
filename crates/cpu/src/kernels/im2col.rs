//! Windows of an image as rows of a matrix that is never stored: panels are packed straight from the image.

use super::gemm::copy;
use super::gemm::{Lhs, Panel, ROW_STRIDE};
use std::ops::Range;

/// One axis: for each window element that takes part, its offset from the window's position and its number in the kernel, by
/// ascending offset.
pub(crate) type Axis = Vec<(isize, usize)>;

/// A run of window elements that is contiguous in the image.
#[derive(Clone, Copy, Debug)]
struct Line {
    offset: [isize; 3],
    /// The same in elements.
    shift: isize,
}

/// The shape of all windows. Window element `k` is channel `k % cin` of tap `k / cin`.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// Lengths of the image's axes.
    space: [usize; 3],
    /// Channels of the image.
    channels: usize,
    /// Lengths of the grid of windows.
    pub(crate) grid: [usize; 3],
    /// Image positions between windows.
    step: [usize; 3],
    lines: Vec<Line>,
    line_len: usize,
    /// Least and greatest offset along each axis.
    reach: [(isize, isize); 3],
    /// The kernel element of each tap.
    pub(crate) taps: Vec<usize>,
    /// Elements of a window.
    pub(crate) len: usize,
}

impl Windows {
    /// Windows of `axes` over `cin` of the image's `channels`.
    pub(crate) fn new(
        space: [usize; 3],
        channels: usize,
        cin: usize,
        grid: [usize; 3],
        step: [usize; 3],
        axes: &[Axis; 3],
        kernel: [usize; 3],
    ) -> Windows {
        let adjacent = axes[2].windows(2).all(|w| w[1].0 == w[0].0 + 1);
        let merge = if cin == channels && adjacent { axes[2].len().max(1) } else { 1 };
        let (mut lines, mut taps) = (Vec::new(), Vec::new());
        for &(d, kd) in &axes[0] {
            for &(h, kh) in &axes[1] {
                for (i, &(w, kw)) in axes[2].iter().enumerate() {
                    taps.push((kd * kernel[1] + kh) * kernel[2] + kw);
                    if i % merge == 0 {
                        let shift = ((d * space[1] as isize + h) * space[2] as isize + w) * channels as isize;
                        lines.push(Line { offset: [d, h, w], shift });
                    }
                }
            }
        }
        let reach = std::array::from_fn(|a| {
            (axes[a].first().map_or(0, |t: &(isize, usize)| t.0), axes[a].last().map_or(0, |t| t.0))
        });
        let len = taps.len() * cin;
        Windows { space, channels, grid, step, lines, line_len: merge * cin, reach, taps, len }
    }
}

/// Where a window stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    position: [isize; 3],
    /// Element number of the position.
    base: isize,
    /// True if the whole window is inside the image.
    inside: bool,
}

/// An image seen through windows, as left operand: row = window, in order of `(n, grid..)`.
pub(crate) struct Im2col<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) windows: &'a Windows,
    /// First channel.
    pub(crate) channel: usize,
}

impl Im2col<'_> {
    /// Writes the places of the windows from `first` on.
    pub(crate) fn places(&self, first: usize, out: &mut [Place]) {
        let w = self.windows;
        let [gd, gh, gw] = w.grid;
        let (mut x, rest) = (first % gw, first / gw);
        let (mut y, rest) = (rest % gh, rest / gh);
        let (mut z, mut n) = (rest % gd, rest / gd);
        let fits = |p: isize, a: usize| p + w.reach[a].0 >= 0 && p + w.reach[a].1 < w.space[a] as isize;
        for place in out {
            let position = [(z * w.step[0]) as isize, (y * w.step[1]) as isize, (x * w.step[2]) as isize];
            let row = ((n * w.space[0] + z * w.step[0]) * w.space[1] + y * w.step[1]) * w.space[2];
            let base = ((row + x * w.step[2]) * w.channels + self.channel) as isize;
            *place = Place { position, base, inside: (0..3).all(|a| fits(position[a], a)) };
            x += 1;
            if x == gw {
                (x, y) = (0, y + 1);
                if y == gh {
                    (y, z) = (0, z + 1);
                    if z == gd {
                        (z, n) = (0, n + 1);
                    }
                }
            }
        }
    }

    /// Copies `len` elements of a line, from its element `from` on, to `out[at..]`.
    #[inline(always)]
    fn line(&self, place: &Place, line: &Line, from: usize, len: usize, out: &mut [f32], at: usize) {
        if place.inside {
            copy(out, at, self.data, (place.base + line.shift) as usize + from, len);
        } else {
            self.border(place, line, from, len, out, at);
        }
    }

    #[inline(never)]
    fn border(&self, place: &Place, line: &Line, from: usize, len: usize, out: &mut [f32], at: usize) {
        let w = self.windows;
        let p: [isize; 3] = std::array::from_fn(|a| place.position[a] + line.offset[a]);
        let out = &mut out[at..at + len];
        let inside = (0..2).all(|a| (0..w.space[a] as isize).contains(&p[a]));
        // The part of the line inside its image row.
        let start = p[2] * w.channels as isize + (self.channel + from) as isize;
        let end = (w.space[2] * w.channels) as isize;
        let (lo, hi) = ((-start).clamp(0, len as isize) as usize, (end - start).clamp(0, len as isize) as usize);
        if !inside || lo >= hi {
            return out.fill(0.0);
        }
        let source = (place.base + line.shift) + (from + lo) as isize;
        out[..lo].fill(0.0);
        out[lo..hi].copy_from_slice(&self.data[source as usize..][..hi - lo]);
        out[hi..].fill(0.0);
    }

    /// The segments of the window elements `range`: line, first element in it, length.
    #[inline(always)]
    fn segments(&self, range: Range<usize>) -> impl Iterator<Item = (&Line, usize, usize)> {
        let len = self.windows.line_len;
        let mut at = range.start;
        let mut line = at / len;
        let mut from = at % len;
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let n = (len - from).min(range.end - at);
            let segment = (&self.windows.lines[line], from, n);
            (at, line, from) = (at + n, line + 1, 0);
            Some(segment)
        })
    }

    /// Packs the transpose: rows are window elements, steps of the contraction are windows. `out[window*width + element]`.
    pub(crate) fn pack_transposed(&self, elements: Range<usize>, places: &[Place], width: usize, out: &mut Panel) {
        let mut parts = [(Line { offset: [0; 3], shift: 0 }, 0, 0); super::gemm::MAX_ROWS];
        let mut count = 0;
        for (part, (line, from, len)) in parts.iter_mut().zip(self.segments(elements)) {
            *part = (*line, from, len);
            count += 1;
        }
        // By ascending address: short copies run over what follows.
        for (i, place) in places.iter().enumerate() {
            let mut at = i * width;
            for (line, from, len) in &parts[..count] {
                self.line(place, line, *from, *len, &mut out.0, at);
                at += len;
            }
        }
    }
}

impl Lhs for Im2col<'_> {
    fn k_major(&self) -> bool {
        false
    }

    fn pack(&self, rows: Range<usize>, ks: Range<usize>, _width: usize, out: &mut Panel) {
        let mut places = [Place::default(); super::gemm::MAX_ROWS];
        let places = &mut places[..rows.len()];
        self.places(rows.start, places);
        // A short copy runs over what follows it in its row, and rows have room for that.
        let mut at = 0;
        for (line, from, len) in self.segments(ks) {
            for (r, place) in places.iter().enumerate() {
                self.line(place, line, from, len, &mut out.0, r * ROW_STRIDE + at);
            }
            at += len;
        }
    }
}

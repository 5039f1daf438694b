//! Windows of an image as two tables of offsets: where each window stands, and where each of its elements lies from there. So a
//! matrix kernel reads windows where they are, and the matrix of all windows is never made.
//!
//! Windows are taken strip by strip. If any window reaches over the image's border, each strip's part of the image is copied with a border of
//! zeros first, which stays in the second-level cache.

use super::gemm::{Ahead, Gathered, Rows};
use super::sink::with_local;
use std::ops::Range;

/// One axis: for each window element that takes part, its offset from the window's position and its number in the kernel, by
/// ascending offset.
pub(crate) type Axis = Vec<(isize, usize)>;

/// Most floats of a copied strip.
const COPIED: usize = 1 << 15;

/// Fewest window elements that are worth leaving out.
const TRIMMED: usize = 32;
/// Most elements of a right operand that stays in the second-level cache.
const PASSED: usize = 1 << 18;

/// The shape of all windows. Window element `k` is channel `k % cin` of tap `k / cin`.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Lengths of the image's axes.
    space: [usize; 3],
    /// Channels of the image.
    channels: usize,
    /// Lengths of the grid of windows.
    pub(crate) grid: [usize; 3],
    /// Image positions between windows.
    step: [usize; 3],
    /// Offsets along each axis.
    axes: [Axis; 3],
    /// The kernel element of each tap.
    pub(crate) taps: Vec<usize>,
    /// Elements of a window.
    pub(crate) len: usize,
    /// How far from a window's place its elements lie at most, in the last group of channels.
    farthest: isize,
    /// Rows and columns of a full strip; more than one row only with all columns.
    strip: [usize; 2],
    /// For each window of a full strip, in order, the place it stands at.
    places: Vec<isize>,
    /// For each window element, its offset from the window's place.
    elements: Vec<isize>,
    /// Planes, rows and floats of a row of a copied strip, if strips are copied.
    copied: Option<[usize; 3]>,
    /// True where elements outside of the image are left out along an axis of the grid.
    trims: [bool; 3],
}

/// Part of the grid: windows `columns` of rows `rows` of plane `plane` of image `image`.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    pub(crate) image: usize,
    pub(crate) plane: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Strip {
    /// Its windows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Windows {
    /// Windows of `axes` over `cin` of the image's `channels`, in strips of about `most` windows, to be multiplied by `columns` columns.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        space: [usize; 3],
        channels: usize,
        cin: usize,
        grid: [usize; 3],
        step: [usize; 3],
        axes: [Axis; 3],
        kernel: [usize; 3],
        most: usize,
        columns: usize,
    ) -> Windows {
        let [lo, hi] = reach(&axes);
        let last = |a: usize| (grid[a].max(1) - 1) * step[a];
        let inside = |a: usize| lo[a] >= 0 && last(a) as isize + hi[a] < space[a] as isize;
        let copies = !(0..3).all(inside);
        // Image positions that so many windows of an axis span.
        let span = |a: usize, windows: usize| (windows.max(1) - 1) * step[a] + (hi[a] - lo[a] + 1) as usize;
        let (planes, width) = (axes[0].len(), |columns: usize| span(2, columns) * channels);
        let fits = |rows: usize, columns: usize| {
            rows * columns <= most && (!copies || planes * span(1, rows) * width(columns) <= COPIED)
        };
        // The most rows that fit, else the most columns of one row; then all strips about equally large.
        let rows = (1..=grid[1]).rev().find(|&rows| fits(rows, grid[2]));
        let strip = match rows {
            Some(rows) => [even(grid[1], rows), grid[2]],
            None => [1, even(grid[2], (1..=grid[2]).rev().find(|&columns| fits(1, columns)).unwrap_or(1))],
        };
        let copied = copies.then(|| [planes, span(1, strip[0]), width(strip[1])]);
        let [row, plane] = match copied {
            Some([_, rows, width]) => [width, rows * width],
            None => [space[2] * channels, space[1] * space[2] * channels],
        };
        let mut places = Vec::with_capacity(strip[0] * strip[1]);
        for y in 0..strip[0] {
            places.extend((0..strip[1]).map(|x| (y * step[1] * row + x * step[2] * channels) as isize));
        }
        let (mut taps, mut elements) = (Vec::new(), Vec::new());
        for (i, &(d, kd)) in axes[0].iter().enumerate() {
            for &(h, kh) in &axes[1] {
                for &(w, kw) in &axes[2] {
                    taps.push((kd * kernel[1] + kh) * kernel[2] + kw);
                    // A copy holds just the planes of the taps, from the first row and column that is read.
                    let [d, h, w] = if copies { [i as isize, h - lo[1], w - lo[2]] } else { [d, h, w] };
                    let at = d * plane as isize + h * row as isize + w * channels as isize;
                    elements.extend((0..cin).map(|c| at + c as isize));
                }
            }
        }
        let (len, others) = (elements.len(), (channels - cin) as isize);
        let farthest = elements.iter().max().map_or(0, |element| element + others);
        // Leaving elements out takes more and lower tiles: not where they are few, nor where the right operand is too large to be passed
        // again and again.
        let trims = std::array::from_fn(|a| {
            let each = axes[a + 1..].iter().map(Vec::len).product::<usize>() * cin;
            copies && !inside(a) && each >= TRIMMED && len * columns <= PASSED
        });
        Windows { space, channels, grid, step, axes, taps, len, farthest, strip, places, elements, copied, trims }
    }

    /// Strips of each plane of the grid.
    fn per_plane(&self) -> [usize; 2] {
        [self.grid[1].div_ceil(self.strip[0].max(1)), self.grid[2].div_ceil(self.strip[1].max(1))]
    }

    /// How many strips `images` images have.
    pub(crate) fn strips(&self, images: usize) -> usize {
        let [down, across] = self.per_plane();
        images * self.grid[0] * down * across
    }

    /// Strip number `i`, in order of `(image, plane, row, column)`.
    pub(crate) fn strip(&self, i: usize) -> Strip {
        let [down, across] = self.per_plane();
        let (x, rest) = (i % across, i / across);
        let (y, rest) = (rest % down, rest / down);
        let range = |i: usize, of: usize, total: usize| i * of..((i + 1) * of).min(total);
        Strip {
            image: rest / self.grid[0],
            plane: rest % self.grid[0],
            rows: range(y, self.strip[0], self.grid[1]),
            columns: range(x, self.strip[1], self.grid[2]),
        }
    }

    /// The strips of one row of the grid.
    pub(crate) fn row(&self, image: usize, plane: usize, row: usize) -> impl Iterator<Item = Strip> {
        let (total, most) = (self.grid[2], self.strip[1]);
        let columns = (0..total).step_by(most.max(1)).map(move |x| x..(x + most).min(total));
        columns.map(move |columns| Strip { image, plane, rows: row..row + 1, columns })
    }

    /// The number of a strip's first window; the others follow it.
    pub(crate) fn first(&self, strip: &Strip) -> usize {
        let [depth, height, width] = self.grid;
        ((strip.image * depth + strip.plane) * height + strip.rows.start) * width + strip.columns.start
    }

    /// Calls `f` with a strip's windows. Every sum of a place, an element and the first channel of a group may be read.
    pub(crate) fn with<R>(&self, image: &[f32], strip: &Strip, f: impl FnOnce(Gathered) -> R) -> R {
        let places = &self.places[..strip.len()];
        let far = places.last().map_or(0, |place| (place + self.farthest) as usize + 1);
        let left = |from: &[f32]| {
            assert!(from.len() >= far, "windows lie inside the image");
            Gathered { at: from.as_ptr(), places, elements: &self.elements }
        };
        let Some([planes, rows, width]) = self.copied else {
            let [_, h, w] = self.space;
            let z = strip.image * self.space[0] + strip.plane * self.step[0];
            let row = z * h + strip.rows.start * self.step[1];
            let from = (row * w + strip.columns.start * self.step[2]) * self.channels;
            return f(left(image.get(from..).unwrap_or(&[])));
        };
        with_local(planes * rows * width, |copy| {
            self.copy(image, strip, copy, [rows, width]);
            f(left(copy))
        })
    }

    /// Calls `f` with blocks of a strip's windows, which together are all of them, and the elements that lie inside of the image for those of
    /// the block, in ascending parts. Other elements may be among them.
    pub(crate) fn blocks(&self, strip: &Strip, mut f: impl FnMut(Rows, &[Range<usize>])) {
        if self.trims == [false; 3] {
            return f(Rows::all(strip.len()), std::slice::from_ref(&(0..self.len)));
        }
        let across = strip.columns.len();
        let [planes, rows, columns] = self.runs(strip);
        let mut parts = Vec::new();
        for (_, d) in &planes {
            for (ys, h) in &rows {
                let first = (ys.start - strip.rows.start) * across;
                for (xs, w) in &columns {
                    self.parts([d, h, w], &mut parts);
                    let first = first + xs.start - strip.columns.start;
                    let rows = if xs.len() == across {
                        Rows { first, ..Rows::all(ys.len() * across) }
                    } else if xs.len() >= ys.len() {
                        Rows { first, lines: ys.len(), pitch: across, count: xs.len(), step: 1 }
                    } else {
                        Rows { first, lines: xs.len(), pitch: 1, count: ys.len(), step: across }
                    };
                    f(rows, &parts);
                }
            }
        }
    }

    /// Along each axis, the strip's windows that reach the same offsets inside of the image, and the range of these.
    fn runs(&self, strip: &Strip) -> [Vec<(Range<usize>, Range<usize>)>; 3] {
        let all = [strip.plane..strip.plane + 1, strip.rows.clone(), strip.columns.clone()];
        std::array::from_fn(|a| {
            let axis = &self.axes[a];
            if !self.trims[a] {
                return vec![(all[a].clone(), 0..axis.len())];
            }
            let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
            for at in all[a].clone() {
                let position = |tap: &(isize, usize)| (at * self.step[a]) as isize + tap.0;
                let start = axis.partition_point(|tap| position(tap) < 0);
                let end = axis.partition_point(|tap| position(tap) < self.space[a] as isize);
                match runs.last_mut() {
                    Some((run, taps)) if *taps == (start..end) => run.end = at + 1,
                    _ => runs.push((at..at + 1, start..end)),
                }
            }
            runs
        })
    }

    /// The elements of some offsets along each axis, in as few parts as may be.
    fn parts(&self, [d, h, w]: [&Range<usize>; 3], parts: &mut Vec<Range<usize>>) {
        parts.clear();
        let [_, down, across] = [0, 1, 2].map(|a| self.axes[a].len());
        let each = self.len / (self.axes[0].len() * down * across).max(1);
        for d in d.clone() {
            for h in h.clone() {
                let first = (d * down + h) * across;
                let part = (first + w.start) * each..(first + w.end) * each;
                match parts.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ if part.is_empty() => {}
                    _ => parts.push(part),
                }
            }
        }
    }

    /// Where lies what a strip's windows read (of several planes, the first).
    pub(crate) fn ahead(&self, image: &[f32], strip: &Strip) -> Ahead {
        let [lo, hi] = reach(&self.axes);
        let inside = |a: usize, windows: &Range<usize>| {
            let end = ((windows.end.max(1) - 1) * self.step[a]) as isize + hi[a] + 1;
            let [first, end] =
                [(windows.start * self.step[a]) as isize + lo[a], end].map(|at| at.clamp(0, self.space[a] as isize));
            (first as usize, end.max(first) as usize)
        };
        let ((z, _), (y, y_end), (x, x_end)) =
            (inside(0, &(strip.plane..strip.plane + 1)), inside(1, &strip.rows), inside(2, &strip.columns));
        let [depth, height, width] = self.space;
        let row = (strip.image * depth + z) * height + y;
        let at = image.as_ptr().wrapping_add((row * width + x) * self.channels);
        Ahead::new(at, width * self.channels, [y_end - y, (x_end - x) * self.channels])
    }

    /// Copies what a strip's windows read, with zeros where that is outside of the image.
    fn copy(&self, image: &[f32], strip: &Strip, out: &mut [f32], [rows, width]: [usize; 2]) {
        let ([depth, height, across], channels) = (self.space, self.channels);
        let [lo, _] = reach(&self.axes);
        let first = |a: usize, at: usize| (at * self.step[a]) as isize + lo[a];
        let (y0, x0) = (first(1, strip.rows.start), first(2, strip.columns.start));
        // The part of a row that is inside of the image.
        let columns = (width / channels.max(1)) as isize;
        let (left, right) = ((-x0).clamp(0, columns), (across as isize - x0).clamp(0, columns));
        let (left, right) = (left as usize, right.max(left) as usize);
        for (plane, &(d, _)) in out.chunks_exact_mut((rows * width).max(1)).zip(&self.axes[0]) {
            let z = (strip.plane * self.step[0]) as isize + d;
            for (line, y) in plane.chunks_exact_mut(width).zip(y0..) {
                let inside = (0..depth as isize).contains(&z) && (0..height as isize).contains(&y);
                if !inside || left >= right {
                    line.fill(0.0);
                    continue;
                }
                let row = (strip.image * depth + z as usize) * height + y as usize;
                let from = ((row * across) as isize + x0 + left as isize) as usize * channels;
                line[..left * channels].fill(0.0);
                line[left * channels..right * channels].copy_from_slice(&image[from..][..(right - left) * channels]);
                line[right * channels..].fill(0.0);
            }
        }
    }
}

/// The size of equal parts of `total`, each at most `most`.
fn even(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most.max(1)).max(1)).max(1)
}

/// Least and greatest offset along each axis.
fn reach(axes: &[Axis; 3]) -> [[isize; 3]; 2] {
    [
        std::array::from_fn(|a| axes[a].first().map_or(0, |tap| tap.0)),
        std::array::from_fn(|a| axes[a].last().map_or(0, |tap| tap.0)),
    ]
}

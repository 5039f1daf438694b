//! Memory on its way to the cache while tiles are computed: what a processor does not foresee, since it follows long runs only.

use crate::simd::prefetch;

/// Memory that is needed soon, asked for bit by bit while tiles are computed: runs of `lines` cache lines, `pitch` floats apart.
pub(crate) struct Ahead {
    at: *const f32,
    pitch: usize,
    lines: usize,
    runs: usize,
    line: usize,
}

impl Ahead {
    /// Nothing.
    pub(crate) const NONE: Ahead = Ahead::new(std::ptr::null(), 0, [0, 0]);

    /// `runs` runs of `len` floats from `at` on, `pitch` floats apart.
    pub(crate) const fn new(at: *const f32, pitch: usize, [runs, len]: [usize; 2]) -> Ahead {
        // Runs may begin inside of a line.
        Ahead { at, pitch, lines: len.div_ceil(16) + if len % 16 == 0 { 0 } else { 1 }, runs, line: 0 }
    }

    /// Lines.
    pub(crate) fn len(&self) -> usize {
        self.runs * self.lines
    }

    /// Asks for the next `count` lines.
    pub(crate) fn ask(&mut self, count: usize) {
        for _ in 0..count {
            if self.runs == 0 {
                return;
            }
            prefetch(self.at.wrapping_add(16 * self.line).cast(), 1, false);
            self.line += 1;
            if self.line == self.lines {
                (self.line, self.runs, self.at) = (0, self.runs - 1, self.at.wrapping_add(self.pitch));
            }
        }
    }
}

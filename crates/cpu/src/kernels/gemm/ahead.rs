//! Memory on its way to the cache while tiles are computed: what a processor does not foresee, since it follows long runs only.

use crate::simd::prefetch;

/// Memory that is needed soon, asked for bit by bit while tiles are computed: runs of `lines` cache lines, `pitch` floats apart.
pub(crate) struct Ahead {
    at: *const f32,
    pitch: usize,
    lines: usize,
    runs: usize,
    /// Line of the run that is next.
    line: usize,
    /// Lines to ask for at a time.
    share: usize,
}

impl Ahead {
    /// Nothing.
    pub(crate) fn none() -> Ahead {
        Ahead::new(std::ptr::null(), 0, [0, 0])
    }

    /// `runs` runs of `len` floats from `at` on, `pitch` floats apart.
    pub(crate) fn new(at: *const f32, pitch: usize, [runs, len]: [usize; 2]) -> Ahead {
        // Short runs may begin inside of a line.
        let lines = len.div_ceil(16) + usize::from(!len.is_multiple_of(16));
        Ahead { at, pitch, lines, runs, line: 0, share: 0 }
    }

    /// Spreads it over so many calls of [`ask`](Ahead::ask).
    pub(crate) fn over(&mut self, calls: usize) {
        self.share = (self.runs * self.lines).div_ceil(calls.max(1));
    }

    /// Asks for the next share.
    pub(crate) fn ask(&mut self) {
        for _ in 0..self.share {
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

//! Images of another size, as TensorFlow and with it Keras makes them.

use std::ops::Range;

/// How pixels are found between those of an image. No pixel is averaged over when an image is made smaller (`antialias=False`), as in
/// `image_dataset_from_directory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resize {
    /// From the four pixels around, by their distance.
    #[default]
    Bilinear,
    /// From the pixel that lies there.
    Nearest,
}

/// The two pixels at a place along one axis, and how far it is from the first of them.
struct Place {
    before: usize,
    after: usize,
    weight: f32,
}

impl Resize {
    fn places(self, from: Range<usize>, to: usize) -> Vec<Place> {
        let (len, scale) = (from.len(), from.len() as f32 / to as f32);
        let last = len - 1;
        let place = |i: usize| {
            // The middle of pixel i lies at i + 1/2.
            let middle = (i as f32 + 0.5) * scale;
            let (before, after, weight) = match self {
                Resize::Nearest => (middle.floor() as usize, middle.floor() as usize, 0.0),
                Resize::Bilinear => {
                    let at = middle - 0.5;
                    (at.floor().max(0.0) as usize, at.ceil().max(0.0) as usize, at - at.floor())
                }
            };
            Place { before: from.start + before.min(last), after: from.start + after.min(last), weight }
        };
        (0..to).map(place).collect()
    }

    /// Resizes `part` (rows and columns, not empty) of an image with rows of `width` pixels.
    pub(crate) fn run(
        self,
        image: &[u8],
        width: usize,
        part: (Range<usize>, Range<usize>),
        channels: usize,
        size: (usize, usize),
        out: &mut [f32],
    ) {
        let (rows, columns) = (self.places(part.0, size.0), self.places(part.1, size.1));
        let mut out = out.iter_mut();
        for y in &rows {
            for x in &columns {
                let at = |row: usize, column: usize| &image[(row * width + column) * channels..][..channels];
                let (top, bottom) =
                    ((at(y.before, x.before), at(y.before, x.after)), (at(y.after, x.before), at(y.after, x.after)));
                for (c, out) in (0..channels).zip(&mut out) {
                    let mix = |a: f32, b: f32, weight: f32| a + (b - a) * weight;
                    let top = mix(f32::from(top.0[c]), f32::from(top.1[c]), x.weight);
                    let bottom = mix(f32::from(bottom.0[c]), f32::from(bottom.1[c]), x.weight);
                    *out = mix(top, bottom, y.weight);
                }
            }
        }
    }
}

/// The largest part of an image, in its middle, that has the shape of `to`: `smart_resize` of Keras cuts it out.
pub(crate) fn crop_to(height: usize, width: usize, to_height: usize, to_width: usize) -> (Range<usize>, Range<usize>) {
    let side = |len: usize, other: usize, to: usize, to_other: usize| {
        let kept = ((other as f64 * to as f64 / to_other as f64) as usize).min(len).max(1);
        let start = (len - kept) / 2;
        start..start + kept
    };
    (side(height, width, to_height, to_width), side(width, height, to_width, to_height))
}

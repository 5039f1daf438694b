//! PNG and JPEG files as tensors.

use crate::Dataset;
use crate::folder::{Files, LabelMode, Take};
use crate::host::elements;
use crate::io::failed;
use crate::resize::{Resize, crop_to};
use ibex_core::{Error, Result, Tensor};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// More pixels than this in one file are refused, so that a small hostile file can not fill the memory.
const MAX_PIXELS: usize = 1 << 26;

/// A larger file is no photograph.
const MAX_FILE: u64 = 1 << 28;

/// Which channels an image gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Color {
    /// One: brightness, `0.299 red + 0.587 green + 0.114 blue`.
    Grayscale,
    /// Three: red, green and blue.
    #[default]
    Rgb,
    /// Four: red, green, blue, and opacity (255 where the file has none).
    Rgba,
}

impl Color {
    fn channels(self) -> usize {
        match self {
            Color::Grayscale => 1,
            Color::Rgb => 3,
            Color::Rgba => 4,
        }
    }
}

/// Images in a folder for each class: `image_dataset_from_directory` of Keras.
///
/// Classes are the folders, sorted by name; their files, also in folders below, come in the order of their names. Only the names are read
/// at first: [`load`](ImageFolder::load) reads all images, [`batch`](ImageFolder::batch) some of them, for folders that are larger than
/// the memory. Images are 256x256 RGB unless it is said otherwise, f32 from 0 to 255: begin the model with a layer that divides.
///
/// ```no_run
/// use ibex_data::{ImageFolder, Order, split_dataset};
/// // pets/cat/1.jpg, pets/cat/2.png, pets/dog/1.jpg, ..
/// let pets = ImageFolder::open("pets")?.size(64, 64).shuffle(42);
/// assert_eq!(pets.class_names(), ["cat", "dog"]);
/// let all = pets.load()?; // x: (n, 64, 64, 3), y: (n)
/// let [train, test] = split_dataset(&all, [0.8, 0.2], Order::Stratified(42))?;
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Files,
    form: Form,
    mode: LabelMode,
}

/// What an image is brought to.
#[derive(Clone, Copy, Debug)]
struct Form {
    height: usize,
    width: usize,
    color: Color,
    resize: Resize,
    crop: bool,
}

impl ImageFolder {
    /// Lists the images of a folder.
    ///
    /// # Errors
    /// `Io` if a folder can not be read; `Value` if there are no images; `Unsupported` if one is a BMP, GIF or WebP file.
    pub fn open(dir: impl AsRef<Path>) -> Result<ImageFolder> {
        let files = Files::list(dir.as_ref(), None, |end| match end {
            "png" | "jpg" | "jpeg" => Take::Yes,
            "bmp" | "gif" | "webp" | "tif" | "tiff" => {
                Take::Refuse("only PNG and JPEG images are read; convert it, or move it away")
            }
            _ => Take::No,
        })?;
        let form = Form { height: 256, width: 256, color: Color::Rgb, resize: Resize::Bilinear, crop: false };
        Ok(ImageFolder { files, form, mode: LabelMode::Int })
    }

    /// Rows and columns that every image is brought to: `image_size`.
    pub fn size(mut self, height: usize, width: usize) -> Self {
        (self.form.height, self.form.width) = (height, width);
        self
    }

    /// Which channels the images get: `color_mode`.
    pub fn color(mut self, color: Color) -> Self {
        self.form.color = color;
        self
    }

    /// How pixels are found between those of the file: `interpolation`. Bilinear unless it is given.
    pub fn resize(mut self, resize: Resize) -> Self {
        self.form.resize = resize;
        self
    }

    /// Cuts off what does not have the shape of [`size`](ImageFolder::size), from the middle, rather than to distort the image:
    /// `crop_to_aspect_ratio`.
    pub fn crop(mut self, crop: bool) -> Self {
        self.form.crop = crop;
        self
    }

    /// How labels are written.
    pub fn labels(mut self, mode: LabelMode) -> Self {
        self.mode = mode;
        self
    }

    /// The files in a random order rather than class by class.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.files.shuffle(seed);
        self
    }

    /// The classes: their number is the label.
    pub fn class_names(&self) -> &[String] {
        &self.files.class_names
    }

    /// The files in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.files.paths
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.files.paths.len()
    }

    /// True when there are no images.
    pub fn is_empty(&self) -> bool {
        self.files.paths.is_empty()
    }

    /// All images: `x` is f32 of shape `(n, height, width, channels)`, `y` as [`labels`](ImageFolder::labels) says.
    ///
    /// # Errors
    /// `Io` or `Format`, with the name of the file, if one can not be read or is damaged; `OutOfMemory` if they would be more than a
    /// program should hold: read them with [`batch`](ImageFolder::batch) then.
    pub fn load(&self) -> Result<Dataset> {
        self.batch(&(0..self.len() as u32).collect::<Vec<u32>>())
    }

    /// The images at these places, in that order.
    ///
    /// # Errors
    /// As [`load`](ImageFolder::load); `Value` if there is no such place.
    pub fn batch(&self, indices: &[u32]) -> Result<Dataset> {
        if let Some(i) = indices.iter().find(|&&i| i as usize >= self.len()) {
            return Err(Error::value(format!("image {i} asked of {}", self.len())));
        }
        let labels = self
            .mode
            .tensor(indices.iter().map(|&i| self.files.labels[i as usize]).collect(), self.class_names().len())?;
        let form = &self.form;
        let shape = [indices.len(), form.height, form.width, form.color.channels()];
        let total =
            elements("images: an array", &shape, size_of::<f32>(), "read them in batches, or give a smaller size")?;
        form.check()?;
        let mut pixels = vec![0f32; total];
        let one = form.height * form.width * form.color.channels();
        // Decoding is slow: each thread gets a run of images.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(indices.len()).max(1);
        let run = indices.len().div_ceil(threads).max(1);
        let read = |indices: &[u32], pixels: &mut [f32]| -> Result<()> {
            for (&i, image) in indices.iter().zip(pixels.chunks_exact_mut(one)) {
                form.read(&self.files.paths[i as usize], image)?;
            }
            Ok(())
        };
        if threads == 1 || cfg!(target_arch = "wasm32") {
            read(indices, &mut pixels)?;
        } else {
            std::thread::scope(|scope| {
                let runs: Vec<_> = indices
                    .chunks(run)
                    .zip(pixels.chunks_mut(run * one))
                    .map(|(indices, pixels)| scope.spawn(move || read(indices, pixels)))
                    .collect();
                let joined =
                    runs.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                joined.collect::<Vec<Result<()>>>().into_iter().collect::<Result<()>>()
            })?;
        }
        Dataset::new(Tensor::from_vec(pixels, shape), labels)
    }
}

/// One PNG or JPEG file as f32 from 0 to 255, of shape `(height, width, channels)`: `load_img` and `img_to_array` of Keras.
///
/// With a `size` it is resized, as [`ImageFolder`] does it; without one it keeps the size of the file.
///
/// ```no_run
/// use ibex_data::{Color, load_image};
/// let digit = load_image("seven.png", Color::Grayscale, Some((28, 28)))?;
/// assert_eq!(digit.shape().to_vec(), [28, 28, 1]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Io` if the file can not be read; `Format` if it is damaged or neither PNG nor JPEG; `Value` if the size is zero.
pub fn load_image(path: impl AsRef<Path>, color: Color, size: Option<(usize, usize)>) -> Result<Tensor> {
    let image = Image::read(path.as_ref(), color)?;
    let (height, width) = size.unwrap_or((image.height, image.width));
    let form = Form { height, width, color, resize: Resize::Bilinear, crop: false };
    form.check()?;
    let shape = [height, width, color.channels()];
    let mut pixels = vec![0f32; elements("an image", &shape, size_of::<f32>(), "give a smaller size")?];
    form.fit(&image, &mut pixels);
    Ok(Tensor::from_vec(pixels, shape))
}

impl Form {
    fn check(&self) -> Result<()> {
        if self.height == 0 || self.width == 0 {
            return Err(Error::value(format!(
                "images of {}x{}; give a height and a width of at least 1",
                self.height, self.width
            )));
        }
        Ok(())
    }

    fn read(&self, path: &Path, out: &mut [f32]) -> Result<()> {
        self.fit(&Image::read(path, self.color)?, out);
        Ok(())
    }

    fn fit(&self, image: &Image, out: &mut [f32]) {
        let whole = (0..image.height, 0..image.width);
        let part = if self.crop { crop_to(image.height, image.width, self.height, self.width) } else { whole };
        self.resize.run(&image.pixels, image.width, part, self.color.channels(), (self.height, self.width), out);
    }
}

/// Pixels as they stand in a file, brought to the wanted channels.
struct Image {
    height: usize,
    width: usize,
    pixels: Vec<u8>,
}

impl Image {
    fn read(path: &Path, color: Color) -> Result<Image> {
        let file = std::fs::File::open(path).map_err(|e| failed("open", path, &e))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::format(format!(
                "{}: larger than {} MiB; give a smaller image",
                path.display(),
                MAX_FILE >> 20
            )));
        }
        // By what it begins with: names are often wrong.
        let image = if bytes.starts_with(b"\x89PNG") {
            Image::png(&bytes, color)
        } else if bytes.starts_with(&[0xff, 0xd8]) {
            Image::jpeg(bytes, color)
        } else {
            Err("neither a PNG nor a JPEG file; convert it, or remove it".to_string())
        };
        image.map_err(|what| Error::format(format!("{}: {what}", path.display())))
    }

    fn png(bytes: &[u8], color: Color) -> std::result::Result<Image, String> {
        let damaged = |e: png::DecodingError| format!("the PNG image is damaged ({e}); fetch the file again");
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 8 * MAX_PIXELS });
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let info = decoder.read_header_info().map_err(damaged)?;
        let (height, width) = small(info.height as usize, info.width as usize)?;
        let mut reader = decoder.read_info().map_err(damaged)?;
        let size = reader.output_buffer_size().ok_or("the PNG image is too large")?;
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels).map_err(damaged)?;
        pixels.truncate(info.buffer_size());
        let channels = info.color_type.samples();
        Ok(Image { height, width, pixels: convert(pixels, channels, color) })
    }

    fn jpeg(bytes: Vec<u8>, color: Color) -> std::result::Result<Image, String> {
        let damaged =
            |e: zune_jpeg::errors::DecodeErrors| format!("the JPEG image is damaged ({e}); fetch the file again");
        let (space, channels) = match color {
            Color::Grayscale => (ColorSpace::Luma, 1),
            _ => (ColorSpace::RGB, 3),
        };
        let options = DecoderOptions::default().jpeg_set_out_colorspace(space).set_strict_mode(true);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(damaged)?;
        let (width, height) = decoder.dimensions().ok_or("the JPEG image has no size")?;
        let (height, width) = small(height, width)?;
        let pixels = decoder.decode().map_err(damaged)?;
        if pixels.len() != height * width * channels {
            return Err(format!(
                "the JPEG image is of a kind that is not read ({:?}); convert it to RGB",
                decoder.input_colorspace()
            ));
        }
        Ok(Image { height, width, pixels: convert(pixels, channels, color) })
    }
}

fn small(height: usize, width: usize) -> std::result::Result<(usize, usize), String> {
    if height == 0 || width == 0 || height.checked_mul(width).is_none_or(|pixels| pixels > MAX_PIXELS) {
        return Err(format!("an image of {height}x{width}; 1 to {MAX_PIXELS} pixels are read"));
    }
    Ok((height, width))
}

/// Pixels with 1 (gray), 2 (gray, opacity), 3 or 4 channels, with other channels. Opacity is dropped, not mixed with a background.
fn convert(pixels: Vec<u8>, channels: usize, color: Color) -> Vec<u8> {
    let rgba = |pixel: &[u8]| match *pixel {
        [v] => [v, v, v, 255],
        [v, a] => [v, v, v, a],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, a] => [r, g, b, a],
        _ => [0; 4],
    };
    if channels == color.channels() {
        return pixels;
    }
    let rows = pixels.chunks_exact(channels).map(rgba);
    match color {
        Color::Rgb => rows.flat_map(|[r, g, b, _]| [r, g, b]).collect(),
        Color::Rgba => rows.flatten().collect(),
        Color::Grayscale if channels <= 2 => rows.map(|[v, ..]| v).collect(),
        // As libpng computes it, whole parts of 2^15.
        Color::Grayscale => rows
            .map(|[r, g, b, _]| ((9798 * u32::from(r) + 19235 * u32::from(g) + 3735 * u32::from(b)) >> 15) as u8)
            .collect(),
    }
}

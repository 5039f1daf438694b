//! Convolution and pooling, channels last.

use super::Tensor;
use crate::graph::{ConvGeometry, Op, PoolGeometry};
use crate::{Error, Result, Shape};
use std::panic::Location;

/// How the border of the input is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// Windows lie inside the input.
    #[default]
    Valid,
    /// Output length `ceil(input / stride)`; half of the padding, rounded down, goes first (as in Keras).
    Same,
}

/// The window of a convolution or a pooling. Each list has one entry per space axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Window lengths; a convolution takes them from its kernel.
    pub size: Vec<usize>,
    /// Strides.
    pub strides: Vec<usize>,
    /// Distances between window elements. Pooling has none but 1.
    pub dilation: Vec<usize>,
    /// Border treatment.
    pub padding: Padding,
}

impl Window {
    /// A window of the given lengths with strides and dilations of 1 and valid padding.
    pub fn new(size: impl Into<Vec<usize>>) -> Window {
        let size = size.into();
        let ones = vec![1; size.len()];
        Window { strides: ones.clone(), dilation: ones, size, padding: Padding::Valid }
    }

    /// The output length and the padding before the first element, along space axis `i` of an input of length `len`.
    ///
    /// # Errors
    /// `Value` for a zero window, stride or dilation; `Shape` if the window is longer than the input under valid padding.
    pub fn along(&self, i: usize, len: usize) -> Result<(usize, usize)> {
        let (size, stride, dilation) = (self.size[i], self.strides[i], self.dilation[i]);
        if size == 0 || stride == 0 || dilation == 0 {
            return Err(Error::value(format!(
                "window {size}, stride {stride} and dilation {dilation} must be at least 1"
            )));
        }
        let reach = (size - 1) * dilation + 1;
        match self.padding {
            Padding::Valid if reach > len => Err(Error::shape(format!(
                "a window that reaches over {reach} elements does not fit an input of length {len}; use a smaller window or 'same' padding"
            ))),
            Padding::Valid => Ok(((len - reach) / stride + 1, 0)),
            Padding::Same => {
                let out = len.div_ceil(stride);
                let total = (out.saturating_sub(1) * stride + reach).saturating_sub(len);
                Ok((out, total / 2))
            }
        }
    }

    /// The output length of a transposed convolution along space axis `i`, and how many elements before the first are cut off.
    fn transposed_along(&self, i: usize, len: usize, more: Option<usize>) -> Result<(usize, usize)> {
        let (size, stride, dilation) = (self.size[i], self.strides[i], self.dilation[i]);
        if size == 0 || stride == 0 || dilation == 0 {
            return Err(Error::value(format!(
                "window {size}, stride {stride} and dilation {dilation} must be at least 1"
            )));
        }
        let reach = (size - 1) * dilation + 1;
        // How many outputs the last element has for itself, and how far the first window lies inside of the output.
        let (last, inside) = match (self.padding, more) {
            (Padding::Valid, more) => (more.map_or(reach.max(stride), |more| reach + more), reach - 1),
            (Padding::Same, None) => (stride, (stride + reach - 2).div_ceil(2)),
            (Padding::Same, Some(more)) => (reach % 2 + more, (reach + reach % 2 + more - 2).div_ceil(2)),
        };
        let out = len.checked_sub(1).map_or(0, |before| before * stride + last);
        Ok((out, (reach - 1).saturating_sub(inside)))
    }
}

/// `list` as the last of three axes, filled with `fill` in front.
fn three(list: &[usize], fill: usize) -> [usize; 3] {
    let mut out = [fill; 3];
    out[3 - list.len()..].copy_from_slice(list);
    out
}

fn check_rank(op: &str, x: &Shape, window: &Window) -> Result<usize> {
    let space = window.size.len();
    if !(1..=3).contains(&space) || window.strides.len() != space || window.dilation.len() != space {
        return Err(Error::value(format!(
            "{op}: windows have one to three axes, and a stride and a dilation for each: {window:?}"
        )));
    }
    if x.rank() != space + 2 {
        return Err(Error::shape(format!(
            "{op}: input {x} has {} axes, but a {space}-D window needs {} (batch, space, channels)",
            x.rank(),
            space + 2
        )));
    }
    Ok(space)
}

impl Tensor {
    /// Convolution (cross-correlation) of `(n, space.., cin)` with `kernel` `(window.., cin / groups, cout)` to `(n, out.., cout)`,
    /// one to three space axes. `window.size` is ignored: the kernel has it.
    #[track_caller]
    pub fn conv(&self, kernel: impl Into<Tensor>, window: &Window, groups: usize) -> Tensor {
        let kernel = kernel.into();
        let site = Location::caller();
        if let Some(bad) = [self, &kernel].into_iter().find(|t| t.check().is_err()) {
            return bad.clone();
        }
        match conv_geometry(self.shape(), kernel.shape(), window, groups) {
            Ok((geometry, shape)) => {
                let x = self.reshape_at(five(geometry.n, geometry.input, geometry.groups * geometry.cin), site);
                let [kd, kh, kw] = geometry.kernel;
                let kernel = kernel.reshape_at([kd, kh, kw, geometry.cin, geometry.cout], site);
                Tensor::record(Op::Conv(geometry), vec![x, kernel], None, site).reshape_at(shape, site)
            }
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }

    /// Transposed convolution of `(n, space.., cin)` with `kernel` `(window.., cout, cin)` to `(n, out.., cout)`: the gradient of a
    /// [`Tensor::conv`] with that kernel, whose output is `self`. `window.size` is ignored: the kernel has it.
    ///
    /// Output lengths are those of Keras: `space * stride` for same padding and `(space - 1) * stride + max(reach, stride)` for valid padding,
    /// where a window reaches over `reach` elements. With `more` elements at the end, one number below the stride for each space axis, they are
    /// `(space - 1) * stride + reach % 2 + more` and `(space - 1) * stride + reach + more`.
    #[track_caller]
    pub fn conv_transpose(&self, kernel: impl Into<Tensor>, window: &Window, more: Option<&[usize]>) -> Tensor {
        let kernel = kernel.into();
        let site = Location::caller();
        if let Some(bad) = [self, &kernel].into_iter().find(|t| t.check().is_err()) {
            return bad.clone();
        }
        match conv_transpose_geometry(self.shape(), kernel.shape(), window, more) {
            Ok((geometry, shape)) => {
                let x = self.reshape_at(five(geometry.n, geometry.output, geometry.cout), site);
                let [kd, kh, kw] = geometry.kernel;
                let kernel = kernel.reshape_at([kd, kh, kw, geometry.cin, geometry.cout], site);
                Tensor::record(Op::ConvInputGrad(geometry), vec![x, kernel], None, site).reshape_at(shape, site)
            }
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }

    /// The largest element of each window, `(n, space.., c)` to `(n, out.., c)`. Padding does not take part.
    #[track_caller]
    pub fn max_pool(&self, window: &Window) -> Tensor {
        self.pool("max_pool", window, Location::caller(), |geometry, x| (Op::MaxPool(geometry), vec![x.clone(), x]))
    }

    /// The sum of each window, `(n, space.., c)` to `(n, out.., c)`. Padding counts as zero.
    #[track_caller]
    pub fn sum_pool(&self, window: &Window) -> Tensor {
        self.pool("sum_pool", window, Location::caller(), |geometry, x| (Op::SumPool(geometry), vec![x]))
    }

    /// The mean of each window, `(n, space.., c)` to `(n, out.., c)`. Padding does not count (as in Keras).
    #[track_caller]
    pub fn average_pool(&self, window: &Window) -> Tensor {
        let sum = self.sum_pool(window);
        if sum.check().is_err() {
            return sum;
        }
        if window.padding == Padding::Valid {
            return sum / window.size.iter().product::<usize>() as f32;
        }
        let ones: Vec<usize> =
            self.shape().iter().enumerate().map(|(i, &d)| if i == 0 || i + 1 == self.rank() { 1 } else { d }).collect();
        sum / window_counts(&ones[1..self.rank() - 1], window, self.dtype())
    }

    fn pool(
        &self,
        name: &str,
        window: &Window,
        site: &'static Location<'static>,
        op: impl FnOnce(PoolGeometry, Tensor) -> (Op, Vec<Tensor>),
    ) -> Tensor {
        if self.check().is_err() {
            return self.clone();
        }
        match pool_geometry(name, self.shape(), window) {
            Ok((geometry, shape)) => {
                let (op, inputs) =
                    op(geometry, self.reshape_at(five(geometry.n, geometry.input, geometry.channels), site));
                Tensor::record(op, inputs, None, site).reshape_at(shape, site)
            }
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }
}

/// How many elements of the input each window covers, `(1, out.., 1)`: a product over the axes, so it is computed here.
fn window_counts(space: &[usize], window: &Window, dtype: crate::DType) -> Tensor {
    let rank = space.len();
    let mut counts = Tensor::ones(vec![1; rank + 2], dtype);
    for (i, &len) in space.iter().enumerate() {
        let (out, pad) = window.along(i, len).unwrap_or_default();
        let along = |o: usize| {
            let start = o * window.strides[i];
            ((start + window.size[i]).saturating_sub(pad).min(len) - start.saturating_sub(pad).min(len)) as f64
        };
        let values: Vec<f64> = (0..out).map(along).collect();
        let mut shape = vec![1; rank + 2];
        shape[i + 1] = out;
        counts = counts * Tensor::from_data(crate::Data::from_f64(dtype, &values), shape);
    }
    counts
}

fn five(n: usize, space: [usize; 3], channels: usize) -> Shape {
    Shape::from([n, space[0], space[1], space[2], channels])
}

fn conv_geometry(x: &Shape, kernel: &Shape, window: &Window, groups: usize) -> Result<(ConvGeometry, Shape)> {
    let space = window.strides.len();
    let bad_kernel = |why: &str| Err(Error::shape(format!("conv: kernel {kernel} {why} (input {x}, {groups} groups)")));
    if kernel.rank() != space + 2 {
        return bad_kernel("must have the axes (window.., input channels / groups, output channels)");
    }
    let window = Window { size: kernel[..space].to_vec(), ..window.clone() };
    check_rank("conv", x, &window)?;
    let (cin, cout) = (kernel[space], kernel[space + 1]);
    if groups == 0 || cin * groups != x[space + 1] {
        return bad_kernel("does not fit the input's channels");
    }
    if !cout.is_multiple_of(groups) {
        return bad_kernel("has output channels that the groups do not divide");
    }
    let input = &x[1..=space];
    let along = input.iter().enumerate().map(|(i, &len)| window.along(i, len)).collect::<Result<Vec<_>>>();
    let along = along.map_err(|e| e.context(format!("conv of {x} with kernel {kernel}")))?;
    let output: Vec<usize> = along.iter().map(|a| a.0).collect();
    let geometry = ConvGeometry {
        n: x[0],
        input: three(input, 1),
        output: three(&output, 1),
        kernel: three(&window.size, 1),
        stride: three(&window.strides, 1),
        pad: three(&along.iter().map(|a| a.1).collect::<Vec<_>>(), 0),
        dilation: three(&window.dilation, 1),
        groups,
        cin,
        cout,
    };
    let shape = [&[x[0]], &output[..], &[cout]].concat();
    Ok((geometry, shape.into()))
}

/// The geometry of the convolution that is transposed: its output is `x`.
fn conv_transpose_geometry(
    x: &Shape,
    kernel: &Shape,
    window: &Window,
    more: Option<&[usize]>,
) -> Result<(ConvGeometry, Shape)> {
    let space = window.strides.len();
    let bad_kernel = |why: &str| Err(Error::shape(format!("conv_transpose: kernel {kernel} {why} (input {x})")));
    if kernel.rank() != space + 2 {
        return bad_kernel("must have the axes (window.., output channels, input channels)");
    }
    let window = Window { size: kernel[..space].to_vec(), ..window.clone() };
    check_rank("conv_transpose", x, &window)?;
    let (cin, cout) = (kernel[space], kernel[space + 1]);
    if cout != x[space + 1] {
        return bad_kernel("does not fit the input's channels");
    }
    if let Some(more) = more
        && (more.len() != space || more.iter().zip(&window.strides).any(|(more, stride)| more >= stride))
    {
        return Err(Error::value(format!(
            "conv_transpose: output padding {more:?} must be below strides {:?} along each axis",
            window.strides
        )));
    }
    let along = |(i, &len): (usize, &usize)| window.transposed_along(i, len, more.map(|more| more[i]));
    let along = x[1..=space].iter().enumerate().map(along).collect::<Result<Vec<_>>>();
    let along = along.map_err(|e| e.context(format!("conv_transpose of {x} with kernel {kernel}")))?;
    let lens: Vec<usize> = along.iter().map(|a| a.0).collect();
    let geometry = ConvGeometry {
        n: x[0],
        input: three(&lens, 1),
        output: three(&x[1..=space], 1),
        kernel: three(&window.size, 1),
        stride: three(&window.strides, 1),
        pad: three(&along.iter().map(|a| a.1).collect::<Vec<_>>(), 0),
        dilation: three(&window.dilation, 1),
        groups: 1,
        cin,
        cout,
    };
    Ok((geometry, [&[x[0]], &lens[..], &[cin]].concat().into()))
}

fn pool_geometry(name: &str, x: &Shape, window: &Window) -> Result<(PoolGeometry, Shape)> {
    let space = check_rank(name, x, window)?;
    if window.dilation.iter().any(|&d| d != 1) {
        return Err(Error::unsupported(format!("{name}: windows with dilation {:?}", window.dilation)));
    }
    let input = &x[1..=space];
    let along = input.iter().enumerate().map(|(i, &len)| window.along(i, len)).collect::<Result<Vec<_>>>();
    let along = along.map_err(|e| e.context(format!("{name} of {x}")))?;
    let output: Vec<usize> = along.iter().map(|a| a.0).collect();
    let geometry = PoolGeometry {
        n: x[0],
        input: three(input, 1),
        output: three(&output, 1),
        window: three(&window.size, 1),
        stride: three(&window.strides, 1),
        pad: three(&along.iter().map(|a| a.1).collect::<Vec<_>>(), 0),
        channels: x[space + 1],
    };
    let shape = [&[x[0]], &output[..], &[x[space + 1]]].concat();
    Ok((geometry, shape.into()))
}
